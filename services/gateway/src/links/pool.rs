//! The links of one thread, by server.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hongbao_core::limits::{LINK_FAILED_MS_MIN, LINK_LINES_PER_S_MAX, LINK_REFUSED_MS, LINKS_PER_SERVER_MAX};
use hongbao_http::link::LinkRequest;
use hongbao_http::log_budget::LogBudget;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::link::{Asked, Link};
use super::opening::{NotOpened, open};
use super::task;
use crate::connect::ServerConnector;
use crate::metrics::GatewayMetrics;
use crate::upstream::{ServerKey, Upstream};

/// The links of one thread.
pub(crate) struct Links {
    servers: Mutex<HashMap<ServerKey, ServerLinks>>,
    connect_timeout_ms: u64,
    metrics: Arc<GatewayMetrics>,
    log: Arc<LogBudget>,
}

/// The links to one server.
struct ServerLinks {
    server: Weak<Upstream>,
    links: Vec<Arc<Link>>,
    is_opening: bool,
    /// Failures in a row.
    failures: u32,
    not_before: Option<Instant>,
}

impl Links {
    pub(crate) fn new(connect_timeout_ms: u64, metrics: Arc<GatewayMetrics>) -> Links {
        Links {
            servers: Mutex::default(),
            connect_timeout_ms,
            metrics,
            log: Arc::new(LogBudget::new(LINK_LINES_PER_S_MAX)),
        }
    }

    /// Asks on the first link that has room; `None` if none has. Then another one is
    /// opened for those who come later, if there may be one.
    pub(crate) fn ask(self: &Arc<Links>, server: &Arc<Upstream>, request: &LinkRequest<&[u8]>) -> Option<Asked> {
        let mut servers = self.servers.lock();
        let of_server = match servers.get_mut(&ServerKey::of(server)) {
            Some(of_server) => of_server,
            None => {
                // Servers that are in no topology any more.
                servers.retain(|_, of_server| of_server.server.strong_count() > 0 || of_server.is_in_use());
                servers.entry(ServerKey::of(server)).or_insert_with(|| ServerLinks::of(server))
            }
        };
        let asked = of_server.links.iter().find_map(|link| link.ask(request));
        if asked.is_none() && of_server.may_open() {
            of_server.is_opening = true;
            self.metrics.link_opening(true);
            tokio::spawn(self.clone().open(server.clone()));
        }
        asked
    }

    /// Opens a link and serves it until it ends.
    async fn open(self: Arc<Links>, server: Arc<Upstream>) {
        let connector = ServerConnector::new(&server, self.connect_timeout_ms);
        let within = Duration::from_millis(self.connect_timeout_ms);
        let opened = open(connector, server.authority.clone(), within).await;
        let metrics = self.metrics.clone();
        let link = Arc::new(Link::new());
        {
            let mut servers = self.servers.lock();
            let of_server = servers.entry(ServerKey::of(&server)).or_insert_with(|| ServerLinks::of(&server));
            of_server.is_opening = false;
            match &opened {
                Ok(_) => of_server.links.push(link.clone()),
                Err(NotOpened::Refused(_)) => of_server.rest(LINK_REFUSED_MS),
                Err(NotOpened::Failed(_)) => of_server.failed(),
            }
        }
        metrics.link_opening(false);
        let (stream, received) = match opened {
            Ok(opened) => opened,
            Err(NotOpened::Refused(status)) => {
                metrics.links().refused();
                tracing::debug!(server = server.name, status = status.as_u16(), "a link was refused");
                return;
            }
            Err(NotOpened::Failed(reason)) => {
                tracing::debug!(server = server.name, error = reason, "a link was not opened");
                return;
            }
        };
        metrics.links().opened();
        let (links, log, opened) = (Arc::downgrade(&self), self.log.clone(), Instant::now());
        // From now on the link is kept by the others alone: it closes when there are none.
        drop(self);
        let mut end =
            EndOfLink { links, link: link.clone(), server, opened, metrics: metrics.clone(), log, result: None };
        end.result = Some(task::run(&link, stream, received, metrics.links()).await);
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for link in self.servers.get_mut().values().flat_map(|of_server| &of_server.links) {
            link.close();
        }
    }
}

impl ServerLinks {
    fn of(server: &Arc<Upstream>) -> ServerLinks {
        let (server, links) = (Arc::downgrade(server), Vec::new());
        ServerLinks { server, links, is_opening: false, failures: 0, not_before: None }
    }

    /// Whether there are links, also to one that is in no topology any more.
    fn is_in_use(&self) -> bool {
        self.is_opening || !self.links.is_empty()
    }

    fn may_open(&self) -> bool {
        let is_time = self.not_before.is_none_or(|not_before| Instant::now() >= not_before);
        !self.is_opening && is_time && self.links.len() < LINKS_PER_SERVER_MAX
    }

    fn failed(&mut self) {
        let wait_ms = LINK_FAILED_MS_MIN << self.failures.min(16);
        self.failures += 1;
        self.rest(wait_ms.min(LINK_REFUSED_MS));
    }

    fn rest(&mut self, ms: u64) {
        self.not_before = Some(Instant::now() + Duration::from_millis(ms));
    }
}

/// Ends a link when it is dropped, also if its task was.
struct EndOfLink {
    links: Weak<Links>,
    link: Arc<Link>,
    server: Arc<Upstream>,
    opened: Instant,
    metrics: Arc<GatewayMetrics>,
    log: Arc<LogBudget>,
    result: Option<Result<(), String>>,
}

impl Drop for EndOfLink {
    fn drop(&mut self) {
        let (_, is_used) = self.link.usage();
        let broken = match self.result.take() {
            Some(Ok(())) => None,
            Some(Err(reason)) => Some(reason),
            None => is_used.then(|| "its task has ended".to_owned()),
        };
        let unknown = self.link.end(broken.as_deref().unwrap_or("it was closed"));
        self.metrics.links().ended();
        if let Some(reason) = &broken {
            self.metrics.links().broken();
            if let Some(suppressed) = self.log.take() {
                let Upstream { set, name: server, .. } = &*self.server;
                tracing::warn!(set, server, error = reason, unknown, suppressed, "a link broke");
            }
        }
        let Some(links) = self.links.upgrade() else { return };
        let mut servers = links.servers.lock();
        let Some(of_server) = servers.get_mut(&ServerKey::of(&self.server)) else { return };
        of_server.links.retain(|other| !Arc::ptr_eq(other, &self.link));
        if self.opened.elapsed() >= Duration::from_millis(LINK_REFUSED_MS) {
            of_server.failures = 0;
        }
        if broken.is_some() {
            of_server.failed();
        }
    }
}
