//! A pool of connections as many services have one: deadpool, with connections to nothing.

use deadpool::managed::{Manager, Metrics, Pool, RecycleResult};
use runner::{ms, programs};
use std::convert::Infallible;
use tokio::time::sleep;

mod runner;

fn main() {
    runner::run(programs!(second_connection, one_connection));
}

struct Connections;

impl Manager for Connections {
    type Type = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        sleep(ms(2)).await;
        Ok(0)
    }

    async fn recycle(&self, used: &mut u64, _: &Metrics) -> RecycleResult<Infallible> {
        *used += 1;
        Ok(())
    }
}

fn pool() -> Option<Pool<Connections>> {
    Pool::builder(Connections).max_size(3).build().ok()
}

/// Never moves again: an order holds its connection while its audit asks for another.
async fn second_connection() {
    let Some(pool) = pool() else { return };
    for _ in 0..5 {
        let pool = pool.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                drop(pool.get().await);
                sleep(ms(5)).await;
            }
            let _order = pool.get().await;
            sleep(ms(30)).await;
            audit(&pool).await;
        });
    }
    std::future::pending().await
}

async fn audit(pool: &Pool<Connections>) {
    let _entry = pool.get().await; // second_connection
    sleep(ms(5)).await;
}

/// The same work with one connection each, and slowly: the pool is at its limit, and drains.
async fn one_connection() {
    let Some(pool) = pool() else { return };
    let mut orders = Vec::new();
    for _ in 0..6 {
        let pool = pool.clone();
        orders.push(tokio::spawn(async move {
            for _ in 0..5 {
                drop(pool.get().await);
                sleep(ms(5)).await;
            }
            let _order = pool.get().await;
            sleep(ms(3000)).await;
        }));
    }
    for order in orders {
        drop(order.await);
    }
}
