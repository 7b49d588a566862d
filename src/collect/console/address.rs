//! Where a console server listens, and whether somebody does.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use tonic::transport::Endpoint;

/// The port console-subscriber takes unless told otherwise.
const PORT: u16 = 6669;
/// How long a connection may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Longest path of a socket, the 0 at its end included, on the narrowest system.
const LONGEST: usize = 104;

/// Where a console server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host and its port.
    Tcp(String, u16),
    /// A Unix socket.
    Socket(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let wrong =
            || format!("`{text}` is no address; give HOST:PORT as in 127.0.0.1:6669, or the path of a Unix socket");
        if text.starts_with("https://") {
            return Err(format!("`{text}` asks for TLS, which console-subscriber does not speak; write http://"));
        }
        for scheme in ["file://localhost", "file://", "unix:"] {
            if let Some(path) = text.strip_prefix(scheme) {
                return Ok(Address::Socket(path.into()));
            }
        }
        let bare = text.strip_prefix("http://");
        if bare.is_none() && (text.contains('/') || Path::new(text).exists()) {
            return Ok(Address::Socket(text.into()));
        }
        let bare = bare.unwrap_or(text).trim_end_matches('/');
        let (host, port) = match bare.rsplit_once(':') {
            // An IPv6 address without a port ends like one with it.
            Some((host, port)) if !bare.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (bare, PORT),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]%".contains(c);
        if host.is_empty() || !host.chars().all(plain) || (!text.contains(':') && !text.contains('.')) {
            return Err(wrong());
        }
        Ok(Address::Tcp(host.to_owned(), port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Address {
    /// Whether anybody listens; one sentence if not. The transport's own errors name no cause.
    pub(super) fn try_out(&self) -> Result<(), String> {
        let outcome = match self {
            Address::Tcp(host, port) => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let found = (host, *port).to_socket_addrs();
                found.map_err(|error| format!("the host of {self} is not known: {error}")).map(|found| {
                    let none = Err(io::Error::from(ErrorKind::NotFound));
                    found.fold(none, |before, one| {
                        before.or_else(|_: io::Error| TcpStream::connect_timeout(&one, PATIENCE).map(drop))
                    })
                })?
            }
            Address::Socket(path) => match reachable(path) {
                Some((near, _open)) => UnixStream::connect(near).map(drop),
                None => Err(io::Error::from(ErrorKind::NotFound)),
            },
        };
        outcome.map_err(|error| match (self, error.kind()) {
            (Address::Socket(path), ErrorKind::NotFound) => format!("there is no socket {}", path.display()),
            (_, ErrorKind::ConnectionRefused) => format!(
                "nobody listens at {self}; start the program with `console_subscriber::init()`, which takes port {PORT} \
                 unless TOKIO_CONSOLE_BIND says otherwise"
            ),
            _ => format!("cannot connect to {self}: {error}"),
        })
    }

    /// The endpoint, and what must stay open as long as it is being connected.
    pub(super) fn endpoint(&self) -> Result<(Endpoint, Option<std::fs::File>), String> {
        let (uri, open) = match self {
            Address::Tcp(host, port) => (format!("http://{host}:{port}"), None),
            Address::Socket(path) => {
                let (near, open) = reachable(path).ok_or_else(|| format!("there is no socket {}", path.display()))?;
                (format!("unix:{}", near.display()), open)
            }
        };
        let endpoint = Endpoint::try_from(uri).map_err(|error| format!("{self} is no address: {error}"))?;
        Ok((endpoint.connect_timeout(PATIENCE), open))
    }
}

/// The path itself, or where it is too long for a socket a short one that leads to the same place as long as the
/// file is open.
pub(super) fn reachable(path: &Path) -> Option<(PathBuf, Option<std::fs::File>)> {
    use std::os::fd::AsRawFd;
    if path.as_os_str().len() < LONGEST {
        return Some((path.to_owned(), None));
    }
    let folder = std::fs::File::open(path.parent()?).ok()?;
    let near = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(path.file_name()?);
    Some((near, Some(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_several_forms() {
        let tcp = |host: &str, port| Ok(Address::Tcp(host.to_owned(), port));
        assert_eq!("127.0.0.1:6669".parse(), tcp("127.0.0.1", 6669));
        assert_eq!("http://localhost:7000/".parse(), tcp("localhost", 7000));
        assert_eq!("http://localhost".parse(), tcp("localhost", 6669));
        assert_eq!("[::1]:6669".parse(), tcp("[::1]", 6669));
        assert_eq!("http://[::1]".parse(), tcp("[::1]", 6669));
        let socket = |path: &str| Ok(Address::Socket(path.into()));
        assert_eq!("/run/a.sock".parse(), socket("/run/a.sock"));
        assert_eq!("./a.sock".parse(), socket("./a.sock"));
        assert_eq!("file://localhost/run/a.sock".parse(), socket("/run/a.sock"));
        for wrong in ["", ":6669", "host:port", "host:70000", "https://host:1", "service", "a b:1"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
