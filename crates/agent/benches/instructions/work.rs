//! What is counted: the same work with nobody looking and under the agent, on one thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Mutex;

/// Operations between two pauses. As many tasks find a place each in the table of a thread, which the drain empties ten
/// times a second; with more it would depend on the moment which of them push others out.
const BATCH: u64 = 200;
const PAUSE: Duration = Duration::from_millis(110);

/// One kind of work.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// So many operations.
    pub(crate) run: fn(u64) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

pub(crate) const WORKLOADS: [Workload; 3] = [
    Workload { name: "poll", run: |count| Box::pin(Turns(count)) },
    Workload {
        name: "spawn",
        run: |count| {
            Box::pin(async move {
                for _ in 0..count {
                    tokio::spawn(async {}).await.expect("nothing in it panics");
                }
            })
        },
    },
    Workload {
        name: "lock",
        run: |count| {
            Box::pin(async move {
                let lock = Mutex::new(0_u64);
                for _ in 0..count {
                    *lock.lock().await += 1;
                }
            })
        },
    },
];

/// Wakes itself as often as it says.
struct Turns(u64);

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

async fn batches(workload: &Workload, count: u64) {
    for _ in 0..count / BATCH {
        tokio::spawn((workload.run)(BATCH)).await.expect("nothing in it panics");
        std::thread::sleep(PAUSE);
    }
}

/// With nobody looking.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn bare(workload: &'static Workload, count: u64) {
    batches(workload, count).await;
}

/// What the one `main` of this process is to do: the agent's takes no arguments, as a real one.
static WORK: OnceLock<(&Workload, u64)> = OnceLock::new();

/// Under the agent; the environment says whether it is awake.
pub(crate) fn under_agent(workload: &'static Workload, count: u64) {
    WORK.get_or_init(|| (workload, count));
    main_with_agent();
}

#[pollscope_agent::main(flavor = "current_thread")]
async fn main_with_agent() {
    if let Some((workload, count)) = WORK.get() {
        batches(workload, *count).await;
    }
}
