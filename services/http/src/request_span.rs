//! The span of a request: its trace comes with it in `traceparent`, or begins here.

use std::time::Instant;

use hongbao_core::EnvelopeId;
use hongbao_core::calls::Call;
use hongbao_trace::context::{TRACEPARENT, TRACESTATE};
use hongbao_trace::{Fields, Span, SpanKind, TraceContext, Value, export};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::problem::bounded;
use crate::request_id::RequestId;

const TRACEPARENT_NAME: HeaderName = HeaderName::from_static(TRACEPARENT);
const TRACESTATE_NAME: HeaderName = HeaderName::from_static(TRACESTATE);

/// What a request's span is about.
pub(crate) struct RequestFields {
    pub(crate) id: RequestId,
    pub(crate) method: Method,
    /// With one spelling for equivalent paths, and without the query.
    pub(crate) path: Box<str>,
}

impl RequestFields {
    /// The path, cut to a length that fits a log line.
    pub(crate) fn path(&self) -> String {
        bounded(&self.path)
    }
}

impl Fields for RequestFields {
    fn visit(&self, field: &mut dyn FnMut(&'static str, Value<'_>)) {
        field("request_id", self.id.as_str().into());
        let method = if self.method == Method::HEAD { &Method::GET } else { &self.method };
        for call in Call::ALL.map(Call::info).iter().filter(|call| call.method.as_str() == method.as_str()) {
            let Some(id) = call.matches(&self.path) else { continue };
            field("call", call.label().into());
            if let Some(id) = id.and_then(EnvelopeId::parse) {
                field("envelope_id", id.to_string().into());
            }
        }
    }
}

/// The value of the one `traceparent` of these headers.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(TRACEPARENT_NAME).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// The span of a request that began at `started` and came with this `traceparent`.
pub(crate) fn request_span(traceparent: Option<&[u8]>, started: Instant, fields: RequestFields) -> Span<RequestFields> {
    let received = traceparent.and_then(TraceContext::received);
    let context = received.unwrap_or_else(|| TraceContext::root(export::samples_next()));
    Span::new("request", SpanKind::Server, context, started, fields)
}

/// Puts the present span into the headers of what is called next. What vendors have added
/// to a trace goes no further than the trace itself.
pub fn propagate(headers: &mut HeaderMap) {
    let Some(span) = hongbao_trace::current() else { return };
    let value = HeaderValue::from_bytes(&span.context.traceparent()).expect("hex digits and dashes");
    headers.insert(TRACEPARENT_NAME, value);
    if span.context.parent.is_none() {
        headers.remove(TRACESTATE_NAME);
    }
}
