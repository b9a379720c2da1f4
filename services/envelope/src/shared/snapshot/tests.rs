use super::*;

const START: Timestamp = Timestamp::from_millis(1_771_254_000_000);

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn key() -> SnapshotKey {
    SnapshotKey::derive(b"secret")
}

fn id(number: u8) -> EnvelopeId {
    EnvelopeId::mint(START, [number; 10])
}

/// Three shares of 10 fen for a group.
fn envelope() -> Envelope {
    Envelope {
        id: id(1),
        sender: user("sender"),
        kind: Kind::Equal,
        total: Fen::new(30).unwrap(),
        shares: 3,
        share_cap: Fen::new(20_000).unwrap(),
        greeting: "恭喜发财".to_owned(),
        audience: Audience::Group(GroupId::parse("family").unwrap()),
        seed: Seed::new([7; 32]),
        created_at: START,
        lifetime_ms: 1_000,
        stage: Stage::Active,
        expires_at: Some(START.plus_millis(1_000)),
        settled_seq: 0,
    }
}

fn journal(openers: &[&str], refunded: bool) -> LiveJournal {
    let mut journal = LiveJournal::empty(Fen::new(30).unwrap());
    let mut add = |kind, amount: i64| {
        let (seq, amount) = (journal.fold.last_seq + 1, Fen::new(amount).unwrap());
        let remaining = journal.fold.remaining.checked_sub(amount).unwrap();
        journal.apply(&Entry { envelope_id: id(1), seq, kind, amount, remaining, at: START });
    };
    openers.iter().for_each(|name| add(EntryKind::Open(user(name)), 10));
    if refunded {
        add(EntryKind::Refund, 30 - 10 * openers.len() as i64);
    }
    journal
}

fn there_and_back(openers: &[&str], refunded: bool) -> Snapshot {
    let bytes = Snapshot::encode(&envelope(), &journal(openers, refunded), &key()).unwrap();
    Snapshot::decode(id(1), &bytes, &key()).unwrap()
}

/// What `user` is answered; `member` is in the group.
fn grab(snapshot: &Snapshot, name: &str, member: bool, now: Timestamp) -> Option<SafeGrab> {
    let groups = [GroupId::parse("family").unwrap()];
    snapshot.grab(&user(name), if member { &groups } else { &[] }, now)
}

#[test]
fn an_ended_snapshot_comes_back_whole() {
    for refunded in [false, true] {
        let openers = if refunded { &["li"][..] } else { &["li", "wang", "zhao"] };
        let (before, snapshot) = (journal(openers, refunded), there_and_back(openers, refunded));
        let Snapshot::Ended { envelope: read, journal } = snapshot else { panic!("it has ended") };
        assert_eq!(read, envelope());
        assert_eq!(journal.fold, before.fold);
        assert_eq!(journal.open_count(), before.open_count());
        assert_eq!(journal.luckiest(), before.luckiest());
        for name in openers {
            assert_eq!(journal.opened_by(&user(name)), before.opened_by(&user(name)));
        }
    }
}

#[test]
fn only_answers_that_no_later_entry_changes_come_from_a_snapshot() {
    let late = START.plus_millis(1_000);
    let open = there_and_back(&["li"], false);
    assert!(matches!(grab(&open, "li", false, late), Some(SafeGrab::Opened(Opened { seq: 1, .. }))), "for ever");
    assert_eq!(grab(&open, "wang", true, START), None, "may have opened it since");
    assert_eq!(grab(&open, "sender", false, START), None);
    assert_eq!(grab(&open, "wang", false, START), None, "may have opened it and left the group");
    assert_eq!(grab(&open, "wang", true, late), None, "may have opened it in time");

    let finished = there_and_back(&["li", "wang", "zhao"], false);
    assert_eq!(grab(&finished, "chen", true, START), Some(SafeGrab::Empty));
    assert_eq!(grab(&finished, "chen", false, START), Some(SafeGrab::NotInvited));
    let refunded = there_and_back(&["li"], true);
    assert_eq!(grab(&refunded, "chen", true, START), Some(SafeGrab::Expired));
    assert!(matches!(grab(&refunded, "li", false, START), Some(SafeGrab::Opened(_))));
}

