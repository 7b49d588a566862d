//! The stack of a thread asleep in the kernel, without disturbing it: a signal would end
//! its `read` with a timeout, its `poll` or its `epoll_wait` with EINTR.

use pollscope_recording::CODE_FAULT;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::unwind::{Needy, Unwinder};
use super::{MOST_BYTES, RawStack, ThreadBounds, prologue};

/// How far above the stack pointer a saved frame pointer is looked for.
const SEARCH: u64 = 4 * 1024;
/// A thread that moves on every time we look is not asleep.
const TRIES: usize = 3;

/// What `/proc/self/task/TID/syscall` says.
pub(super) enum Where {
    Running,
    /// The argument is the first of the system call.
    Asleep {
        syscall: Option<u64>,
        argument: Option<u64>,
        pc: u64,
        sp: u64,
    },
    Unknown,
}

/// Raw text of the file, kept to compare two looks.
#[derive(PartialEq)]
pub(super) struct Look([u8; 256], usize);

/// The open file: a look through it is only one read.
pub(super) struct Looker(File);

impl Looker {
    pub(super) fn open(tid: i32) -> Option<Looker> {
        Some(Looker(File::open(format!("/proc/self/task/{tid}/syscall")).ok()?))
    }

    pub(super) fn look(&self) -> Option<Look> {
        let mut text = [0u8; 256];
        let read = self.0.read_at(&mut text, 0).ok()?;
        Some(Look(text, read))
    }
}

impl Look {
    pub(super) fn place(&self) -> Where {
        let Ok(text) = std::str::from_utf8(&self.0[..self.1]) else { return Where::Unknown };
        let mut words = text.split_ascii_whitespace();
        let Some(first) = words.next() else { return Where::Unknown };
        if first == "running" {
            return Where::Running;
        }
        let number = |w: &str| u64::from_str_radix(w.trim_start_matches("0x"), 16).ok();
        let argument = words.clone().next().and_then(number);
        let mut hex = words.rev().map(number);
        match (hex.next().flatten(), hex.next().flatten()) {
            // "-1" stands for asleep outside a system call: a page fault.
            (Some(pc), Some(sp)) => Where::Asleep { syscall: first.parse().ok(), argument, pc, sp },
            _ => Where::Unknown,
        }
    }
}

pub(super) enum Outcome {
    Stack { stack: RawStack, syscall: Option<u64>, argument: Option<u64> },
    Running,
    Nothing,
}

/// Copies the stack of a sleeping thread.
pub(super) fn copy(thread: &ThreadBounds) -> Outcome {
    let Some(looker) = Looker::open(thread.tid) else { return Outcome::Nothing };
    for _ in 0..TRIES {
        let Some(before) = looker.look() else { return Outcome::Nothing };
        let (syscall, argument, pc, sp) = match before.place() {
            Where::Asleep { syscall, argument, pc, sp } => (syscall, argument, pc, sp),
            Where::Running => return Outcome::Running,
            Where::Unknown => return Outcome::Nothing,
        };
        if sp < thread.stack_low || sp >= thread.stack_high {
            return Outcome::Nothing;
        }
        let Some(bytes) = read_own(sp, (thread.stack_high - sp).min(MOST_BYTES) as usize) else {
            return Outcome::Nothing;
        };
        let syscall = syscall.or_else(|| is_missing(pc).then_some(CODE_FAULT));
        // Moved on meanwhile: the copy may be half of one stack and half of another.
        if looker.look().as_ref() == Some(&before) {
            return Outcome::Stack { stack: RawStack { pc, sp, fp: 0, lr: 0, base: sp, bytes }, syscall, argument };
        }
    }
    Outcome::Nothing
}

/// Whether the page of an address is not in the process's memory. A thread in a page fault whose own code is there waits
/// for data, and one whose code is not waits for that: the kernel names neither address.
fn is_missing(address: u64) -> bool {
    /// Set in the entry of a page that is there.
    const PRESENT: u64 = 1 << 63;
    // SAFETY: asks for a constant.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as u64;
    let mut entry = [0; 8];
    let read = File::open("/proc/self/pagemap").and_then(|map| map.read_exact_at(&mut entry, address / page * 8));
    read.is_ok() && u64::from_ne_bytes(entry) & PRESENT == 0
}

/// Reads this process's memory through the kernel, which answers with an error where a
/// plain read would be a fault.
fn read_own(at: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes: Vec<u8> = Vec::with_capacity(length);
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
    let remote = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: length };
    // SAFETY: the local range is the vector's own, the remote one is checked by the kernel.
    let read = unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(read) {
        Ok(read) if read > 0 => {
            // SAFETY: the kernel wrote `read` bytes, at most `length`.
            unsafe { bytes.set_len(read) };
            Some(bytes)
        }
        // Containers of old forbid the call; the file asks the same of the kernel.
        _ => {
            bytes.resize(length, 0);
            let read = File::open("/proc/self/mem").ok()?.read_at(&mut bytes, at).ok()?;
            bytes.truncate(read);
            (read > 0).then_some(bytes)
        }
    }
}

