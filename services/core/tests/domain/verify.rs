//! `verify_draw`: a closed envelope confirms itself, and no tampered one does.

use hongbao_core::request::{AudienceBody, AudienceType};
use hongbao_core::verify::{DrawError, verify_draw};
use hongbao_core::wire::{Detail, EnvelopeView, GrabAnswer, OpenView, Outcome, Ready, ReadyTag};
use hongbao_core::{EntryKind, Envelope, Fen, Journal, Kind, State, Timestamp};
use proptest::prelude::*;

use crate::sample::{self, LIFETIME_MS, NEW_YEAR, Rows, fen, user};

const LATE: Timestamp = NEW_YEAR.plus_millis(2 * LIFETIME_MS);

/// The public detail of a closed envelope, in pages, as text went over the wire.
fn pages(rows: &Rows, page: usize) -> Vec<Detail> {
    let journal = Journal::after(rows.entries.last().unwrap());
    let envelope = EnvelopeView::new(&rows.envelope, &journal, LATE);
    let opens: Vec<OpenView> = rows.entries.iter().filter_map(OpenView::of_entry).collect();
    let mut chunks: Vec<Vec<OpenView>> = opens.chunks(page).map(<[OpenView]>::to_vec).collect();
    if chunks.is_empty() {
        chunks.push(Vec::new());
    }
    let luckiest = luckiest(&opens);
    let last = chunks.len() - 1;
    let pages = chunks.into_iter().enumerate().map(|(place, opens)| Detail {
        envelope: envelope.clone(),
        next_seq: if place == last { None } else { opens.last().map(|open| open.seq) },
        opens,
        mine: None,
        luckiest: luckiest.clone(),
        draw_seed: Some(rows.envelope.seed.reveal()),
    });
    pages.map(|page| serde_json::from_str(&serde_json::to_string(&page).unwrap()).unwrap()).collect()
}

/// The earliest of the largest.
fn luckiest(opens: &[OpenView]) -> Option<OpenView> {
    let most = opens.iter().map(|open| open.amount_fen).max()?;
    opens.iter().find(|open| open.amount_fen == most).cloned()
}

fn lucky() -> Envelope {
    sample::envelope(Kind::Lucky, 1_000, 10, 20_000)
}

fn closed() -> Vec<Detail> {
    pages(&Rows::settled(lucky(), 10), 4)
}

#[track_caller]
fn assert_refused(damage: impl FnOnce(&mut Vec<Detail>), error: DrawError) {
    let mut pages = closed();
    assert!(verify_draw(&pages).is_ok());
    damage(&mut pages);
    assert_eq!(verify_draw(&pages), Err(error));
}

proptest! {
    #[test]
    fn every_closed_envelope_confirms_its_draw(
        (total, shares, cap) in sample::terms(30),
        opens: prop::sample::Index,
        page in 1..40_usize,
        turned: bool,
    ) {
        let rows = Rows::settled(sample::envelope(Kind::Lucky, total, shares, cap), opens.index(shares as usize + 1) as u32);
        let mut pages = pages(&rows, page);
        if turned {
            pages.reverse();
        }
        let expected: Vec<OpenView> = rows.entries.iter().filter_map(OpenView::of_entry).collect();
        prop_assert_eq!(verify_draw(&pages), Ok(expected));
    }

    #[test]
    fn a_changed_amount_is_refused_at_every_place(at in 0..10_usize, amount in 0..1_000_i64) {
        let mut pages = closed();
        let open = &mut pages[at / 4].opens[at % 4];
        prop_assume!(open.amount_fen != fen(amount));
        let drawn = open.amount_fen.get();
        open.amount_fen = fen(amount);
        let (seq, user) = (open.seq, open.user_id.to_string());
        prop_assert_eq!(verify_draw(&pages), Err(DrawError::WrongAmount { seq, user, got: amount, drawn }));
    }
}

