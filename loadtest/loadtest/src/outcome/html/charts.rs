//! Which charts the page has, and what they are drawn from.

use std::fmt::Write as _;

use hongbao_load::number;
use hongbao_load::page::{Bound, Chart, ChartKind, NARROW, Series, Table, WIDE, caption};
use maud::{Markup, Render, html};

use crate::outcome::data::{Outcome, Second, Totals, Verdict, most_frequent};
use crate::outcome::slo::Slo;

/// Moments that a chart has at most; seconds of a longer run are drawn together.
const MOMENTS_MAX: usize = 300;
/// What lasted less long, in seconds, is drawn with what came before it.
const SPAN_S_MIN: f64 = 0.5;
/// Kinds of errors with a colour of their own; the rest is drawn together.
const ERROR_KINDS_MAX: usize = 6;

/// Some seconds that are drawn as one.
struct Moment {
    /// Counts added up, percentiles and queue at their highest, batches on average.
    sum: Second,
    /// How long it lasted, in seconds.
    span_s: f64,
}

struct Figure<'a> {
    id: &'a str,
    title: &'a str,
    /// What the values are, with their unit.
    hint: String,
    /// What is said instead when there are no values.
    nothing: &'a str,
    kind: ChartKind,
    logarithmic: bool,
    series: Vec<Series>,
    bounds: Vec<Bound>,
}

/// The charts over time, each with its table behind it.
pub fn charts(run: &Outcome) -> Markup {
    let moments = moments(&run.seconds);
    let together = run.seconds.len().div_ceil(MOMENTS_MAX);
    let mut figures = figures(&moments, run.latency_origin());
    for figure in figures.iter_mut().filter(|figure| figure.id == "latency") {
        figure.bounds = latency_bounds(&run.slos, &figure.series);
    }
    html! {
        @if !moments.is_empty() {
            section {
                h2 { "Over time" }
                @if together > 1 {
                    p.hint {
                        "Each point stands for " (together) " seconds: rates and batches are means, latencies and the "
                        "queue the highest second."
                    }
                }
                @for figure in &figures { (drawn(run, figure, &moments)) }
            }
        }
    }
}

/// The thresholds of the percentiles that are drawn, each in the colour of its line.
fn latency_bounds(slos: &[Verdict], series: &[Series]) -> Vec<Bound> {
    let bound = |text: &String| {
        let (percentile, value) = text.parse::<Slo>().ok()?.opening_bound_ms()?;
        let line = series.iter().find(|line| line.name == percentile)?;
        Some(Bound { value, colour: line.colour, text: text.clone() })
    };
    slos.iter().filter_map(|slo| bound(&slo.text)).collect()
}

fn drawn(run: &Outcome, figure: &Figure<'_>, moments: &[Moment]) -> Markup {
    let names = || figure.series.iter().map(|series| series.name.as_str());
    if figure.series.iter().all(|series| series.values.iter().all(Option::is_none)) {
        return html! { figure { (caption(figure.title, &figure.hint, [])) p.none { (figure.nothing) } } };
    }
    let ends: Vec<f64> = moments.iter().map(|moment| moment.sum.at_s).collect();
    let chart = Chart {
        id: figure.id,
        title: figure.title,
        description: &describe(figure),
        kind: figure.kind,
        logarithmic: figure.logarithmic,
        moments: &ends,
        series: &figure.series,
        bounds: &figure.bounds,
        phases: &run.phases,
        faults: &run.faults,
    };
    let mut table = Table::new(figure.title, ["until"].into_iter().chain(names()), 1);
    for (index, end) in ends.iter().enumerate() {
        let values = figure.series.iter().map(|series| number::known(series.values[index]));
        let cells: Vec<String> = [number::clock(*end)].into_iter().chain(values).collect();
        table.row(&cells.iter().map(|cell| cell as &dyn Render).collect::<Vec<_>>());
    }
    html! {
        figure {
            (caption(figure.title, &figure.hint, names().zip(figure.series.iter().map(|series| series.colour))))
            (chart.svg(WIDE))
            (chart.svg(NARROW))
            details { summary { "The figures" } (table) }
        }
    }
}