/// It would tell every share to come.
#[test]
fn the_seed_of_an_envelope_that_can_still_be_opened_is_not_in_its_snapshot() {
    let has_seed = |bytes: &[u8]| bytes.windows(32).any(|window| window == envelope().seed.as_bytes());
    assert!(!has_seed(&Snapshot::encode(&envelope(), &journal(&["li"], false), &key()).unwrap()));
    assert!(has_seed(&Snapshot::encode(&envelope(), &journal(&["li"], true), &key()).unwrap()));
}

#[test]
fn whatever_is_not_genuine_is_no_snapshot() {
    let genuine = Snapshot::encode(&envelope(), &journal(&["li"], true), &key()).unwrap();
    assert!(Snapshot::decode(id(2), &genuine, &key()).is_none(), "another envelope's");
    assert!(Snapshot::decode(id(1), &genuine, &SnapshotKey::derive(b"other")).is_none(), "another secret");
    for index in 0..genuine.len() {
        let mut tampered = genuine.clone();
        tampered[index] ^= 1;
        assert!(Snapshot::decode(id(1), &tampered, &key()).is_none(), "byte {index}");
        assert!(Snapshot::decode(id(1), &genuine[..index], &key()).is_none(), "cut at {index}");
    }
    assert!(Snapshot::decode(id(1), &[&genuine[..], b"x"].concat(), &key()).is_none(), "longer");
    assert!(Snapshot::decode(id(1), &vec![1; SNAPSHOT_BYTES_MAX + 1], &key()).is_none(), "too long");
}

/// As a later version with the same secret might write it, or a defect.
#[test]
fn a_body_that_makes_no_sense_is_no_snapshot_even_when_its_mac_is_right() {
    let read = |body: &[u8]| {
        let mac = key().sign(id(1), body);
        Snapshot::decode(id(1), &[&[VERSION], &mac[..], body].concat(), &key())
    };
    let body = Snapshot::body(&envelope(), &journal(&["li"], true)).unwrap();
    assert!(read(&body).is_some());
    for cut in 0..body.len() {
        assert!(read(&body[..cut]).is_none(), "cut at {cut}");
    }
    for index in 0..body.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = body.clone();
            changed[index] = byte;
            // Whatever it is read as, reading it does no harm.
            let _ = read(&changed);
        }
    }
}

/// I8.
#[test]
fn an_envelope_with_too_many_openers_has_no_snapshot() {
    let mut journal = LiveJournal::empty(Fen::new(1_000_000).unwrap());
    for seq in 1..=8_000 {
        let (kind, amount) = (EntryKind::Open(user(&seq.to_string())), Fen::new(1).unwrap());
        let remaining = journal.fold.remaining.checked_sub(amount).unwrap();
        journal.apply(&Entry { envelope_id: id(1), seq, kind, amount, remaining, at: START });
        if seq % 100 == 0 {
            let encoded = Snapshot::encode(&envelope(), &journal, &key());
            assert!(seq > 500 || encoded.is_some(), "{seq}");
            assert!(encoded.is_none_or(|bytes| bytes.len() <= SNAPSHOT_BYTES_MAX));
        }
    }
    assert!(Snapshot::encode(&envelope(), &journal, &key()).is_none());
}

#[test]
fn while_a_secret_is_changed_snapshots_of_both_are_read_and_made_with_one() {
    let key = |secret: &str| SnapshotKey::derive(secret.as_bytes());
    let written = |key: &SnapshotKey| Snapshot::encode(&envelope(), &journal(&["li"], false), key).unwrap();
    let both = key("new").also_accepting(b"old");
    assert_eq!(written(&both), written(&key("new")));
    let is_read = |bytes: &[u8], key: &SnapshotKey| Snapshot::decode(id(1), bytes, key).is_some();
    assert!(["new", "old"].iter().all(|secret| is_read(&written(&key(secret)), &both)));
    assert!(!is_read(&written(&key("other")), &both));
    assert!(!is_read(&written(&key("old")), &key("new")), "it is accepted no more");
}
