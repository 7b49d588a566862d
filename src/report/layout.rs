//! Styled text in columns: wraps at the width of the page, with hanging indents.

use super::words::visible;
use anstyle::Style;
use std::fmt::Write;
use unicode_width::UnicodeWidthChar;

/// Columns of indent before the values of fields.
pub(super) const INDENT: usize = 12;

/// A piece of running text with styles; a tab or a line break in it is a space.
#[derive(Debug, Clone, Default)]
pub(super) struct Text(Vec<(char, Style)>);

impl Text {
    /// Text in one style.
    pub(super) fn styled(style: Style, text: &str) -> Text {
        Text::default().with(style, text)
    }

    /// Text without a style.
    pub(super) fn plain(text: &str) -> Text {
        Text::styled(Style::new(), text)
    }

    /// The same text, and more after it.
    pub(super) fn with(mut self, style: Style, text: &str) -> Text {
        self.0.extend(visible(text).chars().map(|c| (if c.is_ascii_whitespace() { ' ' } else { c }, style)));
        self
    }

    /// The same text, and more after it in no style.
    pub(super) fn and(self, text: &str) -> Text {
        self.with(Style::new(), text)
    }

    /// The same text, and `more` after it.
    pub(super) fn append(mut self, more: Text) -> Text {
        self.0.extend(more.0);
        self
    }

    /// Columns it takes on one line.
    pub(super) fn width(&self) -> usize {
        width(&self.0)
    }

    /// Lines of at most `columns`. Breaks at spaces; a word too long for a line, at its slashes and colons.
    pub(super) fn wrap(&self, columns: usize) -> Vec<Text> {
        let columns = columns.max(8);
        let mut lines: Vec<Vec<(char, Style)>> = vec![Vec::new()];
        for word in self.0.split(|(c, _)| *c == ' ').filter(|word| !word.is_empty()) {
            let used = lines.last().map_or(0, |line| width(line));
            if used > 0 && used + 1 + width(word) <= columns {
                if let Some(line) = lines.last_mut() {
                    let style = word.first().map_or(Style::new(), |(_, style)| *style);
                    let glue = if line.last().is_some_and(|(_, last)| *last == style) { style } else { Style::new() };
                    line.push((' ', glue));
                    line.extend_from_slice(word);
                }
                continue;
            }
            if used > 0 {
                lines.push(Vec::new());
            }
            let mut rest = word;
            while width(rest) > columns {
                let (piece, left) = rest.split_at(break_at(rest, columns));
                if let Some(line) = lines.last_mut() {
                    line.extend_from_slice(piece);
                }
                lines.push(Vec::new());
                rest = left;
            }
            if let Some(line) = lines.last_mut() {
                line.extend_from_slice(rest);
            }
        }
        lines.into_iter().map(Text).collect()
    }

    /// With ANSI sequences where the style changes.
    pub(super) fn ansi(&self) -> String {
        let mut out = String::new();
        let mut now = Style::new();
        for (c, style) in &self.0 {
            if *style != now {
                let _ = write!(out, "{now:#}{style}");
                now = *style;
            }
            out.push(*c);
        }
        let _ = write!(out, "{now:#}");
        out
    }
}

fn width(text: &[(char, Style)]) -> usize {
    text.iter().map(|(c, _)| c.width().unwrap_or(0)).sum()
}

/// Where to break a word of more than `columns`: behind its last slash or colon, unless that leaves little on the line.
fn break_at(word: &[(char, Style)], columns: usize) -> usize {
    let mut used = 0;
    let fits = word.iter().take_while(|(c, _)| {
        used += c.width().unwrap_or(0);
        used <= columns
    });
    let fits = fits.count().max(1);
    // A colon that another one follows is the first half of `::`.
    let good = |at: usize| {
        let next = word.get(at).map(|(c, _)| *c);
        match word.get(at.wrapping_sub(1)).map(|(c, _)| *c) {
            Some('/') => true,
            Some(':') => next != Some(':') && !next.is_some_and(|c| c.is_ascii_digit()),
            _ => false,
        }
    };
    (fits / 3 + 1..=fits).rev().find(|&at| good(at)).unwrap_or(fits)
}

/// A paragraph of at most `columns` with a line break at its end: `first` stands before its first line, and the others
/// are indented as far. What is wrapped is data: no control character of it is left.
pub fn hanging(first: &str, text: &str, columns: usize) -> String {
    let mut page = Page::new(columns);
    let rest: usize = first.chars().filter_map(UnicodeWidthChar::width).sum();
    page.paragraph(first, &" ".repeat(rest), &Text::plain(text));
    page.out
}

