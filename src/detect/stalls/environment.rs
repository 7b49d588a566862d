//! `environment`: polls that look long, and timers that look late, only because the kernel ran somebody else, because the
//! program had used up the CPU quota of its cgroup, or because its code was not in memory.
//!
//! A thread that the quota holds back is ready all the while, so its run delay has that time in it already; what the
//! cgroup tells says why.

use super::super::{Answer, Check};
use super::{Cause, Judged, Thresholds, ms};
use crate::model::{LateBeatFacts, Model};

/// What was late although nobody in the program is to blame.
#[derive(Default)]
struct Late {
    polls: u64,
    /// Their time ready but not run: the worst, and all of it.
    worst_ns: u64,
    total_ns: u64,
    /// Those that waited for their code to be read from disk: how many, the worst, and all of it.
    fetches: u64,
    worst_fetch_ns: u64,
    fetches_ns: u64,
    /// Timers that fired late while the program was throttled and no poll was long.
    timers: u64,
    timers_ns: u64,
    worst_timer_ns: u64,
    /// The part of all this that throttling explains.
    throttled_ns: u64,
}

pub(super) fn detect(model: &Model, polls: &[Judged<'_>], thresholds: &Thresholds) -> Check {
    let late = late(model, polls, thresholds);
    let (answer, why) = if late.total_ns + late.timers_ns + late.fetches_ns >= thresholds.crowded_ns {
        (Answer::Found, blamed(model, &late))
    } else if model.has_source("watchdog") {
        let mut why = match (late.polls + late.fetches, ms(late.total_ns + late.fetches_ns)) {
            (0, _) => "no poll was long for want of CPU".to_owned(),
            (count, all) => format!("{count} long poll(s) for want of CPU, {all:.0} ms in all: too little to matter"),
        };
        if let Some(throttling) = throttling(model) {
            why.push_str(&format!("; {throttling}, which did no harm that was seen"));
        }
        (Answer::Clear, why)
    } else {
        (Answer::CannotTell, "the watchdog did not run, so run delay was not measured".to_owned())
    };
    Check { kind: "environment".to_owned(), answer, why }
}

fn late(model: &Model, polls: &[Judged<'_>], thresholds: &Thresholds) -> Late {
    let mut late = Late::default();
    for poll in polls.iter().filter(|poll| poll.cause == Cause::Machine) {
        if poll.fetching {
            late.fetches += 1;
            late.worst_fetch_ns = late.worst_fetch_ns.max(poll.delay_ns);
            late.fetches_ns += poll.delay_ns;
            continue;
        }
        late.polls += 1;
        late.worst_ns = late.worst_ns.max(poll.delay_ns);
        late.total_ns += poll.delay_ns;
        late.throttled_ns += model.throttled_between(poll.stall.since, poll.end).min(poll.delay_ns);
    }
    // A timer that waited for a long poll is that poll's matter.
    let long: Vec<_> = polls.iter().filter(|poll| poll.cause != Cause::Innocent).collect();
    let waited = |beat: &LateBeatFacts| long.iter().any(|poll| poll.stall.since < beat.at && poll.end > beat.due);
    for beat in model.late_beats.iter().filter(|beat| !waited(beat)) {
        let throttled = model.throttled_between(beat.due, beat.due.saturating_add(beat.late_ns));
        if throttled >= thresholds.stall_ns {
            late.timers += 1;
            late.timers_ns += throttled;
            late.worst_timer_ns = late.worst_timer_ns.max(beat.late_ns);
            late.throttled_ns += throttled;
        }
    }
    late
}

/// How much the quota held the program back, if it did.
fn throttling(model: &Model) -> Option<String> {
    let times: u64 = model.throttled.iter().map(|one| one.times).sum();
    let nanos: u64 = model.throttled.iter().map(|one| one.throttled_ns).sum();
    (nanos > 0).then(|| {
        format!(
            "the CPU quota of its cgroup throttled the program in {times} period(s), for {:.0} ms in all",
            ms(nanos)
        )
    })
}

fn blamed(model: &Model, late: &Late) -> String {
    let throttling = throttling(model).filter(|_| late.throttled_ns * 2 >= late.total_ns + late.timers_ns);
    let mut effects = Vec::new();
    if late.polls > 0 {
        let (polls, worst) = (late.polls, ms(late.worst_ns));
        effects.push(format!(
            "{polls} long poll(s) were long because their thread was ready but not run, up to {worst:.0} ms"
        ));
    }
    if late.timers > 0 {
        effects.push(format!("{} timer(s) fired late, up to {:.0} ms", late.timers, ms(late.worst_timer_ns)));
    }
    let effects = effects.join(", and ");
    let cpu = match throttling {
        _ if effects.is_empty() => None,
        Some(throttling) => Some(format!("{throttling}: {effects}; raise the quota, or use fewer workers")),
        None => Some(format!("{effects}: give the program more CPU, or fewer workers")),
    };
    let code = (late.fetches > 0).then(|| {
        format!(
            "{} long poll(s) waited until the program's own code was read from disk, up to {:.0} ms: it had not run \
             before, or memory is short",
            late.fetches,
            ms(late.worst_fetch_ns)
        )
    });
    cpu.into_iter().chain(code).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use pollscope_recording::*;

    use crate::detect::tests::{MS, alive, answer, program};
    use crate::detect::{Answer, Diagnosis, Thresholds, Verdict, diagnose};
    use crate::model::Model;
    use crate::symbols::Symbols;

    /// A poll of 100 ms that starts at `since`; `cpu_ns` and `run_delay_ns` of it, and the state it was always seen in.
    fn poll(model: &mut Model, since: u64, cpu_ns: u64, run_delay_ns: u64, state: u8) {
        poll_in(model, since, cpu_ns, run_delay_ns, (state, u64::MAX));
    }

    fn poll_in(model: &mut Model, since: u64, cpu_ns: u64, run_delay_ns: u64, (state, syscall): (u8, u64)) {
        let (task, tid, observed) = (1, 10, since);
        let (at, state, stack) = (since + 50 * MS, u64::from(state), Vec::new());
        model.feed(&Stall { at, task, tid, since, observed, cpu_ns: 0, run_delay_ns: 0, state, syscall, stack }.into());
        model.feed(&StallEnd { at: since + 100 * MS, task, tid, since, cpu_ns, run_delay_ns, observed }.into());
    }

    fn throttled(model: &mut Model, from: u64, throttled_ns: u64) {
        model.feed(&Throttled { at: from + 500 * MS, from, times: 3, throttled_ns }.into());
    }

    fn found(mut model: Model) -> Diagnosis {
        alive(&mut model, 3000 * MS);
        diagnose(&model, &mut Symbols::new(), &Thresholds::default())
    }

    fn why(found: &Diagnosis) -> &str {
        found.checks.iter().find(|check| check.kind == "environment").map_or("", |check| &check.why)
    }

    #[test]
    fn a_throttled_program_is_told_so_with_figures() {
        let mut model = program("hooks,watchdog");
        [100, 300].into_iter().for_each(|since| poll(&mut model, since * MS, 10 * MS, 85 * MS, b'R'));
        throttled(&mut model, 0, 300 * MS);
        let found = found(model);
        assert_eq!((found.verdict, found.findings.len()), (Verdict::Environment, 0));
        assert!(why(&found).contains("throttled the program in 3 period(s), for 300 ms in all"), "{}", why(&found));
        assert!(why(&found).contains("2 long poll(s)") && why(&found).contains("85 ms"), "{}", why(&found));
    }

    #[test]
    fn a_crowded_machine_is_no_quota() {
        let mut model = program("hooks,watchdog");
        [100, 300].into_iter().for_each(|since| poll(&mut model, since * MS, 10 * MS, 85 * MS, b'R'));
        throttled(&mut model, 2000 * MS, 300 * MS);
        let found = found(model);
        assert_eq!(found.verdict, Verdict::Environment);
        assert!(!why(&found).contains("quota") && why(&found).contains("more CPU"), "{}", why(&found));
    }

    #[test]
    fn a_guilty_poll_stays_guilty_under_a_quota() {
        let mut model = program("hooks,watchdog");
        poll(&mut model, 100 * MS, 40 * MS, 58 * MS, b'R');
        model.feed(&Delay { at: 200 * MS, task: 2, tid: 10, delay_ns: 90 * MS }.into());
        throttled(&mut model, 0, 60 * MS);
        let found = found(model);
        assert_eq!(found.findings[0].kind, "cpu-bound-poll");
        let quota = found.findings[0].evidence.iter().find(|one| one.what.contains("quota"));
        assert_eq!(quota.map(|one| one.value), Some(58.0));
    }

    #[test]
    fn without_run_delay_a_ready_thread_is_not_called_blocked() {
        let delayed = |state, nanos| {
            let mut model = program("hooks,watchdog");
            poll(&mut model, 100 * MS, 5 * MS, 0, state);
            model.feed(&Delay { at: 200 * MS, task: 2, tid: 10, delay_ns: 90 * MS }.into());
            throttled(&mut model, 0, nanos);
            found(model)
        };
        assert_eq!(answer(&delayed(b'R', 400 * MS), "blocking-call"), Some(Answer::Clear));
        // One that sleeps is not throttled, whatever happens to others.
        assert_eq!(answer(&delayed(b'S', 400 * MS), "blocking-call"), Some(Answer::Found));
        assert_eq!(answer(&delayed(b'R', 10 * MS), "blocking-call"), Some(Answer::Found));
    }

    #[test]
    fn whose_code_is_on_the_disk_is_not_blocked_by_a_call() {
        let faults = |polls: &[(u8, u64)], cpu_ns| {
            let mut model = program("hooks,watchdog");
            for (since, how) in (100..).step_by(200).zip(polls) {
                poll_in(&mut model, since * MS, cpu_ns, MS, *how);
            }
            model.feed(&Delay { at: 200 * MS, task: 2, tid: 10, delay_ns: 90 * MS }.into());
            found(model)
        };
        let code = faults(&[(b'D', CODE_FAULT), (b'S', CODE_FAULT)], MS);
        assert_eq!((code.verdict, code.findings.len()), (Verdict::Environment, 0));
        assert!(
            why(&code).starts_with("2 long poll(s) waited until the program's own code was read"),
            "{}",
            why(&code)
        );
        assert!(why(&code).contains("up to 99 ms") && !why(&code).contains("CPU"), "{}", why(&code));
        // A page of data may be a file that the program maps; and what computes for long does so with its code there.
        assert_eq!(answer(&faults(&[(b'D', u64::MAX)], MS), "blocking-call"), Some(Answer::Found));
        assert_eq!(answer(&faults(&[(b'D', CODE_FAULT)], 60 * MS), "cpu-bound-poll"), Some(Answer::Found));
    }

    #[test]
    fn timers_may_be_late_for_a_quota_alone() {
        let late = |throttled_ns, count| {
            let mut model = program("hooks,watchdog");
            for due in (0..count).map(|n| (100 + n * 100) * MS) {
                model.feed(&LateBeat { at: due + 60 * MS, runtime: 1, due, late_ns: 60 * MS }.into());
            }
            throttled(&mut model, 0, throttled_ns);
            found(model)
        };
        let quota = late(300 * MS, 4);
        assert_eq!(quota.verdict, Verdict::Environment);
        assert!(why(&quota).contains("4 timer(s) fired late, up to 60 ms"), "{}", why(&quota));
        // Timers that are late without a quota, or a quota that holds back a moment, prove nothing.
        for harmless in [late(0, 4), late(10 * MS, 4), late(300 * MS, 1)] {
            assert_eq!(harmless.verdict, Verdict::Healthy, "{}", why(&harmless));
        }
    }
}
