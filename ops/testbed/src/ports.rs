//! Ports of loopback for servers that may be killed and started again.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;

/// Below those that the kernel gives to outgoing connections, so that a port is
/// still free when a server that was killed is started again.
const FIRST: u16 = 20_000;
/// Ports of one block, which belongs to one process at a time: more than any installation takes.
const BLOCK_PORTS: u16 = 150;
const BLOCKS: u16 = 80;

/// The blocks of this process. A lock on a file holds each of them until the process ends,
/// so that two processes of a user never choose the same ports.
struct Blocks {
    locks: Vec<File>,
    /// The next port that is looked at, and the end of its block.
    next: u16,
    end: u16,
}

static OWN: Mutex<Blocks> = Mutex::new(Blocks { locks: Vec::new(), next: FIRST, end: FIRST });

/// A port of loopback.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Whether a server listens on a port of loopback.
pub fn is_open(port: u16) -> bool {
    TcpStream::connect(local(port)).is_ok()
}

/// A port that was free a moment ago, and that no other process is given.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many ports in a row that were free a moment ago, and that no other process is given.
///
/// # Panics
/// When there are none.
pub fn free_ports(count: u16) -> u16 {
    assert!(count <= BLOCK_PORTS, "{count} ports in a row are more than the {BLOCK_PORTS} of a block");
    OWN.lock().expect("no holder of the lock panics").take(count)
}

impl Blocks {
    fn take(&mut self, count: u16) -> u16 {
        loop {
            while self.end - self.next < count {
                self.add_block();
            }
            let first = self.next;
            self.next += count;
            if (first..self.next).all(|port| TcpListener::bind(local(port)).is_ok()) {
                return first;
            }
        }
    }

    fn add_block(&mut self) {
        // Other users have files of their own, which this one may not open.
        let user = rustix::process::getuid();
        // Not those that a process which has just ended has left.
        let start = (std::process::id() % u32::from(BLOCKS)) as u16;
        let mut blocks = (0..BLOCKS).map(|number| (start + number) % BLOCKS);
        let (number, lock) = blocks
            .find_map(|number| {
                let path = format!("/tmp/hongbao-ports-{}-{number}.lock", user.as_raw());
                let file = File::options().create(true).truncate(false).write(true).open(path).ok()?;
                file.try_lock().ok()?;
                Some((number, file))
            })
            .expect("other processes hold all ports");
        self.locks.push(lock);
        self.next = FIRST + number * BLOCK_PORTS;
        self.end = self.next + BLOCK_PORTS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(count: u16, times: usize) -> Vec<u16> {
        let mut blocks = Blocks { locks: Vec::new(), next: FIRST, end: FIRST };
        (0..times)
            .flat_map(|_| {
                let first = blocks.take(count);
                first..first + count
            })
            .collect()
    }

    #[test]
    fn two_owners_of_blocks_share_no_port() {
        let mut own = Blocks { locks: Vec::new(), next: FIRST, end: FIRST };
        let mut all: Vec<u16> = (0..20).map(|_| own.take(20)).flat_map(|first| first..first + 20).collect();
        all.extend(taken(BLOCK_PORTS, 2));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
