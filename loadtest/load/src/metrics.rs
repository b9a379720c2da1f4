//! What the bench reads from the service's Prometheus text. What is not there is
//! reported as unknown: an older or a newer service can still be measured.

use std::ops::Add;

/// How many batches were committed, and how many openings they held.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Batches {
    openings: f64,
    commits: f64,
}

impl Batches {
    /// Reads the totals since the service started; zero if they are missing.
    pub fn read(text: &str) -> Batches {
        Batches {
            openings: sum(text, "hongbao_open_batch_size_sum"),
            commits: sum(text, "hongbao_open_batch_size_count"),
        }
    }

    /// What was done since `before`; everything, if the counters began anew in between.
    pub fn since(self, before: Batches) -> Batches {
        if self.commits < before.commits {
            return self;
        }
        Batches { openings: self.openings - before.openings, commits: self.commits - before.commits }
    }

    /// How many batches there were.
    pub fn commits(self) -> f64 {
        self.commits
    }

    /// The mean size of the batches since `before`, if there were any.
    pub fn mean_since(self, before: Batches) -> Option<f64> {
        let Batches { openings, commits } = self.since(before);
        (commits > 0.0).then(|| openings / commits)
    }
}

impl Add for Batches {
    type Output = Batches;

    fn add(self, other: Batches) -> Batches {
        Batches { openings: self.openings + other.openings, commits: self.commits + other.commits }
    }
}

/// The durability setting in force, as the service states it.
pub fn durability(text: &str) -> Option<&str> {
    label(text, "hongbao_store_durability_info{", "durability")
}

/// The version of the process.
pub fn version(text: &str) -> Option<&str> {
    label(text, "hongbao_build_info{", "version")
}

fn label<'t>(text: &'t str, metric: &str, name: &str) -> Option<&'t str> {
    let line = text.lines().find(|line| line.starts_with(metric))?;
    let (_, from) = line.split_once(&format!("{name}=\""))?;
    from.split_once('"').map(|(value, _)| value)
}

/// Whether commits survive a loss of power; `None` if the service does not say.
pub fn full_durability(text: &str) -> Option<bool> {
    text.lines().find_map(|line| value(line, "hongbao_durability_full")).map(|full| full != 0.0)
}

/// The sum of a metric over those of its lines that bear `label`, like `worker_job="credit"`.
pub fn sum_of(text: &str, name: &str, label: &str) -> f64 {
    text.lines().filter(|line| line.contains(label)).filter_map(|line| value(line, name)).sum()
}

/// The sum of a metric over all its labels.
pub fn sum(text: &str, name: &str) -> f64 {
    text.lines().filter_map(|line| value(line, name)).sum()
}

fn value(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let rest = match rest.strip_prefix('{') {
        Some(labels) => labels.rsplit_once('}')?.1,
        None => rest,
    };
    rest.strip_prefix(' ')?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE hongbao_open_batch_size histogram\n\
        hongbao_open_batch_size_sum{lane=\"0\"} 100.0\n\
        hongbao_open_batch_size_count{lane=\"0\"} 4\n\
        hongbao_open_batch_size_sum{lane=\"1\"} 20.0\n\
        hongbao_open_batch_size_count{lane=\"1\"} 1\n\
        hongbao_open_batch_size_bucket{le=\"1.0\",lane=\"1\"} 1\n\
        hongbao_build_info{version=\"0.4.0\"} 1\n\
        hongbao_store_durability_info{store=\"sqlite\",durability=\"wal, synchronous=FULL\"} 1\n";

    #[test]
    fn batches_are_summed_over_lanes_and_averaged_between_two_readings() {
        let after = Batches::read(TEXT);
        assert_eq!(after, Batches { openings: 120.0, commits: 5.0 });
        assert_eq!(after.mean_since(Batches::default()), Some(24.0));
        assert_eq!(after.mean_since(after), None);
        let plain = "hongbao_open_batch_size_sum 7\nhongbao_open_batch_size_count 2 1700000000\n";
        assert_eq!(Batches::read(plain).mean_since(Batches::default()), Some(3.5));
    }

    #[test]
    fn the_durability_and_the_version_are_read_from_their_labels() {
        assert_eq!(durability(TEXT), Some("wal, synchronous=FULL"));
        assert_eq!(durability("hongbao_store_durability_info 1\n"), None);
        assert_eq!(durability(""), None);
        assert_eq!((version(TEXT), version("")), (Some("0.4.0"), None));
        let full = |text: &str| full_durability(text);
        assert_eq!(full("# TYPE hongbao_durability_full gauge\nhongbao_durability_full 1\n"), Some(true));
        assert_eq!((full("hongbao_durability_full 0\n"), full(TEXT)), (Some(false), None));
    }
}
