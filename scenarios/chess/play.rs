//! Endgames by correspondence: king and rook against king. Each player looks at the whole position that the
//! other's move has left, so one move is made after the other, and never two at once.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;
/// File and rank, 0 to 7 each.
type Square = (i8, i8);

const DISPLAYS: usize = 20;
/// Moves after which a game counts as drawn.
const PATIENCE: u32 = 60;

#[derive(Clone, Copy, PartialEq)]
struct Position {
    king: Square,
    rook: Square,
    lone: Square,
    moves: u32,
}

impl Position {
    /// The `number`th endgame of the book.
    fn opening(number: i8) -> Self {
        Self { king: (number % 3, 0), rook: (7, 7), lone: (3, 2 + number % 3), moves: 0 }
    }

    fn attacked(self, square: Square) -> bool {
        let lined_up = square.0 == self.rook.0 || square.1 == self.rook.1;
        near(square, self.king) || (lined_up && square != self.rook)
    }

    /// Every position the strong side can move to.
    fn attacks(self) -> Vec<Self> {
        let moves = self.moves + 1;
        let kings = steps(self.king).filter(|to| !near(*to, self.lone) && *to != self.rook);
        let kings = kings.map(|king| Self { king, moves, ..self });
        let rooks = (0..8).flat_map(|at| [(at, self.rook.1), (self.rook.0, at)]);
        let rooks = rooks.filter(|to| ![self.rook, self.king, self.lone].contains(to));
        kings.chain(rooks.map(|rook| Self { rook, moves, ..self })).collect()
    }

    /// Every position the lone king can move to.
    fn escapes(self) -> Vec<Self> {
        let moves = self.moves + 1;
        let safe = steps(self.lone).filter(|to| !self.attacked(*to));
        safe.map(|lone| Self { lone, moves, ..self }).collect()
    }

    /// How little room is left for the lone king, after its best answer.
    fn pressure(self) -> i32 {
        let answers = self.escapes();
        let room = answers.iter().map(|next| next.escapes().len()).max().unwrap_or(0);
        let distance = (self.king.0 - self.lone.0).abs() + (self.king.1 - self.lone.1).abs();
        -i32::try_from(room).unwrap_or(0) * 4 - i32::from(distance)
    }

    fn over(self) -> bool {
        self.moves >= PATIENCE || self.escapes().is_empty()
    }
}

fn near(a: Square, b: Square) -> bool {
    (a.0 - b.0).abs() <= 1 && (a.1 - b.1).abs() <= 1
}

fn steps(from: Square) -> impl Iterator<Item = Square> {
    let around = (-1..=1).flat_map(move |x| (-1..=1).map(move |y| (from.0 + x, from.1 + y)));
    around.filter(move |to| *to != from && (0..8).contains(&to.0) && (0..8).contains(&to.1))
}

/// Plays with king and rook: asks for an answer to each of its moves.
async fn attacker(
    figures: Arc<Figures>,
    to_lone: mpsc::Sender<Position>,
    mut from_lone: mpsc::Receiver<Position>,
) -> Result<u64, Failure> {
    let mut played = 0;
    for game in 0_i8.. {
        let mut position = Position::opening(game % 9);
        while !position.over() && figures.open() {
            let asked = figures.asked();
            let best = position.attacks().into_iter().max_by_key(|next| next.pressure());
            position = best.ok_or("no move is left")?;
            to_lone.send(position).await?;
            let answer = from_lone.recv().await.ok_or("the opponent has gone")?;
            if answer.rook == position.rook && answer.king == position.king {
                figures.answered(asked);
            }
            position = answer;
            played += 1;
        }
        if !figures.open() {
            break;
        }
    }
    Ok(played)
}

/// Plays with the king alone; a letter takes its time.
async fn defender(
    mut from_attacker: mpsc::Receiver<Position>,
    to_attacker: mpsc::Sender<Position>,
) -> Result<u64, Failure> {
    let mut answered = 0;
    while let Some(position) = from_attacker.recv().await {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let best = position.escapes().into_iter().max_by_key(|next| next.escapes().len());
        to_attacker.send(best.unwrap_or(position)).await?;
        answered += 1;
    }
    Ok(answered)
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    let (to_lone, from_attacker) = mpsc::channel(1);
    let (to_attacker, from_lone) = mpsc::channel(1);
    let figures = Figures::start();
    let defending = tokio::spawn(defender(from_attacker, to_attacker).instrument(info_span!("lone king")));
    let attack = attacker(figures.clone(), to_lone, from_lone).instrument(info_span!("king and rook"));
    let played = tokio::spawn(attack).await??;
    let answered = defending.await??;
    closing.send_replace(true);
    figures.report(played == answered);
    Ok(())
}

/// Plays until the evening.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
