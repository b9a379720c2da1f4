//! Bounds of background jobs and of the audit.

use std::time::Duration;

/// Wait of a job after its first failure; it doubles after each.
pub const JOB_BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest of these waits.
pub const JOB_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Failed runs in a row after which the job is left to another process. What
/// keeps this one from its work may not keep the other: a disk, a way through
/// the network, a damaged program.
pub const JOB_FAILURES_IN_A_ROW_MAX: u32 = 5;
/// The shortest wait after a run that was left out.
pub const JOB_SKIPPED_REST_MIN: Duration = Duration::from_millis(100);
/// The longest rest after a run that saw nothing to do: what comes meanwhile waits so long.
pub const JOB_QUIET_REST_MAX: Duration = Duration::from_secs(1);
/// The same of credits, for which users wait.
pub const CREDIT_QUIET_REST_MAX: Duration = Duration::from_millis(250);
/// A quiet time so many times as long as a rest comes before it, in which nothing was to be credited.
pub const CREDIT_QUIET_TIMES: u32 = 20;
/// The longest rest after a busy run.
pub const JOB_REST_MAX: Duration = Duration::from_secs(1);
/// The same of a job that may be late: one of its runs may take half a minute, as where the file of a table is made, put
/// and read back.
pub const LATE_JOB_REST_MAX: Duration = Duration::from_secs(600);
/// Runs that a failing table is left out.
pub const BACKED_OFF_RUNS_MAX: u64 = 64;
/// Envelopes that a refund run reads one by one before a damaged row.
pub const REFUND_SINGLE_READS_MAX: usize = 64;
/// Refused envelopes that the credit worker remembers, so as to log each once.
pub const CREDIT_STUCK_REMEMBERED_MAX: usize = 1_024;
/// Envelopes that an audit remembers, twice this many at most.
pub const AUDIT_ENVELOPES_REMEMBERED_MAX: usize = 100_000;
/// Entries that an audit must have read before it shows its pace: with
/// fewer, most of the time goes into opening files and reading what is empty.
pub const AUDIT_PACE_ENTRIES_MIN: u64 = 10_000;
/// Sealed tables of a SET that an audit reads row by row, unless it is asked for others.
pub const AUDIT_SEALED_SAMPLE: u32 = 16;
/// Manifests that are read in one statement.
pub const MANIFESTS_PAGE_MAX: u32 = 1_000;
/// Findings of one code that `hongbao audit --json` lists; the rest is counted.
pub const AUDIT_LISTED_OF_A_CODE_MAX: u64 = 1_000;
/// Envelopes that `hongbao sets` counts in one statement.
pub const PENDING_PAGE_MAX: u32 = 10_000;
