//! The two collectors that listen to tracing share the one place there is for a subscriber.

use crate::ticker::Ticker;
use crate::{Wanted, complain};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

/// Installs the layers that are asked for. A place that is taken is left to its owner.
pub(crate) fn start(wanted: &Wanted) -> Vec<Ticker> {
    let subscriber = registry();
    let mut tickers = Vec::new();
    #[cfg(feature = "console")]
    let (console, server) = wanted.has("console").then(|| crate::console::prepare(&wanted.dir)).flatten().unzip();
    #[cfg(feature = "console")]
    let subscriber = subscriber.with(console);
    #[cfg(feature = "flame")]
    let (flame, folds) = wanted.has("flame").then(crate::flame::prepare).unzip();
    #[cfg(feature = "flame")]
    let subscriber = subscriber.with(flame);
    if !wanted.has("console") && !wanted.has("flame") {
        return tickers;
    }
    if subscriber.try_init().is_err() {
        complain("console, flame: the program has a tracing subscriber already, and there is room for one only");
        return tickers;
    }
    #[cfg(feature = "console")]
    if let Some(server) = server {
        crate::console::serve(server);
    }
    #[cfg(feature = "flame")]
    tickers.extend(folds.and_then(|folds| crate::flame::start(&wanted.dir, folds)));
    let _ = &mut tickers;
    tickers
}
