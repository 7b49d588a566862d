//! A public library with a few reading desks: `read READER BOOK`. A reader takes a desk, looks at the book, gives the
//! desk back and, with every fifth book, comes right back for the next volume.

use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const DESKS: usize = 4;
const READERS: u64 = 10;
const LOOK: Duration = Duration::from_millis(3);

/// The desks, and who waits for one.
struct Hall {
    state: Mutex<State>,
}

struct State {
    free: usize,
    waiting: VecDeque<Waker>,
}

impl Hall {
    fn open() -> Self {
        Self { state: Mutex::new(State { free: DESKS, waiting: VecDeque::new() }) }
    }

    /// A desk, once one is free.
    fn desk(self: &Arc<Self>) -> Seat {
        Seat { hall: self.clone() }
    }

    fn free(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).free
    }
}

/// Waits for a desk.
struct Seat {
    hall: Arc<Hall>,
}

impl Future for Seat {
    type Output = Desk;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Desk> {
        let hall = self.hall.clone();
        let mut state = hall.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.free > 0 {
            state.free -= 1;
            drop(state);
            return Poll::Ready(Desk { hall });
        }
        state.waiting.push_back(context.waker().clone());
        Poll::Pending
    }
}

/// A desk that is taken; given back when dropped.
struct Desk {
    hall: Arc<Hall>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let mut state = self.hall.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.free += 1;
        if let Some(next) = state.waiting.pop_front() {
            next.wake();
        }
    }
}

#[tracing::instrument(skip_all)]
async fn look_up(hall: &Arc<Hall>, book: u64) -> u64 {
    let desk = hall.desk().await;
    tokio::time::sleep(LOOK).await;
    drop(desk);
    book * 7
}

async fn serve(stream: TcpStream, hall: Arc<Hall>) -> Result<(), Failure> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let book: u64 = line.split_whitespace().nth(2).ok_or("a book is missing")?.parse()?;
        let mut page = look_up(&hall, book).await;
        if book.is_multiple_of(5) {
            page += look_up(&hall, book + 1).await;
        }
        stream.write_all(format!("page {page}\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

async fn accept(listener: TcpListener, hall: Arc<Hall>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, hall.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

async fn reader(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let mut stream = BufReader::new(TcpStream::connect(service).await?);
    for book in (id..).take_while(|_| figures.open()) {
        let asked = figures.asked();
        stream.write_all(format!("read {id} {book}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        let page = if book.is_multiple_of(5) { book * 7 + (book + 1) * 7 } else { book * 7 };
        if answer == format!("page {page}\n") {
            figures.answered(asked);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn lights(hall: Arc<Hall>) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if hall.free() > DESKS {
            return;
        }
    }
}

async fn run() -> Result<(), Failure> {
    let hall = Arc::new(Hall::open());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, hall.clone()));
    tokio::spawn(lights(hall.clone()));
    // The caretaker is called in an emergency only.
    tokio::spawn(std::future::pending::<()>());

    let figures = Figures::start();
    let readers: Vec<_> = (0..READERS).map(|id| tokio::spawn(reader(service, id, figures.clone()))).collect();
    for reader in readers {
        reader.await??;
    }
    figures.report(hall.free() == DESKS);
    Ok(())
}

/// Keeps the library open until the last reader leaves.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
