//! Sends ended spans to a collector of traces, by OTLP over HTTP, where `[otlp]` names one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use hongbao_core::limits::{
    OTLP_ANSWER_BYTES_MAX, OTLP_BATCH_MAX, OTLP_EXPORT_EVERY_MS, OTLP_EXPORT_MS_MAX, OTLP_LINKS_MAX, OTLP_QUEUE_MAX,
};
use hongbao_core::{Clock as _, SystemClock};
use hongbao_http::error_chain;
use hongbao_trace::export::{self, Export};
use hongbao_trace::{self as trace, Span, TraceContext, Value};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanLinks, SpanProcessor as _};
use tokio::runtime::Handle;

use crate::config::Otlp;

/// The process whose spans they are.
#[derive(Clone, Debug)]
pub struct Process {
    /// `gateway`, `server`, `worker` or `dev`.
    pub role: &'static str,
    /// Its name in the topology.
    pub name: String,
    /// Its SET, if it belongs to one.
    pub set: Option<String>,
}

/// The export of a process, until it is [stopped](Exporting::stop).
pub struct Exporting(Option<Arc<BatchSpanProcessor>>);

/// Exports from now on, if the settings name a collector.
///
/// # Errors
/// What is wrong with the settings, in words for an operator.
pub fn start(settings: &Otlp, process: &Process, runtime: Handle) -> Result<Exporting, String> {
    let Some(endpoint) = &settings.endpoint else { return Ok(Exporting(None)) };
    let client = Collector {
        client: Client::builder(TokioExecutor::new()).build_http(),
        runtime,
        fails: AtomicBool::new(false),
    };
    let within = Duration::from_millis(OTLP_EXPORT_MS_MAX);
    // Each value is set here, so that the SDK's variables of the environment change none of
    // them. `OTEL_EXPORTER_OTLP_HEADERS` remains: a collector may want a token.
    let exporter = SpanExporter::builder().with_http().with_http_client(client).with_endpoint(endpoint);
    let exporter = exporter.with_timeout(within).build();
    let exporter = exporter.map_err(|error| format!("otlp: {error}"))?;
    let bounds = BatchConfigBuilder::default()
        .with_max_queue_size(OTLP_QUEUE_MAX)
        .with_max_export_batch_size(OTLP_BATCH_MAX)
        .with_scheduled_delay(Duration::from_millis(OTLP_EXPORT_EVERY_MS))
        .build();
    let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(bounds).build();
    let mut resource = Resource::builder_empty().with_attributes([
        KeyValue::new("service.name", "hongbao"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", process.name.clone()),
        KeyValue::new("hongbao.role", process.role),
    ]);
    if let Some(set) = &process.set {
        resource = resource.with_attribute(KeyValue::new("hongbao.set", set.clone()));
    }
    processor.set_resource(&resource.build());
    let processor = Arc::new(processor);
    export::install(Box::new(ToProcessor(processor.clone())), settings.sampled);
    Ok(Exporting(Some(processor)))
}

impl Exporting {
    /// Sends what has ended, for a few seconds at most. Blocks; the runtime must still run.
    pub fn stop(self) {
        if let Some(Err(error)) = self.0.map(|processor| processor.shutdown()) {
            tracing::warn!(%error, "not all spans were exported");
        }
    }
}

struct ToProcessor(Arc<BatchSpanProcessor>);

impl Export for ToProcessor {
    fn ended(&self, span: &Span, took: Duration, failure: Option<&str>) {
        self.0.on_end(data_of(span, took, failure));
    }
}

fn data_of(span: &Span, took: Duration, failure: Option<&str>) -> SpanData {
    let end_time = UNIX_EPOCH + Duration::from_millis(SystemClock.now().millis().unsigned_abs());
    let mut attributes = Vec::new();
    span.visit(&mut |name, value| match (name, value) {
        // They stand in fields of their own.
        ("trace_id" | "span_id", _) => {}
        (name, Value::Text(text)) => attributes.push(KeyValue::new(name, text.into_owned())),
        (name, Value::Number(number)) => {
            attributes.push(KeyValue::new(name, i64::try_from(number).unwrap_or(i64::MAX)))
        }
    });
    let mut links = SpanLinks::default();
    let recorded = span.fields.links().iter().filter(|link| link.context.is_sampled).take(OTLP_LINKS_MAX);
    links.links = recorded.map(|link| Link::with_context(context_of(&link.context))).collect();
    SpanData {
        span_context: context_of(&span.context),
        parent_span_id: span.context.parent.map_or(SpanId::INVALID, |id| SpanId::from_bytes(id.get().to_be_bytes())),
        parent_span_is_remote: span.context.parent.is_some(),
        span_kind: match span.kind {
            trace::SpanKind::Server => SpanKind::Server,
            trace::SpanKind::Internal => SpanKind::Internal,
        },
        name: span.name.into(),
        start_time: end_time - took,
        end_time,
        attributes,
        dropped_attributes_count: 0,
        events: Default::default(),
        links,
        status: failure.map_or(Status::Unset, |reason| Status::error(reason.to_owned())),
        instrumentation_scope: InstrumentationScope::builder("hongbao").build(),
    }
}

fn context_of(context: &TraceContext) -> SpanContext {
    let flags = if context.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let trace_id = TraceId::from_bytes(context.trace_id.get().to_be_bytes());
    let span_id = SpanId::from_bytes(context.span_id.get().to_be_bytes());
    SpanContext::new(trace_id, span_id, flags, false, Default::default())
}

/// The collector. The exporter's thread belongs to no runtime, so the connections live on ours.
struct Collector {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
    fails: AtomicBool,
}

impl fmt::Debug for Collector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Collector")
    }
}

impl Collector {
    /// Logs when it begins to fail and when that is over.
    fn note(&self, failure: Option<&dyn fmt::Display>) {
        match (self.fails.swap(failure.is_some(), Ordering::Relaxed), failure) {
            (false, Some(error)) => {
                tracing::warn!(%error, "spans are lost: the collector cannot be reached or does not take them")
            }
            (true, None) => tracing::info!("spans are exported again"),
            _ => {}
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.client.request(request.map(Full::new));
        let exchange = async move {
            let (head, body) = answer.await?.into_parts();
            let body = Limited::new(body, OTLP_ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        let within = Duration::from_millis(OTLP_EXPORT_MS_MAX);
        let exchange = async move {
            let late = |_| HttpError::from(format!("no answer within {OTLP_EXPORT_MS_MAX} ms"));
            tokio::time::timeout(within, exchange).await.map_err(late)?
        };
        let answer: Result<Response<Bytes>, HttpError> = self.runtime.spawn(exchange).await?;
        match &answer {
            Ok(answer) if answer.status().is_success() => self.note(None),
            Ok(answer) => self.note(Some(&answer.status())),
            Err(error) => self.note(Some(&error_chain(&**error))),
        }
        answer
    }
}
