//! Page faults: who waits for a page of data is told from who waits for its own code.
//!
//! Real late pages, without a slow disk: the kernel asks the program itself for them (`userfaultfd`), and the program gives
//! them when the test has seen enough.

use crate::harness::{Entry, entries};
use crate::record::*;
use pollscope_recording::CODE_FAULT;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};

pub const PROGRAMS: &[Entry] = entries!("faults": program);
pub const TESTS: &[Entry] = entries!("faults": of_code_are_told_from_those_of_data);

const USER_MODE_ONLY: libc::c_int = 1;
const PAGE: usize = 4096;
#[cfg(target_arch = "x86_64")]
const RETURN: &[u8] = &[0xc3];
#[cfg(target_arch = "aarch64")]
const RETURN: &[u8] = &[0xc0, 0x03, 0x5f, 0xd6];

/// What `linux/userfaultfd.h` calls `uffdio_api`, `uffdio_register` and `uffdio_copy`, and the numbers of its requests.
#[repr(C)]
struct Api(u64, u64, u64);
#[repr(C)]
struct Register(u64, u64, u64, u64);
#[repr(C)]
struct Copy(u64, u64, u64, u64, i64);
const API: libc::Ioctl = 0xc018_aa3f_u32 as libc::Ioctl;
const REGISTER: libc::Ioctl = 0xc020_aa00_u32 as libc::Ioctl;
const COPY: libc::Ioctl = 0xc028_aa03_u32 as libc::Ioctl;

/// Two pages that are not there; `None` where the kernel gives nobody such pages.
fn late_pages() -> Option<(File, usize)> {
    let length = 2 * PAGE;
    // SAFETY: a new mapping of our own, and structs of the layout that the kernel asks for.
    unsafe {
        let fd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | USER_MODE_ONLY);
        let file = File::from_raw_fd(i32::try_from(fd).ok().filter(|fd| *fd >= 0)?);
        let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let at = libc::mmap(std::ptr::null_mut(), length, all, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        let (mut api, mut missing) = (Api(0xaa, 0, 0), Register(at as u64, length as u64, 1, 0));
        assert_eq!(libc::ioctl(file.as_raw_fd(), API, &raw mut api), 0);
        assert_eq!(libc::ioctl(file.as_raw_fd(), REGISTER, &raw mut missing), 0);
        Some((file, at as usize))
    }
}

/// Gives each page when the test tells so.
fn give(mut asked: File) {
    let mut message = [0; 32];
    while asked.read(&mut message).is_ok_and(|length| length == message.len()) {
        let at = u64::from_ne_bytes(message[16..24].try_into().unwrap()) / PAGE as u64 * PAGE as u64;
        wait_for_the_test();
        let mut page = [0u8; PAGE];
        page[..RETURN.len()].copy_from_slice(RETURN);
        let mut copy = Copy(at, page.as_ptr() as u64, PAGE as u64, 0, 0);
        // SAFETY: a page of ours, to where the kernel asked for one.
        assert_eq!(unsafe { libc::ioctl(asked.as_raw_fd(), COPY, &raw mut copy) }, 0);
    }
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn program() {
    let pages = late_pages();
    say("pages", u8::from(pages.is_some()));
    let Some((asked, at)) = pages else { return };
    std::thread::spawn(move || give(asked));
    let data = async move {
        say("data", own_id());
        // SAFETY: mapped, and filled before the read comes back.
        assert_ne!(unsafe { std::ptr::read_volatile(at as *const u8) }, 0);
    };
    tokio::spawn(data).await.unwrap();
    let code = async move {
        say("code", own_id());
        // SAFETY: mapped for execution, and filled with a function that only returns.
        let function: extern "C" fn() = unsafe { std::mem::transmute(at + PAGE) };
        function();
    };
    tokio::spawn(code).await.unwrap();
}

fn of_code_are_told_from_those_of_data() {
    let mut run = record("faults::program");
    if run.said("pages") == 0 {
        println!("not tried: the kernel or its seccomp filter lets nobody use userfaultfd");
        return;
    }
    for (name, expected) in [("data", u64::MAX), ("code", CODE_FAULT)] {
        let task = run.said(name);
        let seen = run.until(name, |seen| seen.stalls_of(task).iter().any(|stall| stall.syscall == expected));
        let asleep = |stall: &&pollscope_recording::Stall| ![0, u64::from(b'R')].contains(&stall.state);
        assert!(seen.stalls_of(task).into_iter().filter(asleep).all(|stall| stall.syscall == expected), "{name}");
        run.tell();
    }
    run.end().well();
}