fn figures(moments: &[Moment], latency_origin: &str) -> Vec<Figure<'static>> {
    let series = |name: &str, colour, value: &dyn Fn(&Moment) -> Option<f64>| Series {
        name: name.into(),
        colour,
        broad: matches!(name, "p99.9" | "offered"),
        values: moments.iter().map(value).collect(),
    };
    // A second in which nothing was answered has no latency.
    let latency = |name, colour, figure: fn(&Second) -> f64| {
        series(name, colour, &|moment| Some(figure(&moment.sum)).filter(|value| *value > 0.0))
    };
    let rate = |name, colour, count: fn(&Totals) -> u64| {
        series(name, colour, &|moment| Some(number::rate(count(&moment.sum.counted), moment.span_s)))
    };
    let lines = |id, title, hint: &str, series| Figure {
        id,
        title,
        hint: hint.into(),
        nothing: "The service did not say.",
        kind: ChartKind::Lines,
        logarithmic: false,
        series,
        bounds: Vec::new(),
    };
    let queue = series("waiting", 5, &|moment| moment.sum.queue_depth);
    let batch = series("batch", 4, &|moment| moment.sum.batch_mean);
    vec![
        Figure {
            logarithmic: true,
            nothing: "No opening was answered.",
            ..lines(
                "latency",
                "Latency of openings",
                &format!("milliseconds, logarithmic, {latency_origin}"),
                vec![
                    latency("p99.9", 3, |second| second.p999_ms),
                    latency("p99", 2, |second| second.p99_ms),
                    latency("p50", 1, |second| second.p50_ms),
                ],
            )
        },
        lines(
            "requests",
            "Requests",
            "a second: visits that were due, requests sent for them, and answers that are no refusal",
            vec![
                rate("offered", 7, |totals| totals.offered),
                rate("started", 1, |totals| totals.started),
                rate("accepted", 2, |totals| totals.accepted),
            ],
        ),
        lines(
            "openings",
            "Openings",
            "a second: committed when they are answered, settled when they are credited, refunds among them",
            vec![rate("committed", 3, |totals| totals.committed), rate("settled", 4, |totals| totals.settled)],
        ),
        lines("queue", "Queue", "openings that wait in the lanes", vec![queue]),
        lines("batch", "Batches", "openings a commit, on average", vec![batch]),
        Figure {
            kind: ChartKind::Columns,
            nothing: "None.",
            ..lines("errors", "Errors", "refused or failed, a second", errors(moments))
        },
    ]
}

/// The most frequent kinds of errors, and the rest together.
fn errors(moments: &[Moment]) -> Vec<Series> {
    let kinds = most_frequent(moments.iter().flat_map(|moment| &moment.sum.errors));
    let values = |wanted: &dyn Fn(&str) -> bool| {
        let count = |moment: &Moment| {
            let errors = moment.sum.errors.iter().filter(|(label, _)| wanted(label));
            Some(number::rate(errors.map(|(_, count)| *count).sum(), moment.span_s))
        };
        moments.iter().map(count).collect()
    };
    let (named, rest) = kinds.split_at(kinds.len().min(ERROR_KINDS_MAX));
    let kind = |(place, (kind, _)): (usize, &(&str, u64))| Series {
        name: (*kind).into(),
        colour: place + 1,
        broad: false,
        values: values(&|label| label == *kind),
    };
    let mut series: Vec<Series> = named.iter().enumerate().map(kind).collect();
    if !rest.is_empty() {
        let values = values(&|label| rest.iter().any(|(kind, _)| *kind == label));
        series.push(Series { name: format!("{} other kinds", rest.len()), colour: 7, broad: false, values });
    }
    series
}

/// What a chart shows, for those who do not see it.
fn describe(figure: &Figure) -> String {
    let mut description = format!("{}.", figure.hint);
    for series in &figure.series {
        let values = || series.values.iter().flatten().copied();
        let (Some(low), Some(high)) = (values().reduce(f64::min), values().reduce(f64::max)) else { continue };
        let _ = write!(description, " {}: {} to {}.", series.name, number::figure(low), number::figure(high));
    }
    description
}

