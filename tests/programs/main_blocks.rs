//! A service that reads its settings from a slow peer before it serves: in `main` itself.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

#[pollscope_agent::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let peer = TcpListener::bind("127.0.0.1:0")?;
    let address = peer.local_addr()?;
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = peer.accept() {
            std::thread::sleep(Duration::from_millis(300));
            let _ = stream.write_all(b"interval=5");
        }
    });
    let serving = tokio::spawn(async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            ticks.tick().await;
        }
    });
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let settings = settings(address)?;
        assert_eq!(settings, "interval=5", "what was sent arrives");
    }
    serving.abort();
    Ok(())
}

fn settings(address: std::net::SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
