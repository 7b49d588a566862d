//! One page for Prometheus, `/metrics`, with the text that was published last.

use super::Failure;
use pollscope_metrics::Exposition;
use std::io::ErrorKind;
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tiny_http::{Header, Method, Request, Response, Server};

/// A server that ends when this value is dropped.
pub(crate) struct Page {
    server: Arc<Server>,
    text: Arc<Mutex<Arc<str>>>,
    thread: Option<JoinHandle<()>>,
    url: String,
}

impl Page {
    /// Serves on `address`: `HOST:PORT`, or `:PORT` or `PORT` on this machine alone; port 0 takes a free one.
    pub(crate) fn serve(address: &str) -> Result<Page, Failure> {
        let whole = match address.strip_prefix(':').unwrap_or(address).parse::<u16>() {
            Ok(port) => format!("127.0.0.1:{port}"),
            Err(_) => address.to_owned(),
        };
        let hint = "give HOST:PORT, such as 127.0.0.1:9464";
        let resolved: Vec<_> = whole
            .to_socket_addrs()
            .map_err(|error| Failure::new(format!("`{address}` is no address to serve metrics on ({error}); {hint}")))?
            .collect();
        let cannot = |error: std::io::Error| {
            Failure::new(match error.kind() {
                ErrorKind::AddrInUse => {
                    format!("the address {whole} is taken by another program; choose another port with --metrics")
                }
                _ => format!("cannot serve metrics on {whole}: {error}; {hint}"),
            })
        };
        let listener = TcpListener::bind(resolved.as_slice()).map_err(cannot)?;
        let url = format!("http://{}/metrics", listener.local_addr().map_err(cannot)?);
        let server = Server::from_listener(listener, None)
            .map_err(|error| Failure::cannot(format_args!("serve metrics on {whole}"), error))?;
        let server = Arc::new(server);
        let text: Arc<Mutex<Arc<str>>> = Arc::new(Mutex::new("".into()));
        let (served, shown) = (Arc::clone(&server), Arc::clone(&text));
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || served.incoming_requests().for_each(|request| answer(request, &shown)))
            .map_err(|error| Failure::cannot("start the thread that serves metrics", error))?;
        Ok(Page { server, text, thread: Some(thread), url })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Shows `text` from now on. A scrape never waits for a diagnosis.
    pub(crate) fn publish(&self, text: String) {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            // What a reader of metrics did is no reason to fail.
            let _ = thread.join();
        }
    }
}

fn answer(request: Request, text: &Mutex<Arc<str>>) {
    let path = request.url().split('?').next().unwrap_or("");
    let (status, kind, body) = match (request.method(), path) {
        (Method::Get | Method::Head, "/metrics") => {
            let text = Arc::clone(&text.lock().unwrap_or_else(PoisonError::into_inner));
            (200, Exposition::CONTENT_TYPE, text.to_string())
        }
        (Method::Get | Method::Head, "/") => {
            (200, "text/html; charset=utf-8", "<title>pollscope</title><a href=\"/metrics\">metrics</a>\n".to_owned())
        }
        (Method::Get | Method::Head, _) => (404, "text/plain", "metrics are at /metrics\n".to_owned()),
        _ => (405, "text/plain", "this page can only be read\n".to_owned()),
    };
    let mut response = Response::from_string(body).with_status_code(status);
    if let Ok(header) = Header::from_bytes("Content-Type", kind) {
        response.add_header(header);
    }
    // A reader that went away is no failure.
    let _ = request.respond(response);
}
