//! `hongbao sandbox`: a payment provider for development and tests, as a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use hongbao_core::SystemClock;
use hongbao_core::limits::PROVIDER_SECRET_BYTES_MIN;
use hongbao_http::{Health, HttpMetrics, ServeOptions, serve};
use hongbao_provider::sandbox::wechat::{Emulation, EmulationOptions};
use hongbao_provider::sandbox::{Chances, Pace, Sandbox, SandboxOptions, serve::router};
use serde::Deserialize;

use crate::config::{Log, Otlp, Secret, ZoneOffset};
use crate::otlp::Process;
use crate::{notify, process};

/// What the command line says.
#[derive(clap::Args)]
pub struct Arguments {
    /// The address to serve on.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// The folder of its books; made if it is missing.
    #[arg(long, default_value = "./sandbox")]
    data: PathBuf,
    /// A file with the secret that requests, answers and notifications are signed with, as `secret` in `[provider]`.
    #[arg(long)]
    secret_file: PathBuf,
    /// The id of the secret, as `key_id` in `[provider]`.
    #[arg(long, default_value = "hongbao")]
    key_id: String,
    /// Where notifications go: the address of a gateway with `/v1/provider/notifications`; none are sent without it.
    #[arg(long, value_name = "URL")]
    notify_url: Option<String>,
    /// Where payers reach its pages [default: `http://` and the address that it serves on].
    #[arg(long, value_name = "URL")]
    pages_at: Option<String>,
    /// Offset from UTC, in seconds, of the zone whose days its bills have.
    #[arg(long, default_value_t = ZoneOffset::default().0, allow_negative_numbers = true)]
    zone_offset_s: i32,
    /// Milliseconds from the arrival of an order to its outcome.
    #[arg(long, default_value_t = Pace::default().confirm_ms, value_parser = clap::value_parser!(i64).range(0..=86_400_000))]
    confirm_ms: i64,
    /// Milliseconds that an hour takes: how long it is down; what is late comes after 24 of them.
    #[arg(long, default_value_t = Pace::default().hour_ms, value_parser = clap::value_parser!(i64).range(1..=3_600_000))]
    hour_ms: i64,
    /// What goes wrong by chance, of a thousand requests: `cut=5,late=2`, or `all=3`; a wrong name lists them all.
    #[arg(long, value_name = "FAULT=N,…", default_value = "")]
    faults: Chances,
    /// What chance begins with.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Charges wait for a person, who pays or refuses on the page of the charge.
    #[arg(long)]
    by_hand: bool,
    /// A TOML file that makes it WeChat Pay as well: `mchid`, `appid`, `serial_no`, `merchant_key_file`,
    /// `platform_key_id`, `platform_private_key_file` and `api_v3_secret`. Its notifications are WeChat's then.
    #[arg(long, value_name = "FILE")]
    wechat: Option<PathBuf>,
}

/// See [`Arguments::wechat`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WechatFile {
    mchid: String,
    appid: String,
    serial_no: String,
    merchant_key_file: PathBuf,
    platform_key_id: String,
    platform_private_key_file: PathBuf,
    api_v3_secret: Secret,
}

impl WechatFile {
    /// Reads the file, and the keys beside it.
    fn emulation(file: &Path) -> Result<Emulation, String> {
        let named = |reason: &dyn std::fmt::Display| format!("--wechat {}: {reason}", file.display());
        let read = |file: &Path| std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| named(&error))?;
        let said: WechatFile = toml::from_str(&text).map_err(|error| named(&error.message()))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let merchant_key = read(&folder.join(&said.merchant_key_file)).map_err(|reason| named(&reason))?;
        let platform_key = read(&folder.join(&said.platform_private_key_file)).map_err(|reason| named(&reason))?;
        let options = EmulationOptions {
            mchid: &said.mchid,
            appid: &said.appid,
            serial_no: &said.serial_no,
            merchant_key: &merchant_key,
            platform_key_id: &said.platform_key_id,
            platform_private_key: &platform_key,
            api_v3_key: said.api_v3_secret.0.as_bytes(),
        };
        Emulation::new(&options).map_err(|reason| named(&reason))
    }
}

/// Serves until SIGTERM or SIGINT. An error is one that kept it from starting.
pub fn run(arguments: Arguments) -> Result<ExitCode, String> {
    let secret = read_secret(&arguments.secret_file)?;
    let itself = Process { role: "sandbox", name: "sandbox".to_owned(), set: None };
    let threads = process::processors()?.max(2);
    process::run(&Log::default(), &Otlp::default(), &itself, threads, serve_until_stopped(arguments, secret))?;
    Ok(ExitCode::SUCCESS)
}

/// A secret in a file of its own; spaces around it are none of it.
fn read_secret(file: &Path) -> Result<Vec<u8>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("--secret-file {}: {error}", file.display()))?;
    let secret = text.trim().as_bytes().to_vec();
    if secret.len() < PROVIDER_SECRET_BYTES_MIN {
        return Err(format!("--secret-file: the secret must have at least {PROVIDER_SECRET_BYTES_MIN} bytes"));
    }
    Ok(secret)
}

async fn serve_until_stopped(arguments: Arguments, secret: Vec<u8>) -> Result<(), String> {
    let zone = ZoneOffset(arguments.zone_offset_s);
    zone.check()?;
    let (listener, address) = process::listen(arguments.listen, "--listen")?;
    let options = SandboxOptions {
        key_id: arguments.key_id,
        secret,
        pages_at: arguments.pages_at.unwrap_or_else(|| format!("http://{address}")),
        notify_url: arguments.notify_url,
        zone_offset_s: zone.0,
        pace: Pace { confirm_ms: arguments.confirm_ms, hour_ms: arguments.hour_ms },
        seed: arguments.seed,
        chances: arguments.faults,
        by_hand: arguments.by_hand,
        wechat: arguments.wechat.as_deref().map(WechatFile::emulation).transpose()?,
    };
    let sandbox = Sandbox::open(&arguments.data, options, Arc::new(SystemClock))?;
    let running = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { sandbox.run().await }
    });
    let health = Health::new(Vec::new());
    let mut registry = process::registry();
    let metrics = HttpMetrics::register(&[], &mut registry);
    let routes = router(sandbox).merge(health.router()).merge(hongbao_http::metrics_router(registry));
    let stop = process::stop_signal(health)?;
    println!("listening on http://{address}");
    notify::ready(address, || true);
    tracing::info!(%address, data = %arguments.data.display(), "a sandbox: no money is moved");
    serve(listener, routes, ServeOptions { metrics, ..ServeOptions::default() }, stop).await;
    running.abort();
    Ok(())
}
