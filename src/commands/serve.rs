//! The page for Prometheus, with the text that was published last.

use super::Failure;
use pollscope_metrics::Page as Served;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A server that ends when this value is dropped.
pub(crate) struct Page {
    served: Arc<Served>,
    text: Arc<Mutex<Arc<str>>>,
    thread: Option<JoinHandle<()>>,
}

impl Page {
    /// Serves on `address`, as [`Served::listen`] takes it.
    pub(crate) fn serve(address: &str) -> Result<Page, Failure> {
        let served = Arc::new(Served::listen(address).map_err(Failure::new)?);
        let text: Arc<Mutex<Arc<str>>> = Arc::new(Mutex::new("".into()));
        let (page, shown) = (Arc::clone(&served), Arc::clone(&text));
        let shown = move || shown.lock().unwrap_or_else(PoisonError::into_inner).to_string();
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || page.serve(shown))
            .map_err(|error| Failure::cannot("start the thread that serves metrics", error))?;
        Ok(Page { served, text, thread: Some(thread) })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        self.served.url()
    }

    /// Shows `text` from now on. A scrape never waits for a diagnosis.
    pub(crate) fn publish(&self, text: String) {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.served.stop();
        if let Some(thread) = self.thread.take() {
            // What a reader of metrics did is no reason to fail.
            let _ = thread.join();
        }
    }
}
