//! A bank of two accounts that knows nothing of pollscope: it runs console-subscriber. Arguments: the socket to listen
//! at, and how transfers take the two locks, `crossed` or `ordered`. Begins when a line comes in, and says when it has.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Barrier, Mutex};

type Account = Arc<Mutex<i64>>;

fn main() {
    let socket = PathBuf::from(std::env::args().nth(1).expect("a socket"));
    let crossed = std::env::args().nth(2).as_deref() == Some("crossed");
    console_subscriber::ConsoleLayer::builder().publish_interval(Duration::from_millis(200)).server_addr(socket).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(bank(crossed));
}

async fn bank(crossed: bool) {
    let left: Account = Arc::new(Mutex::new(100)); // left
    let right: Account = Arc::new(Mutex::new(100)); // right
    let begun = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next());
    begun.await.expect("no panic");
    let together = Arc::new(Barrier::new(3));
    let (first, second) = if crossed { (&right, &left) } else { (&left, &right) };
    tokio::spawn(transfers(left.clone(), right.clone(), together.clone(), crossed)); // there
    tokio::spawn(transfers(first.clone(), second.clone(), together.clone(), crossed)); // back
    together.wait().await;
    writeln!(std::io::stdout(), "under way").expect("stdout is open");
    std::future::pending::<()>().await;
}

/// Moves money from one account to the other, again and again.
async fn transfers(from: Account, to: Account, together: Arc<Barrier>, crossed: bool) {
    // Crossed, each has its first lock before one asks for its second.
    let mut early = if crossed { Some(from.lock().await) } else { None };
    together.wait().await;
    loop {
        let mut giver = match early.take() {
            Some(held) => held,
            None => from.lock().await,
        };
        let mut taker = to.lock().await;
        *giver -= 1;
        *taker += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
