//! `environment`: polls that look long only because the kernel ran somebody else.

use super::open_polls::{Cause, Judged};
use super::{Answer, Check, ms};
use crate::model::Model;

pub(super) fn detect(model: &Model, polls: &[Judged<'_>]) -> Check {
    let late = polls.iter().filter(|poll| poll.cause == Cause::Machine);
    let (count, worst) = late.fold((0, 0), |(count, worst), poll| (count + 1, poll.delay_ns.max(worst)));
    let (answer, why) = if count > 0 {
        let why = format!(
            "{count} long poll(s) were long because their thread was ready but not run, up to {:.0} ms: give the \
             program more CPU, or fewer workers",
            ms(worst)
        );
        (Answer::Found, why)
    } else if model.has_source("watchdog") {
        (Answer::Clear, "no poll was long for want of CPU".to_owned())
    } else {
        (Answer::CannotTell, "the watchdog did not run, so run delay was not measured".to_owned())
    };
    Check { kind: "environment".to_owned(), answer, why }
}
