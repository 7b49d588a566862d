//! The stack of a running thread: one real-time signal, whose handler only copies.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::sleeping::{Looker, Where};
use super::{MOST_BYTES, RawStack, ThreadBounds};

const DEADLINE: Duration = Duration::from_millis(20);
const STEP: Duration = Duration::from_micros(50);

// Who may touch the buffer: the request number above, the phase in the low two bits. A
// handler enters only from ARMED of its own request, so a late one finds the number gone.
const IDLE: u64 = 0;
const ARMED: u64 = 1;
const BUSY: u64 = 2;
const DONE: u64 = 3;
static STATE: AtomicU64 = AtomicU64::new(IDLE);

static TARGET: AtomicI32 = AtomicI32::new(0);
static LOW: AtomicU64 = AtomicU64::new(0);
static HIGH: AtomicU64 = AtomicU64::new(0);
static BUFFER: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static PC: AtomicU64 = AtomicU64::new(0);
static SP: AtomicU64 = AtomicU64::new(0);
static FP: AtomicU64 = AtomicU64::new(0);
static LR: AtomicU64 = AtomicU64::new(0);
static LENGTH: AtomicU64 = AtomicU64::new(0);

/// The signal taken, or why there is none. Also held for the length of a request: the
/// statics above serve one at a time.
static SIGNAL: Mutex<Option<Result<i32, &'static str>>> = Mutex::new(None);

extern "C" fn handler(_: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: errno is the thread's own; the interrupted code must find it unchanged.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let saved = unsafe { *errno };
    // SAFETY: the kernel passes both to an SA_SIGINFO handler.
    unsafe { copy(info, context) };
    // SAFETY: as above.
    unsafe { *errno = saved };
}

/// Runs in the handler: no allocation, no lock, nothing that can panic.
unsafe fn copy(info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: valid for the handler's length. A signal somebody else sent has another code.
    let (code, request) = unsafe { ((*info).si_code, (*info).si_value().sival_ptr as u64) };
    // SAFETY: no arguments, no effect.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
    if code != libc::SI_QUEUE || tid != TARGET.load(Ordering::Acquire) {
        return;
    }
    let armed = request.wrapping_shl(2) | ARMED;
    let busy = request.wrapping_shl(2) | BUSY;
    if STATE.compare_exchange(armed, busy, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return;
    }
    // SAFETY: the context the kernel saved.
    let machine = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
    #[cfg(target_arch = "x86_64")]
    let (pc, sp, fp, lr) = (
        machine.gregs[libc::REG_RIP as usize] as u64,
        machine.gregs[libc::REG_RSP as usize] as u64,
        machine.gregs[libc::REG_RBP as usize] as u64,
        0,
    );
    #[cfg(target_arch = "aarch64")]
    let (pc, sp, fp, lr) = (machine.pc, machine.sp, machine.regs[29], machine.regs[30]);
    let (low, high) = (LOW.load(Ordering::Relaxed), HIGH.load(Ordering::Relaxed));
    let mut length = 0;
    // Somewhere else (an alternate stack, a coroutine's) we know no bounds: copy nothing.
    if sp >= low && sp < high {
        length = if high - sp < MOST_BYTES { high - sp } else { MOST_BYTES };
        // SAFETY: [sp, high) is this thread's own mapped stack; the buffer has MOST_BYTES,
        // and BUSY gives it to this handler alone.
        unsafe {
            std::ptr::copy_nonoverlapping(sp as *const u8, BUFFER.load(Ordering::Relaxed), length as usize);
        }
    }
    PC.store(pc, Ordering::Relaxed);
    SP.store(sp, Ordering::Relaxed);
    FP.store(fp, Ordering::Relaxed);
    LR.store(lr, Ordering::Relaxed);
    LENGTH.store(length, Ordering::Relaxed);
    STATE.store(request.wrapping_shl(2) | DONE, Ordering::Release);
}

/// Takes the first real-time signal nobody uses, and the memory the handler writes to.
fn install() -> Result<i32, &'static str> {
    // SAFETY: a fresh private mapping.
    let buffer = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            MOST_BYTES as usize,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if buffer == libc::MAP_FAILED {
        return Err("no memory for the stacks of running threads");
    }
    BUFFER.store(buffer.cast(), Ordering::Release);
    for signal in libc::SIGRTMIN() + 1..=libc::SIGRTMAX() {
        if disposition(signal) != Some(libc::SIG_DFL) {
            continue;
        }
        // SAFETY: all zero is a valid sigaction; the handler is async-signal-safe.
        let installed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            // SA_ONSTACK: std's threads have an alternate stack, so that a thread close to
            // its stack's end is not pushed over it; a thread without one uses its own.
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
            // Everything masked: no other profiler's handler nests in ours.
            libc::sigfillset(&raw mut action.sa_mask);
            libc::sigaction(signal, &raw const action, std::ptr::null_mut()) == 0
        };
        if installed {
            return Ok(signal);
        }
    }
    Err("no real-time signal is free: stacks of running threads are missing")
}

