//! Whether a comparison may be believed: no fen is wrong, and nothing counts as
//! right that was not checked.

use super::audit::Audit;
use super::loss::Loss;
use super::report::{Line, Report};
use super::scheme::Scheme;

impl Report {
    /// Whether a fen was missing or too many: after a run, or after a kill. What
    /// memory-first loses by a kill is what it is measured for; that it has anything
    /// else wrong is not.
    pub fn money_is_wrong(&self) -> bool {
        let mut runs = self.lines.iter().flat_map(|line| &line.rounds).filter_map(|sample| sample.audit.as_ref());
        let kill_holds = |loss: &Loss| {
            let mut looks = [Some(&loss.audit), loss.after_restart.as_ref()].into_iter().flatten();
            match loss.scheme {
                Scheme::MemoryFirst => looks.all(Audit::holds_but_for_losses),
                _ => looks.all(Audit::holds),
            }
        };
        !runs.all(Audit::holds) || !self.losses.iter().all(kill_holds)
    }

    /// What was not measured, or whose money was not checked.
    pub fn gaps(&self) -> Vec<String> {
        let gap = |line: &Line| {
            let (missing, all) = (line.unaudited(), line.rounds.len() + line.failures.len());
            (missing > 0).then(|| format!("{}: {missing} of {all} runs", line.at()))
        };
        let mut gaps: Vec<String> = self.lines.iter().filter_map(gap).collect();
        gaps.extend(self.not_killed.iter().map(|kill| format!("the kill of {}", kill.scheme.text())));
        gaps.extend(self.stopped.iter().map(|why| format!("all that was to come when it stopped: {why}")));
        gaps
    }

    /// 1: money is wrong. 2: something was not measured or not audited. 0: all is as it should be.
    pub fn exit_code(&self) -> u8 {
        if self.money_is_wrong() {
            return 1;
        }
        if self.gaps().is_empty() { 0 } else { 2 }
    }

    /// The verdict on the money, as text.
    pub fn verdict(&self) -> String {
        let gaps = self.gaps();
        let money = if self.money_is_wrong() {
            "money is WRONG: see MONEY below"
        } else if !gaps.is_empty() {
            "NOT ALL WAS AUDITED; where it was, the money is right"
        } else {
            "after every run and every kill the money is right, but for what memory-first loses by a kill"
        };
        gaps.iter().fold(money.to_owned(), |text, gap| format!("{text}\n            not audited: {gap}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::loss::NotKilled;
    use crate::compare::report::tests::report;

    /// The same without the scheme that could not be measured.
    fn complete() -> Report {
        let mut report = report();
        report.lines.pop();
        report
    }

    #[test]
    fn a_wrong_fen_is_shown_and_makes_the_report_wrong() {
        let mut report = report();
        assert!(!report.money_is_wrong());
        report.lines[0].rounds[0].audit = Some(Audit { acknowledged: 1, altered: 1, ..Audit::default() });
        assert!(report.money_is_wrong());
        assert!(report.table().contains("MONEY"));
        let row = report.table().lines().find(|line| line.starts_with("row-lock")).unwrap().to_owned();
        assert!(row.ends_with("WRONG, see MONEY"), "it was another round than the one that is shown: {row}");
        assert_eq!(report.exit_code(), 1, "a wrong fen comes before what is missing");
    }

    #[test]
    fn what_was_not_audited_is_never_taken_for_right() {
        assert_eq!((complete().exit_code(), complete().gaps()), (0, Vec::new()));
        assert!(complete().table().contains("verdict     after every run and every kill the money is right"));
        type Change = fn(&mut Report);
        let changes: [(Change, &str); 5] = [
            (|report| *report = super::tests::report(), "serial at 8 x 100: 1 of 1 runs"),
            (|report| report.lines[0].failures.push("no audit".into()), "row-lock at 8 x 100: 1 of 4 runs"),
            (|report| report.lines[0].rounds[0].audit = Some(Audit::default()), "row-lock at 8 x 100: 1 of 3 runs"),
            (
                |report| {
                    report.not_killed.push(NotKilled { scheme: Scheme::Hongbao, reason: "it went on".into() });
                },
                "the kill of hongbao",
            ),
            (|report| report.stopped = Some("interrupted".into()), "when it stopped: interrupted"),
        ];
        for (change, text) in changes {
            let mut report = complete();
            change(&mut report);
            assert_eq!(report.exit_code(), 2, "{text}");
            let table = report.table();
            assert!(table.contains("NOT ALL WAS AUDITED") && table.contains(text), "{text} is missing in\n{table}");
        }
        let mut report = complete();
        report.not_killed.push(NotKilled { scheme: Scheme::Hongbao, reason: "it went on".into() });
        assert!(report.table().contains("hongbao        NOT AUDITED: it went on"));
    }

    #[test]
    fn only_memory_first_may_lose_what_it_acknowledged_when_it_is_killed() {
        let mut report = report();
        assert!(report.losses[0].audit.lost > 0 && !report.money_is_wrong());
        report.losses[0].after_restart = Some(Audit { acknowledged: 9, altered: 1, ..Audit::default() });
        assert!(report.money_is_wrong(), "a loss is one thing, another amount is another");
        report.losses[0].after_restart = None;
        report.losses[0].scheme = Scheme::Hongbao;
        assert!(report.money_is_wrong());
    }
}
