//! `environment`: polls that look long only because the kernel ran somebody else.

use super::super::{Answer, Check};
use super::{Cause, Judged, Thresholds, ms};
use crate::model::Model;

pub(super) fn detect(model: &Model, polls: &[Judged<'_>], thresholds: &Thresholds) -> Check {
    let late = polls.iter().filter(|poll| poll.cause == Cause::Machine);
    let (count, worst, total) = late
        .fold((0, 0, 0), |(count, worst, total), poll| (count + 1, poll.delay_ns.max(worst), total + poll.delay_ns));
    let (answer, why) = if total >= thresholds.crowded_ns {
        let why = format!(
            "{count} long poll(s) were long because their thread was ready but not run, up to {:.0} ms: give the \
             program more CPU, or fewer workers",
            ms(worst)
        );
        (Answer::Found, why)
    } else if model.has_source("watchdog") {
        let why = match count {
            0 => "no poll was long for want of CPU".to_owned(),
            count => format!("{count} long poll(s) for want of CPU, {:.0} ms in all: too little to matter", ms(total)),
        };
        (Answer::Clear, why)
    } else {
        (Answer::CannotTell, "the watchdog did not run, so run delay was not measured".to_owned())
    };
    Check { kind: "environment".to_owned(), answer, why }
}
