//! Healthy programs that look ill from one side or the other. They go on for as many seconds as `DECOY_SECONDS` says, 3 by
//! default, and end by themselves.

#[path = "runner.rs"]
mod runner;

use runner::{ms, programs};
use std::hint::black_box;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking, yield_now};
use tokio::time::{interval, sleep};

fn main() {
    runner::run(programs![
        idle_service,
        busy_service,
        start_up_burst,
        blocking_pool_used_right,
        big_allocation,
        cooperative_work,
        bursts_of_timers,
        slow_client,
        graceful_shutdown,
        under_load,
        batches_under_load,
        runtime_built_and_dropped,
        in_place_alone,
    ]);
}

/// How long a program goes on.
fn whole() -> Duration {
    let seconds = std::env::var("DECOY_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// Work on the CPU for so long, in a debug build too.
fn compute(length: Duration) {
    let began = Instant::now();
    let mut sum = 1_u64;
    while began.elapsed() < length {
        sum = black_box(sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// A service that answers each line with its length, and the address it listens on.
async fn service() -> std::io::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    Ok(address)
}

async fn answer(stream: TcpStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        writer.write_all(format!("{}\n", line.len()).as_bytes()).await?;
    }
    Ok(())
}

/// Asks the service again and again until the time is over.
async fn client(service: std::net::SocketAddr, pause: Duration) -> std::io::Result<()> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    let began = Instant::now();
    while began.elapsed() < whole() {
        writer.write_all(b"how long is this line?\n").await?;
        lines.next_line().await?;
        sleep(pause).await;
    }
    Ok(())
}

/// Listens, with tasks that wait for what does not come.
async fn idle_service() {
    let address = service().await;
    let (news, _) = watch::channel(0);
    for _ in 0..100 {
        let mut heard = news.subscribe();
        tokio::spawn(async move { heard.changed().await.is_ok() });
    }
    sleep(whole()).await;
    assert!(address.is_ok() && news.send(1).is_ok(), "it listens");
}

async fn busy_service() {
    let Ok(address) = service().await else { return };
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        clients.spawn(client(address, ms(1)));
    }
    while clients.join_next().await.is_some() {}
}

/// Reads its tables before it serves anybody.
async fn start_up_burst() {
    compute(ms(300));
    let Ok(address) = service().await else { return };
    drop(client(address, ms(20)).await);
}

async fn blocking_pool_used_right() {
    let Ok(address) = service().await else { return };
    let asking = tokio::spawn(client(address, ms(5)));
    let began = Instant::now();
    while began.elapsed() < whole() {
        let computed = spawn_blocking(|| compute(ms(60)));
        let slept = spawn_blocking(|| std::thread::sleep(ms(150)));
        let read = tokio::fs::read("/proc/self/status").await;
        assert!(computed.await.is_ok() && slept.await.is_ok() && read.is_ok(), "all of them are done");
    }
    drop(asking.await);
}

/// Much memory at once, of which a little is used.
async fn big_allocation() {
    let mut ticks = interval(ms(10));
    let began = Instant::now();
    while began.elapsed() < whole() {
        ticks.tick().await;
        let mut large = vec![0_u8; 512 << 20];
        large.iter_mut().step_by(1 << 27).for_each(|byte| *byte = 1);
        black_box(&large);
    }
}

/// More work than there is time for, in small portions.
async fn cooperative_work() {
    let Ok(address) = service().await else { return };
    let asking = tokio::spawn(client(address, ms(5)));
    let mut workers = JoinSet::new();
    for _ in 0..4 {
        workers.spawn(async {
            let began = Instant::now();
            while began.elapsed() < whole() {
                compute(Duration::from_micros(500));
                yield_now().await;
            }
        });
    }
    while workers.join_next().await.is_some() {}
    drop(asking.await);
}

async fn bursts_of_timers() {
    let began = Instant::now();
    while began.elapsed() < whole() {
        let due = tokio::time::Instant::now() + ms(200);
        let mut timers = JoinSet::new();
        for _ in 0..200 {
            timers.spawn(tokio::time::sleep_until(due));
        }
        while timers.join_next().await.is_some() {}
    }
}

/// Sends more than the client takes.
async fn slow_client() {
    let Ok(listener) = TcpListener::bind("127.0.0.1:0").await else { return };
    let Ok(address) = listener.local_addr() else { return };
    let sending = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        loop {
            stream.write_all(&[7; 64 * 1024]).await?;
        }
        #[expect(unreachable_code, reason = "it tells the type of the errors")]
        std::io::Result::Ok(())
    });
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let (began, mut portion) = (Instant::now(), vec![0; 16 * 1024]);
    while began.elapsed() < whole() {
        assert!(stream.read_exact(&mut portion).await.is_ok(), "there is always more");
        sleep(ms(100)).await;
    }
    drop(stream);
    assert!(sending.await.is_ok(), "it notices that nobody listens");
}

