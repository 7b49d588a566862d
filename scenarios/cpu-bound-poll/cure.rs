//! A login service: `login USER PASSWORD` opens a session, `session TOKEN` asks whose it is.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;
type Hash = [u8; 32];

const USERS: u64 = 4;
const PAGES: u64 = 6;
const DEVICES: usize = 50;
const MEMORY_KIB: u32 = 32 * 1024;
const PASSES: u32 = 4;

struct Logins {
    hashes: HashMap<String, Hash>,
    hashing: Semaphore,
    sessions: Mutex<HashMap<u64, String>>,
}

impl Logins {
    async fn open() -> Result<Self, Failure> {
        Ok(Self {
            sessions: Mutex::new(restore_sessions()?),
            hashes: tokio::task::spawn_blocking(read_users).await??,
            hashing: Semaphore::new(1),
        })
    }

    async fn answer(&self, line: &str) -> Result<String, Failure> {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("login"), Some(user), Some(password)) => self.log_in(user, password).await,
            (Some("session"), Some(token), None) => Ok(self.whose(token.parse()?)),
            _ => Ok("what?".to_owned()),
        }
    }

    #[tracing::instrument(skip(self, password))]
    async fn log_in(&self, user: &str, password: &str) -> Result<String, Failure> {
        let expected = *self.hashes.get(user).ok_or("no such user")?;
        if !matches(&self.hashing, user, password, &expected).await? {
            return Ok("denied".to_owned());
        }
        let mut sessions = self.sessions();
        let token = sessions.len() as u64;
        sessions.insert(token, user.to_owned());
        Ok(format!("welcome {user}"))
    }

    #[tracing::instrument(skip(self))]
    fn whose(&self, token: u64) -> String {
        let sessions = self.sessions();
        let user = sessions.get(&token).map_or("nobody", String::as_str);
        format!("{token} is {user}")
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<u64, String>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One hash at a time, and on a thread that serves nobody else: it is all arithmetic.
async fn matches(hashing: &Semaphore, user: &str, password: &str, expected: &Hash) -> Result<bool, Failure> {
    let _turn = hashing.acquire().await?;
    let (user, password) = (user.to_owned(), password.to_owned());
    let hash = tokio::task::spawn_blocking(move || hash(&user, &password)).await??;
    Ok(hash == *expected)
}

fn hash(user: &str, password: &str) -> Result<Hash, Failure> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| error.to_string())?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let salt = format!("{user}@example.org");
    let mut hash = Hash::default();
    argon.hash_password_into(password.as_bytes(), salt.as_bytes(), &mut hash).map_err(|error| error.to_string())?;
    Ok(hash)
}

async fn serve(stream: TcpStream, logins: Arc<Logins>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = logins.answer(&line).await?;
        writer.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, logins: Arc<Logins>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, logins.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// Asks the same question for as long as the service is open.
async fn client(
    service: SocketAddr,
    question: String,
    answer: String,
    pause: Duration,
    figures: Arc<Figures>,
) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    while figures.open() {
        let asked = figures.asked();
        writer.write_all(question.as_bytes()).await?;
        let got = lines.next_line().await?.ok_or("the service hung up")?;
        if got == answer {
            figures.answered(asked);
        }
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// Keeps count of the open sessions for the status page.
async fn count(logins: Arc<Logins>) {
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = 0;
    loop {
        tick.tick().await;
        shown = (shown * 7 + logins.sessions().len()) / 8;
    }
}

async fn device(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// The sessions of yesterday come back from a text file.
fn restore_sessions() -> Result<HashMap<u64, String>, Failure> {
    let mut text = String::new();
    for token in 0..40_000_u64 {
        writeln!(text, "{token};user{};{:.3}", token % USERS, token as f64)?;
    }
    let mut sessions = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(';');
        let token: u64 = fields.next().ok_or("a row without a token")?.parse()?;
        let user = fields.next().ok_or("a row without a user")?;
        let seen: f64 = fields.next().ok_or("a row without a time")?.parse()?;
        if seen < 1000.0 {
            sessions.insert(token, user.to_owned());
        }
    }
    Ok(sessions)
}

fn read_users() -> Result<HashMap<String, Hash>, Failure> {
    (0..USERS)
        .map(|id| {
            let user = format!("user{id}");
            let hash = hash(&user, "correct-horse")?;
            Ok((user, hash))
        })
        .collect()
}

async fn run() -> Result<(), Failure> {
    let logins = Arc::new(Logins::open().await?);
    let (closing, open) = watch::channel(false);
    for _ in 0..DEVICES {
        tokio::spawn(device(open.clone()));
    }
    tokio::spawn(monitored("count", count(logins.clone())));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, logins));

    let figures = Figures::start();
    let mut clients = Vec::new();
    for id in 0..USERS {
        let question = format!("login user{id} correct-horse\n");
        let answer = format!("welcome user{id}");
        let pause = Duration::from_millis(400);
        let client = client(service, question, answer, pause, figures.clone());
        clients.push(tokio::spawn(client));
    }
    for id in 0..PAGES {
        let question = format!("session {id}\n");
        let answer = format!("{id} is user{}", id % USERS);
        let pause = Duration::from_millis(3);
        let client = client(service, question, answer, pause, figures.clone());
        clients.push(tokio::spawn(client));
    }
    for client in clients {
        client.await??;
    }
    closing.send_replace(true);
    figures.report(true);
    Ok(())
}

/// Lets people in until they have all gone home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
