//! Open-loop arrivals: who comes does not wait for who came before. The service
//! cannot slow them down, so its slowness shows as latency and not as a lower rate.

use std::path::Path;

use hongbao_load::{Fallible, files};
use rand::Rng;
use rand::rngs::SmallRng;

/// The least and the most rate of a line of a profile.
const RATE_MAX: f64 = 1_000_000.0;
/// Lines of a profile: no load lasts longer than a day.
const LINES_MAX: usize = 86_400;

/// How arrivals lie in time. Rates are arrivals a second.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// At equal distances.
    Constant,
    /// At random, independent of each other.
    Poisson,
    /// At random; the rate goes up in so many equal steps to the full one.
    Steps(u32),
    /// At random; the rate grows evenly from nothing to the full one.
    Ramp,
    /// At random; the rate of each second as it was recorded, repeated as needed
    /// and scaled so that the highest is the full one.
    Profile(Vec<f64>),
}

impl Arrivals {
    /// Reads `constant`, `poisson`, `steps:N`, `ramp` or `profile:FILE`, whose
    /// file has a rate a line, one for each second.
    ///
    /// # Errors
    /// Says what is not understood.
    pub fn read(text: &str) -> Fallible<Arrivals> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        match (name, rest) {
            ("constant", "") => Ok(Arrivals::Constant),
            ("poisson", "") => Ok(Arrivals::Poisson),
            ("ramp", "") => Ok(Arrivals::Ramp),
            ("steps", count) => match count.parse() {
                Ok(count @ 1..=1_000) => Ok(Arrivals::Steps(count)),
                _ => Err(format!("{text}: steps:N needs a number of 1 to 1000").into()),
            },
            ("profile", file) if !file.is_empty() => profile(Path::new(file)),
            _ => Err(format!("{text}: arrivals are constant, poisson, steps:N, ramp or profile:FILE").into()),
        }
    }

    /// The full rate and the seconds of a profile as it was recorded.
    pub fn own(&self) -> Option<(f64, f64)> {
        match self {
            Arrivals::Profile(rates) => Some((rates.iter().copied().fold(0.0, f64::max), rates.len() as f64)),
            _ => None,
        }
    }

    /// The part of the full rate at `at_s` of `seconds`, from 0 to 1.
    fn level(&self, at_s: f64, seconds: f64) -> f64 {
        match self {
            Arrivals::Constant | Arrivals::Poisson => 1.0,
            Arrivals::Steps(count) => ((at_s / seconds * f64::from(*count)).floor() + 1.0) / f64::from(*count),
            Arrivals::Ramp => at_s / seconds,
            Arrivals::Profile(rates) => {
                let highest = rates.iter().copied().fold(0.0, f64::max);
                rates[at_s as usize % rates.len()] / highest
            }
        }
    }

    /// The moments of arrivals, in microseconds, in order: `rate` a second at
    /// most, for `seconds`.
    pub fn moments(&self, rate: f64, seconds: f64, random: &mut SmallRng) -> Vec<u64> {
        let mut moments = Vec::new();
        let mut at_s = 0.0;
        loop {
            // What is left out of a Poisson process at random leaves one of a lower rate.
            at_s +=
                if *self == Arrivals::Constant { 1.0 / rate } else { -random.random::<f64>().max(1e-12).ln() / rate };
            if at_s >= seconds {
                return moments;
            }
            let level = self.level(at_s, seconds);
            if level >= 1.0 || random.random::<f64>() < level {
                moments.push((at_s * 1e6) as u64);
            }
        }
    }
}

fn profile(path: &Path) -> Fallible<Arrivals> {
    let text = files::read("--arrivals profile", path)?;
    let mut rates = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        match line.parse::<f64>() {
            Ok(rate) if (0.0..=RATE_MAX).contains(&rate) => rates.push(rate),
            _ => return Err(format!("{}:{}: {line} is no rate", path.display(), number + 1).into()),
        }
        if rates.len() > LINES_MAX {
            return Err(format!("{}: more than {LINES_MAX} lines, a day", path.display()).into());
        }
    }
    if !rates.iter().any(|rate| *rate > 0.0) {
        return Err(format!("{}: no rate above 0", path.display()).into());
    }
    Ok(Arrivals::Profile(rates))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn count(arrivals: &Arrivals, from_s: f64, to_s: f64) -> f64 {
        let moments = arrivals.moments(1_000.0, 100.0, &mut SmallRng::seed_from_u64(1));
        assert!(moments.is_sorted());
        let within = moments.iter().filter(|at| (from_s..to_s).contains(&(**at as f64 / 1e6))).count();
        within as f64 / (to_s - from_s)
    }

    #[test]
    fn each_kind_has_the_rate_that_it_promises_at_every_time() {
        let profile = Arrivals::Profile(vec![5.0, 10.0]);
        for (arrivals, from_s, to_s, rate) in [
            (Arrivals::Constant, 0.0, 100.0, 1_000.0),
            (Arrivals::Poisson, 0.0, 100.0, 1_000.0),
            (Arrivals::Steps(4), 0.0, 25.0, 250.0),
            (Arrivals::Steps(4), 75.0, 100.0, 1_000.0),
            (Arrivals::Ramp, 0.0, 10.0, 50.0),
            (Arrivals::Ramp, 90.0, 100.0, 950.0),
            (profile, 0.0, 100.0, 750.0),
        ] {
            let seen = count(&arrivals, from_s, to_s);
            assert!((seen / rate - 1.0).abs() < 0.05, "{arrivals:?}: {seen} of {rate}");
        }
    }

    #[test]
    fn random_arrivals_are_random_and_constant_ones_are_not() {
        let gaps = |arrivals: &Arrivals| {
            let moments = arrivals.moments(1_000.0, 10.0, &mut SmallRng::seed_from_u64(7));
            let gaps: Vec<f64> = moments.windows(2).map(|two| (two[1] - two[0]) as f64).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            (gaps.iter().map(|gap| (gap / mean - 1.0).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt()
        };
        assert!(gaps(&Arrivals::Constant) < 0.01);
        assert!((gaps(&Arrivals::Poisson) - 1.0).abs() < 0.1, "the deviation of an exponential gap is its mean");
    }

    #[test]
    fn what_is_no_kind_of_arrival_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("profile");
        let read = |text: &str| Arrivals::read(text).map_err(|error| error.to_string());
        for (content, message) in
            [("3\nx\n", ":2: x is no rate"), ("0\n# none\n", "no rate above 0"), ("-1", "is no rate")]
        {
            std::fs::write(&file, content).unwrap();
            let error = read(&format!("profile:{}", file.display())).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        std::fs::write(&file, "1 # at dawn\n\n2.5\n").unwrap();
        let recorded = read(&format!("profile:{}", file.display())).unwrap();
        assert_eq!((recorded.own(), &recorded), (Some((2.5, 2.0)), &Arrivals::Profile(vec![1.0, 2.5])));
        assert_eq!(Arrivals::Ramp.own(), None);
        assert_eq!(read("steps:3"), Ok(Arrivals::Steps(3)));
        for text in ["", "steps", "steps:0", "burst", "constant:3", "profile", "profile:/no/such/file"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
