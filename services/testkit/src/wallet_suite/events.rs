//! Events: written once, in order, and read from any place.

use std::sync::Arc;

use hongbao_core::event::{EventType, Feed, Note, NoteWhen};
use hongbao_core::{Audience, Entry, EntryKind, Envelope, Fen, GroupId, Kind, Seed, Stage, Timestamp};
use hongbao_wallet::Wallet;

use super::{NOON, envelope, fen, open, send, top_up, user};

/// An envelope of Ann's.
fn made(number: u64, audience: Audience) -> Envelope {
    Envelope {
        id: envelope(number),
        sender: user("ann"),
        kind: Kind::Lucky,
        total: fen(1_000),
        shares: 1_000,
        share_cap: fen(20_000),
        greeting: String::new(),
        audience,
        seed: Seed::new([7; 32]),
        created_at: NOON,
        lifetime_ms: 60_000,
        stage: Stage::Active,
        expires_at: Some(NOON.plus_millis(60_000)),
        settled_seq: 0,
    }
}

fn group() -> Audience {
    Audience::Group(GroupId::parse("family").unwrap())
}

/// Openings of one fen by `u1` and so on.
fn openings(number: u64, seqs: std::ops::RangeInclusive<u32>) -> Vec<Entry> {
    let entry = |seq: u32| Entry {
        envelope_id: envelope(number),
        seq,
        kind: EntryKind::Open(user(&format!("u{seq}"))),
        amount: fen(1),
        remaining: Fen::new(1_000 - i64::from(seq)).unwrap(),
        at: NOON.plus_millis(seq.into()),
    };
    seqs.map(entry).collect()
}

async fn note(wallet: &Arc<dyn Wallet>, notes: Vec<Note>) {
    assert_eq!(wallet.transfer_noting(Vec::new(), notes).await.unwrap(), []);
}

/// What a feed shows, read in pages of so many rows: `0 envelope.paid` and so on.
async fn shown(wallet: &Arc<dyn Wallet>, feed: &Feed, rows_max: u32) -> Vec<String> {
    let (mut after, mut all) = (0, Vec::new());
    loop {
        let pages = wallet.read_feeds(&[(feed.clone(), after)], rows_max).await.unwrap();
        assert_eq!(pages.len(), 1, "a feed lies in one shard");
        let page = &pages[0];
        assert!(page.rows.len() <= rows_max as usize);
        assert!(page.rows.is_sorted_by_key(|row| row.position));
        if page.rows.is_empty() {
            return all;
        }
        let events = page.rows.iter().flat_map(|row| row.events(None));
        all.extend(events.map(|event| format!("{} {}", event.seq.unwrap_or(0), event.kind.as_str())));
        after = page.read_to;
    }
}

fn opened(seqs: std::ops::RangeInclusive<u32>) -> Vec<String> {
    seqs.map(|seq| format!("{seq} envelope.opened")).collect()
}

fn feed_of(name: &str) -> Feed {
    Feed::User(user(name))
}

/// Repeats, and pages that begin where another ended or before.
pub async fn events_are_written_once_however_often_a_call_is_repeated(wallet: Arc<dyn Wallet>) {
    let made = made(1, group());
    let paid = || vec![Note { when: NoteWhen::New, ..Note::paid(&made, NOON) }];
    for _ in 0..2 {
        note(&wallet, paid()).await;
        note(&wallet, Note::paid_for_audience(&made, NOON).into_iter().collect()).await;
        for seqs in [1..=3, 2..=5, 4..=4, 6..=600] {
            let both = Note::of_entries(&made.sender, &made.audience, &openings(1, seqs));
            note(&wallet, [both.clone(), both].concat()).await;
        }
        note(&wallet, Note::expiring_soon(&made, fen(400), NOON)).await;
    }
    let mut expected = vec!["0 envelope.paid".to_owned()];
    expected.extend(opened(1..=600));
    expected.push("0 envelope.expiring_soon".to_owned());
    for feed in [feed_of("ann"), Feed::of_audience(&group()).unwrap()] {
        for rows_max in [1, 2, 100] {
            assert_eq!(shown(&wallet, &feed, rows_max).await, expected, "{feed}");
        }
    }
    assert_eq!(shown(&wallet, &feed_of("u1"), 9).await, [""; 0], "a group reads its own feed");
}

