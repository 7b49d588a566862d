//! Where nothing of this works, all of it says so.

use super::Captured;

/// Never filled here.
#[derive(Default)]
pub(crate) struct RawStack;

impl RawStack {
    pub(crate) fn size(&self) -> usize {
        0
    }
}

/// Never made here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadBounds;

impl ThreadBounds {
    pub(crate) fn current() -> Option<ThreadBounds> {
        None
    }
}

#[cfg(feature = "tracing")]
impl ThreadBounds {
    pub(crate) fn high(&self) -> u64 {
        0
    }

    pub(crate) fn end_at(&mut self, _: u64) {}
}

/// Never made here.
#[cfg(feature = "tracing")]
pub(crate) struct Look {
    pub(crate) length: usize,
}

#[cfg(feature = "tracing")]
pub(crate) fn look_here(_: u64, _: usize, _: &mut Vec<u8>) -> Option<Look> {
    None
}

#[cfg(feature = "tracing")]
impl RawStack {
    pub(crate) fn new(_: &Look, _: Vec<u8>) -> RawStack {
        RawStack
    }
}

pub(crate) struct MappedModule {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) bias: u64,
    pub(crate) path: String,
    pub(crate) build_id: String,
}

pub(crate) fn mapped() -> Vec<MappedModule> {
    Vec::new()
}

pub(crate) fn generation() -> (u64, u64) {
    (0, 0)
}

pub(crate) fn capture_here(_: &ThreadBounds, _: &mut RawStack) -> bool {
    false
}

pub(crate) struct Unwinder;

impl Unwinder {
    pub(crate) fn new() -> Unwinder {
        Unwinder
    }

    pub(crate) fn unwind(&mut self, _: &RawStack) -> Vec<u64> {
        Vec::new()
    }
}

pub(crate) struct Sampler {
    told: bool,
}

impl Sampler {
    pub(crate) fn new() -> Sampler {
        Sampler { told: false }
    }

    pub(crate) fn expect(&mut self, _: &ThreadBounds) {}

    pub(crate) fn capture(&mut self, _: &ThreadBounds) -> Captured {
        Captured { stack: Vec::new(), state: b'?', syscall: None, futex: None, restless: false }
    }

    /// What is missing, said once.
    pub(crate) fn problem(&mut self) -> Option<&'static str> {
        let told = std::mem::replace(&mut self.told, true);
        (!told).then_some("stacks: they are taken on 64-bit Linux on x86_64 and aarch64 only")
    }
}
