//! A line of the log, with the ids of the span that it was written for.

use std::fmt::{self, Write as _};

use hongbao_trace::Value;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;

/// Writes lines as `line` does, and adds the SET and the fields of the [present span](hongbao_trace::current).
pub struct WithSpan<L> {
    pub line: L,
    pub format: LogFormat,
    /// The SET of the process.
    pub set: Option<String>,
}

impl<S, N, L> FormatEvent<S, N> for WithSpan<L>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    L: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let span = hongbao_trace::current();
        let mut line = String::new();
        self.line.format_event(context, Writer::new(&mut line), event)?;
        let end = match self.format {
            LogFormat::Text => "\n",
            LogFormat::Json => "}\n",
        };
        if line.ends_with(end) {
            line.truncate(line.len() - end.len());
        }
        let mut add_once = |name: &str, value: Value<'_>| {
            // What the line says itself stands there once.
            if event.metadata().fields().field(name).is_none() {
                add(&mut line, self.format, name, &value);
            }
        };
        if let Some(set) = &self.set {
            add_once("set", set.as_str().into());
        }
        if let Some(span) = span {
            span.visit(&mut |name, value| add_once(name, value));
        }
        out.write_str(&line)?;
        out.write_str(end)
    }
}

fn add(line: &mut String, format: LogFormat, name: &str, value: &Value<'_>) {
    let written = match (format, value) {
        (LogFormat::Text, Value::Text(text)) => write!(line, " {name}={text}"),
        (LogFormat::Text, Value::Number(number)) => write!(line, " {name}={number}"),
        (LogFormat::Json, Value::Text(text)) => write!(line, ",\"{name}\":{}", serde_json::Value::from(text.as_ref())),
        (LogFormat::Json, Value::Number(number)) => write!(line, ",\"{name}\":{number}"),
    };
    written.expect("a string takes everything");
}
