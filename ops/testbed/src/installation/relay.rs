//! TCP relays that stand before parts of an installation, so that the links to them
//! can be made slow, or cut, without privileges.
//!
//! A relay behaves as the part would: while the part does not listen, neither
//! does its relay. A link that is cut loses nothing: what is on its way waits,
//! as it does in the buffers of TCP, and arrives when the link is whole again
//! and neither end has given up.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::description::Relayed;
use crate::install::Fallible;
use crate::stat::cpu_time_of;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 32 * 1024;
/// Chunks on their way in one direction of a connection.
const CHUNKS_MAX: usize = 16;
/// Connections that one relay carries; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 4_096;
/// Between two looks whether a part listens again.
const RETURN_LOOK: Duration = Duration::from_millis(20);

/// What holds for a link now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Added to the way in each direction.
    pub delay: Duration,
    /// Nothing comes through while this is more than none.
    pub cuts: u32,
}

/// Relays on a thread of their own. They end with this value.
pub struct Relays {
    links: Vec<(String, watch::Sender<Link>)>,
    /// `/proc/PID/task/TID` of the thread.
    task: Arc<Mutex<Option<PathBuf>>>,
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Relays {
    /// Starts them; they listen when this returns.
    pub fn start(wanted: &[Relayed]) -> Fallible<Relays> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut links = Vec::new();
        for wanted in wanted {
            let (sender, link) = watch::channel(Link::default());
            let listener = runtime
                .block_on(TcpListener::bind(wanted.listen))
                .map_err(|error| format!("a relay for {} on {}: {error}", wanted.part, wanted.listen))?;
            runtime.spawn(relay(listener, wanted.clone(), link));
            links.push((wanted.part.clone(), sender));
        }
        let task = Arc::new(Mutex::new(None));
        let (end, ended) = oneshot::channel();
        let own = task.clone();
        let thread = std::thread::Builder::new().name("relays".into()).spawn(move || {
            let path = fs::read_link("/proc/thread-self").map(|path| PathBuf::from("/proc").join(path));
            *own.lock().expect("no holder of the lock panics") = path.ok();
            // It ends with the sender.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Relays { links, task, thread: Some((end, thread)) })
    }

    /// Changes what holds for the links to a part, also for connections that exist.
    pub fn change(&self, part: &str, change: impl FnOnce(&mut Link)) -> Fallible<()> {
        let link = self.links.iter().find(|(name, _)| name == part);
        let (_, link) = link.ok_or_else(|| format!("the links to {part} go through no relay"))?;
        link.send_modify(change);
        Ok(())
    }

    /// The processor time that they have used, which is part of this process's.
    pub fn cpu_time(&self) -> Fallible<Duration> {
        match &*self.task.lock().expect("no holder of the lock panics") {
            Some(task) => cpu_time_of(task),
            None => Ok(Duration::ZERO),
        }
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            // Its panic would be in the log.
            let _ = thread.join();
        }
    }
}

/// Relays connections for as long as the runtime lives.
async fn relay(mut listener: TcpListener, wanted: Relayed, link: watch::Receiver<Link>) {
    let refused = Arc::new(Notify::new());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        tokio::select! {
            () = refused.notified() => {
                // It may be back already: each of its connections reports its end.
                if TcpStream::connect(wanted.target).await.is_err() {
                    // A client of a part that is gone is refused at once, and has sent nothing.
                    drop(listener);
                    listener = listen_again(&wanted).await;
                }
            }
            (place, accepted) = accept(&listener, &places) => {
                if let Ok((stream, _)) = accepted {
                    let carried = connection(stream, wanted.target, link.clone(), refused.clone());
                    tokio::spawn(async move {
                        carried.await;
                        drop(place);
                    });
                } else {
                    // Out of file descriptors, for example, which passes.
                    sleep(RETURN_LOOK).await;
                }
            }
        }
    }
}

/// The next connection, when there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, io::Result<(TcpStream, SocketAddr)>) {
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    (place, listener.accept().await)
}

/// Waits until the part listens, and listens then.
async fn listen_again(wanted: &Relayed) -> TcpListener {
    loop {
        if TcpStream::connect(wanted.target).await.is_ok()
            && let Ok(listener) = TcpListener::bind(wanted.listen).await
        {
            return listener;
        }
        sleep(RETURN_LOOK).await;
    }
}

/// Carries one connection, both ways, until both have ended.
async fn connection(client: TcpStream, target: SocketAddr, mut link: watch::Receiver<Link>, refused: Arc<Notify>) {
    if wait_until_whole(&mut link).await.is_none() {
        return;
    }
    let Ok(part) = TcpStream::connect(target).await else {
        refused.notify_one();
        return;
    };
    // Without it small requests wait for acknowledgements; an error means that it is gone, as the copies will notice.
    let _ = (client.set_nodelay(true), part.set_nodelay(true));
    let ((from_client, to_client), (from_part, to_part)) = (client.into_split(), part.into_split());
    tokio::join!(carry(from_client, to_part, link.clone()), async {
        carry(from_part, to_client, link.clone()).await;
        if TcpStream::connect(target).await.is_err() {
            refused.notify_one();
        }
    });
}

/// Carries one direction until it ends: reading goes on while what was read
/// waits for its time, up to a bound.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut link: watch::Receiver<Link>) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let delay = link.clone();
    let read = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            // A connection that broke is passed on as one that was closed.
            let count = from.read(&mut buffer).await.unwrap_or(0);
            let due = Instant::now() + delay.borrow().delay;
            if sender.send((due, buffer[..count].to_vec())).await.is_err() || count == 0 {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            if wait_until_whole(&mut link).await.is_none() || chunk.is_empty() {
                break;
            }
            if to.write_all(&chunk).await.is_err() {
                break;
            }
        }
        // Fails when the other side is gone already.
        let _ = to.shutdown().await;
    };
    tokio::select! {
        // What is read has no receiver any more.
        () = write => (),
        () = async { read.await; std::future::pending().await } => (),
    }
}

