//! A recording read while it is written.

use std::io;
use std::path::{Path, PathBuf};

use crate::event::Event;
use crate::reader;
use crate::segment::{self, Files};

/// Reads a recording while another process writes it.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    number: Option<u64>,
    /// Frames of the current segment that were handed over.
    delivered: usize,
    /// The current segment's files when it was last read.
    seen: Files,
}

impl Follower {
    /// Follows the recording in `dir`, from its start; the folder may not exist yet.
    pub fn new(dir: &Path) -> Follower {
        Follower { dir: dir.to_owned(), number: None, delivered: 0, seen: Files::default() }
    }

    /// Follows the recording in `dir` from the segment that is its newest now: what still holds is said again there,
    /// and what is over is left out.
    pub fn newest(dir: &Path) -> Follower {
        let segments = segment::list(dir).ok();
        let number = segments.and_then(|segments| segments.keys().next_back().copied());
        Follower { number, ..Follower::new(dir) }
    }

    /// Hands over the events that came since the last call and returns their number. Each later segment begins with
    /// the facts that are still true, so those come again.
    pub fn poll(&mut self, mut each: impl FnMut(Event)) -> io::Result<usize> {
        let mut total = 0;
        loop {
            // The list comes first: a segment that has a successor now is complete, so what is read after is all of it.
            let segments = match segment::list(&self.dir) {
                Ok(segments) => segments,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(total),
                Err(error) => return Err(error),
            };
            let Some((&number, &files)) = segments.range(self.number.unwrap_or(0)..).next() else {
                return Ok(total);
            };
            if self.number != Some(number) {
                *self = Follower { number: Some(number), ..Follower::new(&self.dir) };
            }
            if files != self.seen {
                match reader::load(&self.dir, number) {
                    Ok(mut bytes) => {
                        reader::decode(number, &mut bytes, &mut self.delivered, &mut |event| {
                            total += 1;
                            each(event);
                        });
                        self.seen = files;
                    }
                    // It went over budget just now; the next look finds a later one.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            match segments.range(number + 1..).next() {
                Some((&next, _)) => *self = Follower { number: Some(next), ..Follower::new(&self.dir) },
                None => return Ok(total),
            }
        }
    }
}
