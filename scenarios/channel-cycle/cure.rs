//! A shop of two actors: the desk takes orders, the stock keeps the goods. The desk asks the stock for each
//! article of an order, and the stock tells the desk what it has set aside.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: u64 = 24;
const EARLY: u64 = 2;
const DISPLAYS: usize = 50;
const ROOM: usize = 16;
const ARTICLES: u64 = 6;

struct Place {
    answer: oneshot::Sender<u64>,
}

/// What the stock has set aside.
struct SetAside {
    order: u64,
    pieces: u64,
}

enum ToStock {
    Reserve { order: u64, article: u64 },
}

struct Open {
    missing: u64,
    pieces: u64,
    answer: oneshot::Sender<u64>,
}

struct Desk {
    stock: mpsc::Sender<ToStock>,
    open: HashMap<u64, Open>,
    next: u64,
}

impl Desk {
    async fn work(
        mut self,
        mut inbox: mpsc::Receiver<Place>,
        mut news: mpsc::Receiver<SetAside>,
    ) -> Result<(), Failure> {
        let (stock, mut wanted) = (self.stock.clone(), VecDeque::new());
        loop {
            tokio::select! {
                Some(SetAside { order, pieces }) = news.recv() => self.set_aside(order, pieces),
                room = stock.reserve(), if !wanted.is_empty() => {
                    wanted.pop_front().map(|reserve| room.map(|room| room.send(reserve))).transpose()?;
                }
                Some(Place { answer }) = inbox.recv(), if wanted.is_empty() => wanted.extend(self.place(answer)),
                else => return Ok(()),
            }
        }
    }

    /// What has to be asked of the stock.
    fn place(&mut self, answer: oneshot::Sender<u64>) -> impl Iterator<Item = ToStock> + use<> {
        let order = self.next;
        self.next += 1;
        self.open.insert(order, Open { missing: ARTICLES, pieces: 0, answer });
        (0..ARTICLES).map(move |article| ToStock::Reserve { order, article })
    }

    fn set_aside(&mut self, order: u64, pieces: u64) {
        let Some(mut open) = self.open.remove(&order) else { return };
        open.missing -= 1;
        open.pieces += pieces;
        if open.missing == 0 {
            let _ = open.answer.send(open.pieces);
        } else {
            self.open.insert(order, open);
        }
    }
}

struct Stock {
    desk: mpsc::Sender<SetAside>,
    taken: HashMap<u64, u64>,
}

impl Stock {
    async fn work(mut self, mut inbox: mpsc::Receiver<ToStock>) -> Result<(), Failure> {
        while let Some(ToStock::Reserve { order, article }) = inbox.recv().await {
            let pieces = 1 + article % 3;
            *self.taken.entry(article).or_default() += pieces;
            self.tell(order, pieces).await?;
        }
        Ok(())
    }

    #[tracing::instrument(skip_all)]
    async fn tell(&self, order: u64, pieces: u64) -> Result<(), Failure> {
        self.desk.send(SetAside { order, pieces }).await?;
        Ok(())
    }
}

/// Receipts are printed by a slow printer; its queue is always full, and it goes on.
/// Puts both to work; orders go to the desk.
fn open_shop() -> mpsc::Sender<Place> {
    let (to_desk, desk_inbox) = mpsc::channel(ROOM);
    let (to_stock, stock_inbox) = mpsc::channel(ROOM);
    let desk = Desk { stock: to_stock, open: HashMap::new(), next: 0 };
    let (to_news, news) = mpsc::channel(ROOM);
    let stock = Stock { desk: to_news, taken: HashMap::new() };
    tokio::spawn(desk.work(desk_inbox, news));
    tokio::spawn(stock.work(stock_inbox));
    to_desk
}

async fn print_receipts(mut queue: mpsc::Receiver<u64>) {
    while let Some(receipt) = queue.recv().await {
        tokio::time::sleep(Duration::from_millis(20 + receipt % 3)).await;
    }
}

async fn count_receipts(printer: mpsc::Sender<u64>) -> Result<(), Failure> {
    for receipt in 0.. {
        printer.send(receipt).await?;
    }
    Ok(())
}

async fn serve(stream: TcpStream, desk: mpsc::Sender<Place>) -> Result<(), Failure> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let (answer, answered) = oneshot::channel();
        desk.send(Place { answer }).await?;
        let pieces = answered.await?;
        stream.write_all(format!("{pieces} pieces\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

async fn accept(listener: TcpListener, desk: mpsc::Sender<Place>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, desk.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// A few customers come early; the others all come when the doors open.
async fn customer(service: SocketAddr, id: u64, figures: Arc<Figures>, doors: Instant) -> Result<(), Failure> {
    let mut stream = BufReader::new(TcpStream::connect(service).await?);
    if id >= EARLY {
        tokio::time::sleep_until(doors).await;
    }
    while figures.open() {
        let asked = figures.asked();
        stream.write_all(b"order\n").await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        if answer == "12 pieces\n" {
            figures.answered(asked);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let to_desk = open_shop();
    let (printer, receipts) = mpsc::channel(ROOM);
    tokio::spawn(print_receipts(receipts));
    tokio::spawn(count_receipts(printer));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, to_desk));
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }

    let figures = Figures::start();
    let doors = Instant::now() + Duration::from_millis(400);
    let customers: Vec<_> =
        (0..CLIENTS).map(|id| tokio::spawn(customer(service, id, figures.clone(), doors))).collect();
    for customer in customers {
        customer.await??;
    }
    closing.send_replace(true);
    figures.report(true);
    Ok(())
}

/// Keeps the shop open until the customers go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
