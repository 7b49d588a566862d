//! Events to files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use dial9_trace_format::encoder::{Encoder, Schema};
use dial9_trace_format::types::FieldValue;
use flate2::{Compression, GzBuilder};

use crate::codec;
use crate::disk::{Asking, Disk};
use crate::event::Event;
use crate::open::OpenFacts;
use crate::segment;

/// Bytes kept before they go to the file unasked.
const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes kept while the file takes none; events after that are refused.
const MAX_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// How large a recording may get.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// A segment of this size is sealed and the next one begun.
    pub segment_bytes: u64,
    /// The oldest segments go once all of them together would exceed this.
    pub max_bytes: u64,
}

impl Default for WriterOptions {
    fn default() -> WriterOptions {
        WriterOptions { segment_bytes: 16 << 20, max_bytes: 256 << 20 }
    }
}

/// Writes a recording: appends events to the newest segment of a folder.
pub struct Writer {
    dir: PathBuf,
    options: WriterOptions,
    schemas: Vec<Schema>,
    values: Vec<FieldValue>,
    facts: OpenFacts,
    number: u64,
    encoder: Encoder<Sink>,
    /// Size of what the current segment had to repeat.
    preamble: u64,
    bytes_before: u64,
    sealing: Option<JoinHandle<io::Result<()>>>,
    sealing_cpu: Arc<AtomicU64>,
    disk: Arc<Disk>,
}

impl Writer {
    /// Begins a recording in `dir`, which is made with mode 0700 if it is not there. A folder that already holds a
    /// recording is refused.
    pub fn create(dir: &Path, options: WriterOptions) -> io::Result<Writer> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        if !segment::list(dir)?.is_empty() {
            let text = format!("{} already holds a recording; choose another folder", dir.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        let disk = Arc::<Disk>::default();
        let mut writer = Writer {
            dir: dir.to_owned(),
            options,
            schemas: codec::schemas(),
            values: Vec::new(),
            facts: OpenFacts::default(),
            number: 0,
            encoder: Encoder::new_to(Sink::create(dir, 0, disk.clone())?)?,
            preamble: 0,
            bytes_before: 0,
            sealing: None,
            sealing_cpu: Arc::default(),
            disk,
        };
        writer.flush()?;
        Ok(writer)
    }

    /// Appends one event. After an error the event may be lost, but the file stays readable and the next call may
    /// succeed again.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        self.facts.note(event);
        if self.encoder.as_inner().pending.len() >= MAX_BUFFER_BYTES {
            self.flush()?;
        }
        codec::encode(event, &mut self.encoder, &self.schemas, &mut self.values)?;
        // With more open facts than fit a segment, each event would begin a new one.
        if self.encoder.bytes_written() >= self.options.segment_bytes.max(self.preamble * 2) {
            return self.rotate();
        }
        if self.encoder.as_inner().pending.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands everything written so far to the kernel: from then on a `kill -9` loses none of it.
    pub fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }

