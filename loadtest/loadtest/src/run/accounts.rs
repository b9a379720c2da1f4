//! Why a balance is not what it should be: late, or wrong. Of a user with another
//! balance than the envelopes say, all transfers are read.

use std::collections::{HashMap, HashSet};

use hongbao_load::{Fallible, RequestBuffer};
use serde::Deserialize;

use super::books::Books;
use super::request::UserCall;
use super::shown::Shown;

/// Transfers on a page.
const PAGE: u32 = 500;

/// A transfer as the wallet shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Transfer {
    kind: String,
    /// What it adds to the balance.
    amount_fen: i64,
    envelope_id: Option<String>,
}

/// One user's account.
#[derive(Default)]
pub struct Account {
    transfers: Vec<Transfer>,
    /// The balance before they were read, and after.
    before_fen: i64,
    after_fen: i64,
}

/// What must have happened on an account, or may have.
#[derive(Default)]
pub struct Expected<'a> {
    top_ups_fen: i64,
    /// By kind and envelope: what it adds to the balance.
    due: HashMap<(&'static str, &'a str), i64>,
    /// Payments that were asked for, without an answer that says they were made.
    possible: HashMap<&'a str, i64>,
}

/// What is the matter with an account.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    Sound,
    /// So many fen have not arrived yet; everything else is right.
    Late(i64),
    /// Money that is not its owner's, or that its owner had and has no more.
    Wrong(String),
}

impl Account {
    pub fn judge<'a>(&'a self, mut expected: Expected<'a>) -> Finding {
        let (mut top_ups_fen, mut sum_fen, mut late_fen) = (0, 0, 0);
        for Transfer { kind, amount_fen, envelope_id } in &self.transfers {
            sum_fen += amount_fen;
            let Some(envelope) = envelope_id else {
                top_ups_fen += amount_fen;
                continue;
            };
            let known = ["send", "open", "refund"].into_iter().find(|known| known == kind).unwrap_or_default();
            let is_due = expected.due.remove(&(known, envelope.as_str())) == Some(*amount_fen);
            if is_due {
                continue;
            }
            if kind != "send" || expected.possible.remove(envelope.as_str()) != Some(*amount_fen) {
                return Finding::Wrong(format!(
                    "{kind} of {amount_fen} fen for {envelope}, which nothing accounts for"
                ));
            }
            // Paid, and not active yet: the envelope will be.
            late_fen -= amount_fen;
        }
        if top_ups_fen != expected.top_ups_fen {
            return Finding::Wrong(format!("topped up by {top_ups_fen} fen instead of {}", expected.top_ups_fen));
        }
        if let Some(((_, envelope), _)) = expected.due.iter().find(|((kind, _), _)| *kind == "send") {
            return Finding::Wrong(format!("{envelope} was never paid for"));
        }
        if self.before_fen == self.after_fen && self.after_fen != sum_fen {
            return Finding::Wrong(format!("a balance of {} fen, and transfers of {sum_fen}", self.after_fen));
        }
        late_fen += expected.due.values().sum::<i64>();
        if late_fen == 0 && self.after_fen == sum_fen { Finding::Sound } else { Finding::Late(late_fen) }
    }
}

