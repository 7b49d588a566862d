//! Many measurements in few figures.

/// The middle of some figures, or the mean of the two in the middle; not a number where there are none.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

/// The least and the most of some figures.
pub(crate) fn bounds(figures: &[f64]) -> (f64, f64) {
    let low = figures.iter().copied().fold(f64::INFINITY, f64::min);
    (low, figures.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}
