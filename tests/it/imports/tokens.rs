//! Rust text as tokens: names, signs and groups in brackets. Comments, texts, numbers and lifetimes
//! are left out.

use std::iter::Peekable;
use std::str::Chars;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name or a keyword.
    Name(String),
    /// One sign.
    Sign(char),
    /// What stands in brackets, and the opening one.
    Group(char, Vec<Token>),
}

/// The tokens of a text.
///
/// # Panics
/// When brackets do not match.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut characters = text.chars().peekable();
    let out = group(&mut characters, None);
    assert!(characters.next().is_none(), "a bracket is closed that was not opened");
    out
}

fn group(rest: &mut Peekable<Chars<'_>>, close: Option<char>) -> Vec<Token> {
    let mut out = Vec::new();
    while let Some(c) = rest.next() {
        match c {
            '/' if rest.peek() == Some(&'/') => skip_line(rest),
            '/' if rest.peek() == Some(&'*') => skip_comment(rest),
            '"' => skip_text(rest),
            '\'' => skip_character_or_lifetime(rest),
            '(' => out.push(Token::Group(c, group(rest, Some(')')))),
            '[' => out.push(Token::Group(c, group(rest, Some(']')))),
            '{' => out.push(Token::Group(c, group(rest, Some('}')))),
            ')' | ']' | '}' => {
                assert_eq!(Some(c), close, "a bracket is closed by another one");
                return out;
            }
            c if c.is_alphabetic() || c == '_' => {
                if let Some(name) = name_or_text(c, rest) {
                    out.push(Token::Name(name));
                }
            }
            c if c.is_ascii_digit() => skip_number(rest),
            c if c.is_whitespace() => {}
            c => out.push(Token::Sign(c)),
        }
    }
    assert_eq!(close, None, "a bracket is not closed");
    out
}

/// A name that begins with `first`; `None` where it is the prefix of a text, such as `b"..."`.
fn name_or_text(first: char, rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut name = String::from(first);
    while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
        name.push(c);
    }
    if !matches!(name.as_str(), "b" | "c" | "r" | "br" | "cr") {
        return Some(name);
    }
    match rest.peek() {
        Some('"') if !name.ends_with('r') => {
            rest.next();
            skip_text(rest);
        }
        Some('"' | '#') if name.ends_with('r') => skip_raw_text(rest),
        Some('\'') if name == "b" => {
            rest.next();
            skip_character_or_lifetime(rest);
        }
        _ => return Some(name),
    }
    None
}

fn skip_line(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| *c != '\n').is_some() {}
}

fn skip_comment(rest: &mut Peekable<Chars<'_>>) {
    let mut depth = 0;
    let mut before = '/';
    for c in rest {
        let (opens, closes) = (before == '/' && c == '*', before == '*' && c == '/');
        depth += i32::from(opens) - i32::from(closes);
        if closes && depth == 0 {
            return;
        }
        before = if opens || closes { ' ' } else { c };
    }
}

fn skip_text(rest: &mut Peekable<Chars<'_>>) {
    while let Some(c) = rest.next() {
        match c {
            '"' => return,
            '\\' => drop(rest.next()),
            _ => {}
        }
    }
}

/// From after the `r`: `#`s, a quote, the text, a quote and as many `#`s.
fn skip_raw_text(rest: &mut Peekable<Chars<'_>>) {
    let mut hashes = 0;
    while rest.next_if_eq(&'#').is_some() {
        hashes += 1;
    }
    if rest.next_if_eq(&'"').is_none() {
        // A raw name, such as `r#type`: it is read as a name of its own.
        return;
    }
    while let Some(c) = rest.next() {
        if c == '"' && (0..hashes).all(|_| rest.next_if_eq(&'#').is_some()) {
            return;
        }
    }
}

/// From after the `'`: a character ends in another one, a lifetime does not.
fn skip_character_or_lifetime(rest: &mut Peekable<Chars<'_>>) {
    let Some(first) = rest.next() else { return };
    if first == '\\' {
        rest.next();
        while rest.next().is_some_and(|c| c != '\'') {}
        return;
    }
    if rest.next_if_eq(&'\'').is_none() {
        while rest.next_if(|c| c.is_alphanumeric() || *c == '_').is_some() {}
    }
}

fn skip_number(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| c.is_alphanumeric() || *c == '_').is_some() {}
}

#[test]
fn comments_texts_characters_and_lifetimes_are_no_tokens() {
    let text = r####"
        a // b "c
        /* d /* e */ f */ "g \" h" 'i' '\'' '{' '\u{1f}' b'j' b"k" r"l\" r#"m " n"# br##"o"## 0x1p
        fn p<'q>(r: &'q str, s: u8) { t::u!["v"] }
    "####;
    let name = |name: &str| Token::Name(name.to_owned());
    let sign = Token::Sign;
    let expected = vec![
        name("a"),
        name("fn"),
        name("p"),
        sign('<'),
        sign('>'),
        Token::Group(
            '(',
            vec![
                name("r"),
                sign(':'),
                sign('&'),
                name("str"),
                sign(','),
                name("s"),
                sign(':'),
                name("u8"),
            ],
        ),
        Token::Group(
            '{',
            vec![name("t"), sign(':'), sign(':'), name("u"), sign('!'), Token::Group('[', vec![])],
        ),
    ];
    assert_eq!(tokens(text), expected);
}