impl Books<'_> {
    /// Reads the accounts of users whose balances were these before.
    pub fn read_accounts(&self, users: &[u32], before: impl Fn(u32) -> i64) -> Fallible<Vec<Account>> {
        #[derive(Deserialize)]
        struct Page {
            transfers: Vec<Transfer>,
            next_cursor: Option<String>,
        }
        let account = |user: &u32| Account { before_fen: before(*user), ..Account::default() };
        let mut accounts: Vec<Account> = users.iter().map(account).collect();
        let mut pages: Vec<(usize, String)> = (0..users.len()).map(|place| (place, String::new())).collect();
        while !pages.is_empty() {
            let mut asks = RequestBuffer::default();
            for (place, cursor) in &pages {
                let path = format!("/v1/wallet/transfers?limit={PAGE}{cursor}");
                self.users.push_as(&mut asks, users[*place], "GET", &path, "");
            }
            let mut next = Vec::new();
            for ((place, _), body) in pages.into_iter().zip(self.users.ask_all("transfers", &asks)?) {
                let page: Page = serde_json::from_slice(&body)?;
                accounts[place].transfers.extend(page.transfers);
                next.extend(page.next_cursor.map(|cursor| (place, format!("&cursor={cursor}"))));
            }
            pages = next;
        }
        for (account, after_fen) in accounts.iter_mut().zip(self.users.balances(users)?) {
            account.after_fen = after_fen;
        }
        Ok(accounts)
    }

    /// What must be on the accounts of users, by envelopes that were read after them.
    pub fn expected<'s>(&'s self, users: &[u32], shown: &[Option<Shown>]) -> Vec<Expected<'s>> {
        let asked: HashSet<u32> =
            self.history.iter().filter(|event| event.call == UserCall::Pay).map(|event| event.envelope).collect();
        let places: HashMap<u32, usize> = users.iter().enumerate().map(|(place, user)| (*user, place)).collect();
        let expect = |user: &u32| {
            let top_ups_fen = self.top_ups.get(user).copied().unwrap_or_default();
            Expected { top_ups_fen, ..Expected::default() }
        };
        let mut all: Vec<Expected<'_>> = users.iter().map(expect).collect();
        for (number, shown) in shown.iter().enumerate() {
            let Some(shown) = shown else { continue };
            let name = self.name(number as u32);
            if let Some(place) = places.get(&self.plan.envelopes[number].sender) {
                let expected = &mut all[*place];
                let unopened_fen = shown.unopened_fen();
                if shown.is_paid() {
                    expected.due.insert(("send", name), -shown.total_fen);
                } else if asked.contains(&(number as u32)) {
                    expected.possible.insert(name, -shown.total_fen);
                }
                if shown.state == "refunded" && unopened_fen > 0 {
                    expected.due.insert(("refund", name), unopened_fen);
                }
            }
            for (_, id, amount_fen) in &shown.opens {
                if let Some(place) = self.users.number(id).and_then(|user| places.get(&user)) {
                    *all[*place].due.entry(("open", name)).or_default() += amount_fen;
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(kind: &str, amount_fen: i64, envelope: &str) -> Transfer {
        let envelope_id = (!envelope.is_empty()).then(|| envelope.to_owned());
        Transfer { kind: kind.into(), amount_fen, envelope_id }
    }

    /// Topped up by 100, paid 30 for an envelope, opened 4 of it and 5 of another, and got 6 back; may have paid for
    /// a third.
    fn judged(change: impl FnOnce(&mut Account)) -> Finding {
        let transfers = vec![
            transfer("top_up", 60, ""),
            transfer("top_up", 40, ""),
            transfer("send", -30, "one"),
            transfer("open", 4, "one"),
            transfer("refund", 6, "one"),
            transfer("open", 5, "two"),
        ];
        let mut account = Account { transfers, before_fen: 85, after_fen: 85 };
        change(&mut account);
        let due = [(("send", "one"), -30), (("open", "one"), 4), (("refund", "one"), 6), (("open", "two"), 5)];
        account.judge(Expected { top_ups_fen: 100, due: due.into(), possible: [("three", -20)].into() })
    }

    /// One transfer that is not there, and its money neither.
    fn without(place: usize) -> Finding {
        judged(|account| {
            let gone = account.transfers.remove(place).amount_fen;
            (account.before_fen, account.after_fen) = (account.before_fen - gone, account.after_fen - gone);
        })
    }

    /// One transfer more, and its money.
    fn with(kind: &str, amount_fen: i64, envelope: &str) -> Finding {
        judged(|account| {
            account.transfers.push(transfer(kind, amount_fen, envelope));
            (account.before_fen, account.after_fen) = (account.before_fen + amount_fen, account.after_fen + amount_fen);
        })
    }

    #[test]
    fn a_credit_that_is_not_there_yet_is_late_and_not_wrong() {
        assert_eq!(judged(|_| ()), Finding::Sound);
        assert_eq!((without(3), without(4), without(5)), (Finding::Late(4), Finding::Late(6), Finding::Late(5)));
        let moving = judged(|account| (account.transfers.truncate(5), account.before_fen = 80).1);
        assert_eq!(moving, Finding::Late(5), "it was credited while the transfers were read");
    }

    #[test]
    fn a_payment_without_an_answer_may_be_under_way() {
        assert_eq!(with("send", -20, "three"), Finding::Late(20));
        assert!(matches!(with("send", -21, "three"), Finding::Wrong(_)));
    }

    #[test]
    fn what_nothing_accounts_for_is_wrong() {
        let wrong = |finding: Finding, message: &str| match finding {
            Finding::Wrong(said) => assert!(said.contains(message), "{said}"),
            other => panic!("{message}: {other:?}"),
        };
        wrong(with("open", 4, "one"), "open of 4 fen for one");
        wrong(with("refund", 1, "two"), "refund of 1 fen for two");
        wrong(with("top_up", 1, ""), "topped up by 101");
        wrong(without(0), "topped up by 40");
        wrong(without(2), "one was never paid for");
        wrong(judged(|account| account.transfers[3].amount_fen = 5), "open of 5 fen");
        // Everything is there, transfer by transfer, and yet a fen less.
        wrong(judged(|account| (account.before_fen, account.after_fen) = (84, 84)), "a balance of 84 fen");
    }
}
