//! Unwinding a copied stack with the unwind tables that are mapped anyway.

use std::borrow::Cow;
use std::ops::Range;
use std::time::{Duration, Instant};

use framehop::{
    CacheNative, ExplicitModuleSectionInfo, FrameAddress, MayAllocateDuringUnwind, Module, UnwindRegsNative,
    Unwinder as _, UnwinderNative,
};

use super::{RawStack, modules, prologue};

/// Deeper stacks are cut: the innermost frames name the culprit.
pub(crate) const MAX_FRAMES: usize = 128;
/// How often the loader may be asked whether modules came or went.
const REFRESH_EVERY: Duration = Duration::from_millis(100);

type Sections = Cow<'static, [u8]>;

/// Turns raw stacks into addresses; knows the modules mapped.
pub(crate) struct Unwinder {
    framehop: UnwinderNative<Sections, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
    /// Executable ranges, ascending.
    code: Vec<(u64, u64)>,
    /// Where each module with unwind tables lies, with the index of its tables and where that is mapped.
    tables: Vec<(Range<u64>, u64, Sections)>,
    /// The return address every thread of the C library's starts from, once learnt.
    thread_root: Option<u64>,
    entry: u64,
    generation: (u64, u64),
    asked: Option<Instant>,
}

impl Unwinder {
    /// With every module mapped now.
    pub(crate) fn new() -> Self {
        // SAFETY: getauxval has no preconditions.
        let entry = unsafe { libc::getauxval(libc::AT_ENTRY) };
        let mut unwinder = Self {
            framehop: UnwinderNative::new(),
            cache: CacheNative::new(),
            code: Vec::new(),
            tables: Vec::new(),
            thread_root: None,
            entry,
            generation: (u64::MAX, u64::MAX),
            asked: None,
        };
        unwinder.refresh();
        // All threads share the outermost return address (in `clone3` or the like); one
        // short-lived thread, whose registers are all known, tells which it is.
        let probe = std::thread::Builder::new().name("pollscope-probe".to_owned()).spawn(|| {
            let mut copied = super::RawStack::default();
            let bounds = super::ThreadBounds::current()?;
            super::here::capture_here(&bounds, &mut copied).then_some(copied)
        });
        if let Some(stack) = probe.ok().and_then(|p| p.join().ok()).flatten() {
            let run = unwinder.run(&stack, stack.fp, stack.lr);
            if run.ended && run.addresses.len() > 2 {
                unwinder.thread_root = run.addresses.last().copied();
            }
        }
        unwinder
    }

    /// Reads the modules again if any came or went. True if so.
    pub(crate) fn refresh(&mut self) -> bool {
        if self.asked.is_some_and(|at| at.elapsed() < REFRESH_EVERY) {
            return false;
        }
        self.asked = Some(Instant::now());
        let generation = modules::generation();
        if generation == self.generation {
            return false;
        }
        self.generation = generation;
        self.framehop = UnwinderNative::new();
        self.code.clear();
        self.tables.clear();
        for module in modules::mapped_with_unwind_sections() {
            self.code.extend_from_slice(&module.code);
            let Some(s) = module.unwind else { continue };
            let svma = |at: u64, len: usize| {
                let at = at.wrapping_sub(module.bias);
                at..at.wrapping_add(len as u64)
            };
            self.tables.push((module.start..module.end, s.hdr_at, s.hdr.clone()));
            let info = ExplicitModuleSectionInfo {
                base_svma: module.start.wrapping_sub(module.bias),
                eh_frame_svma: Some(svma(s.frame_at, s.frame.len())),
                eh_frame: Some(s.frame),
                eh_frame_hdr_svma: Some(svma(s.hdr_at, s.hdr.len())),
                eh_frame_hdr: Some(s.hdr),
                ..Default::default()
            };
            self.framehop.add_module(Module::new(module.path, module.start..module.end, module.start, info));
        }
        self.code.sort_unstable();
        true
    }

    /// Whether an address lies in mapped code.
    pub(crate) fn is_code(&self, address: u64) -> bool {
        let after = self.code.partition_point(|(start, _)| *start <= address);
        after > 0 && address < self.code[after - 1].1
    }

