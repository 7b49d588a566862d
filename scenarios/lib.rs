//! Small async services with one known fault each, and their cured twins.
//!
//! Every folder holds two complete programs of the same interface and the same work, and a manifest
//! that says what is true of the first. They teach, and they are the yardstick of the diagnosis.

mod figures;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod resolver;

pub use pollscope_agent::{Flavor, override_flavor};

/// A price quoting service.
#[path = "blocking-call"]
pub mod blocking_call {
    pub mod cure;
    pub mod fault;
}

/// A login service.
#[path = "cpu-bound-poll"]
pub mod cpu_bound_poll {
    pub mod cure;
    pub mod fault;
}

/// A hub for measuring stations.
#[path = "driver-held"]
pub mod driver_held {
    pub mod cure;
    pub mod fault;
}

/// A ferry office.
#[path = "lock-order-inversion"]
pub mod lock_order_inversion {
    pub mod cure;
    pub mod fault;
}

/// A small bank.
#[path = "lock-cycle"]
pub mod lock_cycle {
    pub mod cure;
    pub mod fault;
}

/// An exchange office.
#[path = "sync-guard-across-await"]
pub mod sync_guard_across_await {
    pub mod cure;
    #[expect(clippy::await_holding_lock, reason = "what this service does amiss; its cured twin does not")]
    pub mod fault;
}

/// A botanical garden.
#[path = "watch-borrow-across-await"]
pub mod watch_borrow_across_await {
    pub mod cure;
    pub mod fault;
}

/// A copy shop.
#[path = "busy-poll"]
pub mod busy_poll {
    pub mod cure;
    pub mod fault;
}

/// A library of slides.
#[path = "busy-poll-yield"]
pub mod busy_poll_yield {
    pub mod cure;
    pub mod fault;
}

/// A tea merchant.
#[path = "swallowed-panic"]
pub mod swallowed_panic {
    pub mod cure;
    pub mod fault;
}

/// A small exchange.
#[path = "futurelock"]
pub mod futurelock {
    pub mod cure;
    pub mod fault;
}

/// A gate that lets people in by badge.
#[path = "self-deadlock"]
pub mod self_deadlock {
    pub mod cure;
    pub mod fault;
}

/// A parcel router.
#[path = "rwlock-deadlock"]
pub mod rwlock_deadlock {
    pub mod cure;
    pub mod fault;
}

/// A ticket office.
#[path = "pool-starvation"]
pub mod pool_starvation {
    pub mod cure;
    pub mod fault;
}

/// A shop of two actors.
#[path = "channel-cycle"]
pub mod channel_cycle {
    pub mod cure;
    pub mod fault;
}

/// A service that makes thumbnails.
#[path = "permit-leak"]
pub mod permit_leak {
    pub mod cure;
    pub mod fault;
}

/// A library with a few reading desks.
#[path = "lost-wakeup"]
pub mod lost_wakeup {
    pub mod cure;
    pub mod fault;
}

/// A sorting office.
#[path = "shutdown-hang"]
pub mod shutdown_hang {
    pub mod cure;
    pub mod fault;
}

/// A bakery.
#[path = "lost-notify"]
pub mod lost_notify {
    pub mod cure;
    pub mod fault;
}

/// Loyalty cards of a bakery.
#[path = "sync-db-driver"]
pub mod sync_db_driver {
    pub mod cure;
    pub mod fault;
}

/// A shop window.
#[path = "block-on-in-async"]
pub mod block_on_in_async {
    pub mod cure;
    pub mod fault;
}

/// A weather archive.
#[path = "thread-wait-in-task"]
pub mod thread_wait_in_task {
    pub mod cure;
    pub mod fault;
}

/// A depot.
#[path = "sync-lock-contention"]
pub mod sync_lock_contention {
    pub mod cure;
    pub mod fault;
}

/// A toll gate.
#[path = "sync-logging"]
pub mod sync_logging {
    pub mod cure;
    pub mod fault;
}

/// A sports ground.
#[path = "blocking-pool-exhausted"]
pub mod blocking_pool_exhausted {
    pub mod cure;
    pub mod fault;
}

/// A museum.
#[path = "blocking-drop"]
pub mod blocking_drop {
    pub mod cure;
    pub mod fault;
}

/// An office that tracks parcels. Its name server takes the place of the machine's in glibc only.
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#[path = "blocking-dns"]
pub mod blocking_dns {
    pub mod cure;
    pub mod fault;
}

/// An auction house.
#[path = "block-in-place"]
pub mod block_in_place {
    pub mod cure;
    pub mod fault;
}

/// The hub of a house.
#[path = "single-thread-starved"]
pub mod single_thread_starved {
    pub mod cure;
    pub mod fault;
}

/// A second-hand shop.
#[path = "two-faults"]
pub mod two_faults {
    pub mod cure;
    pub mod fault;
    pub mod first_try;
}

/// A harbor.
#[path = "second-lock"]
pub mod second_lock {
    pub mod cure;
    #[expect(clippy::await_holding_lock, reason = "what this service does amiss; its cured twin does not")]
    pub mod fault;
    pub mod first_try;
}

/// A print shop on a crowded machine.
#[path = "crowded-machine"]
pub mod crowded_machine {
    pub mod cure;
    pub mod fault;
}

