//! Strips of a chart: shapes only, stretched to any width; their words are HTML beside them.

use maud::{Markup, html};
use std::fmt::Write;

/// Units a strip is wide and high inside; the page stretches them.
pub(super) const WIDE: f64 = 1000.0;
const HIGH: f64 = 100.0;

/// Part of a strip, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    pub(super) from: f64,
    pub(super) to: f64,
}

/// A strip in one row.
#[derive(Debug, Clone, Default)]
pub(super) struct Strip<'a> {
    /// What it shows, for those who do not see it.
    pub(super) label: String,
    /// Height on the page, in CSS pixels.
    pub(super) height: u32,
    /// A severity that colors the marks; empty for the usual color.
    pub(super) tone: &'static str,
    /// Where vertical lines stand.
    pub(super) grid: &'a [Part],
    /// Bars from 0 to 1.
    pub(super) bars: Vec<f64>,
    /// Parts that are pointed at from elsewhere.
    pub(super) bands: &'a [Part],
    /// Parts that are marked, and what to say about them.
    pub(super) marks: Vec<(Part, String)>,
    /// Parts that are marked without a word.
    pub(super) more_marks: Vec<Part>,
}

impl Strip<'_> {
    /// The drawing.
    pub(super) fn draw(&self) -> Markup {
        html! {
            svg.strip.{ "is-" (self.tone) } viewBox=(format!("0 0 {WIDE} {HIGH}")) preserveAspectRatio="none" height=(self.height)
                role="img" aria-label=(self.label) {
                @if !self.grid.is_empty() { path.grid d=(lines(self.grid)) {} }
                @if !self.bars.is_empty() { path.bar d=(area(&self.bars)) {} }
                @if !self.bands.is_empty() { path.band d=(boxes(self.bands)) {} }
                @if !self.more_marks.is_empty() { path.mark d=(boxes(&self.more_marks)) {} }
                @for (part, text) in &self.marks { path.mark d=(boxes(&[*part])) { title { (text) } } }
            }
        }
    }
}

/// A step for each bar.
fn area(bars: &[f64]) -> String {
    let step = WIDE / bars.len().max(1) as f64;
    let mut d = format!("M0 {HIGH}");
    for (index, bar) in bars.iter().enumerate() {
        let bar = if bar.is_finite() { bar.clamp(0.0, 1.0) } else { 0.0 };
        let _ = write!(d, "V{:.1}H{:.1}", HIGH * (1.0 - bar), step * (index + 1) as f64);
    }
    let _ = write!(d, "V{HIGH}Z");
    d
}

/// A box over the whole height for each part; never so narrow that it is lost.
fn boxes(parts: &[Part]) -> String {
    let mut d = String::new();
    for part in parts {
        let from = part.from.clamp(0.0, 1.0) * WIDE;
        let wide = (part.to.clamp(0.0, 1.0) * WIDE - from).max(1.5);
        let _ = write!(d, "M{from:.1} 0h{wide:.1}v{HIGH}h-{wide:.1}z");
    }
    d
}

fn lines(parts: &[Part]) -> String {
    parts.iter().fold(String::new(), |mut d, part| {
        let _ = write!(d, "M{:.1} 0v{HIGH}", part.from.clamp(0.0, 1.0) * WIDE);
        d
    })
}

/// Where an axis over `seconds` bears a number: about six round ones.
pub(super) fn ticks(seconds: f64) -> Vec<f64> {
    if !(seconds.is_finite() && seconds > 0.0) {
        return vec![0.0];
    }
    let rough = seconds / 6.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    (0..=12).map(|n| f64::from(n) * step).take_while(|at| *at <= seconds).collect()
}

/// The numbers below a group of strips.
pub(super) fn axis(seconds: f64) -> Markup {
    let ticks = ticks(seconds);
    let digits = usize::from(ticks.get(1).is_some_and(|step| step.fract() > 0.001));
    html! { div.axis aria-hidden="true" { @for at in &ticks {
        @let left = 100.0 * at / seconds.max(f64::MIN_POSITIVE);
        // The number at the very end would stand out of the page.
        span.last[left > 96.0] style=(format!("left:{left:.2}%")) { (format!("{at:.digits$}")) " s" }
    } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_bear_a_handful_of_round_numbers() {
        assert_eq!(ticks(3.0), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
        assert_eq!(ticks(7.0), [0.0, 2.0, 4.0, 6.0]);
        assert_eq!(ticks(0.0), [0.0]);
        for seconds in [0.001, 0.4, 59.0, 86_400.0, f64::MAX, f64::NAN] {
            assert!((1..=13).contains(&ticks(seconds).len()), "{seconds}");
        }
    }

    #[test]
    fn shapes_stay_inside_their_strip() {
        assert_eq!(area(&[0.0, 2.0, f64::NAN]), "M0 100V100.0H333.3V0.0H666.7V100.0H1000.0V100Z");
        assert_eq!(boxes(&[Part { from: -1.0, to: 9.0 }]), "M0.0 0h1000.0v100h-1000.0z");
    }
}
