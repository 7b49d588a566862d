//! `pollscope attach`: a program that runs without us, heard through its console-subscriber.

use super::folder::Folder;
use super::options::AttachOptions;
use super::terminal::{self, Progress};
use super::{Failure, interrupt, page, rules, verdict};
use pollscope::collect::{Address, Client};
use pollscope::detect::{Thresholds, diagnose_by};
use pollscope::model::{Model, Series};
use pollscope::report;
use pollscope::symbols::Symbols;
use pollscope_recording::Event;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the client is asked what is new.
const TICK: Duration = Duration::from_millis(25);

pub(crate) fn attach(options: &AttachOptions) -> Result<u8, Failure> {
    let address: Address = options.address.parse().map_err(|why: String| Failure::new(why))?;
    let interrupted = interrupt::listen()?;
    let client = Client::attach(address.clone()).map_err(|error| Failure::cannot("start a client", error))?;
    let mut known = Known::default();
    // An earlier run is replaced only once there is something to put in its place.
    let heard = listen(&client, &address, options, &interrupted, &mut known);
    let attached = client.end().map_err(Failure::new)?;
    let Some(folder) = heard? else {
        return Err(Failure::new(format!("nothing was heard from {address} before the end was asked for")));
    };
    attached.events.iter().for_each(|event| known.feed(event));
    known.series.finish();
    let mut diagnosis = diagnose_by(&known.model, &mut Symbols::new(), &Thresholds::default(), &rules::current());
    diagnosis.program.name = address.to_string();
    diagnosis.program.seconds = attached.seconds;
    // It is always there while we listen, and costs what it observes.
    diagnosis.observer.collectors.push("console".to_owned());
    diagnosis.notes.extend(attached.notes);
    for (name, text) in [("console.json", &attached.console), ("diagnosis.json", &report::json::diagnosis(&diagnosis))]
    {
        let path = folder.path().join(name);
        fs::write(&path, text).map_err(|error| Failure::cannot(format_args!("write {}", path.display()), error))?;
    }
    if let Err(failure) = page::write(&folder.report(), folder.path(), &folder.shown(), &diagnosis, Some(&known.series))
    {
        terminal::note(&format!("pollscope: {failure}"));
    }
    Ok(verdict::show(&diagnosis, &folder.shown(), options.verdict))
}

/// What the events add up to.
#[derive(Default)]
struct Known {
    model: Model,
    series: Series,
}

impl Known {
    fn feed(&mut self, event: &Event) {
        self.series.feed(event);
        self.model.feed(event);
    }
}

/// Returns once the time is over, the user has had enough, or the program is gone; with the folder of this run if
/// anything was heard.
fn listen(
    client: &Client,
    address: &Address,
    options: &AttachOptions,
    interrupted: &AtomicBool,
    known: &mut Known,
) -> Result<Option<Folder>, Failure> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let limit = options.seconds.map(Duration::from_secs);
    let progress = Progress::new(&format!("listening to {address}"), limit.map(millis));
    let mut folder = None;
    let mut started = Instant::now();
    loop {
        let over = client.is_over();
        let events = client.take();
        if folder.is_none() && !events.is_empty() {
            let out = options.out.as_deref().unwrap_or(Path::new("pollscope-out/attach"));
            let claimed = Folder::claim(out)?;
            // Nothing is recorded: the program has no agent.
            let _ = fs::remove_dir(claimed.recording());
            folder = Some(claimed);
            started = Instant::now();
        }
        events.iter().for_each(|event| known.feed(event));
        let late = folder.is_some() && limit.is_some_and(|limit| started.elapsed() >= limit);
        if over || late || interrupted.load(Ordering::Relaxed) {
            return Ok(folder);
        }
        progress.at(millis(started.elapsed()));
        std::thread::sleep(TICK);
    }
}