/// A game of chess.
pub mod chess {
    pub mod play;
}

/// A game of soccer.
pub mod soccer {
    pub mod play;
}

/// One scenario: a service with one known fault, and the same service cured.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The name of its folder, and the kind of finding it deserves.
    pub name: &'static str,
    /// Runs the service that has the fault; may never return.
    pub fault: fn(),
    /// Runs the cured service.
    pub cure: fn(),
    /// The text of `scenario.toml`.
    pub manifest: &'static str,
    /// The text of `fault.rs`.
    pub fault_source: &'static str,
    /// The text of `cure.rs`.
    pub cure_source: &'static str,
    /// The path of `fault.rs` from the root of the workspace.
    pub fault_path: &'static str,
    /// The path of `cure.rs` from the root of the workspace.
    pub cure_path: &'static str,
}

macro_rules! scenario {
    ($name:literal, $module:ident) => {
        Scenario {
            name: $name,
            fault: $module::fault::main,
            cure: $module::cure::main,
            manifest: include_str!(concat!($name, "/scenario.toml")),
            fault_source: include_str!(concat!($name, "/fault.rs")),
            cure_source: include_str!(concat!($name, "/cure.rs")),
            fault_path: concat!("scenarios/", $name, "/fault.rs"),
            cure_path: concat!("scenarios/", $name, "/cure.rs"),
        }
    };
}

macro_rules! healthy {
    ($name:literal, $module:ident) => {
        Scenario {
            name: $name,
            fault: $module::play::main,
            cure: $module::play::main,
            manifest: include_str!(concat!($name, "/scenario.toml")),
            fault_source: include_str!(concat!($name, "/play.rs")),
            cure_source: include_str!(concat!($name, "/play.rs")),
            fault_path: concat!("scenarios/", $name, "/play.rs"),
            cure_path: concat!("scenarios/", $name, "/play.rs"),
        }
    };
}

/// Programs without any fault, to see what healthy ones look like. Their twin is the program itself.
#[must_use]
pub fn healthy() -> &'static [Scenario] {
    const HEALTHY: &[Scenario] = &[healthy!("chess", chess), healthy!("soccer", soccer)];
    HEALTHY
}

/// A program for an exercise only: the yardstick asks for one fault of a kind that is the program's own.
#[derive(Clone, Copy, Debug)]
pub struct Lesson {
    /// The program and its cured twin.
    pub scenario: Scenario,
    /// What a learner would try first, and what does not hold.
    pub first_try_source: Option<&'static str>,
}

/// Programs with more than one fault, with none of their own, or whose first remedy does not hold.
#[must_use]
pub fn lessons() -> &'static [Lesson] {
    const LESSONS: &[Lesson] = &[
        Lesson {
            scenario: scenario!("two-faults", two_faults),
            first_try_source: Some(include_str!("two-faults/first_try.rs")),
        },
        Lesson {
            scenario: scenario!("second-lock", second_lock),
            first_try_source: Some(include_str!("second-lock/first_try.rs")),
        },
        Lesson { scenario: scenario!("crowded-machine", crowded_machine), first_try_source: None },
    ];
    LESSONS
}

/// The text of `figures.rs`, which every service shares.
pub const FIGURES: &str = include_str!("figures.rs");

/// The text of `resolver.rs`, for services that look names up.
pub const RESOLVER: &str = include_str!("resolver.rs");

/// The text of this package's `Cargo.toml`: what the services depend on.
pub const PACKAGE: &str = include_str!("Cargo.toml");

/// Every scenario, in the order of the catalogue.
#[must_use]
pub fn all() -> &'static [Scenario] {
    const ALL: &[Scenario] = &[
        scenario!("blocking-call", blocking_call),
        scenario!("cpu-bound-poll", cpu_bound_poll),
        scenario!("sync-guard-across-await", sync_guard_across_await),
        scenario!("watch-borrow-across-await", watch_borrow_across_await),
        scenario!("swallowed-panic", swallowed_panic),
        scenario!("busy-poll", busy_poll),
        scenario!("busy-poll-yield", busy_poll_yield),
        scenario!("driver-held", driver_held),
        scenario!("rwlock-deadlock", rwlock_deadlock),
        scenario!("channel-cycle", channel_cycle),
        scenario!("pool-starvation", pool_starvation),
        scenario!("lock-cycle", lock_cycle),
        scenario!("lock-order-inversion", lock_order_inversion),
        scenario!("self-deadlock", self_deadlock),
        scenario!("futurelock", futurelock),
        scenario!("permit-leak", permit_leak),
        scenario!("lost-wakeup", lost_wakeup),
        scenario!("shutdown-hang", shutdown_hang),
        scenario!("lost-notify", lost_notify),
        scenario!("sync-db-driver", sync_db_driver),
        scenario!("block-on-in-async", block_on_in_async),
        scenario!("thread-wait-in-task", thread_wait_in_task),
        scenario!("sync-lock-contention", sync_lock_contention),
        scenario!("sync-logging", sync_logging),
        scenario!("blocking-pool-exhausted", blocking_pool_exhausted),
        scenario!("blocking-drop", blocking_drop),
        #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
        scenario!("blocking-dns", blocking_dns),
        scenario!("block-in-place", block_in_place),
        scenario!("single-thread-starved", single_thread_starved),
    ];
    ALL
}
