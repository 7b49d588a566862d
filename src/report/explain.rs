//! What each kind of finding means, a page each: `docs/kinds/KIND.md`, for the terminal.

use super::layout::{Page, Text};
use anstyle::Style;

const BOLD: Style = Style::new().bold();

macro_rules! page {
    ($kind:literal) => {
        Explanation { kind: $kind, text: include_str!(concat!("../../docs/kinds/", $kind, ".md")) }
    };
}

/// Every page, in the order of the catalogue.
static PAGES: &[Explanation] = &[
    page!("blocking-call"),
    page!("cpu-bound-poll"),
    page!("sync-guard-across-await"),
    page!("swallowed-panic"),
    page!("busy-poll"),
    page!("rwlock-deadlock"),
    page!("watch-borrow-across-await"),
    page!("channel-cycle"),
    page!("pool-starvation"),
    page!("lock-cycle"),
    page!("lock-order-inversion"),
    page!("self-deadlock"),
    page!("futurelock"),
    page!("permit-leak"),
    page!("block-on-in-async"),
    page!("thread-wait-in-task"),
    page!("sync-lock-contention"),
    page!("sync-db-driver"),
    page!("blocking-dns"),
    page!("sync-logging"),
    page!("blocking-drop"),
    page!("blocking-pool-exhausted"),
    page!("block-in-place"),
    page!("backtrace-stall"),
    page!("long-poll"),
    page!("lost-wakeup"),
    page!("lost-notify"),
    page!("shutdown-hang"),
    page!("driver-held"),
    page!("single-thread-starved"),
    page!("environment"),
    page!("unknown"),
];

/// What one kind of finding means.
#[derive(Debug, Clone, Copy)]
pub struct Explanation {
    /// The kind.
    pub kind: &'static str,
    /// The page, as Markdown.
    text: &'static str,
}

/// Every page there is.
pub fn all() -> &'static [Explanation] {
    PAGES
}

impl Explanation {
    /// What it is called.
    pub fn title(&self) -> &'static str {
        self.text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or(self.kind)
    }

    /// The page in so many columns, styled with ANSI sequences.
    pub fn shown(&self, columns: usize) -> String {
        let mut page = Page::new(columns);
        page.paragraph("", "  ", &Text::styled(BOLD, self.kind).and(&format!(": {}", self.title())));
        let mut code = false;
        for line in self.text.lines().skip(1) {
            if line.starts_with("```") {
                code = !code;
            } else if code {
                page.code(line);
            } else if let Some(head) = line.strip_prefix("## ") {
                page.paragraph("", "", &Text::styled(BOLD, head));
            } else if let Some(item) = line.strip_prefix("- ") {
                page.paragraph("  - ", "    ", &Text::plain(item));
            } else if line.is_empty() {
                page.blank();
            } else {
                page.paragraph("  ", "  ", &Text::plain(line));
            }
        }
        page.finish()
    }
}

/// The kinds and what they are called, in so many columns.
pub fn list(columns: usize) -> String {
    let mut page = Page::new(columns);
    let width = PAGES.iter().map(|page| page.kind.len()).max().unwrap_or(0);
    for one in PAGES {
        let first = format!("{:width$}  ", one.kind);
        page.paragraph(&first, &" ".repeat(first.len()), &Text::plain(one.title()));
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect;
    use std::collections::BTreeSet;

    #[test]
    fn each_kind_has_a_page_and_each_page_a_kind() {
        let mut kinds: BTreeSet<String> = detect::kinds().into_iter().collect();
        kinds.extend(detect::AMPLIFIERS.iter().map(|&kind| kind.to_owned()));
        kinds.insert("unknown".to_owned());
        let pages: BTreeSet<String> = all().iter().map(|page| page.kind.to_owned()).collect();
        assert_eq!(pages.len(), all().len(), "no kind twice");
        let missing: Vec<_> = kinds.difference(&pages).collect();
        assert!(missing.is_empty(), "docs/kinds has no page for {missing:?}");
        let stray: Vec<_> = pages.difference(&kinds).collect();
        assert!(stray.is_empty(), "no detector tells {stray:?}");
    }

    #[test]
    fn pages_have_one_shape() {
        for page in all() {
            let heads: Vec<&str> = page.text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
            let expected = ["How pollscope tells", "Look-alikes", "Broken", "Fixed", "Repair", "Tools that would lie"];
            assert_eq!(heads, expected, "{}", page.kind);
            assert!(!page.title().is_empty() && page.title() != page.kind, "{}", page.kind);
            assert_eq!(page.text.matches("```").count(), 4, "{}: two pieces of code", page.kind);
        }
    }

    #[test]
    fn a_page_fits_its_columns_and_keeps_its_code() {
        for page in all() {
            let shown = anstream::adapter::strip_str(&page.shown(80)).to_string();
            let mut code = page.text.split("```").skip(1).step_by(2).flat_map(|piece| piece.lines().skip(1));
            assert!(code.all(|line| shown.contains(line)), "{shown}");
            let prose = shown.lines().filter(|line| !line.starts_with("    "));
            assert!(prose.into_iter().all(|line| line.chars().count() <= 80), "{shown}");
            assert!(!shown.contains("##"), "{shown}");
        }
    }
}
