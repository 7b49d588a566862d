//! One page over HTTP, `/metrics`, for Prometheus: from one thread, with nothing but the standard library, so that it
//! weighs nothing inside of a program.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Exposition;

/// How long a reader may take for its request, and for each part of the answer: others wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of a request that are read.
const LONGEST_REQUEST: usize = 8 * 1024;

/// A page that can be served.
#[derive(Debug)]
pub struct Page {
    listener: TcpListener,
    address: SocketAddr,
    stopped: AtomicBool,
}

impl Page {
    /// Takes `address`: `HOST:PORT`, or `:PORT` or `PORT` on this machine alone; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// Why that cannot be, and what to give instead, as a sentence without a full stop.
    pub fn listen(address: &str) -> Result<Page, String> {
        let whole = match address.strip_prefix(':').unwrap_or(address).parse::<u16>() {
            Ok(port) => format!("127.0.0.1:{port}"),
            Err(_) => address.to_owned(),
        };
        let hint = "give HOST:PORT, such as 127.0.0.1:9464";
        let resolved = whole
            .to_socket_addrs()
            .map_err(|error| format!("`{address}` is no address to serve metrics on ({error}); {hint}"))?;
        let cannot = |error: io::Error| match error.kind() {
            ErrorKind::AddrInUse => format!("the address {whole} is taken by another program; choose another port"),
            _ => format!("cannot serve metrics on {whole}: {error}; {hint}"),
        };
        let listener = TcpListener::bind(resolved.collect::<Vec<_>>().as_slice()).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        Ok(Page { listener, address, stopped: AtomicBool::new(false) })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// Serves `text`, which is made anew for each reader, until [`Self::stop`] is called: one reader after the other.
    pub fn serve(&self, text: impl Fn() -> String) {
        for stream in self.listener.incoming() {
            if self.stopped.load(Ordering::Acquire) {
                break;
            }
            match stream {
                // A reader that went away is no failure.
                Ok(stream) => drop(answer(stream, &text)),
                // Mostly too many open files: that may pass, and is no reason to spin.
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Ends [`Self::serve`], once the reader at hand is done with.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        // One more reader, so that it looks up.
        let _ = TcpStream::connect_timeout(&SocketAddr::new(ip, self.address.port()), PATIENCE);
    }
}

fn answer(mut stream: TcpStream, text: impl Fn() -> String) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = request(&mut stream)?;
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (status, kind, body) = match (method, path.split('?').next().unwrap_or("")) {
        ("GET" | "HEAD", "/metrics") => ("200 OK", Exposition::CONTENT_TYPE, text()),
        ("GET" | "HEAD", "/") => {
            let link = "<title>pollscope</title><a href=\"/metrics\">metrics</a>\n";
            ("200 OK", "text/html; charset=utf-8", link.to_owned())
        }
        ("GET" | "HEAD", _) => ("404 Not Found", "text/plain", "metrics are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain", "this page can only be read\n".to_owned()),
    };
    let length = body.len();
    let body = if method == "HEAD" { "" } else { &body };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// The first line of a request whose head has come as a whole.
fn request(stream: &mut TcpStream) -> io::Result<String> {
    let began = Instant::now();
    let (mut head, mut part) = (Vec::new(), [0; 1024]);
    loop {
        let count = stream.read(&mut part)?;
        head.extend(part.iter().take(count));
        let whole = head.windows(4).any(|four| four == b"\r\n\r\n");
        if whole || count == 0 || head.len() > LONGEST_REQUEST {
            break;
        }
        if began.elapsed() > PATIENCE {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::scope;

    fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn readers_get_the_page_and_whoever_sends_nonsense_gets_none() {
        let page = Page::listen("0").unwrap();
        let address = page.address;
        scope(|scope| {
            scope.spawn(|| page.serve(|| "x 1\n".to_owned()));
            let got = ask(address, b"GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\n");
            assert!(got.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{got}");
            assert!(got.contains("\r\nContent-Length: 4\r\n") && got.ends_with("\r\n\r\nx 1\n"), "{got}");
            let head = ask(address, b"HEAD /metrics HTTP/1.0\r\n\r\n");
            assert!(head.contains("Content-Length: 4\r\n") && head.ends_with("\r\n\r\n"), "{head}");
            assert!(ask(address, b"GET / HTTP/1.0\r\n\r\n").contains("href=\"/metrics\""));
            assert!(ask(address, b"GET /elsewhere HTTP/1.0\r\n\r\n").contains("404"));
            assert!(ask(address, b"POST /metrics HTTP/1.0\r\n\r\n").contains("405"));
            assert!(ask(address, b"\xff\0\r\n\r\n").contains("405"));
            // Somebody who connects and says nothing is gone before the next one.
            drop(TcpStream::connect(address).unwrap());
            assert!(ask(address, b"GET /metrics HTTP/1.0\r\n\r\n").ends_with("x 1\n"));
            page.stop();
        });
    }

    #[test]
    fn what_is_no_address_is_told_in_one_sentence() {
        let taken = Page::listen("127.0.0.1:0").unwrap();
        assert!(taken.url().starts_with("http://127.0.0.1:") && taken.url().ends_with("/metrics"));
        let again = Page::listen(&taken.address.to_string()).unwrap_err();
        assert!(again.contains("is taken by another program"), "{again}");
        let nonsense = Page::listen("nowhere").unwrap_err();
        assert!(nonsense.contains("`nowhere` is no address") && nonsense.contains("127.0.0.1:9464"), "{nonsense}");
        let other = Page::listen("192.0.2.1:0").unwrap_err();
        assert!(other.contains("cannot serve metrics on 192.0.2.1:0"), "{other}");
    }
}