#[test]
fn an_equal_envelope_confirms_its_draw() {
    let rows = Rows::settled(sample::envelope(Kind::Equal, 1_000, 10, 20_000), 10);
    assert!(verify_draw(&pages(&rows, 100)).unwrap().iter().all(|open| open.amount_fen == fen(100)));
}

#[test]
fn an_envelope_that_nobody_opened_confirms_its_draw() {
    assert_eq!(verify_draw(&pages(&Rows::settled(lucky(), 0), 100)), Ok(vec![]));
}

#[test]
fn pages_that_overlap_are_read_once() {
    let mut pages = closed();
    pages.push(pages[1].clone());
    assert_eq!(verify_draw(&pages).unwrap().len(), 10);
}

#[test]
fn an_open_envelope_has_no_seed_yet() {
    assert_eq!(verify_draw(&[]), Err(DrawError::NotClosed));
    assert_refused(|pages| pages[0].draw_seed = None, DrawError::NotClosed);
}

#[test]
fn a_seed_that_is_no_seed_is_refused() {
    for seed in ["", "xyz", &"0".repeat(63), &"+0".repeat(32), &"g".repeat(64)] {
        assert_refused(|pages| pages[0].draw_seed = Some(seed.to_owned()), DrawError::BadSeed);
    }
}

#[test]
fn another_seed_does_not_match_the_commitment() {
    let other = sample::seed(99);
    let error = DrawError::WrongCommitment(other.commitment());
    assert_refused(|pages| pages[0].draw_seed = Some(other.reveal()), error);
}

#[test]
fn another_commitment_does_not_match_the_seed() {
    let error = DrawError::WrongCommitment(sample::seed(7).commitment());
    assert_refused(|pages| pages[0].envelope.draw_commitment = "0".repeat(64), error);
}

#[test]
fn a_seed_that_was_changed_with_its_commitment_draws_other_amounts() {
    let mut pages = closed();
    let other = sample::seed(99);
    pages[0].draw_seed = Some(other.reveal());
    pages[0].envelope.draw_commitment = other.commitment();
    assert!(matches!(verify_draw(&pages), Err(DrawError::WrongAmount { seq: 1, .. })));
}

#[test]
fn a_missing_page_is_named_by_its_first_opening() {
    assert_refused(|pages| drop(pages.remove(0)), DrawError::Missing(1));
    assert_refused(|pages| drop(pages.remove(1)), DrawError::Missing(5));
    assert_refused(|pages| drop(pages.remove(2)), DrawError::Missing(9));
}

#[test]
fn the_missing_last_page_of_a_refunded_envelope_is_noticed() {
    let mut pages = pages(&Rows::settled(lucky(), 8), 4);
    assert!(verify_draw(&pages).is_ok());
    pages.pop();
    assert_eq!(verify_draw(&pages), Err(DrawError::Missing(5)));
}

#[test]
fn a_missing_opening_is_named() {
    assert_refused(|pages| drop(pages[1].opens.remove(0)), DrawError::Missing(5));
    assert_refused(|pages| drop(pages[2].opens.pop()), DrawError::Missing(10));
    assert_refused(|pages| pages.iter_mut().for_each(|page| page.opens.clear()), DrawError::Missing(1));
}

#[test]
fn openings_that_changed_places_are_refused() {
    let mut pages = closed();
    let (first, second) = (pages[0].opens[0].amount_fen, pages[0].opens[1].amount_fen);
    assert_ne!(first, second);
    pages[0].opens[0].seq = 2;
    pages[0].opens[1].seq = 1;
    let (user, got) = (user(2).to_string(), second.get());
    assert_eq!(verify_draw(&pages), Err(DrawError::WrongAmount { seq: 1, user, got, drawn: first.get() }));
}

#[test]
fn two_users_at_one_place_are_refused() {
    assert_refused(
        |pages| {
            let again = OpenView { user_id: user(99), ..pages[0].opens[1].clone() };
            pages[0].opens.push(again);
        },
        DrawError::Missing(3),
    );
}

