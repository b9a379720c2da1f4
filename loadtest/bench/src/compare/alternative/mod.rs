//! The alternatives: the schemes that the design rejects, each written as well as its
//! adherents would write it, behind the same HTTP as the service.
//!
//! An alternative checks tokens, tickets and bodies with the code of the service, and
//! gives the same answers. What differs is how it takes a share: that is one file
//! a scheme. All of them draw with the same split, and only Hongbao credits balances.
//!
//! Reading order: [`bare`], which is none of them but their measure; [`row_lock`], [`optimistic`], [`presplit`], [`serial`];
//! [`memory_first`] and [`redis_always`], which keep money in Redis; then [`pool`], [`tables`] and [`script`], which they share.

mod bare;
mod memory_first;
mod optimistic;
pub mod presplit;
mod redis_always;
mod row_lock;
mod serial;

mod failure;
mod pool;
mod script;
pub mod tables;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use hongbao_core::ticket::TicketKey;
use hongbao_core::wire::{OpenRequest, Outcome};
use hongbao_core::{Clock as _, EnvelopeId, SystemClock, UserId};
use hongbao_http::{Caller, Code, Json, Problem, ServeOptions, Verifier, json_response, serve};
use hongbao_load::{Fallible, SECRET, TICKET_SECRET};

use self::bare::Bare;
use self::failure::Failure;
use self::memory_first::MemoryFirst;
use self::optimistic::Optimistic;
use self::pool::Pool;
use self::presplit::Presplit;
use self::redis_always::RedisAlways;
use self::row_lock::RowLock;
use self::serial::Serial;
use super::scheme::Scheme;

pub use self::memory_first::PENDING;
pub use self::pool::server_options;
pub use self::script::{journal_key, opened_key, redis_connection, shares_key};

/// What an alternative gets by its command line.
#[derive(clap::Args, Clone, Debug)]
pub struct AlternativeArgs {
    /// Which one
    #[arg(value_enum)]
    pub scheme: Scheme,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// MariaDB, as `host:port` or `unix:/path/to/socket`
    #[arg(long)]
    pub database: String,
    /// Redis, as `host:port`; memory-first and redis-always need one
    #[arg(long)]
    pub redis: Option<SocketAddr>,
    /// Connections to MariaDB
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=128))]
    pub connections: u32,
}

impl AlternativeArgs {
    fn redis(&self) -> Fallible<SocketAddr> {
        self.redis.ok_or_else(|| format!("{} needs --redis", self.scheme.text()).into())
    }
}

/// One of them.
enum Alternative {
    Bare(Bare),
    RowLock(RowLock),
    Optimistic(Optimistic),
    Presplit(Presplit),
    MemoryFirst(MemoryFirst),
    RedisAlways(RedisAlways),
    Serial(Serial),
}

impl Alternative {
    async fn start(args: &AlternativeArgs) -> Fallible<Alternative> {
        let node = pool::options(&args.database, args.scheme)?;
        let connections = args.connections as usize;
        Ok(match args.scheme {
            Scheme::Bare => Alternative::Bare(Bare::default()),
            Scheme::RowLock => Alternative::RowLock(RowLock::new(Pool::open(node, connections).await?, true)),
            Scheme::NoWait => Alternative::RowLock(RowLock::new(Pool::open(node, connections).await?, false)),
            Scheme::Optimistic => Alternative::Optimistic(Optimistic::new(Pool::open(node, connections).await?)),
            Scheme::Serial => Alternative::Serial(Serial::start(&node, connections).await?),
            Scheme::Presplit => Alternative::Presplit(Presplit::new(Pool::open(node, connections).await?)),
            Scheme::MemoryFirst => Alternative::MemoryFirst(MemoryFirst::start(node, args.redis()?).await?),
            Scheme::RedisAlways => Alternative::RedisAlways(RedisAlways::start(args.redis()?).await?),
            Scheme::Hongbao => return Err("Hongbao is no alternative of itself: start `hongbao server`".into()),
        })
    }

    async fn open(&self, envelope: EnvelopeId, user: &UserId) -> Result<Outcome, Failure> {
        match self {
            Alternative::Bare(alternative) => alternative.open(envelope),
            Alternative::RowLock(alternative) => alternative.open(envelope, user).await,
            Alternative::Optimistic(alternative) => alternative.open(envelope, user).await,
            Alternative::Presplit(alternative) => alternative.open(envelope, user).await,
            Alternative::MemoryFirst(alternative) => alternative.open(envelope, user).await,
            Alternative::RedisAlways(alternative) => alternative.open(envelope, user).await,
            Alternative::Serial(alternative) => alternative.open(envelope, user).await,
        }
    }
}

/// What a request needs.
#[derive(Clone)]
struct App {
    alternative: Arc<Alternative>,
    verifier: Verifier,
    tickets: TicketKey,
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Verifier {
        app.verifier.clone()
    }
}

/// Serves an alternative until the process is killed.
pub fn run(args: &AlternativeArgs) -> Fallible<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let router = router(args).await?;
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(args.listen)?;
        // As long a queue of new connections as the service has.
        let listener = socket.listen(4_096)?;
        crate::baseline::announce(listener.local_addr()?);
        serve(listener, router, ServeOptions::default(), std::future::pending()).await;
        Ok(())
    })
}

async fn router(args: &AlternativeArgs) -> Fallible<Router> {
    let app = App {
        alternative: Arc::new(Alternative::start(args).await?),
        verifier: Verifier::hs256(SECRET.as_bytes(), Arc::new(SystemClock))?,
        tickets: TicketKey::new(TICKET_SECRET.as_bytes()),
    };
    Ok(Router::new()
        .route("/v1/envelopes/{id}/open", post(open))
        .route("/readyz", get(async || r#"{"ready":true}"#))
        .with_state(app))
}

async fn open(
    State(app): State<App>,
    Path(id): Path<String>,
    caller: Caller,
    Json(request): Json<OpenRequest>,
) -> Result<Response, Problem> {
    let Some(envelope) = EnvelopeId::parse(&id) else { return Err(Failure::NotFound.into()) };
    if !app.tickets.admits(&request.ticket, envelope, &caller.user, SystemClock.now()) {
        return Err(Problem::new(Code::TicketInvalid, "the ticket is not valid"));
    }
    let outcome = app.alternative.open(envelope, &caller.user).await?;
    Ok(json_response(StatusCode::OK, &outcome))
}

#[cfg(test)]
mod tests;
