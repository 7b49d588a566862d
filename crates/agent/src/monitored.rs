//! Futures with a name, for the metrics of tokio-metrics.

#[cfg(feature = "collectors")]
use pollscope_collectors::Metered;
use std::future::Future;
#[cfg(feature = "collectors")]
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// Gives a future a name under which the collector `metrics` counts its polls, its delays and its idle time:
///
/// ```
/// # #[tokio::main] async fn main() {
/// async fn serve() { /* ... */ }
/// tokio::spawn(pollscope_agent::monitored("connection", serve())).await.expect("the task ended well");
/// # }
/// ```
///
/// The figures of all futures of one name are summed up in `metrics.jsonl`. While that collector is not asked for, the
/// future is polled as it is, at the cost of one comparison; without the agent's feature `collectors` it is given back
/// untouched. Names are few and stand in the source: 64 at most are told apart, and further ones are not measured.
#[cfg(feature = "collectors")]
pub fn monitored<F: Future>(name: &'static str, future: F) -> impl Future<Output = F::Output> + use<F> {
    match pollscope_collectors::metered(name, future) {
        Ok(metered) => Monitored::Metered(metered),
        Err(future) => Monitored::Plain(future),
    }
}

/// Gives a future a name under which the collector `metrics` counts its polls, its delays and its idle time:
///
/// ```
/// # #[tokio::main] async fn main() {
/// async fn serve() { /* ... */ }
/// tokio::spawn(pollscope_agent::monitored("connection", serve())).await.expect("the task ended well");
/// # }
/// ```
///
/// Built without the feature `collectors`, as here, it gives the future back untouched.
#[cfg(not(feature = "collectors"))]
pub fn monitored<F: Future>(name: &'static str, future: F) -> impl Future<Output = F::Output> + use<F> {
    let _ = name;
    future
}

#[cfg(feature = "collectors")]
enum Monitored<F> {
    Plain(F),
    Metered(Metered<F>),
}

#[cfg(feature = "collectors")]
impl<F: Future> Future for Monitored<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: neither future is moved out of the pinned `Monitored`, which has no `Drop` and is `Unpin` only if both
        // are.
        match unsafe { self.get_unchecked_mut() } {
            // SAFETY: as above: the future stays where it is as long as this is pinned.
            Monitored::Plain(future) => unsafe { Pin::new_unchecked(future) }.poll(context),
            Monitored::Metered(metered) => Pin::new(metered).poll(context),
        }
    }
}
