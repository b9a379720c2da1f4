use maud::Render as _;

use super::*;
use crate::outcome::data::Verdict;
use crate::outcome::tests::sample::outcome;
use crate::outcome::{FaultDone, Phase, Second};

const HOSTILE: &str = "</td></svg></title><script src='https://evil.example/a.js'>&\"<img src=x onerror=alert(1)>";

fn escape(text: &str) -> String {
    text.render().into_string()
}

/// Fails unless every element is closed in its order; gives all tags.
fn tags(page: &str) -> Vec<&str> {
    const VOID: [&str; 2] = ["meta", "!DOCTYPE"];
    let mut open = Vec::new();
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        tags.push(tag);
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).expect("a tag has a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed out of order before {:.80}", rest);
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    tags
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    let page = outcome().html();
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    for tag in tags(&page) {
        for loading in ["src=", "href=", "http://", "https://", "url(", " on", "<script", "<link", "<iframe"] {
            assert!(!tag.contains(loading), "{loading} in <{tag}>");
        }
    }
    let style = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).unwrap();
    assert!(!style.contains("url(") && !style.contains("@import") && !style.contains("http"));
}

#[test]
fn hostile_text_stays_text() {
    let text = || HOSTILE.to_string();
    let mut outcome = outcome();
    outcome.scenario = text();
    outcome.command = text();
    outcome.started_at = text();
    outcome.parameters.insert(text(), text());
    outcome.machine.processors = text();
    outcome.machine.file_system = text();
    outcome.machine.durability = text();
    outcome.machine.versions.insert(text(), text());
    outcome.void.push(text());
    outcome.notes.push(text());
    outcome.phases.push(Phase { name: text(), from_s: 0.0, to_s: 130.0 });
    outcome.faults.push(FaultDone { at_s: 1.0, until_s: 2.0, kind: text(), part: text(), error: Some(text()) });
    outcome.seconds.push(Second { at_s: 131.0, errors: [(text(), 7)].into(), ..Second::default() });
    for row in &mut outcome.latencies {
        (row.call, row.phase, row.outcome) = (text(), text(), text());
    }
    outcome.audit[0].rule = text();
    outcome.audit[0].examples.push(text());
    outcome.slos.push(Verdict { text: text(), value: text(), held: true });

    let page = outcome.html();
    for tag in tags(&page) {
        assert!(!tag.starts_with("script") && !tag.starts_with("img"), "<{tag}>");
    }
    assert!(page.matches("&lt;script src='https").count() > 20);
}

#[test]
fn every_figure_of_the_tables_is_on_the_page() {
    let outcome = outcome();
    let page = outcome.html();
    let holds = |cell: String| assert!(page.contains(&format!(">{cell}<")), "{cell} is missing");
    for row in &outcome.latencies {
        holds(row.call.clone());
        holds(number::count(row.count));
        row.milliseconds().map(number::figure).into_iter().for_each(holds);
    }
    for (name, count, seconds) in outcome.rows_of_totals() {
        holds(name.into());
        holds(number::count(count));
        holds(format!("{} a second", number::figure(number::rate(count, seconds))));
    }
    for check in &outcome.audit {
        holds(escape(&check.rule));
        holds(number::count(check.checked));
    }
    for slo in &outcome.slos {
        holds(escape(&slo.text));
        holds(escape(&slo.value));
    }
    for (up_to, count) in &outcome.generator.lag_bars {
        holds(number::millis(*up_to));
        holds(number::count(*count));
    }
    for (label, count) in outcome.errors() {
        holds(escape(label));
        holds(number::count(count));
    }
    for second in &outcome.seconds {
        for value in [second.p50_ms, second.p99_ms, second.p999_ms].into_iter().filter(|value| *value > 0.0) {
            holds(number::figure(value));
        }
        holds(number::known(second.queue_depth));
        holds(number::known(second.batch_mean));
        holds(number::figure(second.counted.settled as f64));
    }
    for message in [&outcome.command, &outcome.machine.durability, &outcome.machine.processors] {
        holds(escape(message));
    }
}

