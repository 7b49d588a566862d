//! Names for the system calls in which threads are found asleep: those a program blocks in.

macro_rules! names {
    ($($(#[$only:meta])? $number:ident = $name:literal,)*) => {
        const NAMES: &[(libc::c_long, &str)] = &[$($(#[$only])? (libc::$number, $name),)*];
    };
}

#[cfg(target_os = "linux")]
names! {
    SYS_accept4 = "accept",
    SYS_clock_nanosleep = "sleep",
    SYS_connect = "connect",
    SYS_epoll_pwait = "epoll",
    #[cfg(target_arch = "x86_64")]
    SYS_epoll_wait = "epoll",
    SYS_fcntl = "fcntl",
    SYS_fdatasync = "fsync",
    SYS_flock = "flock",
    SYS_fsync = "fsync",
    SYS_futex = "futex",
    SYS_getdents64 = "getdents",
    SYS_nanosleep = "sleep",
    SYS_openat = "open",
    #[cfg(target_arch = "x86_64")]
    SYS_open = "open",
    #[cfg(target_arch = "x86_64")]
    SYS_poll = "poll",
    SYS_ppoll = "poll",
    SYS_pread64 = "read",
    SYS_pwrite64 = "write",
    SYS_read = "read",
    SYS_readv = "read",
    SYS_recvfrom = "recv",
    SYS_recvmsg = "recv",
    SYS_sendmsg = "send",
    SYS_sendto = "send",
    SYS_wait4 = "wait",
    SYS_waitid = "wait",
    SYS_write = "write",
    SYS_writev = "write",
}

#[cfg(not(target_os = "linux"))]
names! {}

/// The name of a system call, as the agent numbers it on this machine; `blocked` for one that is not known.
pub(crate) fn name(number: u64) -> &'static str {
    let known = NAMES.iter().find(|(known, _)| u64::try_from(*known) == Ok(number));
    known.map_or("blocked", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn calls_have_names() {
        assert_eq!(name(u64::try_from(libc::SYS_clock_nanosleep).unwrap()), "sleep");
        assert_eq!(name(u64::MAX), "blocked");
        let names: std::collections::HashSet<_> = NAMES.iter().map(|(_, name)| *name).collect();
        assert!(names.len() + 3 <= pollscope_metrics::MOST_DOINGS, "{names:?}");
    }
}