/// Is told to end when half of the time is over, and finishes what it has begun.
async fn graceful_shutdown() {
    let (ending, end) = watch::channel(false);
    let (jobs, mut queue) = mpsc::channel::<u64>(64);
    let worker = tokio::spawn(async move {
        let mut done = 0;
        while let Some(job) = queue.recv().await {
            sleep(ms(job)).await;
            done += 1;
        }
        done
    });
    let producer = tokio::spawn(async move {
        let mut made = 0;
        while !*end.borrow() {
            if jobs.send(5).await.is_ok() {
                made += 1;
            }
        }
        made
    });
    sleep(whole() / 2).await;
    ending.send_replace(true);
    let made: u64 = producer.await.unwrap_or(0);
    let done: u64 = worker.await.unwrap_or(1);
    assert_eq!(made, done, "nothing is lost");
}

/// Other processes, which take the processors for themselves.
struct Neighbors(Vec<Child>);

impl Drop for Neighbors {
    fn drop(&mut self) {
        for neighbor in &mut self.0 {
            drop(neighbor.kill());
            drop(neighbor.wait());
        }
    }
}

/// Four of them.
fn neighbors() -> Neighbors {
    // They end by themselves if this program is killed.
    let seconds = whole().as_secs() + 3;
    let spin = format!(
        "end=$(($(date +%s) + {seconds})); while [ $(date +%s) -lt $end ]; do n=0; while [ $n -lt 9999 ]; do n=$((n + 1)); done; done"
    );
    let start = || Command::new("sh").arg("-c").arg(&spin).spawn().ok();
    Neighbors((0..4).filter_map(|_| start()).collect())
}

async fn under_load() {
    let neighbors = neighbors();
    busy_service().await;
    drop(spawn_blocking(move || drop(neighbors)).await);
}

/// A few small items at a time, with a yield after each, beside larger work.
async fn batches_under_load() {
    let neighbors = neighbors();
    let batches = tokio::spawn(async {
        let (began, mut ticks) = (Instant::now(), interval(ms(200)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while began.elapsed() < whole() {
            ticks.tick().await;
            for _ in 0..20 {
                compute(Duration::from_micros(2));
                yield_now().await;
            }
        }
    });
    cooperative_work().await;
    assert!(batches.await.is_ok(), "it ends");
    drop(spawn_blocking(move || drop(neighbors)).await);
}

/// A library that keeps its own runtime for a while, on a thread of its own.
async fn runtime_built_and_dropped() {
    let Ok(address) = service().await else { return };
    let asking = tokio::spawn(client(address, ms(5)));
    let began = Instant::now();
    while began.elapsed() < whole() {
        let built = spawn_blocking(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(async { tokio::spawn(sleep(ms(20))).await.is_ok() });
            std::io::Result::Ok(())
        });
        assert!(built.await.is_ok_and(|built| built.is_ok()), "a runtime can be built");
        sleep(ms(30)).await;
    }
    drop(asking.await);
}

/// Blocks for long where nobody waits: the runtime has room, and the task does nothing beside.
async fn in_place_alone() {
    let Ok(address) = service().await else { return };
    let asking = tokio::spawn(client(address, ms(5)));
    let blocking = tokio::spawn(async {
        let began = Instant::now();
        while began.elapsed() < whole() {
            tokio::task::block_in_place(|| std::thread::sleep(ms(300)));
            sleep(ms(10)).await;
        }
    });
    drop((asking.await, blocking.await));
}