/// Draws neighbouring seconds together until there are few enough.
fn moments(seconds: &[Second]) -> Vec<Moment> {
    let mut whole: Vec<Moment> = Vec::new();
    let mut begin_s = 0.0;
    for second in seconds {
        let moment = Moment { sum: second.clone(), span_s: second.at_s - begin_s };
        begin_s = second.at_s;
        // The last second of a load may be cut short; of so little a rate would be mere noise.
        match whole.pop() {
            Some(before) if moment.span_s < SPAN_S_MIN => whole.push(join(&[before, moment])),
            before => whole.extend(before.into_iter().chain([moment])),
        }
    }
    let together = whole.len().div_ceil(MOMENTS_MAX).max(1);
    whole.chunks(together).map(join).collect()
}

fn join(parts: &[Moment]) -> Moment {
    let mut sum = Second::default();
    for part in parts.iter().map(|part| &part.sum) {
        sum.at_s = part.at_s;
        sum.counted.add(&part.counted);
        sum.p50_ms = sum.p50_ms.max(part.p50_ms);
        sum.p99_ms = sum.p99_ms.max(part.p99_ms);
        sum.p999_ms = sum.p999_ms.max(part.p999_ms);
        // `None` is less than any depth.
        sum.queue_depth = if part.queue_depth > sum.queue_depth { part.queue_depth } else { sum.queue_depth };
        for (label, count) in &part.errors {
            *sum.errors.entry(label.clone()).or_default() += count;
        }
    }
    let batches: Vec<f64> = parts.iter().filter_map(|part| part.sum.batch_mean).collect();
    sum.batch_mean = (!batches.is_empty()).then(|| batches.iter().sum::<f64>() / batches.len() as f64);
    Moment { sum, span_s: parts.iter().map(|part| part.span_s).sum() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn second(at_s: f64, committed: u64, p99_ms: f64) -> Second {
        let counted = Totals { committed, ..Totals::default() };
        let errors = BTreeMap::from([("open 503 busy".into(), 2)]);
        Second { at_s, counted, p99_ms, errors, ..Second::default() }
    }

    #[test]
    fn seconds_of_a_long_run_are_drawn_together_as_means_and_highest_values() {
        let seconds: Vec<Second> = (1..=601).map(|at| second(f64::from(at), 10, f64::from(at))).collect();
        let moments = moments(&seconds);
        assert_eq!(moments.len(), 201);
        let sums: Vec<_> = moments[..2].iter().map(|moment| (moment.sum.at_s, moment.sum.p99_ms)).collect();
        assert_eq!(sums, [(3.0, 3.0), (6.0, 6.0)]);
        let figures = figures(&moments, "");
        let openings = figures.iter().find(|figure| figure.id == "openings").expect("it is always there");
        assert_eq!(openings.series[0].values[0], Some(10.0));
        assert_eq!(openings.series[0].values[200], Some(10.0), "the last moment holds one second");
    }

    #[test]
    fn a_second_that_was_cut_short_is_drawn_with_the_one_before() {
        let moments = moments(&[second(1.0, 100, 1.0), second(1.25, 25, 9.0), second(2.5, 250, 1.0)]);
        let ends: Vec<_> = moments.iter().map(|moment| (moment.sum.at_s, moment.span_s)).collect();
        assert_eq!(ends, [(1.25, 1.25), (2.5, 1.25)]);
        let openings = figures(&moments, "").into_iter().find(|figure| figure.id == "openings");
        let committed = openings.map(|figure| figure.series[0].values.clone());
        assert_eq!(committed, Some(vec![Some(100.0), Some(200.0)]));
    }

    #[test]
    fn many_kinds_of_errors_are_drawn_as_the_most_frequent_and_the_rest() {
        let mut busy = second(1.0, 0, 0.0);
        for kind in 0..9 {
            busy.errors.insert(format!("open 50{kind}"), 10 + kind);
        }
        let series = errors(&moments(&[busy]));
        let names: Vec<_> = series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["open 508", "open 507", "open 506", "open 505", "open 504", "open 503", "4 other kinds"]);
        assert_eq!(series[6].values, [Some(10.0 + 11.0 + 12.0 + 2.0)]);
    }

    #[test]
    fn a_second_without_an_answer_has_no_latency() {
        let moments = moments(&[second(1.0, 1, 5.0), second(2.0, 0, 0.0)]);
        let p99 = &figures(&moments, "")[0].series[1];
        assert_eq!(p99.values, [Some(5.0), None]);
    }
}
