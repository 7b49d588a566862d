//! The observed program: started so that it dies with us, and stopped in order.

use super::Failure;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take to end after being asked.
const GRACE: Duration = Duration::from_secs(1);

/// This very binary: scenarios are processes of their own.
#[cfg(feature = "lab")]
pub(crate) fn own_binary() -> Result<std::path::PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::cannot("find the pollscope binary", error))
}

/// A program that is killed when this value is dropped.
pub(crate) struct Program {
    child: Child,
    status: Option<ExitStatus>,
}

impl Program {
    /// Starts `command` in a process group of its own, its output in the file `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Program, Failure> {
        let name = command.get_program().to_string_lossy().into_owned();
        let unwritable = |error: io::Error| Failure::cannot(format_args!("write {}", log.display()), error);
        let log_file = File::create(log).map_err(unwritable)?;
        command.stdout(log_file.try_clone().map_err(unwritable)?).stderr(log_file);
        // A background process group that reads a terminal would be stopped by it.
        if io::stdin().is_terminal() {
            command.stdin(Stdio::null());
        }
        command.process_group(0);
        die_with_us(&mut command);
        match command.spawn() {
            Ok(child) => Ok(Program { child, status: None }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Failure::new(format!("there is no program `{name}`; check the path or $PATH")))
            }
            Err(error) => Err(Failure::cannot(format_args!("start `{name}`"), error)),
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Asks it to end with `signal`, then with SIGTERM, and kills it if it does not. Returns the signal that did it.
    pub(crate) fn stop(&mut self, signal: i32) -> &'static str {
        for (signal, name) in [(signal, signal_name(signal)), (libc::SIGTERM, "SIGTERM")] {
            self.signal(signal);
            let asked = Instant::now();
            while asked.elapsed() < GRACE {
                if self.ended().is_some() {
                    return name;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            if signal == libc::SIGTERM {
                break;
            }
        }
        self.signal(libc::SIGKILL);
        self.status = self.child.wait().ok();
        "SIGKILL"
    }

    fn signal(&self, signal: i32) {
        let Ok(pid) = i32::try_from(self.child.id()) else {
            return;
        };
        // SAFETY: kill touches no memory; the group is our child's own, and the child has not been waited for.
        unsafe { libc::kill(-pid, signal) };
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.signal(libc::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Has the kernel kill the child when we end, however we end.
pub(crate) fn die_with_us(command: &mut Command) {
    #[cfg(target_os = "linux")]
    // SAFETY: prctl is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// How a program ended, unless it simply ended well.
pub(crate) fn sad_end(status: ExitStatus) -> Option<String> {
    match (status.signal(), status.code()) {
        (Some(signal), _) => Some(format!("the program was killed by {}", signal_name(signal))),
        (None, Some(0) | None) => None,
        (None, Some(code)) => Some(format!("the program ended with exit status {code}")),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGTERM => "SIGTERM",
        _ => "a signal",
    }
}