/// Unwinds a stack whose frame pointer is not known.
pub(super) fn unwind(unwinder: &mut Unwinder, stack: &RawStack) -> Vec<u64> {
    // Most code does not need the frame pointer: zero says so where it does.
    let (known, root) = unwinder.unwind_to_root(stack);
    if root {
        return known;
    }
    let needy = unwinder.needs_frame_pointer(stack);
    match needy.as_ref().and_then(|needy| frame_pointer(unwinder, stack, needy)) {
        Some(fp) => unwinder.unwind_with(stack, fp, 0).0,
        None => search(unwinder, stack, needy.map_or(stack.sp, |needy| needy.sp), known),
    }
}

/// The frame pointer as the innermost function that needs it has set it, where its code tells.
fn frame_pointer(unwinder: &Unwinder, stack: &RawStack, needy: &Needy) -> Option<u64> {
    if cfg!(not(target_arch = "x86_64")) {
        return None;
    }
    let length = usize::try_from(needy.at.checked_sub(needy.start)?).ok()?.min(prologue::MOST_CODE);
    let distance = prologue::distance(&read_own(needy.start, length)?)?;
    let returns: Vec<(u64, u64)> = distance
        .step_by(8)
        .map(|distance| needy.sp + distance)
        .filter_map(|fp| Some((fp, stack.word(fp + 8).filter(|back| unwinder.is_code(*back))?)))
        .collect();
    match returns[..] {
        [(fp, _)] => Some(fp),
        // Which of several places the alignment does not tell, but a call of this very function does.
        _ => returns.iter().find(|(_, back)| called(*back) == Some(needy.start)).map(|(fp, _)| *fp),
    }
}

/// Unwinds with each word that may be the frame pointer, until one leads to where the thread began.
fn search(unwinder: &mut Unwinder, stack: &RawStack, from: u64, known: Vec<u64>) -> Vec<u64> {
    let mut longest = known;
    // Where the innermost frame's caller keeps its frame pointer chain, [a] is the next
    // frame pointer further up and [a+8] a return address. Ascending, so that the first
    // that fits is the innermost and skips no frame.
    let end = stack.base + stack.bytes.len() as u64;
    let mut slots: Vec<u64> = Vec::new();
    let mut at = from.next_multiple_of(8);
    while at < end.min(from + SEARCH) {
        slots.push(at);
        // Nor need the chain start nearby: a saved frame pointer can point far up.
        if let Some(to) = stack.word(at).filter(|to| *to > at && *to < end && to % 8 == 0) {
            slots.push(to);
        }
        at += 8;
    }
    slots.sort_unstable();
    slots.dedup();
    let looks_like_frame = |a: u64, unwinder: &Unwinder| {
        stack.word(a).is_some_and(|next| next == 0 || (next > a && next < end))
            && stack.word(a + 8).is_some_and(|back| unwinder.is_code(back))
    };
    // A return address right behind a call of the very function that needs the frame pointer is no guess.
    let callee = longest.last().copied().unwrap_or(stack.pc);
    let calls: Vec<u64> = slots
        .iter()
        .copied()
        .filter(|a| stack.word(a + 8).is_some_and(|back| unwinder.is_code(back) && calls(back, callee)))
        .collect();
    // A frame pointer need not begin a chain: code that keeps its locals by it, in a
    // program built without chains, saves whatever its caller had there.
    let (chains, rest): (Vec<u64>, Vec<u64>) = slots.into_iter().partition(|a| looks_like_frame(*a, unwinder));
    let returns = rest.into_iter().filter(|a| stack.word(a + 8).is_some_and(|back| unwinder.is_code(back)));
    let candidates: Vec<u64> = calls.into_iter().chain(chains).chain(returns).collect();
    for a in candidates {
        let (addresses, root) = unwinder.unwind_with(stack, a, 0);
        if root {
            return addresses;
        }
        if addresses.len() > longest.len() {
            longest = addresses;
        }
    }
    longest
}

/// Whether the instruction before `back` calls the function that `callee` lies in: the address it calls is known and not
/// far before it.
fn calls(back: u64, callee: u64) -> bool {
    /// Few functions are longer.
    const LONGEST: u64 = 16 * 1024;
    called(back).is_some_and(|target| target <= callee && callee - target < LONGEST)
}

/// The address that the call before `back` goes to, if the code itself or the table of imports says so.
fn called(back: u64) -> Option<u64> {
    let code: [u8; 6] = read_own(back.checked_sub(6)?, 6)?.try_into().ok()?;
    let [first, second, a, b, c, d] = code;
    let offset = i64::from(i32::from_le_bytes([a, b, c, d]));
    if cfg!(target_arch = "aarch64") {
        let word = u32::from_le_bytes([a, b, c, d]);
        // `bl`: 26 bits of distance in words, signed.
        let distance = i64::from((word << 6).cast_signed() >> 6) * 4;
        (word >> 26 == 0b10_0101).then(|| (back - 4).wrapping_add_signed(distance))
    } else if second == 0xe8 {
        Some(back.wrapping_add_signed(offset))
    } else if [first, second] == [0xff, 0x15] {
        let entry: [u8; 8] = read_own(back.wrapping_add_signed(offset), 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(entry))
    } else {
        None
    }
}
