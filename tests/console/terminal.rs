//! A terminal of a known size with one program in it: tmux, on a server of its own.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Wide enough for the state of every resource.
const COLUMNS: &str = "150";
const ROWS: &str = "34";
/// How often a screen is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long something may take to appear, on the slowest of machines, before the test has failed.
const PATIENCE: Duration = Duration::from_secs(90);

/// Looks after a key before it is pressed again: it may not have been heard yet.
const LOOKS: u32 = 10;

pub(crate) struct Terminal {
    /// The server's name; nobody else's sessions are on it.
    server: String,
}

impl Terminal {
    /// Starts `command` in a new terminal.
    pub(crate) fn run(command: &str) -> Terminal {
        static SERVERS: AtomicU32 = AtomicU32::new(0);
        let server = format!("pollscope-{}-{}", std::process::id(), SERVERS.fetch_add(1, Ordering::Relaxed));
        let terminal = Terminal { server };
        // The last words of a program that fails must be readable.
        let command = format!("{command}; echo ended; cat");
        let size = ["-x", COLUMNS, "-y", ROWS];
        let started = terminal.tmux(&[&["-f", "/dev/null", "new-session", "-d"], &size[..], &[&command]].concat());
        assert!(started.status.success(), "{started:?}");
        terminal
    }

    /// Sends a key, by its name in tmux.
    pub(crate) fn press(&self, key: &str) {
        let sent = self.tmux(&["send-keys", key]);
        assert!(sent.status.success(), "{sent:?}");
    }

    /// What is on the screen.
    pub(crate) fn screen(&self) -> String {
        let output = self.tmux(&["capture-pane", "-p"]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until the screen is as it should be, and returns it.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, mut good: impl FnMut(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if good(&screen) {
                return screen;
            }
            assert!(started.elapsed() < PATIENCE, "waited in vain for: {what}\n{screen}");
            std::thread::sleep(LOOK);
        }
    }

    /// Presses a key again and again until the screen is as it should be.
    #[track_caller]
    pub(crate) fn press_until(&self, key: &str, what: &str, mut good: impl FnMut(&str) -> bool) {
        let mut looks = 0;
        self.wait(what, |screen| {
            let good = good(screen);
            if !good && looks % LOOKS == 0 {
                self.press(key);
            }
            looks += 1;
            good
        });
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        Command::new("tmux").args(["-L", &self.server]).args(arguments).env("LC_ALL", "C.UTF-8").output().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}
