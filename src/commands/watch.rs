//! `pollscope watch`: what goes wrong in programs that run, as text and as metrics.

use super::interrupt::listen;
use super::options::WatchOptions;
#[cfg(feature = "otlp")]
use super::push::Push;
use super::serve::Page;
use super::{Failure, HEALTHY, rules, terminal};
use pollscope::live::{News, Watch, Who};
use pollscope::report;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

/// How often there is something to do.
const TICK: Duration = Duration::from_millis(100);
/// How often the metrics are written anew.
const PUBLISH: Duration = Duration::from_millis(500);

pub(crate) fn watch(options: &WatchOptions) -> Result<u8, Failure> {
    let (folder, shown) = (&options.dir, options.dir.display());
    match fs::read_dir(folder) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Failure::new(format!(
                "there is no folder {shown}; give the one that POLLSCOPE names for your services, or that runs are in"
            )));
        }
        Err(error) => return Err(Failure::cannot(format_args!("watch the folder {shown}"), error)),
    }
    let interrupted = listen()?;
    let mut session = Session::new(folder, options.metrics.as_deref())?;
    #[cfg(feature = "otlp")]
    {
        session.push = options.otlp.as_deref().map(Push::to).transpose()?;
    }
    session.look();
    if session.watch.is_idle() {
        let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
        terminal::note(&format!("nothing records here yet; start a service with POLLSCOPE={}", whole.display()));
    }
    while !interrupted.load(Ordering::Relaxed) {
        session.look();
        std::thread::sleep(TICK);
    }
    Ok(HEALTHY)
}

/// A folder that is watched, and where what is seen goes.
pub(crate) struct Session {
    watch: Watch,
    page: Option<Page>,
    published: Option<Instant>,
    #[cfg(feature = "otlp")]
    push: Option<Push>,
}

impl Session {
    /// Watches `folder` and serves its metrics on `address`.
    pub(crate) fn new(folder: &Path, address: Option<&str>) -> Result<Session, Failure> {
        let page = address.map(Page::serve).transpose()?;
        if let Some(page) = &page {
            terminal::note(&format!("metrics at {}", page.url()));
        }
        Ok(Session {
            watch: Watch::new(folder).by(rules::current()),
            page,
            published: None,
            #[cfg(feature = "otlp")]
            push: None,
        })
    }

    /// Reads on, says what is new, and publishes.
    pub(crate) fn look(&mut self) {
        for news in self.watch.look(Instant::now(), SystemTime::now()) {
            say(&news);
        }
        let due = self.published.is_none_or(|published| published.elapsed() >= PUBLISH);
        if let Some(page) = self.page.as_ref().filter(|_| due) {
            let now = Instant::now();
            page.publish(self.watch.exposition(now, SystemTime::now()).text());
            self.published = Some(now);
        }
        #[cfg(feature = "otlp")]
        if let Some(push) = self.push.as_mut().filter(|push| push.is_due()) {
            let now = SystemTime::now();
            let exposition = self.watch.exposition(Instant::now(), now);
            push.push(pollscope::live::otlp::request(&exposition, push.began(), now));
        }
    }

    /// Process `pid` ended as was wanted, whatever its recording says.
    #[cfg(feature = "lab")]
    pub(crate) fn ended(&mut self, pid: u32) {
        self.watch.ended(pid, Instant::now());
    }
}

/// Findings are results; who comes and goes is progress.
fn say(news: &News) {
    match news {
        News::Began(who) => terminal::note(&format!("{} is watched", name(who))),
        News::Ended(who, true) => terminal::note(&format!("{} ended", name(who))),
        News::Ended(who, false) => {
            terminal::note(&format!("{} says nothing any more: it was killed or suspended", name(who)));
        }
        News::Found { who, seconds, finding } => {
            let line = report::text::line(finding, *seconds, usize::MAX);
            terminal::result(&format!("{}  {}\n", name(who), line.trim_start()));
        }
        News::Trouble(sentence) => terminal::note(&format!("pollscope: {}", plain(sentence))),
    }
}

/// Service and process, once if the one stands in the other.
fn name(who: &Who) -> String {
    let Who { service, process } = who;
    plain(&if process.starts_with(service.as_str()) { process.clone() } else { format!("{service}/{process}") })
}

/// Names of programs and folders are data: a terminal sees no control character of theirs.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
