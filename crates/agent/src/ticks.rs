//! The processor's counter as a clock. Asking the kernel's clock takes longer than all else that is done at a poll, so
//! its time is carried on by the counter: the drain compares the two at each turn, and a counter that does not keep up
//! with the clock is not asked again.

use pollscope_recording::Nanos;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Odd while the drain changes what is below.
static VERSION: AtomicU64 = AtomicU64::new(0);
/// The counter and the clock at one moment, and nanoseconds a tick, times 2^32.
static TICKS: AtomicU64 = AtomicU64::new(0);
static NANOS: AtomicU64 = AtomicU64::new(0);
static RATE: AtomicU64 = AtomicU64::new(0);
/// Ticks for which that holds: a drain that is late, or a machine that slept, makes it stale. 0 while the counter is not
/// to be used.
static MOST: AtomicU64 = AtomicU64::new(0);

const SHORTEST: Nanos = 20_000_000;
const LONGEST: Nanos = 1_000_000_000;
const STALE: Nanos = 400_000_000;
/// The two may differ by so much at the end of a turn. Reading both is interrupted at times; such a reading is not used.
const WRONG: Nanos = 20_000;
/// So often, and the counter is given up.
const OFTEN: u32 = 5;

/// What the clock of the kernel would say, as far as the counter tells.
#[inline]
pub(crate) fn now() -> Option<Nanos> {
    let version = VERSION.load(Ordering::Acquire);
    if version & 1 == 1 {
        return None;
    }
    let (ticks, nanos) = (TICKS.load(Ordering::Relaxed), NANOS.load(Ordering::Relaxed));
    let (rate, most) = (RATE.load(Ordering::Relaxed), MOST.load(Ordering::Relaxed));
    let since = counter().wrapping_sub(ticks);
    fence(Ordering::Acquire);
    if since > most || VERSION.load(Ordering::Relaxed) != version {
        return None;
    }
    // At most `STALE` nanoseconds times 2^32: it fits.
    Some(nanos + ((since * rate) >> 32))
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn counter() -> u64 {
    // SAFETY: every processor of this architecture has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn counter() -> u64 {
    0
}

/// Whether the counter runs at one speed, and is the same on all cores: the kernel's own clock relies on it.
fn is_steady() -> bool {
    let source = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    cfg!(target_arch = "x86_64") && source.is_ok_and(|source| source.trim() == "tsc")
}

/// Keeps the counter and the clock together; the drain's.
pub(crate) struct Keeper {
    /// A moment to measure the rate from, and the one that follows it.
    from: Option<(u64, Nanos)>,
    next: Option<(u64, Nanos)>,
    wrong: u32,
    steady: bool,
    clock: fn() -> Nanos,
}

impl Keeper {
    pub(crate) fn new(clock: fn() -> Nanos) -> Keeper {
        Keeper { from: None, next: None, wrong: 0, steady: is_steady(), clock }
    }

    /// Compares the two.
    pub(crate) fn turn(&mut self) {
        if !self.steady {
            return;
        }
        let Some((ticks, nanos)) = self.both() else { return };
        if let Some(carried) = now()
            && carried.abs_diff((self.clock)()) > WRONG
            // Not only this thread that was taken off its core between the two.
            && (0..8).all(|_| now().is_none_or(|now| now.abs_diff((self.clock)()) > WRONG))
        {
            self.wrong += 1;
            self.steady = self.wrong < OFTEN;
            (self.from, self.next) = (None, None);
            set(0, 0, 0, 0);
            return;
        }
        let Some(from) = self.from else {
            self.from = Some((ticks, nanos));
            return;
        };
        let (passed, took) = (ticks.wrapping_sub(from.0), nanos.saturating_sub(from.1));
        if took < SHORTEST || passed == 0 {
            return;
        }
        let Ok(rate) = u64::try_from((u128::from(took) << 32) / u128::from(passed)) else { return };
        // Long enough for a rate that is right to a millionth, and short enough for one that is of today.
        match self.next {
            Some(next) if nanos.saturating_sub(next.1) >= LONGEST => {
                (self.from, self.next) = (Some(next), Some((ticks, nanos)));
            }
            None => self.next = Some((ticks, nanos)),
            Some(_) => {}
        }
        let most = (u128::from(STALE) << 32) / u128::from(rate.max(1));
        set(ticks, nanos, rate, u64::try_from(most).unwrap_or(0));
    }

    /// One moment by both, if nothing came between.
    fn both(&self) -> Option<(u64, Nanos)> {
        (0..8).find_map(|_| {
            let before = counter();
            let nanos = (self.clock)();
            let took = counter().wrapping_sub(before);
            // Some hundred nanoseconds, whatever the counter's speed.
            (took < 1000).then_some((before + took / 2, nanos))
        })
    }
}

fn set(ticks: u64, nanos: Nanos, rate: u64, most: u64) {
    let version = VERSION.load(Ordering::Relaxed);
    VERSION.store(version + 1, Ordering::Relaxed);
    fence(Ordering::Release);
    TICKS.store(ticks, Ordering::Relaxed);
    NANOS.store(nanos, Ordering::Relaxed);
    RATE.store(rate, Ordering::Relaxed);
    MOST.store(most, Ordering::Relaxed);
    VERSION.store(version + 2, Ordering::Release);
}

impl Drop for Keeper {
    fn drop(&mut self) {
        set(0, 0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Keeper, OFTEN, WRONG, now};
    use crate::clock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static AHEAD: AtomicU64 = AtomicU64::new(0);

    fn stepped() -> u64 {
        clock::exact() + AHEAD.load(Ordering::Relaxed)
    }

    #[test]
    fn carries_on_the_clock_and_is_given_up_when_it_does_not() {
        let mut keeper = Keeper::new(stepped);
        assert!(now().is_none(), "nothing is known yet");
        if !keeper.steady {
            keeper.turn();
            assert!(now().is_none(), "where the kernel does not rely on the counter, neither do we");
            return;
        }
        for _ in 0..OFTEN {
            assert!(keeper.steady);
            while now().is_none() {
                keeper.turn();
            }
            for _ in 0..1000 {
                let (before, carried, after) = (stepped(), now(), stepped());
                // Stale if this thread was away for long.
                if let Some(carried) = carried {
                    assert!(carried + WRONG >= before && carried <= after + WRONG, "{before} {carried} {after}");
                }
            }
            AHEAD.fetch_add(1_000_000_000, Ordering::Relaxed);
            while now().is_some() {
                keeper.turn();
            }
        }
        assert!(!keeper.steady);
        keeper.turn();
        assert!(now().is_none());
    }
}
