//! A span, and the one that a task works for.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::context::TraceContext;

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An id or a name.
    Text(Cow<'a, str>),
    /// A count.
    Number(u64),
}

impl Value<'_> {
    fn borrowed(&self) -> Value<'_> {
        match self {
            Value::Text(text) => text.as_ref().into(),
            Value::Number(number) => Value::Number(*number),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Value<'a> {
        Value::Text(text.into())
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::Text(text.into())
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Value::Number(number)
    }
}

/// What a span is about. Asked for only when a line is written or the span is exported.
pub trait Fields: Send + Sync {
    /// Gives each field, in the order in which they are shown.
    fn visit(&self, field: &mut dyn FnMut(&'static str, Value<'_>));

    /// The spans of the requests that a batch is made of.
    fn links(&self) -> &[Arc<Span>] {
        &[]
    }
}

/// On whose behalf the work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A client waits for an answer.
    Server,
    /// The process itself.
    Internal,
}

/// A piece of work with a beginning and an end.
pub struct Span<F: ?Sized = dyn Fields> {
    /// The kind of work, one of few.
    pub name: &'static str,
    /// On whose behalf.
    pub kind: SpanKind,
    /// Its ids.
    pub context: TraceContext,
    /// When it began.
    pub started: Instant,
    recorded: Mutex<Vec<(&'static str, Value<'static>)>>,
    /// What it is about.
    pub fields: F,
}

impl<F> Span<F> {
    /// A span that began at `started`.
    pub fn new(name: &'static str, kind: SpanKind, context: TraceContext, started: Instant, fields: F) -> Span<F> {
        Span { name, kind, context, started, recorded: Mutex::default(), fields }
    }
}

impl<F: Fields + ?Sized> Span<F> {
    /// Adds a field that was not known at the beginning; a later value replaces an earlier one.
    pub fn record(&self, name: &'static str, value: impl Into<Value<'static>>) {
        let mut recorded = self.recorded.lock();
        recorded.retain(|(before, _)| *before != name);
        recorded.push((name, value.into()));
    }

    /// Gives each field: the ids, what the span is about, and what was recorded.
    pub fn visit(&self, field: &mut dyn FnMut(&'static str, Value<'_>)) {
        field("trace_id", self.context.trace_id_text().into());
        field("span_id", self.context.span_id_text().into());
        self.fields.visit(field);
        for (name, value) in &*self.recorded.lock() {
            field(name, value.borrowed());
        }
    }
}

tokio::task_local! {
    static CURRENT: Option<Arc<Span>>;
}

/// The span that this task works for now.
pub fn current() -> Option<Arc<Span>> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}

/// Work that is done for a span.
pub fn in_span<T>(span: Arc<Span>, work: impl Future<Output = T>) -> impl Future<Output = T> {
    CURRENT.scope(Some(span), work)
}

/// The same for work that does not wait.
pub fn within<T>(span: Arc<Span>, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(Some(span), work)
}

/// Work for another task that is done for the span of this one.
pub fn in_current<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    CURRENT.scope(current(), work)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str);

    impl Fields for Named {
        fn visit(&self, field: &mut dyn FnMut(&'static str, Value<'_>)) {
            field("name", self.0.into());
        }
    }

    fn span(name: &'static str) -> Arc<Span> {
        Arc::new(Span::new("test", SpanKind::Internal, TraceContext::root(false), Instant::now(), Named(name)))
    }

    fn name_of_current() -> Option<String> {
        let mut name = None;
        current()?.visit(&mut |field, value| {
            if let ("name", Value::Text(value)) = (field, value) {
                name = Some(value.into_owned());
            }
        });
        name
    }

    #[tokio::test]
    async fn a_task_works_for_one_span_at_a_time_and_hands_it_on() {
        assert_eq!(name_of_current(), None);
        let outer = async {
            let inner = in_span(span("inner"), async {
                tokio::task::yield_now().await;
                tokio::spawn(in_current(async { name_of_current() })).await.unwrap()
            });
            (inner.await, name_of_current(), tokio::spawn(async { name_of_current() }).await.unwrap())
        };
        let (handed_on, own, not_handed_on) = in_span(span("outer"), outer).await;
        assert_eq!((handed_on.as_deref(), own.as_deref(), not_handed_on), (Some("inner"), Some("outer"), None));
        assert_eq!(tokio::spawn(in_current(async { name_of_current() })).await.unwrap(), None);
    }

    #[test]
    fn a_span_shows_its_ids_its_fields_and_what_was_recorded() {
        let span = span("x");
        span.record("envelope_id", "d".to_owned());
        span.record("envelope_id", "e".to_owned());
        let mut names = Vec::new();
        span.visit(&mut |name, _| names.push(name));
        assert_eq!(names, ["trace_id", "span_id", "name", "envelope_id"]);
    }
}
