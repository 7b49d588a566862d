//! A client of console-subscriber that keeps what the console would show, from the first moment to the last.

mod address;
mod events;
mod locks;
mod names;
mod state;
#[cfg(test)]
mod tests;

pub use address::Address;

use address::PATIENCE;
use console_api::instrument::instrument_client::InstrumentClient;
use console_api::instrument::{InstrumentRequest, TaskDetailsRequest, Update};
use events::Translator;
use pollscope_recording::Event;
use state::State;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, oneshot};
use tonic::transport::Channel;

/// How long until a server that does not answer yet is asked again.
const RETRY: Duration = Duration::from_millis(20);

/// Tasks whose histograms are watched at a time: each is a stream of its own, and one connection has room for 200.
const WATCHED: usize = 128;

/// Updates of busy programs are larger than the 4 MiB that tonic accepts by itself.
const LARGEST: usize = 256 << 20;

/// What was heard so far.
#[derive(Default)]
struct Heard {
    state: State,
    /// Only if it is to be diagnosed.
    translator: Option<Translator>,
    events: Vec<Event>,
}

impl Heard {
    /// Takes in an update; returns the ids of the tasks that are new.
    fn update(&mut self, update: Update) -> Vec<u64> {
        if let Some(translator) = &mut self.translator {
            self.events.extend(translator.update(&update));
        }
        self.state.update(update)
    }
}

type Shared = Arc<Mutex<Heard>>;

/// A client at work on a thread of its own.
pub struct Client {
    heard: Shared,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), String>>,
}

/// All that was heard of a program.
pub struct Attached {
    /// The text of `console.json`.
    pub console: String,
    /// What was not taken yet, in the words of a recording.
    pub events: Vec<Event>,
    /// Sentences that are worth a note.
    pub notes: Vec<String>,
    /// How long it was heard.
    pub seconds: f64,
}

impl Client {
    /// Begins to ask for the server at the socket `path`, which need not be there yet.
    ///
    /// # Errors
    ///
    /// If there is no thread or no runtime for it.
    pub fn start(path: &Path) -> io::Result<Client> {
        let address = Address::Socket(path.to_owned());
        Client::spawn(Heard::default(), move |heard| async move {
            let mut client = wait_for(&address).await?;
            listen(&mut client, &address, &heard).await
        })
    }

    /// Connects to the server at `address`, which must be there, and translates what it says. What fails is told by
    /// [`Client::end`].
    ///
    /// # Errors
    ///
    /// If there is no thread or no runtime for it.
    pub fn attach(address: Address) -> io::Result<Client> {
        let heard = Heard { translator: Some(Translator::default()), ..Heard::default() };
        Client::spawn(heard, move |heard| async move {
            address.try_out()?;
            let (endpoint, _open) = address.endpoint()?;
            let channel = endpoint.connect().await.map_err(|_| no_console(&address))?;
            let mut client = InstrumentClient::new(channel).max_decoding_message_size(LARGEST);
            listen(&mut client, &address, &heard).await
        })
    }

    fn spawn<F, B>(heard: Heard, body: B) -> io::Result<Client>
    where
        F: Future<Output = Result<(), String>>,
        B: FnOnce(Shared) -> F + Send + 'static,
    {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let heard = Arc::new(Mutex::new(heard));
        let shared = heard.clone();
        let body = move || {
            runtime.block_on(async {
                tokio::select! {
                    outcome = body(shared) => outcome,
                    _ = stopped => Ok(()),
                }
            })
        };
        let thread = std::thread::Builder::new().name("console-client".into()).spawn(body)?;
        Ok(Client { heard, stop, thread })
    }

    /// What was said since the last call, in the words of a recording.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut lock(&self.heard).events)
    }

    /// Whether there is nobody to be heard any more, or never was.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops asking and tells what was seen, as the text of `console.json`.
    ///
    /// # Errors
    ///
    /// One sentence if no server ever answered, or not in a way that can be read.
    pub fn finish(self) -> Result<String, String> {
        let (heard, _) = self.stop()?;
        let heard = lock(&heard);
        match heard.state.is_empty() {
            true => Err("no server answered on the socket console.sock".to_owned()),
            false => Ok(format!("{:#}\n", heard.state.json())),
        }
    }

    /// Stops listening to an attached program and tells what there is beside the events taken before.
    ///
    /// # Errors
    ///
    /// One sentence if nothing was ever heard.
    pub fn end(self) -> Result<Attached, String> {
        let (heard, lost) = self.stop()?;
        let mut heard = lock(&heard);
        let mut events = std::mem::take(&mut heard.events);
        let (mut notes, mut seconds) = (Vec::new(), 0.0);
        if let Some(translator) = &heard.translator {
            events.extend(translator.finish());
            notes = translator.notes();
            seconds = Duration::from_nanos(translator.heard()).as_secs_f64();
        }
        notes.extend(lost);
        Ok(Attached { console: format!("{:#}\n", heard.state.json()), events, notes, seconds })
    }

    /// Ends the thread; also tells why it ended before, if it did.
    fn stop(self) -> Result<(Shared, Option<String>), String> {
        // The thread is gone already if the server is.
        let _ = self.stop.send(());
        let outcome = self.thread.join().unwrap_or_else(|_| Err("the client failed".to_owned()));
        let nothing = lock(&self.heard).state.is_empty();
        match outcome {
            Err(why) if nothing => Err(why),
            outcome => Ok((self.heard, outcome.err())),
        }
    }
}

fn lock(heard: &Shared) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_console(address: &Address) -> String {
    format!("what listens at {address} does not answer as console-subscriber does; is it another program's address?")
}

/// Listens until the server is gone.
async fn listen(client: &mut InstrumentClient<Channel>, address: &Address, heard: &Shared) -> Result<(), String> {
    let first = tokio::time::timeout(PATIENCE * 2, async {
        let updates = client.watch_updates(InstrumentRequest {}).await;
        let mut updates = updates.map_err(|_| no_console(address))?.into_inner();
        // The present state comes at once.
        let update = updates.message().await.ok().flatten().ok_or_else(|| no_console(address))?;
        Ok::<_, String>((updates, Some(update)))
    });
    let (mut updates, mut next) = first.await.map_err(|_| no_console(address))??;
    let room = Arc::new(Semaphore::new(WATCHED));
    while let Some(update) = next {
        for task in lock(heard).update(update) {
            tokio::spawn(watch(client.clone(), task, heard.clone(), room.clone()));
        }
        next = updates.message().await.ok().flatten();
    }
    // A program that ends, in order or not, ends its server.
    Err(format!("the connection to {address} was lost, as when the program ends; what it said until then is diagnosed"))
}

async fn wait_for(address: &Address) -> Result<InstrumentClient<Channel>, String> {
    loop {
        if address.try_out().is_ok()
            && let Ok((endpoint, _open)) = address.endpoint()
            && let Ok(channel) = endpoint.connect().await
        {
            return Ok(InstrumentClient::new(channel).max_decoding_message_size(LARGEST));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Follows the histograms of one task to its end.
async fn watch(mut client: InstrumentClient<Channel>, task: u64, heard: Shared, room: Arc<Semaphore>) {
    let Ok(_permit) = room.acquire().await else { return };
    let request = TaskDetailsRequest { id: Some(console_api::Id { id: task }) };
    let Ok(details) = client.watch_task_details(request).await else { return };
    let mut details = details.into_inner();
    while let Ok(Some(details)) = details.message().await {
        if lock(&heard).state.details(task, &details) {
            break;
        }
    }
}
