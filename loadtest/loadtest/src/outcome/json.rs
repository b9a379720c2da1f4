//! The run as JSON: for programs, for keeping, and to be shown again.

use std::path::Path;

use hongbao_load::{Fallible, files};

use super::data::Outcome;

impl Outcome {
    /// The whole run as JSON. Names carry their units; they are the fields of [`Outcome`].
    pub fn json(&self) -> Fallible<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Reads a run that was written as JSON, from the file that `flag` names.
    pub fn read(flag: &str, path: &Path) -> Fallible<Outcome> {
        let text = files::read(flag, path)?;
        serde_json::from_str(&text).map_err(|error| format!("{} is no run: {error}", path.display()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::sample::outcome;

    #[test]
    fn a_run_that_was_written_is_read_again_as_it_was() {
        let folder = tempfile::tempdir().expect("the system has a folder for temporary files");
        let file = folder.path().join("run.json");
        let written = outcome().json().expect("the sample holds finite figures only");
        std::fs::write(&file, &written).expect("the folder is ours");
        let again = Outcome::read("show", &file).expect("it was just written");
        assert!(again.json().expect("it was read from JSON") == written);
    }

    #[test]
    fn another_file_is_refused_by_name() {
        let error = Outcome::read("show", Path::new("/dev/null")).expect_err("it is empty");
        assert!(error.to_string().starts_with("/dev/null is no run: "), "{error}");
    }

    #[test]
    fn names_are_stable_and_carry_their_units() {
        let json: serde_json::Value =
            serde_json::from_str(&outcome().json().expect("the sample is finite")).expect("it is JSON");
        assert_eq!(json["totals"]["committed"], 18_981);
        assert_eq!(json["load_s"], 120.0);
        assert_eq!(json["latencies"][0]["p9999_ms"], 143.0);
        assert_eq!(json["generator"]["lag_bars"][0], serde_json::json!([0.1, 191_200]));
    }
}
