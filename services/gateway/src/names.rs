//! Which IP addresses the names of servers lead to, asked again and again: a server that moves is followed, and its
//! kept connections to the old address are given up with it.
//!
//! The system's resolver is asked, so that `/etc/hosts` and whatever else the host is configured for count.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use hongbao_core::limits::NAMES_WAIT_MAX;
use hongbao_core::topology::Address;
use parking_lot::Mutex;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

/// What the names are known to lead to.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: Mutex<HashMap<Address, Resolved>>,
    /// Those that the system's resolver is asked for and has not answered: however long it takes, each keeps one
    /// thread.
    asked: Arc<Mutex<HashSet<Address>>>,
}

/// What is known of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Resolved {
    /// What is used: `None` as long as nothing was found.
    used: Option<SocketAddr>,
    /// Why nothing was found the last time.
    failed: Option<String>,
}

/// A name, and whether its server is dead.
#[derive(Clone, Debug)]
pub(crate) struct NamedServer {
    pub(crate) address: Address,
    pub(crate) is_dead: bool,
}

impl Names {
    /// Where a server is reached; `None` if its name is not known to lead anywhere.
    pub(crate) fn reached(&self, address: &Address) -> Option<SocketAddr> {
        address.socket_address().or_else(|| self.known.lock().get(address)?.used)
    }

    /// Resolves these names, at the same time, and says each time when one leads elsewhere. A name without an answer
    /// keeps what it had.
    pub(crate) async fn resolve(&self, asked: Vec<NamedServer>, has_changed: impl Fn()) {
        let mut answers = JoinSet::new();
        for NamedServer { address, is_dead } in asked {
            if !self.asked.lock().insert(address.clone()) {
                continue;
            }
            let (name, asked) = (address.clone(), self.asked.clone());
            answers.spawn(async move {
                let asking = spawn_blocking(move || {
                    let found = (name.host(), name.port()).to_socket_addrs().map(Vec::from_iter);
                    asked.lock().remove(&name);
                    found
                });
                let found = match timeout(NAMES_WAIT_MAX, asking).await {
                    Ok(Ok(Ok(found))) => Ok(found),
                    Ok(Ok(Err(error))) => Err(error.to_string()),
                    // The system's resolver does not panic.
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("no answer in time".to_owned()),
                };
                (address, is_dead, found)
            });
        }
        while let Some(Ok((address, is_dead, found))) = answers.join_next().await {
            if self.learn(address, is_dead, found) {
                has_changed();
            }
        }
    }

    fn learn(&self, address: Address, is_dead: bool, found: Result<Vec<SocketAddr>, String>) -> bool {
        let mut known = self.known.lock();
        let before = known.entry(address.clone()).or_default();
        let found = found.and_then(|found| choose(&found, before.used, is_dead).ok_or("it has no address".to_owned()));
        let now = match found {
            Ok(used) => Resolved { used: Some(used), failed: None },
            Err(reason) => Resolved { used: before.used, failed: Some(reason) },
        };
        if let Some(reason) = now.failed.as_ref().filter(|_| now.failed != before.failed) {
            tracing::warn!(%address, error = reason, "a server's name was not resolved");
        }
        if now.used != before.used {
            let (was, is) = (before.used.map(tracing::field::display), now.used.map(tracing::field::display));
            tracing::info!(%address, was, is, "a server's name leads to another IP address");
        }
        let has_changed = now.used != before.used;
        *before = now;
        has_changed
    }
}

/// The address to use of those that a name has: the one in use for as long as it is among them, unless its server is
/// dead and there is another; IPv4 before IPv6.
fn choose(found: &[SocketAddr], used: Option<SocketAddr>, is_dead: bool) -> Option<SocketAddr> {
    let mut found = found.to_vec();
    found.sort_unstable();
    found.dedup();
    let Some(at) = used.and_then(|used| found.iter().position(|address| *address == used)) else {
        return found.first().copied();
    };
    match is_dead {
        true => found.get((at + 1) % found.len()).copied(),
        false => used,
    }
}

/// Names of dead servers are resolved in each round, all others in every one of so many.
pub(crate) const ROUNDS_OF_LIVING: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_in_use_is_kept_while_its_name_has_it() {
        let (one, two, six) = (at("10.0.0.1:90"), at("10.0.0.2:90"), at("[::1]:90"));
        assert_eq!(choose(&[six, two, one], None, false), Some(one), "IPv4 before IPv6");
        assert_eq!(choose(&[two, one], Some(two), false), Some(two));
        assert_eq!(choose(&[one], Some(two), false), Some(one), "it has moved");
        assert_eq!(choose(&[], Some(two), false), None);
    }

    #[test]
    fn of_a_name_with_several_addresses_the_next_one_is_used_when_its_server_is_dead() {
        let all @ [one, two, six] = [at("10.0.0.1:90"), at("10.0.0.2:90"), at("[::1]:90")];
        assert_eq!(choose(&all, Some(one), true), Some(two));
        assert_eq!(choose(&all, Some(two), true), Some(six));
        assert_eq!(choose(&all, Some(six), true), Some(one));
        assert_eq!(choose(&[one], Some(one), true), Some(one));
    }

    #[tokio::test]
    async fn a_name_without_an_answer_keeps_what_it_had() {
        let names = Names::default();
        let name: Address = "a1.example:9000".parse().unwrap();
        assert!(!names.learn(name.clone(), true, Err("no answer".to_owned())));
        assert_eq!(names.reached(&name), None);
        assert!(names.learn(name.clone(), true, Ok(vec![at("10.0.0.1:9000")])));
        assert!(!names.learn(name.clone(), true, Err("no answer".to_owned())));
        assert_eq!(names.reached(&name), Some(at("10.0.0.1:9000")));
        let localhost: Address = "localhost:9000".parse().unwrap();
        let changes = Mutex::new(0);
        names.resolve(vec![NamedServer { address: localhost.clone(), is_dead: false }], || *changes.lock() += 1).await;
        assert_eq!(*changes.lock(), 1);
        assert_eq!(names.reached(&localhost), Some(at("127.0.0.1:9000")));
    }
}