/// Executed now: neither refused, nor done before.
pub async fn an_event_that_rests_on_a_transfer_is_written_with_it_alone(wallet: Arc<dyn Wallet>) {
    let made = made(1, Audience::Link);
    let pay = || (vec![send(1, "ann", 1_000)], vec![Note::paid(&made, NOON)]);
    let (transfers, notes) = pay();
    wallet.transfer_noting(transfers, notes).await.unwrap();
    assert_eq!(shown(&wallet, &feed_of("ann"), 9).await, [""; 0], "there is no money");
    wallet.transfer(vec![top_up(1, "ann", 1_000)]).await.unwrap();
    for _ in 0..2 {
        let (transfers, notes) = pay();
        wallet.transfer_noting(transfers, notes).await.unwrap();
    }
    for _ in 0..2 {
        let notes = Note::of_entries(&made.sender, &made.audience, &openings(1, 1..=3));
        let credits = (1..=3).map(|seq| open(1, seq, &format!("u{seq}"), 1)).collect();
        wallet.transfer_noting(credits, notes).await.unwrap();
    }
    let of_ann = ["0 envelope.paid", "1 envelope.opened", "2 envelope.opened", "3 envelope.opened"];
    assert_eq!(shown(&wallet, &feed_of("ann"), 9).await, of_ann);
    assert_eq!(shown(&wallet, &feed_of("u2"), 9).await, ["2 envelope.opened"], "of a link each has its own");
}

/// Some feeds of several shards, each from another place.
pub async fn feeds_are_read_each_from_its_own_place(wallet: Arc<dyn Wallet>) {
    for number in 0..20 {
        let made = made(number, Audience::User(user(&format!("friend-{}", number % 4))));
        note(&wallet, Note::paid_for_audience(&made, NOON.plus_millis(number as i64)).into_iter().collect()).await;
    }
    let names: Vec<Feed> = (0..4).map(|number| feed_of(&format!("friend-{number}"))).collect();
    let all: Vec<(Feed, i64)> = names.iter().map(|feed| (feed.clone(), 0)).collect();
    let pages = wallet.read_feeds(&all, 100).await.unwrap();
    let mut rows: Vec<_> = pages.iter().flat_map(|page| page.rows.clone()).collect();
    assert_eq!(rows.len(), 20);
    // The third of each feed, and what comes behind it.
    let wanted: Vec<(Feed, i64)> = names
        .iter()
        .map(|feed| (feed.clone(), rows.iter().filter(|row| row.feed == *feed).nth(2).unwrap().position))
        .collect();
    rows.retain(|row| wanted.iter().any(|(feed, after)| *feed == row.feed && row.position > *after));
    let behind = wallet.read_feeds(&wanted, 100).await.unwrap();
    let behind: Vec<_> = behind.into_iter().flat_map(|page| page.rows).collect();
    assert_eq!((behind.len(), behind), (8, rows));

    let ends = wallet.ends_of_feeds(&names).await.unwrap();
    for page in &ends {
        let of_shard = pages.iter().find(|other| other.slots == page.slots).unwrap();
        assert_eq!((page.read_to, page.rows.len()), (of_shard.read_to, 0), "nothing comes behind the end");
    }
    assert_eq!(ends.len(), pages.len());
}

/// An opening, that it was the last, and a refund.
pub async fn a_journal_s_end_is_an_event_of_its_own(wallet: Arc<dyn Wallet>) {
    let mut last = openings(1, 1..=2);
    last[1].remaining = Fen::ZERO;
    note(&wallet, Note::of_entries(&user("ann"), &group(), &last)).await;
    let mut refunded = openings(2, 1..=2);
    refunded[1] = Entry { kind: EntryKind::Refund, remaining: Fen::ZERO, amount: fen(999), ..refunded[1].clone() };
    note(&wallet, Note::of_entries(&user("ann"), &group(), &refunded)).await;
    let expected = [
        "1 envelope.opened",
        "2 envelope.opened",
        "2 envelope.emptied",
        "1 envelope.opened",
        "2 envelope.expired",
        "2 envelope.refunded",
    ];
    assert_eq!(shown(&wallet, &feed_of("ann"), 1).await, expected);
    let pages = wallet.read_feeds(&[(feed_of("ann"), 0)], 9).await.unwrap();
    let back = pages[0].rows[1].events(None).pop().unwrap();
    assert_eq!(
        (back.kind, back.amount_fen, back.user_id),
        (EventType::EnvelopeRefunded, Some(fen(999)), Some(user("ann")))
    );
    assert_eq!(back.at, Timestamp::from_millis(NOON.millis() + 2));
}
