//! What somebody may have meant who mistyped a name.

/// Likeness from which a name is suggested for a wrong one.
const NEAR: f64 = 0.7;

/// The names most like `wrong`, the likest first, at most `most` of them.
pub(crate) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    let likeness = |name| (strsim::jaro_winkler(wrong, name), name);
    let mut near: Vec<(f64, &str)> = names.map(likeness).filter(|(likeness, _)| *likeness > NEAR).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(most).map(|(_, name)| name).collect()
}
