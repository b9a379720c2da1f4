//! A run as it might have been, for the tests of what is shown.

use std::collections::BTreeMap;

use crate::outcome::data::*;

/// Two minutes of `groups` with a peak, a fault, refusals and a drain of ten seconds.
pub fn outcome() -> Outcome {
    let named = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let phase = |name: &str, from_s, to_s| Phase { name: name.into(), from_s, to_s };
    let check = |rule: &str, checked| Check { rule: rule.into(), checked, broken: 0, examples: Vec::new() };
    Outcome {
        scenario: "groups".into(),
        command: "hongbao-loadtest run groups --url http://127.0.0.1:8080 --slo 'open.p99<50ms,busy<1%'".into(),
        parameters: named(&[
            ("arrivals", "Poisson, 800/s to 2,400/s and back"),
            ("envelopes", "1,000, sizes from a Zipf distribution of 1 to 500"),
            ("seed", "7"),
        ]),
        closed_loop_users: None,
        started_at: "2026-02-16T12:00:00.000Z".into(),
        machine: Machine {
            processors: "2 x AMD EPYC".into(),
            file_system: "ext4".into(),
            versions: named(&[("hongbao", "0.4.0"), ("MariaDB", "10.11.14"), ("memcached", "1.6.18")]),
            durability: "innodb_flush_log_at_trx_commit=1, sync_binlog=1".into(),
            full_durability: Some(true),
        },
        void: Vec::new(),
        notes: vec!["the generator ran on the same machine as the service".into()],
        totals: Totals {
            offered: 200_000,
            started: 200_000,
            accepted: 198_980,
            committed: 18_981,
            settled: 18_981,
            unknown: 20,
        },
        load_s: 120.0,
        drain_s: Some(10.0),
        phases: vec![
            phase("ramp", 0.0, 40.0),
            phase("peak", 40.0, 85.0),
            phase("tail", 85.0, 120.0),
            phase("drain", 120.0, 130.0),
        ],
        seconds: seconds(),
        latencies: latencies(),
        generator: Generator {
            cpu_share: 0.41,
            service_cpu_share: Some(1.32),
            lag_bars: vec![(0.1, 191_200), (0.5, 8_100), (1.0, 612), (5.0, 81), (10.0, 7)],
            lag_p99_ms: 0.31,
            lag_max_ms: 7.4,
            not_started: 0,
        },
        faults: vec![
            fault(62.0, 66.0, "pause", "set-1 MariaDB"),
            FaultDone { error: Some("no such part".into()), ..fault(95.0, 95.0, "kill", "cache-9") },
        ],
        audit: vec![
            check("every acknowledged opening exists once, with its amount", 18_981),
            check("no refused opening exists", 1_000),
            check("every envelope's money is whole", 1_000),
        ],
        late_fen: None,
        capacity: None,
        slos: vec![
            Verdict { text: "open.p99<50ms".into(), value: "42.0 ms".into(), held: true },
            Verdict { text: "open.busy<1%".into(), value: "5.00% (1,000 of 20,000)".into(), held: false },
        ],
    }
}

fn fault(at_s: f64, until_s: f64, kind: &str, part: &str) -> FaultDone {
    FaultDone { at_s, until_s, kind: kind.into(), part: part.into(), error: None }
}

fn seconds() -> Vec<Second> {
    (1..=130).map(second).collect()
}

/// What a second saw: the load rises, stays, falls; a pause of the database stands in its midst.
fn second(index: u32) -> Second {
    let at_s = f64::from(index);
    let wave = 1.0 + 0.06 * (at_s * 1.7).sin() + 0.04 * (at_s * 0.61).cos();
    let level = match index {
        0..40 => 0.3 + 0.7 * at_s / 40.0,
        40..86 => 1.0,
        86..121 => 1.0 - 0.7 * (at_s - 86.0) / 35.0,
        _ => 0.0,
    };
    let stalled = (63..67).contains(&index);
    let load = if index > 120 { 0.0 } else { 2_300.0 * level * wave };
    let opens = if stalled { 0.0 } else { load * 0.1 };
    let backlog = if (67..75).contains(&index) { 8.0 * (75.0 - at_s) } else { 0.0 };
    let mut errors = BTreeMap::new();
    if stalled {
        errors.insert("open 503 busy".into(), 250);
        errors.insert("open 504 outcome_unknown".into(), 5);
    }
    let answered = opens > 0.0;
    let slow = |low: f64| if answered { rounded(low * (0.6 + level * wave) + backlog) } else { 0.0 };
    Second {
        at_s,
        counted: Totals {
            offered: load as u64,
            started: load as u64,
            accepted: if stalled { (load * 0.9) as u64 } else { load as u64 },
            committed: opens as u64,
            settled: match index {
                0..63 => (opens * 0.9) as u64,
                63..67 => 40,
                _ => 160,
            },
            unknown: if stalled { 5 } else { 0 },
        },
        p50_ms: slow(2.1),
        p99_ms: slow(11.0),
        p999_ms: slow(24.0),
        queue_depth: Some(if stalled { 240.0 } else { rounded(3.0 + 9.0 * level * wave + backlog) }),
        batch_mean: answered.then(|| rounded(1.0 + 7.0 * level * wave + backlog / 3.0)),
        errors,
    }
}

/// To three decimals, which JSON gives back exactly.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn latencies() -> Vec<Latency> {
    let row = |call: &str, phase: &str, outcome: &str, count, p50_ms: f64, p99_ms: f64| Latency {
        call: call.into(),
        phase: phase.into(),
        outcome: outcome.into(),
        count,
        p50_ms,
        p90_ms: rounded(p50_ms * 2.0),
        p99_ms,
        p999_ms: rounded(p99_ms * 1.9),
        p9999_ms: rounded(p99_ms * 2.6),
        max_ms: rounded(p99_ms * 3.0),
    };
    vec![
        row("create", "all", "all", 1_000, 6.0, 55.0),
        row("pay", "all", "all", 1_000, 5.1, 31.0),
        row("grab", "all", "all", 120_000, 0.42, 2.3),
        row("grab", "all", "ready", 119_000, 0.42, 2.3),
        row("grab", "all", "empty", 1_000, 0.31, 1.7),
        row("open", "all", "all", 20_000, 3.4, 42.0),
        row("open", "all", "opened", 18_981, 3.6, 43.0),
        row("open", "all", "503 busy", 1_000, 0.9, 8.0),
        row("open", "ramp", "all", 5_000, 2.6, 12.0),
        row("open", "peak", "all", 10_000, 4.4, 47.0),
        row("open", "tail", "all", 5_000, 2.8, 14.0),
        row("view", "all", "all", 58_000, 0.38, 1.9),
    ]
}
