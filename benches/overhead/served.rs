//! Servers, and who asks them: a process of its own, so that it is observed by nobody.

use crate::LOAD;
use crate::measure::process::OBSERVERS;
use crate::spawner::{result, spawn};
use crate::workloads::Measured;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

const CONNECTIONS: usize = 16;
/// Asked, and not counted.
const WARM_UP: Duration = Duration::from_millis(150);
const MESSAGE: [u8; 64] = [b'm'; 64];
const REQUEST: &[u8] = b"GET /items/42 HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub(crate) async fn echo(time: Duration) -> Measured {
    result(async move {
        let (listener, address) = listen().await;
        let server = spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                spawn(async move {
                    let mut bytes = [0; MESSAGE.len()];
                    while stream.read_exact(&mut bytes).await.is_ok() && stream.write_all(&bytes).await.is_ok() {}
                });
            }
        });
        let measured = asked("echo", address, time).await;
        server.abort();
        measured
    })
    .await
}

/// Connections are served by tasks that this program spawns, so that every observer sees them.
pub(crate) async fn http(time: Duration) -> Measured {
    use axum::extract::Path;
    use axum::routing::get;
    let service =
        axum::Router::new().route("/items/{id}", get(|Path(id): Path<u64>| async move { format!("item {id}\n") }));
    result(async move {
        let (listener, address) = listen().await;
        let server = spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = hyper_util::service::TowerToHyperService::new(service.clone());
                let _ = stream.set_nodelay(true);
                spawn(async move {
                    let stream = hyper_util::rt::TokioIo::new(stream);
                    // A client that leaves is no failure.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
                });
            }
        });
        let measured = asked("http", address, time).await;
        server.abort();
        measured
    })
    .await
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    (listener, address)
}

/// Starts the process that asks, and waits for what it says.
async fn asked(protocol: &'static str, address: SocketAddr, time: Duration) -> Measured {
    let (say, said) = oneshot::channel();
    std::thread::spawn(move || {
        let mut command = Command::new(std::env::current_exe().expect("a process knows its program"));
        OBSERVERS.iter().for_each(|variable| {
            command.env_remove(variable);
        });
        command.args([LOAD, protocol, &address.to_string(), &time.as_millis().to_string()]);
        let _ = say.send(command.stderr(Stdio::inherit()).output());
    });
    let output = said.await.expect("the thread sends before it ends").expect("this program starts once more");
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [nanos, p50, p99, requests] = words[..] else { panic!("the client measured nothing, but said {text:?}") };
    Measured {
        figures: vec![("time", nanos), ("p50", p50), ("p99", p99)],
        operations: requests as u64,
        ..Measured::default()
    }
}

/// The work of the client: nanoseconds a request, the latency half and 99 of 100 keep, in microseconds, and how many
/// requests there were in all.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn ask(protocol: &str, address: &str, time: Duration) -> Result<String, String> {
    let request: &[u8] = if protocol == "echo" { &MESSAGE } else { REQUEST };
    let address: SocketAddr = address.parse().map_err(|_| format!("{address} is no address"))?;
    let begin = Instant::now() + WARM_UP;
    let connections: Vec<_> =
        (0..CONNECTIONS).map(|_| tokio::spawn(connection(address, request, begin, time))).collect();
    let (mut latencies, mut all) = (Vec::new(), 0);
    for connection in connections {
        let (some, asked) = connection.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        latencies.extend(some);
        all += asked;
    }
    latencies.sort_unstable();
    let [_, ..] = latencies[..] else { return Err("no request was answered in time".to_owned()) };
    let at = |share: f64| f64::from(latencies[((latencies.len() - 1) as f64 * share) as usize]) / 1000.0;
    Ok(format!("{} {} {} {all}", time.as_nanos() as f64 / latencies.len() as f64, at(0.5), at(0.99)))
}

/// Latencies in nanoseconds of the requests that are counted, and the number of all.
async fn connection(
    address: SocketAddr,
    request: &'static [u8],
    begin: Instant,
    time: Duration,
) -> std::io::Result<(Vec<u32>, u64)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut bytes, mut length) = ([0; 1024], None);
    let (mut latencies, mut all) = (Vec::new(), 0);
    loop {
        let asked = Instant::now();
        if asked >= begin + time {
            return Ok((latencies, all));
        }
        stream.write_all(request).await?;
        let mut read = 0;
        // All answers have one length, which the first one tells.
        while length.is_none_or(|length| read < length) {
            match stream.read(&mut bytes[read..]).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                some => read += some,
            }
            length = length.or_else(|| answered(&bytes[..read], request));
        }
        all += 1;
        if asked >= begin {
            latencies.push(asked.elapsed().as_nanos() as u32);
        }
    }
}

/// The length of a whole answer, once all of it is here.
fn answered(bytes: &[u8], request: &[u8]) -> Option<usize> {
    if request == MESSAGE {
        return Some(MESSAGE.len());
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let head = text.find("\r\n\r\n")? + 4;
    let length: usize =
        text[..head].to_ascii_lowercase().split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
    Some(head + length).filter(|whole| bytes.len() >= *whole)
}
