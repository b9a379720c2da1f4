use super::*;
use crate::outcome::SLOW_CLIENTS;
use crate::outcome::tests::sample::outcome;

fn verdict(text: &str) -> Verdict {
    text.parse::<Slo>().expect("the tests write thresholds well").judge(&outcome())
}

#[test]
fn a_percentile_is_that_of_the_call_or_of_the_slowest_one() {
    // In the sample the 99th percentile is 42 ms for open, 43 ms where a share was got, and 55 ms for create.
    let held = Verdict { text: "open.p99<50ms".into(), value: "43.0 ms (opened)".into(), held: true };
    assert_eq!(verdict("open.p99<50ms"), held);
    assert_eq!(verdict("p99<50ms"), Verdict { text: "p99<50ms".into(), value: "55.0 ms (create)".into(), held: false });
    assert!(verdict("open.p99 <= 43 ms").held);
    assert!(!verdict("open.p99<43ms").held);
    assert!(verdict("open.p99>=43000us").held);
    assert!(!verdict("open.p99>0.043s").held);
    assert!(verdict("open.p99.9<1s").held);
    assert!(verdict("open.p99.99<1s").held);
    assert!(verdict("max<1s").held);
}

#[test]
fn quick_refusals_do_not_make_a_slow_service_fast() {
    let mut outcome = outcome();
    let mut row = |of: &str, count, p99_ms| {
        let row =
            outcome.latencies.iter_mut().find(|row| row.call == "open" && row.outcome == of && row.phase == "all");
        let row = row.expect("the sample has it");
        (row.count, row.p99_ms) = (count, p99_ms);
    };
    row("503 busy", 99_000, 1.0);
    row("opened", 900, 4_000.0);
    row("all", 99_900, 2.0);
    let slo: Slo = "open.p99<50ms".parse().expect("it is well written");
    let verdict = slo.judge(&outcome);
    assert_eq!((verdict.value.as_str(), verdict.held), ("4.00 s (opened)", false));
}

#[test]
fn shares_count_answers_by_a_word_of_their_label() {
    // 1,000 of the 200,000 requests were refused as busy, all of them among 20,000 openings.
    assert_eq!(verdict("busy<1%").value, "0.50% (1,000 of 200,000)");
    assert!(verdict("busy<1%").held);
    assert_eq!(verdict("open.busy<1%").value, "5.00% (1,000 of 20,000)");
    assert!(!verdict("open.busy<1%").held);
    assert_eq!(verdict("grab.busy<1%").value, "0% (0 of 120,000)");
    assert_eq!(verdict("503<1%").value, verdict("busy<1%").value);
    assert_eq!(verdict("errors<0.1%").value, "0.51% (1,020 of 200,000)");
    assert_eq!(
        verdict("unknown<=0.01%"),
        Verdict { text: "unknown<=0.01%".into(), value: "0.010% (20 of 200,000)".into(), held: true }
    );
}

#[test]
fn clients_that_were_slow_on_purpose_do_not_count_as_the_slowest_call() {
    let mut outcome = outcome();
    let slow = Latency { call: SLOW_CLIENTS.into(), p99_ms: 9_000.0, ..outcome.latencies[0].clone() };
    outcome.latencies.push(slow);
    outcome.seconds[0].errors.insert(format!("{SLOW_CLIENTS} 503 busy"), 1_000);
    let value = |text: &str| text.parse::<Slo>().expect("it is well written").judge(&outcome).value;
    assert_eq!(value("p99<50ms"), "55.0 ms (create)");
    assert_eq!(value("busy<1%"), "1.00% (2,000 of 200,000)");
}

#[test]
fn rates_are_over_the_load_and_what_is_settled_over_the_drain_too() {
    assert_eq!(verdict("opens>10/s").value, "158/s");
    assert_eq!(verdict("settled>10/s").value, "146/s");
    assert!(verdict("drain<60s").held);
    assert!(!verdict("drain<0.1min").held);
}

#[test]
fn what_was_not_measured_did_not_hold() {
    let empty = Outcome::default();
    for text in ["p99<1s", "open.p99<1s", "busy<1%", "open.busy<1%", "opens>0/s", "drain<1min"] {
        let verdict = text.parse::<Slo>().expect("it is well written").judge(&empty);
        assert_eq!((verdict.value.as_str(), verdict.held), ("not measured", false), "{text}");
    }
}

#[test]
fn a_bad_threshold_is_refused_in_words_that_name_what_is_wrong() {
    let cases = [
        ("p99", "none of <, <=, > and >="),
        ("p99=5ms", "none of <, <=, > and >="),
        ("<5ms", "does not say what it bounds"),
        ("p98<5ms", "names p98; known are p50"),
        ("p99.5<5ms", "names p99.5; known are p50"),
        ("open.p98<5ms", "names p98; known are p50"),
        ("close.p99<5ms", "names the call close; known are grab, open, pay, view, create"),
        ("open.drain<5s", "asks for drain of one call"),
        ("bussy<1%", "bounds \"bussy\""),
        ("p99<", "has no bound, such as 50ms"),
        ("p99<fast", "does not begin with a number"),
        ("p99<1.2.3ms", "does not begin with a number"),
        ("p99<50", "a bound without a unit; here ms, us, s would do"),
        ("p99<50%", "has the unit \"%\"; here ms, us, s would do"),
        ("busy<1", "a bound without a unit; here % would do"),
        ("opens>5", "without a unit; here /s would do"),
    ];
    for (text, message) in cases {
        let error = text.parse::<Slo>().expect_err("it is not well written");
        assert!(error.contains(message) && error.contains(text), "{text}: {error}");
    }
}

#[test]
fn a_file_holds_thresholds_and_comments_and_names_the_line_of_a_mistake() {
    let slos = parse_file("# New Year's Eve\n\nopen.p99 < 50ms  # as promised\nbusy<1%, drain<60s\n");
    let slos = slos.expect("the file is well written");
    assert_eq!(slos.iter().map(Slo::to_string).collect::<Vec<_>>(), ["open.p99<50ms", "busy<1%", "drain<60s"]);
    assert_eq!(judge(&slos, &outcome()).len(), 3);
    let error = parse_file("p99<5ms\nfast\n").expect_err("the second line is not a threshold");
    assert!(error.starts_with("line 2: ") && error.contains("fast"), "{error}");
}
