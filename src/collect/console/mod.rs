//! A client of console-subscriber that keeps what the console would show, from the first moment to the last.

mod state;

use console_api::instrument::instrument_client::InstrumentClient;
use console_api::instrument::{InstrumentRequest, TaskDetailsRequest};
use state::State;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, oneshot};
use tonic::transport::{Channel, Endpoint};

/// How long until a server that does not answer yet is asked again.
const RETRY: Duration = Duration::from_millis(20);

/// Tasks whose histograms are watched at a time: each is a stream of its own, and one connection has room for 200.
const WATCHED: usize = 128;

/// Updates of busy programs are larger than the 4 MiB that tonic accepts by itself.
const LARGEST: usize = 256 << 20;

/// Longest path of a socket, the 0 at its end included, on the narrowest system.
const LONGEST: usize = 104;

type Shared = Arc<Mutex<State>>;

/// A client at work on a thread of its own.
pub struct Client {
    state: Shared,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), String>>,
}

impl Client {
    /// Begins to ask for the server at the socket `path`, which need not be there yet.
    ///
    /// # Errors
    ///
    /// If there is no thread or no runtime for it.
    pub fn start(path: &Path) -> io::Result<Client> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let state = Shared::default();
        let (path, shared) = (path.to_owned(), state.clone());
        let body = move || {
            runtime.block_on(async {
                tokio::select! {
                    outcome = listen(&path, &shared) => outcome,
                    _ = stopped => Ok(()),
                }
            })
        };
        let thread = std::thread::Builder::new().name("console-client".into()).spawn(body)?;
        Ok(Client { state, stop, thread })
    }

    /// Stops asking and tells what was seen, as the text of `console.json`.
    ///
    /// # Errors
    ///
    /// One sentence if no server ever answered, or not in a way that can be read.
    pub fn finish(self) -> Result<String, String> {
        // The thread is gone already if the server is.
        let _ = self.stop.send(());
        let outcome = self.thread.join().unwrap_or_else(|_| Err("the client failed".to_owned()));
        let state = lock(&self.state);
        match outcome {
            Err(why) if state.is_empty() => Err(why),
            _ if state.is_empty() => Err("no server answered on the socket console.sock".to_owned()),
            _ => Ok(format!("{:#}\n", state.json())),
        }
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens until the server is gone.
async fn listen(path: &Path, state: &Shared) -> Result<(), String> {
    let mut client = connect(path).await?;
    let updates = client.watch_updates(InstrumentRequest {}).await;
    let mut updates = updates.map_err(|status| status.message().to_owned())?.into_inner();
    let room = Arc::new(Semaphore::new(WATCHED));
    loop {
        match updates.message().await {
            Ok(Some(update)) => {
                for task in lock(state).update(update) {
                    tokio::spawn(watch(client.clone(), task, state.clone(), room.clone()));
                }
            }
            // A program that ends, in order or not, ends its server.
            Ok(None) | Err(_) => return Ok(()),
        }
    }
}

async fn connect(path: &Path) -> Result<InstrumentClient<Channel>, String> {
    loop {
        if let Some((near, _open)) = reachable(path)
            && near.exists()
        {
            let endpoint = Endpoint::try_from(format!("unix:{}", near.display())).map_err(|error| error.to_string())?;
            if let Ok(channel) = endpoint.connect().await {
                return Ok(InstrumentClient::new(channel).max_decoding_message_size(LARGEST));
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The path itself, or where it is too long for a socket a short one that leads to the same place as long as the
/// file is open.
fn reachable(path: &Path) -> Option<(PathBuf, Option<std::fs::File>)> {
    use std::os::fd::AsRawFd;
    if path.as_os_str().len() < LONGEST {
        return Some((path.to_owned(), None));
    }
    let folder = std::fs::File::open(path.parent()?).ok()?;
    let near = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(path.file_name()?);
    Some((near, Some(folder)))
}

/// Follows the histograms of one task to its end.
async fn watch(mut client: InstrumentClient<Channel>, task: u64, state: Shared, room: Arc<Semaphore>) {
    let Ok(_permit) = room.acquire().await else { return };
    let request = TaskDetailsRequest { id: Some(console_api::Id { id: task }) };
    let Ok(details) = client.watch_task_details(request).await else { return };
    let mut details = details.into_inner();
    while let Ok(Some(details)) = details.message().await {
        if lock(&state).details(task, &details) {
            break;
        }
    }
}
