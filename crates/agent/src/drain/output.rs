//! Where the drain's events go: to the recording, if there is one, and to the figures, if somebody reads them.

use crate::session::{self, Session};
use pollscope_recording::{Event, Writer};

pub(super) struct Output {
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "only the figures are the session's"))]
    session: &'static Session,
    writer: Option<Writer>,
    failed: bool,
}

impl Output {
    pub(super) fn new(session: &'static Session, writer: Option<Writer>) -> Output {
        Output { session, writer, failed: false }
    }

    pub(super) fn write(&mut self, event: &Event) {
        #[cfg(feature = "metrics")]
        if let Some(figures) = self.session.figures.get() {
            figures.feed(event);
        }
        if let Some(writer) = self.writer.as_mut().filter(|_| !self.failed) {
            let written = writer.write(event);
            self.went(written);
        }
    }

    /// Everything written so far outlives the program.
    pub(super) fn flush(&mut self) {
        if let Some(writer) = self.writer.as_mut().filter(|_| !self.failed) {
            let flushed = writer.flush();
            self.went(flushed);
        }
    }

    pub(super) fn finish(self) {
        if let Some(Err(error)) = self.writer.map(Writer::finish)
            && !self.failed
        {
            session::cannot_write(&error);
        }
    }

    /// CPU time of the writer's own threads, in nanoseconds.
    pub(super) fn cpu_ns(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::sealing_cpu_ns)
    }

    /// A recording that cannot be written ends, which is told once; the program goes on.
    fn went(&mut self, written: std::io::Result<()>) {
        if let Err(error) = written {
            self.failed = true;
            session::cannot_write(&error);
        }
    }
}
