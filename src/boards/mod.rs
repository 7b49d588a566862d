//! What is made from the metrics' table for those who run services: boards for Grafana, rules for Prometheus, and the
//! page that documents the metrics. Everything here is text that lies in the repository; a test keeps it fresh.

mod grafana;
mod health;
mod lab;
mod locks;
mod rules;
mod stalls;

pub use rules::{Alert, RECORDINGS, Recording, alerts};

/// One dashboard.
#[derive(Debug, Clone, Copy)]
pub struct Board {
    /// Stable name in Grafana's addresses, and of its file.
    pub uid: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Whether it sets a scenario beside its cured twin, instead of filtering by service and process.
    pub lab: bool,
    /// Its panels.
    pub rows: &'static [Row],
}

/// Panels under one heading.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The heading.
    pub title: &'static str,
    /// From left to right, as many to a line as fit.
    pub panels: &'static [Panel],
}

/// One drawing.
#[derive(Debug, Clone, Copy)]
pub struct Panel {
    /// Its title.
    pub title: &'static str,
    /// The question it answers, then how to read the answer.
    pub question: &'static str,
    /// How it is drawn.
    pub view: View,
    /// Grafana's id of the unit.
    pub unit: &'static str,
    /// Columns, of 24.
    pub width: u8,
    /// Queries with the legends of their series. `$who` stands for the filter by service and process.
    pub queries: &'static [(&'static str, &'static str)],
}

/// How a panel is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Lines over time.
    Lines,
    /// One large number a series.
    Stat,
    /// A row a series, its labels as columns.
    Table,
    /// Buckets of a histogram over time.
    Heatmap,
}

impl Board {
    /// Every board.
    pub const ALL: &[Board] = &[health::HEALTH, stalls::STALLS, locks::LOCKS, lab::LAB];

    /// Title of a panel and its queries, as Grafana would send them with these values for its variables.
    pub fn queries(&self, scenario: &str, service: &str) -> Vec<(&'static str, View, String)> {
        let panels = self.rows.iter().flat_map(|row| row.panels);
        let filters = self.filters().into_iter();
        let filled = |query: &str, filter: &str| {
            let filter = filter.replace("$scenario", scenario).replace("$service", service).replace("$process", ".+");
            query.replace("$who", &filter).replace("$__rate_interval", "1m").replace("$__range", "15m")
        };
        let each = move |panel: &Panel| {
            let (title, view, queries) = (panel.title, panel.view, panel.queries);
            let filters = filters.clone();
            filters
                .flat_map(move |(_, filter)| queries.iter().map(move |(query, _)| (title, view, filled(query, filter))))
        };
        panels.flat_map(each).collect()
    }

    /// What each panel is drawn for, once each: what to add to its title, and what `$who` stands for.
    fn filters(&self) -> Vec<(&'static str, &'static str)> {
        if self.lab {
            vec![(": fault", "service=\"$scenario\""), (": cured", "service=\"$scenario-cured\"")]
        } else {
            vec![("", "service=~\"$service\",process=~\"$process\"")]
        }
    }
}

/// All findings of the classes given by a pattern that go on, a row each.
macro_rules! findings {
    ($classes:literal) => {
        concat!(
            "max by (service, process, kind, severity, confidence, file, line, function) (pollscope_finding_active{$who,class=~\"",
            $classes,
            "\"}) == 1"
        )
    };
}
use findings;

/// A panel in one expression.
const fn panel(
    view: View,
    width: u8,
    unit: &'static str,
    title: &'static str,
    question: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, question, view, unit, width, queries }
}

/// Every generated file: its path in the repository, and its text.
pub fn files() -> Vec<(String, String)> {
    let board = |board: &Board| (format!("dashboards/grafana/boards/{}.json", board.uid), grafana::json(board));
    let mut files: Vec<_> = Board::ALL.iter().map(board).collect();
    files.push(("dashboards/prometheus/recording.yml".to_owned(), rules::recording()));
    files.push(("dashboards/prometheus/alerts.yml".to_owned(), rules::alerting()));
    files.push(("docs/metrics.md".to_owned(), pollscope_metrics::markdown()));
    files
}

#[cfg(test)]
mod tests;
