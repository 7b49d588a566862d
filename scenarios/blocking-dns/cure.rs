//! Tracking of parcels: `where N` tells in which depot a parcel is. What is in our own depot we
//! know; for the others their host is asked, `depot-K.parcels.test`, which the office's name
//! server knows: depots move often.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;
use crate::resolver;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: u64 = 8;
const DISPLAYS: usize = 50;

struct Tracking {
    names: SocketAddrV4,
    depots: u16,
    asked: AtomicU64,
}

impl Tracking {
    /// The address of a depot's host.
    async fn find(&self, depot: u64) -> io::Result<SocketAddr> {
        let (names, host) = (self.names, (format!("depot-{depot}.parcels.test."), self.depots));
        let looked_up = tokio::task::spawn_blocking(move || {
            resolver::ask(names);
            host.to_socket_addrs()
        });
        looked_up.await??.next().ok_or_else(|| io::Error::other("no such depot"))
    }

    #[tracing::instrument(skip_all)]
    async fn ask(&self, depot: u64) -> io::Result<u64> {
        let host = self.find(depot).await?;
        let mut line = TcpStream::connect(host).await?;
        line.write_u64(depot).await?;
        self.asked.fetch_add(1, Ordering::Relaxed);
        line.read_u64().await
    }

    #[tracing::instrument(skip_all)]
    async fn shelf(&self, parcel: u64) -> io::Result<u64> {
        match parcel % 60 {
            59 => self.ask(parcel % 7).await,
            ours => Ok(ours),
        }
    }
}

async fn serve(stream: TcpStream, tracking: Arc<Tracking>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let parcel = line.strip_prefix("where ").ok_or("not understood")?.parse()?;
        let shelf = tracking.shelf(parcel).await?;
        writer.write_all(format!("{shelf}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, tracking: Arc<Tracking>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, tracking.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// The other depots' hosts.
async fn depots(listener: TcpListener) -> io::Result<()> {
    loop {
        let (mut line, _) = listener.accept().await?;
        tokio::spawn(async move {
            let depot = line.read_u64().await?;
            line.write_u64(1000 + depot).await
        });
    }
}

/// Somebody who waits for parcels.
async fn customer(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    for parcel in (id * 7..).take_while(|_| figures.open()) {
        let due = Instant::now() + Duration::from_millis(4);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        writer.write_all(format!("where {parcel}\n").as_bytes()).await?;
        let shelf: u64 = lines.next_line().await?.ok_or("the office hung up")?.parse()?;
        if shelf == if parcel % 60 == 59 { 1000 + parcel % 7 } else { parcel % 60 } {
            figures.answered(asked);
        }
    }
    Ok(())
}

/// Keeps the board in the office.
async fn board() {
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
    }
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let names = UdpSocket::bind("127.0.0.1:0")?;
    let hosts = TcpListener::bind("127.0.0.1:0").await?;
    let tracking = Arc::new(Tracking {
        names: SocketAddrV4::new(Ipv4Addr::LOCALHOST, names.local_addr()?.port()),
        depots: hosts.local_addr()?.port(),
        asked: AtomicU64::new(0),
    });
    std::thread::spawn(move || resolver::serve(&names, Duration::from_millis(150)));
    tokio::spawn(depots(hosts));
    let (closing, displays) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(displays.clone()));
    }
    tokio::spawn(board());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, tracking.clone()));

    let figures = Figures::start();
    let customers: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(customer(service, id, figures.clone()))).collect();
    for customer in customers {
        customer.await??;
    }
    closing.send_replace(true);
    figures.report(tracking.asked.load(Ordering::Relaxed) > 0);
    Ok(())
}

/// Keeps the office open until the customers go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
