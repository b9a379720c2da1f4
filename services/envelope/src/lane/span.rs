//! The span of a batch: a trace of its own, which links to the requests in it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use hongbao_core::EnvelopeId;
use hongbao_core::limits::LOG_BATCH_REQUESTS_MAX;
use hongbao_trace::{Fields, Span, SpanKind, TraceContext, Value};

use super::queue::OpenJob;

/// What a batch's span is about.
pub(super) struct BatchFields {
    openings: usize,
    /// May name one more than once.
    envelopes: Vec<EnvelopeId>,
    requests: Vec<Arc<Span>>,
}

impl Fields for BatchFields {
    fn visit(&self, field: &mut dyn FnMut(&'static str, Value<'_>)) {
        field("openings", (self.openings as u64).into());
        let envelopes: BTreeSet<_> = self.envelopes.iter().collect();
        field("envelopes", (envelopes.len() as u64).into());
        field("envelope_id", list(envelopes).into());
        let mut request_ids = Vec::new();
        for request in self.requests.iter().take(LOG_BATCH_REQUESTS_MAX) {
            request.fields.visit(&mut |name, value| match value {
                Value::Text(id) if name == "request_id" => request_ids.push(id.into_owned()),
                _ => {}
            });
        }
        field("request_ids", list(request_ids).into());
    }

    fn links(&self) -> &[Arc<Span>] {
        &self.requests
    }
}

/// The first of them.
fn list(ids: impl IntoIterator<Item: Display>) -> String {
    let ids: Vec<_> = ids.into_iter().take(LOG_BATCH_REQUESTS_MAX).map(|id| id.to_string()).collect();
    ids.join(",")
}

/// The span of a batch that is begun now. It is recorded if one of its requests is.
pub(super) fn batch_span(batch: &[OpenJob]) -> Arc<Span<BatchFields>> {
    let mut envelopes: Vec<EnvelopeId> = batch.iter().map(|job| job.live.envelope.id).collect();
    envelopes.dedup();
    let requests: Vec<_> = batch.iter().filter_map(|job| job.request.clone()).collect();
    let is_sampled = requests.iter().any(|request| request.context.is_sampled);
    let fields = BatchFields { openings: batch.len(), envelopes, requests };
    Arc::new(Span::new("batch", SpanKind::Internal, TraceContext::root(is_sampled), Instant::now(), fields))
}

/// From here on, what is logged of these requests names the batch.
pub(super) fn tell_requests(batch: &[OpenJob], span: &Span<BatchFields>) {
    for request in batch.iter().filter_map(|job| job.request.as_ref()) {
        request.record("batch_span_id", span.context.span_id_text());
    }
}
