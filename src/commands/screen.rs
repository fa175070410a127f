//! What standard output is: a terminal of some width, a file, a pipe.

use std::io::{self, IsTerminal, Write};

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::service::wrap::wrap;

/// The width that everything fits where no terminal says its own, columns.
pub const WIDTH_DEFAULT: usize = 80;
/// The widest table that is made, columns: beyond it a line is hard to follow.
const WIDTH_MAX: usize = 120;

/// What standard output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// People.
    Text,
    /// Programs.
    Json,
    /// Logs: text, and one line of JSON at its end.
    TextThenJson,
}

impl Form {
    /// `--output` where it is given; else text on a terminal, and for logs where there is none.
    #[must_use]
    pub fn of(matches: &ArgMatches, is_terminal: bool) -> Self {
        let is_given = matches.value_source("output") == Some(ValueSource::CommandLine);
        match matches.get_one::<String>("output").map(String::as_str) {
            Some("json") => Self::Json,
            _ if is_given || is_terminal => Self::Text,
            _ => Self::TextThenJson,
        }
    }

    /// Whether there is text.
    #[must_use]
    pub fn has_text(self) -> bool {
        self != Self::Json
    }

    /// Whether there is JSON.
    #[must_use]
    pub fn has_json(self) -> bool {
        self != Self::Text
    }
}

/// Where text is shown.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Whether long lines are broken: on a terminal, but not where lines are searched.
    pub is_terminal: bool,
    /// Whether colours are shown.
    pub has_colors: bool,
}

impl Screen {
    /// Standard output.
    #[must_use]
    pub fn stdout() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let of_terminal = terminal_size::terminal_size_of(io::stdout());
        let width = of_terminal.map(|(width, _)| usize::from(width.0));
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            width: width.unwrap_or(WIDTH_DEFAULT).clamp(WIDTH_DEFAULT, WIDTH_MAX),
            is_terminal,
            has_colors: is_terminal && !is_plain,
        }
    }

    /// Writes a text, broken at blanks where this is a terminal.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn line(self, out: &mut impl Write, text: &str) -> io::Result<()> {
        self.broken(out, text, "")
    }

    /// Writes a text after two blanks, broken at blanks where this is a terminal.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn note(self, out: &mut impl Write, text: &str) -> io::Result<()> {
        self.broken(out, text, "  ")
    }

    fn broken(self, out: &mut impl Write, text: &str, indent: &str) -> io::Result<()> {
        if !self.is_terminal {
            return writeln!(out, "{text}");
        }
        let width = self.width.saturating_sub(indent.len() + 2);
        for (index, line) in wrap(text, width).iter().enumerate() {
            writeln!(out, "{indent}{}{line}", if index == 0 { "" } else { "  " })?;
        }
        Ok(())
    }
}

/// A text of at most `width` characters, the last of them an ellipsis where it is cut.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    if text.chars().count() <= width {
        return clean.collect();
    }
    clean.take(width.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_and_no_line_is_too_wide() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("aaaaaaa b", 3), ["aaa", "aaa", "a b"]);
        assert_eq!(wrap("a\u{1b}[2J", 9), ["a\u{fffd}[2J"]);
        let long = "word ".repeat(40) + &"x".repeat(95);
        assert!(wrap(&long, 20).iter().all(|line| line.chars().count() <= 20), "{long}");
    }

    #[test]
    fn what_is_cut_ends_in_an_ellipsis() {
        assert_eq!(cut("shop", 4), "shop");
        assert_eq!(cut("shops", 4), "sho…");
        assert_eq!(cut("a\u{7}b", 4), "a\u{fffd}b");
    }
}
