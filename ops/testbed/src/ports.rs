//! Ports of loopback for servers that may be killed and started again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, OnceLock};

/// Below those that the kernel gives to outgoing connections, so that a port is
/// still free when a server that was killed is started again.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// Processes that run at the same time begin so far apart.
const STRIDE: u16 = 10;

/// A port of loopback.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Whether a server listens on a port of loopback.
pub fn is_open(port: u16) -> bool {
    TcpStream::connect(local(port)).is_ok()
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many ports in a row that were free a moment ago.
///
/// # Panics
/// When there are none.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: OnceLock<Mutex<u16>> = OnceLock::new();
    let next = NEXT.get_or_init(|| Mutex::new((std::process::id() % u32::from(COUNT / STRIDE)) as u16 * STRIDE));
    let mut next = next.lock().expect("no holder of the lock panics");
    for _ in 0..COUNT {
        let port = FIRST + *next % (COUNT - count);
        *next = (*next + count) % COUNT;
        if (port..port + count).all(|port| TcpListener::bind(local(port)).is_ok()) {
            return port;
        }
    }
    panic!("no {count} ports in a row are free");
}