#[test]
fn every_chart_says_what_it_shows_and_marks_phases_and_faults() {
    let page = outcome().html();
    let charts = 6;
    // One more stands over the percentiles instead of time.
    assert_eq!(page.matches("<svg class=\"wide\"").count(), charts + 1);
    assert_eq!(page.matches("<svg class=\"narrow\"").count(), charts + 1);
    assert_eq!(page.matches("<desc id=").count(), 2 * (charts + 1));
    assert_eq!(page.matches("<details>").count(), charts);
    assert_eq!(page.matches(">pause set-1 MariaDB</text>").count(), 2 * charts);
    assert_eq!(page.matches("<title>peak: 40 s to 1:25</title>").count(), 2 * charts);
    let bound = "<g class=\"bound c2\">";
    assert_eq!(page.matches(bound).count(), 2, "the threshold of p99 is drawn in its colour");
    assert!(page.contains("p99.9: "), "the charts answer the pointer");
}

#[test]
fn every_chart_is_there_also_when_there_is_nothing_to_draw() {
    let mut outcome = outcome();
    // Whoever counts seconds from nothing makes no rate of them.
    outcome.seconds = vec![Second::default()];
    let page = outcome.html();
    tags(&page);
    for title in ["Latency of openings", "Requests", "Openings", "Queue", "Batches", "Errors"] {
        assert!(page.contains(&format!("<h3>{title}</h3>")), "{title}");
    }
    for message in ["No opening was answered.", "<p class=\"none\">None.</p>"] {
        assert_eq!(page.matches(message).count(), 1, "{message}");
    }
    assert_eq!(page.matches("The service did not say.").count(), 2);
    assert!(!page.contains("NaN") && !page.contains("inf"));
}

#[test]
fn verdicts_are_told_in_words() {
    let mut outcome = outcome();
    let page = outcome.html();
    assert!(page.contains("Every fen is where it should be") && page.contains("1 of 2 missed"));
    outcome.audit[1].broken = 2;
    outcome.void.push("12 arrivals could not be started".into());
    let page = outcome.html();
    for message in ["Wrong: 1 of 3 checks are broken", "Void: the figures cannot", "12 arrivals could not be started"] {
        assert!(page.contains(message), "{message}");
    }
}

/// A table of so many columns does not fit a phone, and what is checked must not have to be scrolled to.
#[test]
fn on_a_phone_each_check_stands_under_the_other_with_named_figures() {
    let page = outcome().html();
    let narrow = page.split("@media (max-width: 40rem)").find(|rule| rule.contains(".stacked thead"));
    let narrow = narrow.expect("the page says how tables are stacked where it is narrow");
    for rule in [".stacked tr { display: flex;", ".stacked td[data-name]::before { content: attr(data-name)"] {
        assert!(narrow.contains(rule), "{rule}");
    }
    for name in ["Checks of the money", "Thresholds", "Faults"] {
        let head = format!("<div class=\"table stacked\" tabindex=\"0\" role=\"group\" aria-label=\"{name}\">");
        assert!(page.contains(&head), "{name}");
    }
    let checks = outcome().audit.len();
    for name in ["checked", "broken"] {
        assert_eq!(page.matches(&format!("<td data-name=\"{name}\">")).count(), checks, "{name}");
    }
}

#[test]
fn a_run_without_anything_has_a_page() {
    let page = Outcome::default().html();
    tags(&page);
    assert!(page.contains("Not audited") && !page.contains("NaN") && !page.contains("inf"));
}

#[test]
fn the_page_of_a_long_run_stays_small() {
    let mut outcome = outcome();
    let day = outcome.seconds.clone();
    outcome.seconds =
        (0..36_000).map(|at: u32| Second { at_s: f64::from(at + 1), ..day[at as usize % day.len()].clone() }).collect();
    let bytes = outcome.html().len();
    assert!(bytes < 1_500_000, "{bytes}");
}
