//! The log: what is written, in which form, and how much of it.
//!
//! A client must not be able to fill a disk with lines, whichever crate writes
//! them: a library that warns of each odd request is as good a lever as we are. So
//! every place in the program that logs has a budget of its own, checked where all
//! lines pass. One that is flooded takes nothing from the others.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hongbao_core::limits::LOG_LINES_PER_S_MAX;
use hongbao_http::log_budget::LogBudget;
use hongbao_http::request_log::REQUESTS;
use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Log, LogFormat};
use crate::log_line::WithSpan;

/// Between two looks at how many lines were left out.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What `log.level` says.
///
/// # Errors
/// What is wrong with it, in words for an operator.
pub fn directives(settings: &Log) -> Result<EnvFilter, String> {
    let level = &settings.level;
    let filter = EnvFilter::try_new(level).map_err(|error| format!("log: level {level:?}: {error}"))?;
    // A word alone that is no level would be the name of a module, of which everything
    // is logged, and of all others nothing: a misspelt level would silence the log.
    let reason = level.split(',').map(str::trim).filter(|word| !word.is_empty() && !level.contains('['));
    for word in reason.filter(|word| !word.contains('=')) {
        if word.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "log: level {level:?}: {word:?} is no level: write error, warn, info, debug, trace or off, or {word}=debug"
            ));
        }
    }
    let requests = if settings.requests { LevelFilter::INFO } else { LevelFilter::OFF };
    let directive = format!("{REQUESTS}={requests}").parse().expect("a target and a level");
    Ok(filter.add_directive(directive))
}

/// The log of a process that has started.
pub struct Started {
    left_out: Arc<AtomicU64>,
}

/// Writes to standard error from now on, and panics into the log. `set` is the SET that the
/// process belongs to.
///
/// # Errors
/// As [`directives`].
pub fn start(settings: &Log, set: Option<&str>) -> Result<Started, String> {
    let left_out = Arc::default();
    let budgets = Budgets::new(Arc::clone(&left_out));
    let ansi = io::stderr().is_terminal();
    tracing_subscriber::registry().with(lines(settings, set, budgets, ansi, io::stderr)?).init();
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload().downcast_ref::<&str>().copied();
        let text =
            text.or_else(|| panic.payload().downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text");
        let place = panic.location().map(ToString::to_string);
        // Empty unless RUST_BACKTRACE asks for it.
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(panic = text, place, %backtrace, "a panic");
    }));
    Ok(Started { left_out })
}

impl Started {
    /// Says once a second how many lines were left out, if any were.
    pub async fn tell_forever(self) {
        let mut tick = tokio::time::interval(TELL_EVERY);
        loop {
            tick.tick().await;
            let lines = self.left_out.swap(0, Ordering::Relaxed);
            if lines > 0 {
                tracing::warn!(lines, "lines were left out of the log: one place may write so many a second");
            }
        }
    }
}

/// The layer that writes.
fn lines<S, W>(
    settings: &Log,
    set: Option<&str>,
    budgets: Budgets,
    ansi: bool,
    writer: W,
) -> Result<Box<dyn Layer<S> + Send + Sync>, String>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = directives(settings)?.and(budgets);
    let layer = tracing_subscriber::fmt::layer()
        // A log that cannot be written, on a full disk or to a reader that is
        // gone, would otherwise panic in whatever task has something to say.
        .log_internal_errors(false)
        .with_writer(writer);
    let (line, format, set) = (tracing_subscriber::fmt::format(), settings.format, set.map(str::to_owned));
    Ok(match format {
        LogFormat::Text => {
            let line = WithSpan { line: line.with_ansi(ansi), format, set };
            layer.with_ansi(ansi).event_format(line).with_filter(filter).boxed()
        }
        LogFormat::Json => {
            let line = WithSpan { line: line.json().flatten_event(true), format, set };
            layer.fmt_fields(JsonFields::new()).event_format(line).with_filter(filter).boxed()
        }
    })
}

/// A budget for each place that logs; there are as many as the program has.
struct Budgets {
    by_place: Mutex<HashMap<Identifier, LogBudget>>,
    left_out: Arc<AtomicU64>,
}

impl Budgets {
    fn new(left_out: Arc<AtomicU64>) -> Budgets {
        Budgets { by_place: Mutex::default(), left_out }
    }

    /// Whether the place may write another line. Who asks for `debug` or `trace`
    /// wants to see each request.
    fn lets_through(&self, place: &Metadata<'_>) -> bool {
        if *place.level() > Level::INFO {
            return true;
        }
        let mut by_place = self.by_place.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = by_place.entry(place.callsite()).or_insert_with(|| LogBudget::new(LOG_LINES_PER_S_MAX));
        if budget.take().is_some() {
            return true;
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        false
    }
}

/// The verdict is another one each time, so a place is never enabled for good: the
/// default of `callsite_enabled` says so.
impl<S: Subscriber> Filter<S> for Budgets {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.lets_through(event.metadata())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use hongbao_trace::{Fields, Span, SpanKind, TraceContext, Value, in_span};

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn count(&self, reason: &str) -> u64 {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines().filter(|line| line.contains(reason)).count() as u64
        }
    }

