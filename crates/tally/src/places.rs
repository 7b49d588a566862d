//! A bounded number of places in source code, each with a number.

use std::collections::HashMap;

use pollscope_metrics::MOST_PLACES;
use pollscope_recording::Place;

/// Places in the order in which they came; those beyond the bound share the last number.
#[derive(Debug, Default)]
pub(crate) struct Places {
    numbers: HashMap<Place, usize>,
    labels: Vec<(String, String)>,
}

impl Places {
    /// The number of a place, at most [`MOST_PLACES`].
    pub(crate) fn number(&mut self, place: &Place) -> usize {
        if let Some(&number) = self.numbers.get(place) {
            return number;
        }
        if self.labels.len() >= MOST_PLACES {
            return MOST_PLACES;
        }
        let line = if place.line == 0 { String::new() } else { place.line.to_string() };
        self.labels.push((short(&place.file).to_owned(), line));
        self.numbers.insert(place.clone(), self.labels.len() - 1);
        self.labels.len() - 1
    }

    /// The values of the labels `file` and `line`.
    pub(crate) fn labels(&self, number: usize) -> (&str, &str) {
        self.labels.get(number).map_or(("other", ""), |(file, line)| (file, line))
    }
}

/// A file of a library without the path to where cargo keeps it, which differs from machine to machine.
pub fn short(file: &str) -> &str {
    let library = file.split_once("/registry/src/").and_then(|(_, path)| path.split_once('/'));
    library.map_or(file, |(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_places_is_bounded() {
        let mut places = Places::default();
        let place = |line| Place { file: "src/main.rs".into(), line, column: 1 };
        for line in 0..1000 {
            assert!(places.number(&place(line)) <= MOST_PLACES);
        }
        assert_eq!(places.number(&place(7)), 7);
        assert_eq!(places.labels(7), ("src/main.rs", "7"));
        assert_eq!(places.labels(0), ("src/main.rs", ""));
        assert_eq!(places.labels(places.numbers.len()), ("other", ""));
    }

    #[test]
    fn libraries_are_named_without_the_way_to_them() {
        assert_eq!(short("/x/.cargo/registry/src/index.crates.io-1/tokio-1.54.1/src/a.rs"), "tokio-1.54.1/src/a.rs");
        assert_eq!(short("src/main.rs"), "src/main.rs");
    }
}