/// Waits while the link is cut; `None` when its relay has ended.
async fn wait_until_whole(link: &mut watch::Receiver<Link>) -> Option<()> {
    link.wait_for(|link| link.cuts == 0).await.ok().map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};

    use super::*;

    /// Sends back what it reads, until it is dropped.
    struct Echo {
        addr: SocketAddr,
        runtime: tokio::runtime::Runtime,
    }

    impl Echo {
        fn start(addr: SocketAddr) -> Echo {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let listener = runtime.block_on(TcpListener::bind(addr)).unwrap();
            let addr = listener.local_addr().unwrap();
            runtime.spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let (mut from, mut to) = stream.split();
                        tokio::io::copy(&mut from, &mut to).await
                    });
                }
            });
            Echo { addr, runtime }
        }

        fn end(self) {
            self.runtime.shutdown_background();
        }
    }

    fn before(echo: &Echo) -> (Relays, SocketAddr) {
        let listen = SocketAddr::from(([127, 0, 0, 1], crate::ports::free_port()));
        let wanted = Relayed { part: "a-redis".into(), listen, target: echo.addr };
        (Relays::start(&[wanted]).unwrap(), listen)
    }

    fn connect(addr: SocketAddr) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        stream
    }

    fn sent_back(stream: &mut std::net::TcpStream, text: &str) -> std::io::Result<Duration> {
        let since = std::time::Instant::now();
        stream.write_all(text.as_bytes())?;
        reads(stream, text)?;
        Ok(since.elapsed())
    }

    fn reads(stream: &mut std::net::TcpStream, text: &str) -> std::io::Result<()> {
        let mut read = vec![0; text.len()];
        stream.read_exact(&mut read)?;
        assert_eq!(read, text.as_bytes());
        Ok(())
    }

    #[test]
    fn a_slow_link_takes_its_delay_both_ways_and_nothing_afterwards() {
        let echo = Echo::start(SocketAddr::from(([127, 0, 0, 1], 0)));
        let (relays, addr) = before(&echo);
        let mut stream = connect(addr);
        sent_back(&mut stream, "before").unwrap();
        relays.change("a-redis", |link| link.delay = Duration::from_millis(60)).unwrap();
        assert!(sent_back(&mut stream, "slow").unwrap() >= Duration::from_millis(120));
        assert!(sent_back(&mut connect(addr), "slow for a new one, too").unwrap() >= Duration::from_millis(120));
        relays.change("a-redis", |link| link.delay = Duration::ZERO).unwrap();
        let fastest = (0..20).map(|_| sent_back(&mut stream, "fast").unwrap()).min().unwrap();
        assert!(fastest < Duration::from_millis(60), "{fastest:?}");
        let unknown = relays.change("a9", |link| link.cuts = 1).unwrap_err().to_string();
        assert_eq!(unknown, "the links to a9 go through no relay");
        assert!(relays.cpu_time().is_ok());
    }

    #[test]
    fn a_link_that_is_cut_carries_nothing_and_delivers_it_when_it_is_whole() {
        let echo = Echo::start(SocketAddr::from(([127, 0, 0, 1], 0)));
        let (relays, addr) = before(&echo);
        let mut old = connect(addr);
        sent_back(&mut old, "before").unwrap();
        relays.change("a-redis", |link| link.cuts = 1).unwrap();
        let mut new = connect(addr);
        for stream in [&mut old, &mut new] {
            let silence = sent_back(stream, "lost?").unwrap_err().kind();
            assert!(matches!(silence, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence:?}");
        }
        relays.change("a-redis", |link| link.cuts = 0).unwrap();
        reads(&mut old, "lost?").unwrap();
        reads(&mut new, "lost?").unwrap();
    }

    #[test]
    fn a_part_that_is_gone_is_refused_by_its_relay_too_until_it_is_back() {
        let echo = Echo::start(SocketAddr::from(([127, 0, 0, 1], 0)));
        let (_relays, addr) = before(&echo);
        let target = echo.addr;
        let mut stream = connect(addr);
        sent_back(&mut stream, "before").unwrap();
        echo.end();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "its connections end with it");
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(addr).is_ok() {
            assert!(std::time::Instant::now() < until, "the relay still listens");
            std::thread::sleep(Duration::from_millis(10));
        }
        let _echo = Echo::start(target);
        while std::net::TcpStream::connect(addr).is_err() {
            assert!(std::time::Instant::now() < until, "the relay does not listen again");
            std::thread::sleep(Duration::from_millis(10));
        }
        sent_back(&mut connect(addr), "after").unwrap();
    }

    #[test]
    fn much_passes_unchanged_and_an_end_is_passed_on() {
        let echo = Echo::start(SocketAddr::from(([127, 0, 0, 1], 0)));
        let (_relays, addr) = before(&echo);
        let sent: Vec<u8> = (0..4_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut stream = connect(addr);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let to_send = sent.clone();
        let writing = std::thread::spawn(move || {
            writer.write_all(&to_send).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut read = Vec::new();
        stream.read_to_end(&mut read).unwrap();
        writing.join().unwrap();
        assert!(read == sent, "{} of {} bytes", read.len(), sent.len());
    }
}
