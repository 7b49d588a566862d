//! The hub of a house, on a machine with one core: `lamp N` switches a lamp and tells how often it
//! was switched, `garden` asks the old weather station, which takes a look before it answers.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: u64 = 6;
const DISPLAYS: usize = 50;

struct House {
    station: SocketAddr,
    lamps: [AtomicU64; 8],
    degrees: AtomicU64,
}

impl House {
    fn switch(&self, lamp: usize) -> Result<u64, Failure> {
        let lamp = self.lamps.get(lamp).ok_or("no such lamp")?;
        Ok(lamp.fetch_add(1, Ordering::Relaxed) + 1)
    }

    #[tracing::instrument(skip_all)]
    async fn garden(&self) -> io::Result<u64> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.send_to(b"?", self.station).await?;
        let mut degrees = [0; 8];
        socket.recv(&mut degrees).await?;
        let degrees = u64::from_be_bytes(degrees);
        self.degrees.store(degrees, Ordering::Relaxed);
        Ok(degrees)
    }
}

async fn serve(stream: TcpStream, house: Arc<House>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["lamp", number] => house.switch(number.parse()?)?,
            ["garden"] => house.garden().await?,
            _ => return Err("not understood".into()),
        };
        writer.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, house: Arc<House>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, house.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// The weather station at the end of the garden.
fn measure(station: &std::net::UdpSocket) -> io::Result<()> {
    loop {
        let (_, from) = station.recv_from(&mut [0])?;
        std::thread::sleep(Duration::from_millis(200));
        station.send_to(&21_u64.to_be_bytes(), from)?;
    }
}

/// Somebody who lives here: switches a lamp, and looks at the garden now and then.
async fn dweller(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut last = 0;
    for turn in (id * 13..).take_while(|_| figures.open()) {
        let due = Instant::now() + Duration::from_millis(5);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        let looks = turn % 80 == 79;
        let request = if looks { "garden\n".to_owned() } else { format!("lamp {id}\n") };
        writer.write_all(request.as_bytes()).await?;
        let answer: u64 = lines.next_line().await?.ok_or("the hub hung up")?.parse()?;
        last += u64::from(!looks);
        if answer == if looks { 21 } else { last } {
            figures.answered(asked);
        }
    }
    Ok(())
}

/// Keeps the clock on the wall.
async fn clock() {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
    }
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let station = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let (lamps, degrees) = (Default::default(), AtomicU64::new(0));
    let house = Arc::new(House { station: station.local_addr()?, lamps, degrees });
    std::thread::spawn(move || measure(&station));
    let (closing, displays) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(displays.clone()));
    }
    tokio::spawn(clock());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, house.clone()));

    let figures = Figures::start();
    let dwellers: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(dweller(service, id, figures.clone()))).collect();
    for dweller in dwellers {
        dweller.await??;
    }
    closing.send_replace(true);
    figures.report(house.degrees.load(Ordering::Relaxed) == 21);
    Ok(())
}

/// Keeps the hub going until everybody sleeps.
#[pollscope_agent::main(flavor = "current_thread")]
pub async fn main() {
    run().await.expect("the service runs");
}
