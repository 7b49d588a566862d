//! How a contender spawns: some observers see a task only if it is spawned through them.

use std::future::Future;
use std::sync::OnceLock;
use tokio::task::JoinHandle;
use tokio_metrics::TaskMonitor;

/// Who is asked to spawn.
pub(crate) enum Spawner {
    /// dial9, which then tells of wakes.
    Dial9,
    /// tokio, a future that is measured.
    Monitored(TaskMonitor),
}

/// Set once, before the work; unset means tokio itself.
pub(crate) static SPAWNER: OnceLock<Spawner> = OnceLock::new();

/// Spawns for the contender of this process. All pay for the question alike.
#[track_caller]
pub(crate) fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    match SPAWNER.get() {
        None => tokio::spawn(future),
        Some(Spawner::Dial9) => dial9_tokio_telemetry::spawn(future),
        Some(Spawner::Monitored(monitor)) => tokio::spawn(monitor.instrument(future)),
    }
}

/// The result of a task: a benchmark that lost a task has no result.
pub(crate) async fn result<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    spawn(work).await.expect("no task of a benchmark panics")
}
