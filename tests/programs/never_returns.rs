//! A service whose report waits for an answer that nobody will send.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let ticking = tokio::spawn(async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            ticks.tick().await;
        }
    });
    let report = tokio::spawn(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        report()
    });
    let total = report.await.unwrap_or(0);
    ticking.abort();
    assert_eq!(total, 0, "never reached");
}

fn report() -> u64 {
    let (answerer, answers) = channel();
    let total = total(&answers);
    drop(answerer);
    total
}

fn total(answers: &Receiver<u64>) -> u64 {
    answers.recv().unwrap_or(0)
}
