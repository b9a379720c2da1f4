//! What is in the databases after a round, read by SQL and not by the service,
//! against all that clients were told.

use std::collections::{BTreeMap, HashMap, HashSet};

use hongbao_core::id::TableRef;
use hongbao_core::{EnvelopeId, TransferId, UserId};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow, MySqlSslMode};
use sqlx::{ConnectOptions as _, Executor as _, Row as _};

use crate::installation::{DATABASES, Installation, SETS, ZONE_OFFSET_S, fold};
use crate::round::Cast;
use crate::told::{Answer, Told};

/// Stages as they are stored.
const CREATED: i64 = 0;
const ACTIVE: i64 = 1;
const CANCELLED: i64 = 2;
const SETTLED: i64 = 3;
/// Kinds of transfers as they are stored.
const SEND: i64 = 2;
const OPEN: i64 = 3;
const CANCEL: i64 = 5;
/// The user of a refund.
const REFUND: &str = "#refund";

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which kind.
    pub kind: &'static str,
    /// What exactly.
    pub reason: String,
}

impl Violation {
    pub fn new(kind: &'static str, reason: String) -> Violation {
        Violation { kind, reason }
    }
}

/// An envelope as it is stored everywhere.
#[derive(Default)]
struct Stored {
    row: Option<Row>,
    /// By `seq`.
    entries: BTreeMap<u32, Entry>,
    /// By `seq`; 0 is the payment.
    transfers: BTreeMap<u32, Transfer>,
}

struct Row {
    sender: String,
    stage: i64,
    total: i64,
    settled_seq: i64,
}

struct Entry {
    user: String,
    amount: i64,
    remaining: i64,
}

struct Transfer {
    user: String,
    kind: i64,
    amount: i64,
}

/// What the databases say of a round.
pub struct Books {
    envelopes: HashMap<EnvelopeId, Stored>,
    /// Top-ups by their id, with whose and how much.
    top_ups: HashMap<uuid::Uuid, (String, i64)>,
    /// Of each user the newest balance.
    balances: HashMap<String, i64>,
    /// Every balance that a user ever had.
    held: HashSet<(String, i64)>,
}

async fn connect(installation: &Installation, database: usize) -> MySqlConnection {
    let address = installation.address_of(database);
    let options = MySqlConnectOptions::new().host("127.0.0.1").port(address.port());
    let options = options.username("hongbao").password("hongbao").ssl_mode(MySqlSslMode::Disabled);
    let connected = options.connect().await;
    connected.unwrap_or_else(|error| panic!("{error}, and it had come back: {}", installation.log_of(database)))
}