    /// Seals the last segment and waits until that is done.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.wait_for_seal()?;
        seal(&self.dir, self.number, &self.disk)?;
        enforce_budget(&self.dir, self.options.max_bytes, self.number)
    }

    /// The disk it writes to; for whoever waits for a writer on another thread.
    pub fn disk(&self) -> Arc<Disk> {
        self.disk.clone()
    }

    /// Bytes written since the start, before compression.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_before + self.encoder.bytes_written()
    }

    /// CPU time, in nanoseconds, of the threads that compressed segments; the caller's own does not know of it.
    pub fn sealing_cpu_ns(&self) -> u64 {
        self.sealing_cpu.load(Ordering::Relaxed)
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.flush()?;
        let next = Sink::create(&self.dir, self.number + 1, self.disk.clone())?;
        self.bytes_before += self.encoder.bytes_written();
        self.encoder.reset_to(next)?;
        let sealed = self.number;
        self.number += 1;
        let Writer { facts, encoder, schemas, values, .. } = self;
        let mut result = Ok(());
        facts.for_each(self.number, |fact| {
            if result.is_ok() {
                result = codec::encode(&fact, encoder, schemas, values);
            }
        });
        result?;
        self.preamble = self.encoder.bytes_written();
        self.flush()?;

        // Compressing takes a tenth of a second; a caller that drains rings must not stand still for that long.
        self.wait_for_seal()?;
        let dir = self.dir.clone();
        // The current segment will grow, so its room is set aside at once.
        let budget = self.options.max_bytes.saturating_sub(self.options.segment_bytes);
        let (cpu, disk) = (self.sealing_cpu.clone(), self.disk.clone());
        let work = move || {
            let result = seal(&dir, sealed, &disk).and_then(|()| enforce_budget(&dir, budget, sealed + 1));
            // The thread began with this work, so all it ever used is the work's.
            cpu.fetch_add(own_cpu_ns(), Ordering::Relaxed);
            result
        };
        let thread = std::thread::Builder::new().name("pollscope-seal".into());
        self.sealing = Some(thread.spawn(work)?);
        Ok(())
    }

    fn wait_for_seal(&mut self) -> io::Result<()> {
        match self.sealing.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(io::Error::other("the thread that compresses segments panicked")),
            Some(Ok(result)) => result,
            None => Ok(()),
        }
    }
}

/// CPU time of the calling thread.
fn own_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place to write to; a failure leaves it at zero.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Where the encoder's bytes go. Writing only fills a buffer and cannot fail, so an error of the disk never leaves half
/// a frame behind: what the file did not take stays in the buffer for the next flush.
struct Sink {
    file: File,
    pending: Vec<u8>,
    disk: Arc<Disk>,
}

impl Sink {
    fn create(dir: &Path, number: u64, disk: Arc<Disk>) -> io::Result<Sink> {
        let path = segment::plain_path(dir, number);
        let file = disk.ask(|| OpenOptions::new().append(true).create_new(true).open(path))?;
        Ok(Sink { file, pending: Vec::with_capacity(BUFFER_BYTES + 4096), disk })
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut taken = 0;
        let result = loop {
            match self.disk.ask(|| self.file.write(&self.pending[taken..])) {
                _ if taken == self.pending.len() => break Ok(()),
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => taken += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.pending.drain(..taken);
        result
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Nobody is left to tell of an error.
        let _ = self.flush();
    }
}

/// Replaces a plain segment by a compressed one. At every moment one of the two is complete under its own name.
fn seal(dir: &Path, number: u64, disk: &Disk) -> io::Result<()> {
    let plain = segment::plain_path(dir, number);
    let temporary = dir.join(format!("{number:06}.sealing"));
    let mut from = Asking(disk.ask(|| File::open(&plain))?, disk);
    let to = Asking(disk.ask(|| File::create(&temporary))?, disk);
    let mut to = GzBuilder::new().write(to, Compression::fast());
    io::copy(&mut from, &mut to)?;
    to.finish()?;
    disk.ask(|| fs::rename(&temporary, segment::sealed_path(dir, number)))?;
    disk.ask(|| fs::remove_file(&plain))
}

/// Removes the oldest segments until those left have at most `budget` bytes; never the one numbered `current`.
fn enforce_budget(dir: &Path, budget: u64, current: u64) -> io::Result<()> {
    let segments = segment::list(dir)?;
    let mut total: u64 = segments.range(..current).map(|(_, files)| files.bytes()).sum();
    for (&number, files) in segments.range(..current) {
        if total <= budget {
            break;
        }
        if files.plain.is_some() {
            fs::remove_file(segment::plain_path(dir, number))?;
        }
        if files.sealed.is_some() {
            fs::remove_file(segment::sealed_path(dir, number))?;
        }
        total -= files.bytes();
    }
    Ok(())
}