    #[test]
    fn a_level_that_is_misspelt_is_refused_and_directives_are_taken() {
        for good in
            ["info", "WARN", "off", "info,sqlx=warn", "hongbao_workers=debug", "warn,hongbao=trace", "", "[span]=info"]
        {
            assert!(directives(&Log { level: good.to_owned(), ..Log::default() }).is_ok(), "{good}");
        }
        for (bad, reason) in [
            ("wran", "\"wran\" is no level"),
            ("info,hongbao_workers", "\"hongbao_workers\" is no level"),
            ("hongbao=loud", "error parsing level filter"),
            ("info,=x=", ""),
            ("warn, hongbao=trace", ""),
        ] {
            let told = directives(&Log { level: bad.to_owned(), ..Log::default() }).unwrap_err();
            assert!(told.starts_with("log: level ") && told.contains(reason), "{told}");
        }
    }

    const FLOOD: u64 = 10 * LOG_LINES_PER_S_MAX;

    /// Floods one place and writes once at another; what came of it and what was left out.
    fn flooded(settings: &Log) -> (Written, u64) {
        let (written, left_out) = (Written::default(), Arc::<AtomicU64>::default());
        let writer = written.clone();
        let layer = lines(settings, None, Budgets::new(left_out.clone()), false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for number in 0..FLOOD {
                tracing::warn!(number, "the same again");
                tracing::debug!(number, "in detail");
            }
            tracing::info!("something else");
        });
        (written, left_out.load(Ordering::Relaxed))
    }

    #[test]
    fn a_place_that_is_flooded_keeps_to_its_budget_and_others_are_heard() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let (written, left_out) = flooded(&Log { format, ..Log::default() });
            let same = written.count("the same again");
            // The flood may last over the end of a second or two.
            assert!((LOG_LINES_PER_S_MAX..=3 * LOG_LINES_PER_S_MAX).contains(&same), "{same} {format:?}");
            assert_eq!(same + left_out, FLOOD);
            assert_eq!(written.count("something else"), 1);
            assert_eq!(written.count("in detail"), 0);
        }
    }

    struct Opening;

    impl Fields for Opening {
        fn visit(&self, field: &mut dyn FnMut(&'static str, Value<'_>)) {
            field("request_id", "r-\"1\"".into());
            field("openings", 2.into());
        }
    }

    /// The line that a place writes for a span.
    async fn line_for_a_span(format: LogFormat) -> String {
        let written = Written::default();
        let writer = written.clone();
        let settings = Log { format, ..Log::default() };
        let layer = lines(&settings, Some("a"), Budgets::new(Arc::default()), false, move || writer.clone()).unwrap();
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let context = TraceContext::received(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").unwrap();
        let span = Arc::new(Span::new("test", SpanKind::Internal, context, Instant::now(), Opening));
        in_span(span, async { tracing::warn!(openings = 1, "in a span") }).await;
        tracing::warn!("in no span");
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let (line, rest) = text.split_once('\n').unwrap();
        assert!(rest.contains("in no span") && !rest.contains("trace_id") && rest.ends_with('\n'), "{rest}");
        line.to_owned()
    }

    #[tokio::test]
    async fn a_line_has_the_ids_of_its_span_and_no_field_twice() {
        let line = line_for_a_span(LogFormat::Text).await;
        let ids = "trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=";
        assert!(
            line.contains("in a span openings=1") && line.contains(ids) && line.ends_with("request_id=r-\"1\""),
            "{line}"
        );
        let line = line_for_a_span(LogFormat::Json).await;
        assert_eq!(line.matches("\"openings\":").count(), 1, "{line}");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&line["request_id"], &line["openings"], &line["level"]),
            (&"r-\"1\"".into(), &1.into(), &"WARN".into())
        );
        assert_eq!(line["set"], "a");
        assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn requests_are_written_only_where_they_are_asked_for() {
        for (requests, level, lines_of_requests) in
            [(false, "info", 0), (false, "trace", 0), (true, "info", 1), (true, "warn", 1)]
        {
            let written = Written::default();
            let writer = written.clone();
            let settings = Log { requests, level: level.to_owned(), ..Log::default() };
            let layer = lines(&settings, None, Budgets::new(Arc::default()), false, move || writer.clone()).unwrap();
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                tracing::info!(target: REQUESTS, status = 200, "a request was answered");
            });
            assert_eq!(written.count("a request was answered"), lines_of_requests, "{requests} {level}");
        }
    }

    #[test]
    fn who_asks_for_details_sees_all_of_them() {
        let (written, _) = flooded(&Log { level: "debug".to_owned(), ..Log::default() });
        assert_eq!(written.count("in detail"), FLOOD);
    }
}