async fn rows(connection: &mut MySqlConnection, sql: &str) -> Vec<MySqlRow> {
    connection.fetch_all(sqlx::raw_sql(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{digits}'")
}

fn id_of(row: &MySqlRow, column: usize) -> EnvelopeId {
    EnvelopeId::from_bytes(&row.get::<Vec<u8>, _>(column)).expect("the column holds ids of envelopes")
}

/// A column of ASCII, which sqlx takes for bytes.
fn text_of(row: &MySqlRow, column: usize) -> String {
    String::from_utf8(row.get(column)).expect("the column holds ASCII")
}

/// Reads all that a round is about, while the jobs go on: first what they do last
/// and last what they do first, so that no credit is read without its entry and
/// nothing is settled without its credit.
pub async fn read(installation: &Installation, cast: &Cast) -> Books {
    let envelopes = cast.envelopes.iter().map(|id| (*id, Stored::default())).collect();
    let mut books = Books { envelopes, top_ups: HashMap::new(), balances: HashMap::new(), held: HashSet::new() };
    let mut tables: BTreeMap<(usize, TableRef), Vec<EnvelopeId>> = BTreeMap::new();
    for id in &cast.envelopes {
        let table = fold().table_of(id.placement(ZONE_OFFSET_S));
        tables.entry((usize::from(table.database), table)).or_default().push(*id);
    }
    for ((set, table), ids) in &tables {
        read_rows(&mut books, &mut connect(installation, *set).await, *table, ids).await;
    }
    for home in SETS..DATABASES {
        read_transfers(&mut books, &mut connect(installation, home).await, cast).await;
    }
    for ((set, table), ids) in &tables {
        read_entries(&mut books, &mut connect(installation, *set).await, *table, ids).await;
    }
    books
}

fn table_name(kind: &str, table: TableRef) -> String {
    format!("db_{:02}.{kind}_{}_{}", table.database, table.table, table.span)
}

fn list_of(ids: &[EnvelopeId]) -> String {
    ids.iter().map(|id| hex(id.as_bytes())).collect::<Vec<_>>().join(",")
}

async fn read_rows(books: &mut Books, connection: &mut MySqlConnection, table: TableRef, ids: &[EnvelopeId]) {
    let (columns, name) = ("id, sender, stage, total_fen, settled_seq", table_name("envelope", table));
    let sql = format!("SELECT {columns} FROM {name} WHERE id IN ({})", list_of(ids));
    for row in rows(connection, &sql).await {
        let stored = Row { sender: text_of(&row, 1), stage: row.get(2), total: row.get(3), settled_seq: row.get(4) };
        books.envelopes.entry(id_of(&row, 0)).or_default().row = Some(stored);
    }
}

async fn read_entries(books: &mut Books, connection: &mut MySqlConnection, table: TableRef, ids: &[EnvelopeId]) {
    let (columns, name) = ("envelope_id, seq, user_id, amount_fen, remaining_fen", table_name("entry", table));
    let sql = format!("SELECT {columns} FROM {name} WHERE envelope_id IN ({})", list_of(ids));
    for row in rows(connection, &sql).await {
        let entry = Entry { user: text_of(&row, 2), amount: row.get(3), remaining: row.get(4) };
        let seq = row.get::<i64, _>(1) as u32;
        books.envelopes.entry(id_of(&row, 0)).or_default().entries.insert(seq, entry);
    }
}

async fn read_transfers(books: &mut Books, connection: &mut MySqlConnection, cast: &Cast) {
    let ranges = cast.envelopes.iter().map(|id| {
        let key = |seq| hex(&TransferId::Envelope(*id, seq).to_key());
        format!("id BETWEEN {} AND {}", key(0), key(u32::MAX))
    });
    let of_envelopes = ranges.collect::<Vec<_>>().join(" OR ");
    let users = cast.users.iter().map(|user| format!("'{}'", user.as_str())).collect::<Vec<_>>().join(",");
    let sql = format!(
        "SELECT id, user_id, kind, amount_fen, balance_fen FROM wallet_00.transfer \
         WHERE user_id IN ({users}) OR {of_envelopes} ORDER BY position"
    );
    for row in rows(connection, &sql).await {
        let (user, amount): (String, i64) = (text_of(&row, 1), row.get(3));
        books.balances.insert(user.clone(), row.get(4));
        books.held.insert((user.clone(), row.get(4)));
        match TransferId::from_key(&row.get::<Vec<u8>, _>(0)).expect("the column holds ids of transfers") {
            TransferId::TopUp(id) => {
                books.top_ups.insert(id, (user, amount));
            }
            TransferId::Envelope(id, seq) => {
                let transfer = Transfer { user, kind: row.get(2), amount };
                books.envelopes.entry(id).or_default().transfers.insert(seq, transfer);
            }
            TransferId::Order(id, _) => panic!("there is no provider, and an order {id}"),
        }
    }
}

impl Books {
    /// Whether the sender was debited.
    pub fn is_debited(&self, id: EnvelopeId) -> bool {
        self.envelopes[&id].is_paid()
    }

    /// Whether it can be opened.
    pub fn is_active(&self, id: EnvelopeId) -> bool {
        matches!(self.envelopes[&id].stage(), Some(ACTIVE | SETTLED))
    }
}

/// What is wrong for good, and what the jobs have still to do.
pub fn check(books: &Books, cast: &Cast, answers: &[Answer]) -> (Vec<Violation>, Vec<(EnvelopeId, String)>) {
    let (mut violations, mut open) = (Vec::new(), Vec::new());
    for (id, stored) in &books.envelopes {
        let wrong = stored.violations(*id);
        // What is broken is never settled.
        if wrong.is_empty()
            && let Some(reason) = stored.is_open(cast.short_lived.contains(id))
        {
            open.push((*id, reason));
        }
        violations.extend(wrong);
    }
    for answer in answers {
        violations.extend(false_answer(books, answer));
    }
    violations.extend(different_answers(answers));
    if violations.is_empty() && open.is_empty() {
        violations.extend(wrong_balances(books, &cast.users));
    }
    (violations, open)
}

impl Stored {
    fn is_paid(&self) -> bool {
        self.transfers.get(&0).is_some_and(|transfer| transfer.kind == SEND)
    }

    fn stage(&self) -> Option<i64> {
        self.row.as_ref().map(|row| row.stage)
    }

    /// Whatever the jobs will do, these must not be.
    fn violations(&self, id: EnvelopeId) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut tell = |kind, reason: String| found.push(Violation::new(kind, format!("{id}: {reason}")));
        match (self.stage(), self.is_paid()) {
            (Some(ACTIVE | SETTLED), false) => {
                tell("money_from_nothing", "it is active, and nobody was debited".into())
            }
            (None, true) => tell("debited_for_nothing", "it was paid for, and does not exist".into()),
            (Some(CANCELLED), true) => tell("debited_for_nothing", "it was paid for, and is cancelled".into()),
            _ => {}
        }
        if let (Some(row), Some(send)) = (&self.row, self.transfers.get(&0))
            && send.kind == SEND
            && (&send.user, send.amount) != (&row.sender, row.total)
        {
            tell("payment_wrong", format!("{} paid {} of {}", send.user, send.amount, row.total));
        }
        let (mut last_seq, mut remaining) = (0, self.row.as_ref().map_or(0, |row| row.total));
        for (seq, entry) in &self.entries {
            remaining -= entry.amount;
            if *seq != last_seq + 1 || remaining != entry.remaining || remaining < 0 {
                tell("journal_broken", format!("entry {seq} after {last_seq} leaves {}", entry.remaining));
            }
            last_seq = *seq;
        }
        let mut credited = HashSet::new();
        for (seq, transfer) in self.transfers.range(1..) {
            match self.entries.get(seq) {
                None => {
                    tell("credit_without_entry", format!("{} has {} for seq {seq}", transfer.user, transfer.amount))
                }
                Some(entry) => {
                    let payee = self.payee(entry);
                    if (payee, entry.amount) != (Some(transfer.user.as_str()), transfer.amount) {
                        let reason = format!("{} has {} for seq {seq}", transfer.user, transfer.amount);
                        tell("credit_wrong", format!("{reason}, which is {payee:?}'s of {}", entry.amount));
                    }
                }
            }
            if transfer.kind == OPEN && !credited.insert(&transfer.user) {
                tell("credit_doubled", format!("{} was paid for two shares", transfer.user));
            }
        }
        if let Some(row) = &self.row {
            let missing = (1..=row.settled_seq).find(|seq| !self.transfers.contains_key(&(*seq as u32)));
            if let Some(seq) = missing {
                tell("credit_missing", format!("settled up to {}, and seq {seq} was never paid", row.settled_seq));
            }
        }
        found
    }

    fn payee<'s>(&'s self, entry: &'s Entry) -> Option<&'s str> {
        if entry.user == REFUND { self.row.as_ref().map(|row| row.sender.as_str()) } else { Some(&entry.user) }
    }

    /// What the jobs have still to do.
    fn is_open(&self, is_short_lived: bool) -> Option<String> {
        let row = self.row.as_ref()?;
        if row.stage == CREATED {
            return Some("neither active nor cancelled".to_owned());
        }
        if row.stage == CANCELLED {
            return None;
        }
        let ended = self.entries.values().next_back().is_some_and(|last| last.remaining == 0);
        if is_short_lived && !ended {
            return Some("not refunded".to_owned());
        }
        let last_seq = self.entries.keys().next_back().copied().unwrap_or(0);
        let credits = self.transfers.range(1..).count();
        let is_settled = row.settled_seq == i64::from(last_seq) && credits == self.entries.len();
        let is_closed = !ended || row.stage == SETTLED;
        (!is_settled || !is_closed)
            .then(|| format!("settled {} of {last_seq}, {credits} credits, stage {}", row.settled_seq, row.stage))
    }
}

/// Whether an answer is false now. It was final.
fn false_answer(books: &Books, answer: &Answer) -> Option<Violation> {
    let stored = &books.envelopes[&answer.envelope];
    let by_user = |user: &str| stored.entries.iter().find(|(_, entry)| entry.user == user);
    let holds = |seq: u32, user: &str, amount: i64| {
        stored.entries.get(&seq).is_some_and(|entry| entry.user == user && entry.amount == amount)
    };
    let held = |fen: i64| fen == 0 || books.held.contains(&(answer.user.to_string(), fen));
    let listed = |id: &TransferId, amount: i64| match id {
        TransferId::TopUp(id) => books.top_ups.get(id).is_some_and(|top_up| top_up.1 == amount),
        TransferId::Envelope(id, seq) => {
            let transfer = books.envelopes.get(id).and_then(|stored| stored.transfers.get(seq));
            transfer.is_some_and(|found| (found.user.as_str(), found.amount) == (answer.user.as_str(), amount))
        }
        TransferId::Order(..) => false,
    };
    let kind = match &answer.told {
        Told::Opened { seq, amount } if !holds(*seq, answer.user.as_str(), *amount) => "acknowledged_then_lost",
        Told::Shown { seq, opener, amount } if !holds(*seq, opener, *amount) => "shown_then_lost",
        Told::Empty | Told::Expired if by_user(answer.user.as_str()).is_some() => "refused_then_opened",
        Told::Paid if !(stored.is_paid() && matches!(stored.stage(), Some(ACTIVE | SETTLED))) => "paid_then_lost",
        Told::Cancelled if stored.is_paid() || stored.stage() != Some(CANCELLED) => "cancelled_then_not",
        Told::Made if stored.row.is_none() => "made_then_lost",
        Told::Held { fen } if !held(*fen) => "balance_shown_then_lost",
        Told::Listed { id, amount } if !listed(id, *amount) => "transfer_shown_then_lost",
        Told::ToppedUp { id } if !books.top_ups.contains_key(id) => "top_up_lost",
        _ => return None,
    };
    let Answer { envelope, user, place, told, stalled } = answer;
    Some(Violation::new(kind, format!("{envelope}: {user} was told {told:?} by {place:?} with {stalled} stalled")))
}

/// The same user told two things of its share.
fn different_answers(answers: &[Answer]) -> Vec<Violation> {
    let mut first: HashMap<(EnvelopeId, &UserId), &Told> = HashMap::new();
    let mut found = Vec::new();
    for Answer { envelope, user, told, .. } in answers {
        if !matches!(told, Told::Opened { .. } | Told::Empty | Told::Expired) {
            continue;
        }
        let before = *first.entry((*envelope, user)).or_insert(told);
        if before != told {
            found.push(Violation::new("told_two_things", format!("{envelope}: {user} {before:?}, then {told:?}")));
        }
    }
    found
}

/// Balances are what top-ups, payments and journals lead to, to the fen.
fn wrong_balances(books: &Books, users: &[UserId]) -> Vec<Violation> {
    let mut expected: HashMap<&str, i64> = HashMap::new();
    for (user, amount) in books.top_ups.values() {
        *expected.entry(user).or_default() += amount;
    }
    for stored in books.envelopes.values() {
        if let Some(send) = stored.transfers.get(&0).filter(|transfer| transfer.kind != CANCEL) {
            *expected.entry(&send.user).or_default() -= send.amount;
        }
        for entry in stored.entries.values() {
            if let Some(payee) = stored.payee(entry) {
                *expected.entry(payee).or_default() += entry.amount;
            }
        }
    }
    let differing = users.iter().filter_map(|user| {
        let should = expected.get(user.as_str()).copied().unwrap_or(0);
        let is = books.balances.get(user.as_str()).copied().unwrap_or(0);
        (should != is).then(|| Violation::new("balance_wrong", format!("{user} has {is}, and should have {should}")))
    });
    differing.collect()
}
