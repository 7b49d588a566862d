//! A pool of connections to a database, of threads and for threads: r2d2, with connections of rusqlite's to a file.

use r2d2::{ManageConnection, Pool};
use runner::{ms, programs};
use rusqlite::Connection;
use std::path::PathBuf;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

mod runner;

fn main() {
    runner::run(programs!(asked_in_a_task, asked_in_a_closure));
}

struct Ledger(PathBuf);

impl ManageConnection for Ledger {
    type Connection = Connection;
    type Error = rusqlite::Error;

    fn connect(&self) -> rusqlite::Result<Connection> {
        Connection::open(&self.0)
    }

    fn is_valid(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        connection.execute_batch("select 1")
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

async fn ledger() -> Option<Pool<Ledger>> {
    let file = std::env::temp_dir().join(format!("ledger-{}.sqlite", std::process::id()));
    let opened = spawn_blocking(|| {
        let pool = Pool::builder().max_size(2).build(Ledger(file)).ok()?;
        pool.get().ok()?.execute_batch("create table entries (amount integer)").ok()?;
        Some(pool)
    });
    opened.await.ok()?
}

fn entries(connection: &Connection) -> u64 {
    connection.query_row("select count(*) from entries", [], |row| row.get(0)).unwrap_or_default()
}

/// Two closings of the books at a time, each of which keeps its connection for a while. They do so on the blocking pool.
fn closings(pool: &Pool<Ledger>) -> JoinSet<()> {
    let mut closings = JoinSet::new();
    for _ in 0..2 {
        let pool = pool.clone();
        closings.spawn_blocking(move || {
            for _ in 0..6 {
                let connection = pool.get();
                std::thread::sleep(ms(300));
                drop(connection);
                std::thread::sleep(ms(100));
            }
        });
    }
    closings
}

/// Nobody has a connection left for whoever asks, and a thread waits for it.
async fn asked_in_a_task() {
    let Some(pool) = ledger().await else { return };
    let closings = closings(&pool);
    let mut orders = JoinSet::new();
    for _ in 0..4 {
        let pool = pool.clone();
        orders.spawn(async move {
            for _ in 0..10 {
                let connection = pool.get(); // asked_in_a_task
                let _ = connection.map(|connection| entries(&connection));
                sleep(ms(40)).await;
            }
        });
    }
    orders.join_all().await;
    closings.join_all().await;
}

/// The same orders; their threads are of the blocking pool.
async fn asked_in_a_closure() {
    let Some(pool) = ledger().await else { return };
    let closings = closings(&pool);
    let mut orders = JoinSet::new();
    for _ in 0..4 {
        let pool = pool.clone();
        orders.spawn(async move {
            for _ in 0..10 {
                let pool = pool.clone();
                let read = spawn_blocking(move || pool.get().map(|connection| entries(&connection)));
                drop(read.await);
                sleep(ms(40)).await;
            }
        });
    }
    orders.join_all().await;
    closings.join_all().await;
}