fn disposition(signal: i32) -> Option<usize> {
    // SAFETY: asks only; all zero is a valid sigaction.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0).then_some(action.sa_sigaction)
    }
}

/// A thread that blocks the signal would keep it pending, one more with every try.
fn blocks(tid: i32, signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/self/task/{tid}/status")) else {
        return true;
    };
    status
        .lines()
        .filter_map(|l| l.strip_prefix("SigBlk:").or_else(|| l.strip_prefix("SigPnd:")))
        .any(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask >> (signal - 1) & 1 == 1))
}

/// How often a thread has gone to sleep of its own will.
pub(super) fn sleeps(tid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/self/task/{tid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
}

/// What the kernel takes as a queued signal's siginfo.
#[repr(C)]
struct Queued {
    signo: i32,
    errno: i32,
    code: i32,
    pad: i32,
    pid: i32,
    uid: u32,
    value: u64,
    rest: [u64; 12],
}

/// Why signals are not used, if so.
pub(super) fn problem() -> Option<&'static str> {
    let signal = SIGNAL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    signal.and_then(Result::err)
}

/// The stack of a thread that runs; None if it fell asleep, ended or did not answer.
pub(super) fn copy_running(thread: &ThreadBounds) -> Option<RawStack> {
    let mut taken = SIGNAL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let signal = (*taken.get_or_insert_with(install)).ok()?;
    if disposition(signal) != Some(handler as *const () as usize) {
        *taken = Some(Err("the program took the agent's signal: stacks of running threads are missing"));
        return None;
    }
    let state = STATE.load(Ordering::Acquire);
    if state & 3 == BUSY {
        // A handler given up on is still writing; the buffer is its own.
        return None;
    }
    if blocks(thread.tid, signal) {
        return None;
    }
    let looker = Looker::open(thread.tid)?;
    let request = (state >> 2).wrapping_add(1);
    TARGET.store(thread.tid, Ordering::Relaxed);
    LOW.store(thread.stack_low, Ordering::Relaxed);
    HIGH.store(thread.stack_high, Ordering::Relaxed);
    STATE.store(request << 2 | ARMED, Ordering::Release);
    // SAFETY: no preconditions.
    let (pid, uid) = unsafe { (libc::getpid(), libc::getuid()) };
    let queued =
        Queued { signo: signal, errno: 0, code: libc::SI_QUEUE, pad: 0, pid, uid, value: request, rest: [0; 12] };
    // Last of all, as close to the signal as can be: asleep by now, it must not be woken.
    let running = looker.look().is_some_and(|l| matches!(l.place(), Where::Running));
    let sent = running
        // SAFETY: the layout the kernel reads; a thread that is gone is an error, no harm.
        && unsafe {
            libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, thread.tid, signal, &raw const queued) == 0
        };
    let deadline = Instant::now() + DEADLINE;
    while sent && STATE.load(Ordering::Acquire) != request << 2 | DONE && Instant::now() < deadline {
        std::thread::sleep(STEP);
    }
    let armed = request << 2 | ARMED;
    if STATE.compare_exchange(armed, (request + 1) << 2, Ordering::AcqRel, Ordering::Acquire).is_ok()
        || STATE.load(Ordering::Acquire) != request << 2 | DONE
    {
        return None;
    }
    let length = LENGTH.load(Ordering::Relaxed) as usize;
    if length == 0 {
        return None;
    }
    // SAFETY: DONE gives the buffer back; the handler wrote `length` bytes of it.
    let bytes = unsafe { std::slice::from_raw_parts(BUFFER.load(Ordering::Relaxed), length) }.to_vec();
    let sp = SP.load(Ordering::Relaxed);
    Some(RawStack {
        pc: PC.load(Ordering::Relaxed),
        sp,
        fp: FP.load(Ordering::Relaxed),
        lr: LR.load(Ordering::Relaxed),
        base: sp,
        bytes,
    })
}

#[cfg(test)]
mod storm;
