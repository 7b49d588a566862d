//! The words of the command line, in both benchmarks.

/// A number among the arguments.
pub(crate) fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{option} takes a number, and {text} is none"))
}

/// What is known by this name.
pub(crate) fn named<'a, T>(
    known: &'a [T],
    name: fn(&T) -> &'static str,
    what: &str,
    wanted: &str,
) -> Result<&'a T, String> {
    known.iter().find(|one| name(one) == wanted).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(name).collect();
        format!("no {what} is called {wanted}; there are {}", names.join(", "))
    })
}
