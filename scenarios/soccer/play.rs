//! A team in attack. Whoever has the ball is the main line: the others run into space, each at a pace of their own, and
//! the ball goes to the one who is free first. A pass waits for those who support it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const PLAYERS: usize = 10;
const SPECTATORS: usize = 30;
/// Players who are asked to offer themselves for a pass.
const OPTIONS: usize = 4;

enum Call {
    /// Run into space, and say how free you are.
    Run { pass: u64, free: oneshot::Sender<u64> },
    /// The ball is yours.
    Receive { taken: oneshot::Sender<usize> },
}

/// A player: runs when called, and takes the ball.
async fn player(number: usize, mut calls: mpsc::Receiver<Call>) -> u64 {
    let mut received = 0;
    while let Some(call) = calls.recv().await {
        match call {
            Call::Run { pass, free } => {
                let way = 2 + (pass * 7 + number as u64 * 3) % 8;
                tokio::time::sleep(Duration::from_millis(way)).await;
                // The play may have gone on without this one.
                let _ = free.send(10 - way);
            }
            Call::Receive { taken } => {
                received += 1;
                let _ = taken.send(number);
            }
        }
    }
    received
}

/// Calls a player into space and waits for the answer.
async fn offer(team: Arc<Vec<mpsc::Sender<Call>>>, number: usize, pass: u64) -> Result<(usize, u64), Failure> {
    let (free, answer) = oneshot::channel();
    team[number].send(Call::Run { pass, free }).await?;
    Ok((number, answer.await?))
}

/// The main line: pass after pass, each to the freest of those who ran.
async fn attack(team: Arc<Vec<mpsc::Sender<Call>>>, figures: Arc<Figures>) -> Result<u64, Failure> {
    let (mut ball, mut passes) = (0, 0);
    while figures.open() {
        let asked = figures.asked();
        let mut runs = JoinSet::new();
        for option in 1..=OPTIONS {
            let number = (ball + option) % PLAYERS;
            runs.spawn(offer(team.clone(), number, passes));
        }
        let mut best = None;
        while let Some(run) = runs.join_next().await {
            let (number, free) = run??;
            best = best.max(Some((free, number)));
        }
        let (_, number) = best.ok_or("nobody is free")?;
        let (taken, answer) = oneshot::channel();
        team[number].send(Call::Receive { taken }).await?;
        if answer.await? == number {
            figures.answered(asked);
        }
        (ball, passes) = (number, passes + 1);
    }
    Ok(passes)
}

async fn spectator(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let (closing, open) = watch::channel(false);
    for _ in 0..SPECTATORS {
        tokio::spawn(spectator(open.clone()));
    }
    let (mut team, mut players) = (Vec::new(), Vec::new());
    for number in 0..PLAYERS {
        let (voice, calls) = mpsc::channel(4);
        team.push(voice);
        players.push(tokio::spawn(player(number, calls).instrument(info_span!("player", number))));
    }
    let figures = Figures::start();
    let attack = attack(Arc::new(team), figures.clone()).instrument(info_span!("attack"));
    let passes = tokio::spawn(attack).await??;
    let mut received = 0;
    for player in players {
        received += player.await?;
    }
    closing.send_replace(true);
    figures.report(passes == received);
    Ok(())
}

/// Plays until the final whistle.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