#[test]
fn an_opening_too_many_is_refused() {
    assert_refused(
        |pages| {
            let more = OpenView { seq: 11, ..pages[0].opens[0].clone() };
            pages[2].opens.push(more);
        },
        DrawError::Impossible(0),
    );
}

#[test]
fn terms_that_cannot_be_split_are_refused() {
    for shares in [0, 1_001, u32::MAX] {
        assert_refused(|pages| pages[0].envelope.shares = shares, DrawError::Impossible(1_000));
    }
    assert_refused(|pages| pages[0].envelope.share_fen_max = fen(99), DrawError::Impossible(1_000));
    assert_refused(|pages| pages[0].envelope.total_fen = Fen::ZERO, DrawError::Impossible(0));
}

#[test]
fn other_terms_draw_other_amounts() {
    for change in [
        (|view: &mut EnvelopeView| view.total_fen = fen(5_000)) as fn(&mut EnvelopeView),
        |view| view.shares = 500,
        |view| view.share_fen_max = fen(101),
        |view| view.kind = Kind::Equal,
    ] {
        let mut pages = closed();
        change(&mut pages[0].envelope);
        assert!(matches!(verify_draw(&pages), Err(DrawError::WrongAmount { .. })), "{:?}", pages[0].envelope);
    }
}

#[test]
fn what_a_refunded_envelope_keeps_to_itself_cannot_be_noticed() {
    let mut pages = pages(&Rows::settled(lucky(), 3), 100);
    assert_eq!(pages[0].envelope.state, State::Refunded);
    pages[0].opens.pop();
    pages[0].luckiest = luckiest(&pages[0].opens);
    assert_eq!(verify_draw(&pages).unwrap().len(), 2);
}

/// Changes one thing on every page, and expects its field to be named.
#[track_caller]
fn assert_false(field: &str, lie: impl Fn(&mut Detail)) {
    let mut pages = closed();
    pages.iter_mut().for_each(lie);
    match verify_draw(&pages) {
        Err(DrawError::False { what, .. }) => assert!(what.contains(field), "{what}"),
        other => panic!("{field}: {other:?}"),
    }
}

#[test]
fn a_false_luckiest_is_refused() {
    let opens: Vec<OpenView> = closed().into_iter().flat_map(|page| page.opens).collect();
    let right = luckiest(&opens);
    for open in opens.iter().filter(|open| Some(*open) != right.as_ref()) {
        assert_false("luckiest", |page| page.luckiest = Some(open.clone()));
    }
    assert_false("luckiest", |page| page.luckiest = None);
    assert_false("luckiest", |page| page.luckiest.as_mut().unwrap().amount_fen = fen(1));
    assert_false("luckiest", |page| page.luckiest.as_mut().unwrap().user_id = user(99));
    assert_false("luckiest", |page| page.luckiest.as_mut().unwrap().opened_at = NEW_YEAR);
}

#[test]
fn of_equal_shares_the_earliest_is_the_luckiest() {
    let rows = Rows::settled(sample::envelope(Kind::Equal, 1_000, 10, 20_000), 10);
    let mut pages = pages(&rows, 100);
    assert_eq!(pages[0].luckiest.as_ref().map(|open| open.seq), Some(1));
    assert!(verify_draw(&pages).is_ok());
    pages[0].luckiest = pages[0].opens.last().cloned();
    assert!(matches!(verify_draw(&pages), Err(DrawError::False { .. })));
}

