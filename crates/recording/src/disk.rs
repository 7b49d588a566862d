//! Whether the disk answers: what tells one that is slow from one that is gone.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// The calls a [`Writer`](crate::Writer) made of its disk, and how many were answered.
#[derive(Debug, Default)]
pub struct Disk {
    asked: AtomicU64,
    answered: AtomicU64,
}

impl Disk {
    /// Makes a call that takes as long as the disk likes.
    pub(crate) fn ask<T>(&self, call: impl FnOnce() -> T) -> T {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = call();
        self.answered.fetch_add(1, Ordering::Relaxed);
        answer
    }

    /// How many calls it has answered so far, and whether it owes an answer at this moment. One that owes an answer and
    /// gives none from one look to the next has taken nothing in between.
    pub fn state(&self) -> (u64, bool) {
        // Read first: a call that is answered meanwhile must not look like one that is not.
        let asked = self.asked.load(Ordering::Acquire);
        let answered = self.answered.load(Ordering::Acquire);
        (answered, asked > answered)
    }
}

/// A file whose reads or writes are calls of the disk.
pub(crate) struct Asking<'a, F>(pub(crate) F, pub(crate) &'a Disk);

impl<F: Read> Read for Asking<'_, F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.1.ask(|| self.0.read(into))
    }
}

impl<F: Write> Write for Asking<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.ask(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.1.ask(|| self.0.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_owed_until_it_is_answered() {
        let disk = Disk::default();
        assert_eq!(disk.state(), (0, false));
        disk.ask(|| assert_eq!(disk.state(), (0, true)));
        assert_eq!(disk.state(), (1, false));
        let mut copy = Vec::new();
        io::copy(&mut Asking(&b"some bytes"[..], &disk), &mut Asking(&mut copy, &disk)).unwrap();
        assert_eq!(copy, b"some bytes");
        assert!(disk.state().0 > 2 && !disk.state().1, "{:?}", disk.state());
    }
}