    /// Addresses innermost first: the program counter, then each return address less one,
    /// so that a symbolizer hits the line of the call and not the one after it.
    pub(crate) fn unwind(&mut self, stack: &RawStack) -> Vec<u64> {
        self.unwind_to_root(stack).0
    }

    /// The same, and whether the function the thread began with was reached.
    pub(crate) fn unwind_to_root(&mut self, stack: &RawStack) -> (Vec<u64>, bool) {
        let first = self.unwind_with(stack, stack.fp, stack.lr);
        if !first.1 && self.refresh() {
            return self.unwind_with(stack, stack.fp, stack.lr);
        }
        first
    }

    /// The same with another guess at the frame pointer and link register.
    pub(super) fn unwind_with(&mut self, stack: &RawStack, fp: u64, lr: u64) -> (Vec<u64>, bool) {
        let Run { mut addresses, ended, .. } = self.run(stack, fp, lr);
        // A wrong frame pointer can end an unwind too (a zero on the stack), hence the
        // demand for the one address a whole stack must end with.
        let root = ended
            && addresses
                .last()
                .is_some_and(|last| Some(*last) == self.thread_root || (self.entry..self.entry + 64).contains(last));
        // What a lost unwind took for return addresses is noise.
        if let Some(lost) = addresses.iter().skip(1).position(|a| !self.is_code(*a)) {
            addresses.truncate(lost + 1);
        }
        (addresses, root)
    }

    /// Of a stack whose frame pointer is not known: the innermost function that needs it (its start and where it calls) and
    /// the stack pointer while it calls.
    pub(super) fn needs_frame_pointer(&mut self, stack: &RawStack) -> Option<Needy> {
        let run = self.run(stack, 0, 0);
        let at = *run.addresses.last()?;
        let (_, mapped, header) = self.tables.iter().find(|(module, ..)| module.contains(&at))?;
        Some(Needy { start: prologue::function_start(header, *mapped, at)?, at, sp: run.sp })
    }

    /// Addresses as `unwind` gives them, and how it came to an end.
    fn run(&mut self, stack: &RawStack, fp: u64, lr: u64) -> Run {
        let mut regs = registers(stack.pc, stack.sp, fp, lr, self.framehop.max_known_code_address());
        let mut run = Run { addresses: Vec::with_capacity(32), ended: false, sp: stack.sp };
        let mut frame = Some(FrameAddress::from_instruction_pointer(stack.pc));
        while let Some(at) = frame.filter(|_| run.addresses.len() < MAX_FRAMES) {
            run.addresses.push(at.address_for_lookup());
            run.sp = regs.sp();
            let next = self.framehop.unwind_frame(at, &mut regs, &mut self.cache, &mut |at| stack.word(at).ok_or(()));
            run.ended = next == Ok(None);
            frame = next.ok().flatten().and_then(FrameAddress::from_return_address);
        }
        run
    }
}

/// An unwind that was carried as far as it goes.
struct Run {
    addresses: Vec<u64>,
    /// The tables said that the stack ends here, or the frame pointer was needed and is zero.
    ended: bool,
    /// The stack pointer in the last frame.
    sp: u64,
}

/// A function that cannot be unwound without the frame pointer.
pub(super) struct Needy {
    pub(super) start: u64,
    pub(super) at: u64,
    pub(super) sp: u64,
}

#[cfg(target_arch = "x86_64")]
fn registers(pc: u64, sp: u64, fp: u64, _lr: u64, _highest: u64) -> UnwindRegsNative {
    UnwindRegsNative::new(pc, sp, fp)
}

#[cfg(target_arch = "aarch64")]
fn registers(_pc: u64, sp: u64, fp: u64, lr: u64, highest: u64) -> UnwindRegsNative {
    // Return addresses may be signed (pointer authentication) in the bits no address uses.
    let mask = framehop::aarch64::PtrAuthMask::from_max_known_address(highest);
    UnwindRegsNative::new_with_ptr_auth_mask(mask, lr, sp, fp)
}
