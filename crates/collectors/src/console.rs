//! console-subscriber on a socket in the folder, or on an address for `tokio-console`.

use crate::complain;
use console_subscriber::{ConsoleLayer, Server};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing_core::Metadata;
use tracing_subscriber::filter::{FilterFn, Filtered};
use tracing_subscriber::{Layer, Registry};

/// How often clients are told what is new.
const PUBLISH: Duration = Duration::from_millis(100);

/// Longest path of a socket, the 0 at its end included, on the narrowest system.
const LONGEST: usize = 104;

/// console-subscriber's layer, hearing of tokio only.
pub(crate) type Console = Filtered<ConsoleLayer, FilterFn, Registry>;

/// The layer and the server behind it.
pub(crate) fn prepare(dir: &Path) -> Option<(Console, (Server, PathBuf))> {
    if !cfg!(tokio_unstable) {
        // console-subscriber would panic.
        complain(
            "console: this program was built without RUSTFLAGS=\"--cfg tokio_unstable\", which tokio's spans need",
        );
        return None;
    }
    if let Some(address) = std::env::var("POLLSCOPE_CONSOLE_ADDRESS").ok().filter(|address| !address.is_empty()) {
        let Ok(address) = address.parse::<SocketAddr>() else {
            complain(&format!(
                "console: POLLSCOPE_CONSOLE_ADDRESS={address} is no address; write one as 127.0.0.1:6669"
            ));
            return None;
        };
        let (layer, server) = ConsoleLayer::builder().server_addr(address).build();
        return Some((layer.with_filter(FilterFn::new(is_tokios as _)), (server, address.to_string().into())));
    }
    let path = dir.join("console.sock");
    if UnixStream::connect(&path).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
        // Left by a process that was killed; nobody listens.
        let _ = std::fs::remove_file(&path);
    }
    let (layer, server) = ConsoleLayer::builder().publish_interval(PUBLISH).server_addr(reachable(&path)?).build();
    let tokios = FilterFn::new(is_tokios as fn(&Metadata<'_>) -> bool);
    Some((layer.with_filter(tokios), (server, path)))
}

/// What console-subscriber's own `spawn` lets through.
fn is_tokios(metadata: &Metadata<'_>) -> bool {
    let (name, target) = (metadata.name(), metadata.target());
    let runtimes = if metadata.is_event() { target.starts_with("runtime") } else { name.starts_with("runtime.") };
    runtimes || target.starts_with("tokio")
}

/// The path itself, or where it is too long for a socket a short one that leads to the same place.
fn reachable(path: &Path) -> Option<PathBuf> {
    use std::os::fd::IntoRawFd;
    if path.as_os_str().len() < LONGEST {
        return Some(path.to_owned());
    }
    let (dir, name) = (path.parent()?, path.file_name()?);
    // Stays open as long as the program lives: the server binds later, in its own thread.
    let folder = std::fs::File::open(dir).ok()?.into_raw_fd();
    Some(PathBuf::from(format!("/proc/self/fd/{folder}")).join(name))
}

/// Serves from a thread and a runtime of its own, so that a stuck program can still be asked.
pub(crate) fn serve((server, path): (Server, PathBuf)) {
    let body = move || {
        // The server's own tasks are none of the program's. `Dispatch::none()` would not do: callsites first met on this
        // thread would ask it alone, and be off for the whole program.
        let silence = tracing_core::Dispatch::new(tracing_core::subscriber::NoSubscriber::default());
        let _silent = tracing_core::dispatcher::set_default(&silence);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let outcome = match runtime {
            Ok(runtime) => runtime.block_on(server.serve()).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = outcome {
            complain(&format!("console: {} cannot be served: {why}", path.display()));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("pollscope-console".into()).spawn(body) {
        complain(&format!("console: no thread can be started: {error}"));
    }
}

/// Gives clients the time to hear the last news before the program ends, also on a crowded machine.
pub(crate) fn linger() {
    std::thread::sleep(PUBLISH * 4);
}