/// A page under construction.
#[derive(Debug)]
pub(super) struct Page {
    out: String,
    columns: usize,
}

impl Page {
    /// An empty page of so many columns.
    pub(super) fn new(columns: usize) -> Page {
        Page { out: String::new(), columns }
    }

    /// The columns that are left for the value of a field.
    pub(super) fn room(&self) -> usize {
        self.columns.saturating_sub(INDENT).max(8)
    }

    /// A blank line.
    pub(super) fn blank(&mut self) {
        self.out.push('\n');
    }

    /// A paragraph: `first` stands before its first line, `rest` before the others.
    pub(super) fn paragraph(&mut self, first: &str, rest: &str, text: &Text) {
        let lead = |prefix: &str| prefix.chars().filter_map(UnicodeWidthChar::width).sum::<usize>();
        let room = self.columns.saturating_sub(lead(first).max(lead(rest)));
        for (index, line) in text.wrap(room).iter().enumerate() {
            let line = format!("{}{}", if index == 0 { first } else { rest }, line.ansi());
            let _ = writeln!(self.out, "{}", line.trim_end());
        }
    }

    /// A line of code, as it is written: to wrap code is to break it.
    pub(super) fn code(&mut self, line: &str) {
        let dim = Style::new().dimmed();
        let line = format!("    {dim}{}{dim:#}", visible(line));
        let _ = writeln!(self.out, "{}", line.trim_end());
    }

    /// A field with its name in the margin; an empty name continues the field above.
    pub(super) fn field(&mut self, name: &str, text: &Text) {
        let dim = Style::new().dimmed();
        let rest = " ".repeat(INDENT);
        for (index, line) in text.wrap(self.room()).iter().enumerate() {
            let line = match index {
                // The margin is styled here: a prefix with sequences in it has no simple width.
                0 if !name.is_empty() => format!("  {dim}{name:<9}{dim:#} {}", line.ansi()),
                _ => format!("{rest}{}", line.ansi()),
            };
            let _ = writeln!(self.out, "{}", line.trim_end());
        }
    }

    /// Rows of a right-aligned figure and what it is, as one field.
    pub(super) fn figures(&mut self, name: &str, rows: &[(String, Text)]) {
        let widest = rows.iter().map(|(figure, _)| Text::plain(figure).width()).max().unwrap_or(0);
        if widest > self.room() / 2 {
            // No column then: a unit may be any text.
            for (index, (figure, what)) in rows.iter().enumerate() {
                self.field(if index == 0 { name } else { "" }, &Text::plain(figure).and("  ").append(what.clone()));
            }
            return;
        }
        for (index, (figure, what)) in rows.iter().enumerate() {
            let gap = " ".repeat(widest - Text::plain(figure).width());
            let lines = what.wrap(self.room().saturating_sub(widest + 2));
            for (at, line) in lines.iter().enumerate() {
                let figure = visible(figure);
                let lead = if at == 0 { format!("{gap}{figure}  ") } else { " ".repeat(widest + 2) };
                self.raw(if index + at == 0 { name } else { "" }, &format!("{lead}{}", line.ansi()));
            }
        }
    }

    /// A line of a field that is laid out already.
    pub(super) fn raw(&mut self, name: &str, line: &str) {
        let dim = Style::new().dimmed();
        let line = if name.is_empty() {
            format!("{}{line}", " ".repeat(INDENT))
        } else {
            format!("  {dim}{name:<9}{dim:#} {line}")
        };
        let _ = writeln!(self.out, "{}", line.trim_end());
    }

    /// What was written.
    pub(super) fn finish(self) -> String {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, columns: usize) -> Vec<String> {
        Text::plain(text).wrap(columns).iter().map(Text::ansi).collect()
    }

    #[test]
    fn sentences_break_at_spaces() {
        assert_eq!(lines("one two three four", 9), ["one two", "three", "four"]);
        assert!(lines(&"word ".repeat(100), 80).iter().all(|line| line.len() <= 80));
    }

    #[test]
    fn a_long_path_breaks_behind_a_slash() {
        assert_eq!(lines("/a/long/path/to/some/where.rs:10", 16), ["/a/long/path/to/", "some/where.rs:10"]);
        assert_eq!(lines("crate::module::function", 16), ["crate::module::", "function"]);
        assert_eq!(lines(&"x".repeat(20), 8), ["xxxxxxxx", "xxxxxxxx", "xxxx"]);
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(lines("日本語日本語", 8), ["日本語日", "本語"]);
    }
}