#[test]
fn whatever_else_follows_from_the_rest_is_checked() {
    assert_false("mine", |page| page.mine = Some(OpenView { user_id: user(99), ..page.opens[0].clone() }));
    assert_false("state", |page| page.envelope.state = State::Active);
    assert_false("state", |page| page.envelope.state = State::Refunded);
    assert_false("remaining_fen", |page| page.envelope.remaining_fen = fen(1));
    assert_false("remaining_shares", |page| page.envelope.remaining_shares = 1);
    assert_false("created_at", |page| page.envelope.created_at = NEW_YEAR.plus_millis(-400 * LIFETIME_MS));
    assert_false("expires_at", |page| page.envelope.expires_at = None);
    assert_false("opened_at", |page| page.envelope.expires_at = Some(NEW_YEAR));
    assert_false("opened_at", |page| page.opens[0].opened_at = NEW_YEAR.plus_millis(-400 * LIFETIME_MS));
    assert_false("opened_at", |page| page.opens[0].opened_at = NEW_YEAR.plus_millis(2 * LIFETIME_MS));
    assert_false("next_seq", |page| page.next_seq = page.next_seq.map(|seq| seq - 1));
    assert_false("opening 2", |page| {
        page.opens.iter_mut().filter(|open| open.seq == 2).for_each(|open| open.user_id = user(1));
    });
    assert_false("opening 1", |page| {
        page.envelope.audience = AudienceBody { kind: AudienceType::User, id: Some("user_2".to_owned()) };
    });
    assert_false("audience", |page| page.envelope.audience = AudienceBody { kind: AudienceType::User, id: None });
    let mut pages = pages(&Rows::settled(lucky(), 3), 100);
    pages[0].mine = Some(pages[0].opens[1].clone());
    assert!(verify_draw(&pages).is_ok());
    pages[0].envelope.state = State::Finished;
    assert_eq!(verify_draw(&pages), Err(DrawError::Missing(4)));
}

#[test]
fn pages_that_tell_different_things_are_refused() {
    assert_refused(|pages| pages[1].envelope.greeting = "other".to_owned(), DrawError::PagesDiffer("envelope"));
    assert_refused(|pages| pages[1].draw_seed = None, DrawError::PagesDiffer("draw_seed"));
    assert_refused(|pages| pages[1].luckiest = None, DrawError::PagesDiffer("luckiest"));
}

#[test]
fn the_detail_goes_over_the_wire_as_the_contract_says() {
    let rows = Rows::settled(lucky(), 10);
    let json = serde_json::to_value(&pages(&rows, 100)[0]).unwrap();
    assert_eq!(json["envelope"]["total_fen"], 1_000);
    assert_eq!(json["envelope"]["state"], "finished");
    assert_eq!(json["envelope"]["kind"], "lucky");
    assert_eq!(json["envelope"]["audience"], serde_json::json!({"type": "link"}));
    assert_eq!(json["envelope"]["created_at"], "2026-02-16T16:00:00.000Z");
    assert_eq!(json["envelope"]["expires_at"], "2026-02-17T16:00:00.000Z");
    assert_eq!((&json["envelope"]["remaining_fen"], &json["envelope"]["remaining_shares"]), (&0.into(), &0.into()));
    assert_eq!(json["opens"][0]["user_id"], "user_1");
    assert_eq!((&json["next_seq"], &json["mine"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    let fields = ["envelope", "opens", "next_seq", "mine", "luckiest", "draw_seed"];
    assert!(fields.iter().all(|field| json.get(field).is_some()), "null, and never absent");
}

#[test]
fn outcomes_go_over_the_wire_as_the_contract_says() {
    let rows = Rows::settled(lucky(), 1);
    let open = rows.entries.iter().find(|entry| entry.kind != EntryKind::Refund).unwrap();
    let opened = hongbao_core::Opened { seq: open.seq, amount: open.amount, at: open.at };
    let ready = Ready { outcome: ReadyTag::Ready, ticket: "x".to_owned(), ticket_expires_at: NEW_YEAR };
    let answers = [
        (GrabAnswer::Ready(ready), "ready"),
        (GrabAnswer::Outcome(Outcome::opened(&opened, true)), "opened"),
        (GrabAnswer::Outcome(Outcome::Empty), "empty"),
        (GrabAnswer::Outcome(Outcome::Expired), "expired"),
    ];
    for (answer, word) in answers {
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json["outcome"], word);
        assert_eq!(serde_json::from_value::<GrabAnswer>(json).unwrap(), answer);
    }
}
