//! The two collectors that listen to tracing share the one place there is for a subscriber.

use crate::ticker::Ticker;
use crate::{Wanted, complain};
use tracing_core::Dispatch;
use tracing_core::dispatcher::set_global_default;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;

/// Installs the layers that are asked for, if the environment says that the place is free. A place that is taken is left
/// to its owner.
pub(crate) fn start(wanted: &Wanted) -> Option<Ticker> {
    if !wanted.has("console") && !wanted.has("flame") {
        return None;
    }
    if std::env::var_os("POLLSCOPE_TRACE").is_none_or(|value| value != "1") {
        // A program that installs its own afterwards, as most do with `init()`, would panic if ours stood there.
        complain("console, flame: set POLLSCOPE_TRACE=1 if this program installs no tracing subscriber of its own");
        return None;
    }
    let subscriber = registry();
    #[cfg(feature = "console")]
    let (console, server) = wanted.has("console").then(|| crate::console::prepare(&wanted.dir)).flatten().unzip();
    #[cfg(feature = "console")]
    let subscriber = subscriber.with(console);
    #[cfg(feature = "flame")]
    let (flame, folds) = wanted.has("flame").then(crate::flame::prepare).unzip();
    #[cfg(feature = "flame")]
    let subscriber = subscriber.with(flame);
    // Not `try_init`, which takes the place of the program's `log` logger too.
    if set_global_default(Dispatch::new(subscriber)).is_err() {
        complain("console, flame: the program has a tracing subscriber already, and there is room for one only");
        return None;
    }
    #[cfg(feature = "console")]
    if let Some(server) = server {
        crate::console::serve(server);
    }
    #[cfg(feature = "flame")]
    return folds.and_then(|folds| crate::flame::start(&wanted.dir, folds));
    #[cfg(not(feature = "flame"))]
    None
}
