//! Text of which others wrote a part, as people may be shown it.

use crate::cost::names::is_format;

/// Longer words are cut: no name that a cluster may have is of use beyond that in a sentence.
const WORD_CHARACTERS_MAX: usize = 80;
const CHARACTERS_MAX: usize = 1_000;

/// A sentence with names in it that anybody may have chosen: characters that control a terminal, or
/// turn or hide text, are escaped, and what is too long is cut. Shown again, it stays as it is.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::new();
    let (mut characters, mut word) = (0, 0);
    for character in text.chars() {
        let is_end = character.is_whitespace() || character == ',';
        word = if is_end { 0 } else { word + 1 };
        if word > WORD_CHARACTERS_MAX {
            continue;
        }
        if characters == CHARACTERS_MAX {
            out.push('…');
            return out;
        }
        characters += 1;
        match character {
            _ if word == WORD_CHARACTERS_MAX => out.push('…'),
            _ if character.is_control() || is_format(character) => {
                out.extend(character.escape_unicode());
            }
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_controls_a_terminal_is_escaped_and_what_is_too_long_is_cut() {
        assert_eq!(shown("cluster 'a b', ok"), "cluster 'a b', ok");
        assert_eq!(shown("a\u{1b}[2J\r\u{202e}b"), "a\\u{1b}[2J\\u{d}\\u{202e}b");
        let long = format!("pods of {} and of b,{}", "x".repeat(70_000), "y".repeat(80));
        let cut = format!("pods of {}… and of b,{}…", "x".repeat(79), "y".repeat(79));
        assert_eq!(shown(&long), cut);
        let many = shown(&"word ".repeat(1_000));
        assert_eq!(many.chars().count(), 1_001);
        assert!(many.ends_with('…'));
    }

    proptest! {
        #[test]
        fn nothing_that_is_shown_controls_a_terminal_or_is_long(text in ".{0,300}", times in 1..20_usize) {
            let out = shown(&text.repeat(times));
            prop_assert!(!out.chars().any(|c| c.is_control() || is_format(c)), "{:?}", out);
            // Each character is at most ten when it is escaped.
            prop_assert!(out.chars().count() <= 10 * CHARACTERS_MAX + 1);
        }
    }
}
