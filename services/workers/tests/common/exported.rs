//! Worlds with exported tables, on either database, and an archive in a folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hongbao_core::audit::Breach;
use hongbao_core::{Entry, Envelope, EnvelopeId, Journal, Opened};
use hongbao_store::{Store, StoreError};
use hongbao_testkit::store_suite::id_at;
use hongbao_workers::export::Export;
use hongbao_workers::{Job as _, Ports, SealedRows, SetStore, audit_with};

use super::faults::{DEATHS, Death, Verb};
use super::sealed::{NO_ROWS, audited, credit, days_later, rotate, seal, two_old_tables, unsealed};
use super::{DAY_MS, World, ZONE_S, run_until_idle, user};

/// Names how many rows are exported in the measurement.
const ROWS: &str = "HONGBAO_EXPORT_ROWS";
const AFTER_DAYS: u32 = 60;

/// The folder of the archive, in that of the world.
pub const ARCHIVE: &str = "archive";

fn archive_of(world: &World) -> PathBuf {
    world.dir.path().join(ARCHIVE)
}

/// The job, of a worker that has this store.
pub fn export_with(ports: Ports) -> Export {
    Export::new(ports, ZONE_S, AFTER_DAYS)
}

pub fn export(world: &World) -> Export {
    export_with(world.ports())
}

/// Everything that the store says of an envelope, to any of its openers.
#[derive(Debug, PartialEq)]
pub struct Whole {
    row: (Envelope, Journal),
    entries: Vec<Entry>,
    openers: Vec<Option<Opened>>,
}

pub async fn whole(store: &dyn Store, id: EnvelopeId) -> Result<Option<Whole>, StoreError> {
    let Some(row) = store.load(id).await? else { return Ok(None) };
    let mut openers = Vec::new();
    for name in ["a-1", "a-5", "b-3", "stranger"] {
        openers.push(store.load_for(id, &user(name)).await?.expect("it was just loaded").2);
    }
    Ok(Some(Whole { row, entries: store.entries(id, 0, u32::MAX).await?, openers }))
}

/// Two sealed tables, an envelope of each, and what the store says of them.
pub async fn two_sealed_tables(world: &World) -> BTreeMap<EnvelopeId, Whole> {
    let ids = two_old_tables(world).await;
    run_until_idle(&mut seal(world), 100).await;
    assert_eq!(unsealed(world), []);
    let mut all = BTreeMap::new();
    for id in ids {
        all.insert(id, whole(&*world.store, id).await.unwrap().expect("it was created"));
    }
    all
}

/// Every process says of these envelopes what it said before.
pub async fn assert_same(stores: &[&Arc<dyn Store>], before: &BTreeMap<EnvelopeId, Whole>) {
    for store in stores {
        for (id, before) in before {
            assert_eq!(whole(&***store, *id).await.unwrap().as_ref(), Some(before));
        }
    }
}

/// The files of exported tables.
pub fn files(world: &World) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![archive_of(world)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|extension| extension == "parquet") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// The file of the table of an envelope.
pub fn file_of(world: &World, id: EnvelopeId) -> PathBuf {
    let of_date = format!("/{}/", world.table(id).span);
    let file = files(world).into_iter().find(|path| path.to_string_lossy().contains(&of_date));
    file.expect("its table is exported")
}

/// All sealed tables, so many, are exported and dropped. On MariaDB tables without a row are among them.
fn assert_exported(store: &Arc<dyn Store>, count: usize, when: &str) {
    assert_eq!((store.sealed_tables(), store.exported_tables().len()), (vec![], count), "{when}");
}

/// Tables go to the archive, and nothing else changes: bodies, sums, and what the audit finds.
pub async fn exported_tables_are_read_as_before(world: &World, open: impl AsyncFn() -> Arc<dyn Store>) {
    // It knows the tables, and does not look again before they are gone.
    let before = two_sealed_tables(world).await;
    let (other, count) = (open().await, world.store.sealed_tables().len());
    assert_same(&[&other], &before).await;
    let (codes, by_rows) = audited(world, SealedRows::All).await;
    assert_eq!(codes, [""; 0]);
    let rows = run_until_idle(&mut export(world), 100).await;
    assert_eq!(u64::from(rows), by_rows.sealed.envelopes + by_rows.sealed.entries);
    assert_exported(&world.store, count, "");
    assert_same(&[&world.store, &other, &open().await], &before).await;
    for id in before.keys() {
        let settled = Some(before[id].row.0.stage);
        assert_eq!(world.store.cancel(*id).await.unwrap(), settled);
        let mut of_date = (0..).map(|number| id_at(id.minted_at(), number));
        let missing = of_date.find(|missing| world.slots.contains(&missing.slot())).expect("one has this slot");
        assert_eq!(world.store.load(missing).await.unwrap(), None, "an id of an exported date that never existed");
    }
    for rows in [NO_ROWS, SealedRows::All] {
        let (codes, report) = audited(world, rows).await;
        assert_eq!((codes.len(), report.books), (0, by_rows.books), "{rows:?}: {codes:?}");
        assert_eq!(report.sealed.tables_read, if rows == SealedRows::All { count as u64 } else { 0 });
        assert_eq!((report.sealed.tables, report.sealed.envelopes), (count as u64, by_rows.sealed.envelopes));
    }
    assert_eq!(files(world).len(), count);
    assert_eq!(run_until_idle(&mut export(world), 100).await, 0, "nothing is left to be done");
}

/// Runs a job until the fault that is armed has struck; then it is dropped, like a process that is killed.
async fn run_until_struck(world: &World, job: &mut Export) {
    let running = async {
        while world.faults.is_armed() {
            let _ = job.run_once(1_000).await;
        }
    };
    let struck = async {
        while world.faults.is_armed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let either = async {
        tokio::select! { () = running => {}, () = struck => {} }
    };
    tokio::time::timeout(Duration::from_secs(20), either).await.expect("it is reached");
}

/// A worker dies at one step or another, and the next one finishes. `new` makes another world each time.
pub async fn a_death_at_any_step_loses_nothing(
    new: impl AsyncFn() -> World,
    open: impl AsyncFn(&World) -> Arc<dyn Store>,
) {
    for verb in [Verb::NoteExported, Verb::DropExported] {
        for death in DEATHS {
            let world = new().await;
            let before = two_sealed_tables(&world).await;
            let (other, count) = (open(&world).await, world.store.sealed_tables().len());
            world.faults.arm(verb, death);
            run_until_struck(&world, &mut export(&world)).await;
            assert!(!world.faults.is_armed(), "{verb:?} {death:?} was not reached");
            let anew = open(&world).await;
            assert_same(&[&world.store, &other, &anew], &before).await;
            assert_eq!(audited(&world, SealedRows::All).await.0, [""; 0], "{verb:?} {death:?}");
            let ports = Ports { store: anew.clone(), ..world.ports() };
            run_until_idle(&mut export_with(ports), 100).await;
            assert_exported(&anew, count, &format!("{verb:?} {death:?}"));
            assert_same(&[&world.store, &other, &anew], &before).await;
            assert_eq!(files(&world).len(), count);
            assert_eq!(audited(&world, SealedRows::All).await.0, [""; 0], "{verb:?} {death:?}");
        }
    }
}

/// While two workers export the same tables, reads of their envelopes are answered, and as before.
pub async fn two_workers_export_while_others_read(world: &World, open: impl AsyncFn() -> Arc<dyn Store>) {
    let before = two_sealed_tables(world).await;
    let (one, other, reader) = (open().await, open().await, open().await);
    let count = world.store.sealed_tables().len();
    let ports = |store: &Arc<dyn Store>| Ports { store: store.clone(), ..world.ports() };
    let (mut first, mut second) = (export_with(ports(&one)), export_with(ports(&other)));
    let (is_done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let exporting = async {
        let mut rounds = 0;
        while rounds < 200 || reads.load(Ordering::Acquire) < 10 {
            rounds += 1;
            let (first, second) = tokio::join!(first.run_once(3), second.run_once(5));
            assert_eq!((first.unwrap().failures, second.unwrap().failures), (0, 0));
            // With nothing left to be done it comes to no point at which others go on.
            tokio::task::yield_now().await;
        }
        is_done.store(true, Ordering::Release);
    };
    let reading = async {
        while !is_done.load(Ordering::Acquire) {
            assert_same(&[&reader], &before).await;
            reads.fetch_add(1, Ordering::AcqRel);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(exporting, reading);
    let anew = open().await;
    assert_exported(&anew, count, "");
    assert_same(&[&one, &other, &reader, &anew], &before).await;
    assert_eq!(files(world).len(), count, "the same rows make the same file");
    assert_eq!(audited(world, SealedRows::All).await.0, [""; 0]);
}

/// Runs the job often enough, and gives its failures.
pub async fn failures_of(job: &mut Export) -> u32 {
    let mut failures = 0;
    for _ in 0..20 {
        failures += job.run_once(1_000).await.unwrap().failures;
    }
    failures
}

/// An archive that is absent, takes no file, or has another one in its place: the tables stay.
pub async fn what_the_archive_does_not_take_stays(world: &World) {
    let before = two_sealed_tables(world).await;
    let (folder, mut job) = (archive_of(world), export(world));
    let stays = async |why: &str| {
        assert_eq!((world.store.sealed_tables().len(), world.store.exported_tables().len()), (2, 0), "{why}");
        assert_same(&[&world.store], &before).await;
    };
    fs::remove_dir(&folder).unwrap();
    assert_eq!(failures_of(&mut job).await, 1, "it is not tried with every table");
    stays("absent").await;
    assert!(!folder.exists(), "a folder that is made anew would hide that a disk is not mounted");
    // A file where a folder is to be made: nothing can be written.
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a"), "").unwrap();
    world.clock.advance_millis(DAY_MS);
    assert_eq!(failures_of(&mut job).await, 1);
    stays("it takes no file").await;
    fs::remove_file(folder.join("a")).unwrap();

    // The first file is in its place, and damaged; nothing is noted.
    world.clock.advance_millis(DAY_MS);
    world.faults.arm(Verb::NoteExported, Death::Before);
    job.run_once(1_000).await.unwrap();
    assert!(!world.faults.is_armed());
    let [file] = files(world).try_into().unwrap();
    // The copy of the manifest says of which file it is, and would tell as well.
    fs::remove_file(file.with_extension("manifest.json")).unwrap();
    let sound = fs::read(&file).unwrap();
    let flipped = [&sound[..sound.len() / 3], &[!sound[sound.len() / 3]], &sound[sound.len() / 3 + 1..]].concat();
    for damaged in [&sound[..sound.len() - 1], &sound[..5], b"", &flipped] {
        fs::write(&file, damaged).unwrap();
        world.clock.advance_millis(DAY_MS);
        let mut job = export(world);
        assert_eq!(job.run_once(1_000).await.unwrap().failures, 1);
        stays("its file is damaged").await;
        assert_eq!(fs::read(&file).unwrap(), damaged, "nothing is overwritten");
    }
    fs::write(&file, sound).unwrap();
    world.clock.advance_millis(DAY_MS);
    run_until_idle(&mut job, 1_000).await;
    assert_eq!((world.store.sealed_tables(), world.store.exported_tables().len()), (vec![], 2));
    assert_same(&[&world.store], &before).await;
}

/// The codes of what an audit of this store finds, and its error if it could not finish.
async fn audited_anew(world: &World, store: Arc<dyn Store>, rows: SealedRows) -> Result<Vec<&'static str>, String> {
    let mut codes = Vec::new();
    let mut tell = |breach: &Breach| codes.push(breach.code);
    let done = audit_with(&[SetStore::whole(store)], &*world.wallet, rows, &mut tell).await;
    done.map(|_| codes).map_err(|error| error.to_string())
}

/// An audit that cannot open the files of this store's exported tables goes on, and names each of them.
async fn assert_not_checked(world: &World, store: Arc<dyn Store>, reason: &str) {
    let mut found = Vec::new();
    let mut tell = |breach: &Breach| found.push(breach.to_string());
    let report = audit_with(&[SetStore::whole(store)], &*world.wallet, SealedRows::All, &mut tell).await.unwrap();
    assert_eq!((found, report.books_read), (vec![], true));
    assert_eq!(report.not_checked.len() as u64, report.sealed.tables);
    assert!(report.not_checked[0].contains(reason), "{:?}", report.not_checked);
    assert!(report.to_string().contains("exported tables were not checked"), "{report}");
}

/// Damage of a file is named, and never shown as an envelope, another one, or none.
pub async fn each_damage_of_a_file_is_named(world: &World, open: impl AsyncFn() -> Arc<dyn Store>) {
    let before = two_sealed_tables(world).await;
    run_until_idle(&mut export(world), 1_000).await;
    let ids: Vec<EnvelopeId> = before.keys().copied().collect();
    let (id, first) = (ids[0], file_of(world, ids[0]));
    let (sound, other) = (fs::read(&first).unwrap(), fs::read(file_of(world, ids[1])).unwrap());
    let wrong = ["exported_file_wrong"];
    let mut damages = vec![sound[..sound.len() - 1].to_vec(), sound[..100].to_vec(), Vec::new(), other];
    for place in (0..sound.len()).step_by(97) {
        let mut flipped = sound.clone();
        flipped[place] ^= 0x10;
        damages.push(flipped);
    }
    for damaged in damages {
        fs::write(&first, damaged).unwrap();
        assert_eq!(audited_anew(world, open().await, SealedRows::All).await.unwrap(), wrong);
        // What was changed in a part that is not read does not matter to a lookup.
        match whole(&*open().await, id).await {
            Ok(read) => assert_eq!(read.as_ref(), Some(&before[&id])),
            Err(error) => assert!(matches!(error, StoreError::Damaged(_)), "{error}"),
        }
    }
    fs::remove_file(&first).unwrap();
    for rows in [NO_ROWS, SealedRows::All] {
        assert_eq!(audited_anew(world, open().await, rows).await.unwrap(), wrong, "{rows:?}");
    }
    let missing = whole(&*open().await, id).await.unwrap_err();
    assert!(matches!(&missing, StoreError::Damaged(reason) if reason.contains("it is not there")), "{missing}");
    fs::write(&first, sound).unwrap();
    let moved = world.dir.path().join("unmounted");
    fs::rename(archive_of(world), &moved).unwrap();
    let away = whole(&*open().await, id).await.unwrap_err();
    assert!(matches!(&away, StoreError::Unavailable(reason) if reason.contains("the archive")), "{away}");
    assert_not_checked(world, open().await, "the archive").await;
    fs::rename(&moved, archive_of(world)).unwrap();
    assert_eq!(audited_anew(world, open().await, SealedRows::All).await.unwrap(), [""; 0]);
}

/// Where no archive is configured, envelopes of exported tables are unavailable and not unknown.
pub async fn without_an_archive_they_are_unavailable(world: &World, open: impl AsyncFn() -> Arc<dyn Store>) {
    let before = two_sealed_tables(world).await;
    run_until_idle(&mut export(world), 1_000).await;
    let without = open().await;
    for id in before.keys() {
        let error = without.load(*id).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable(reason) if reason.contains("[archive]")), "{error}");
    }
    assert_not_checked(world, without, "[archive]").await;
}

/// An id that was never given out, between those of the table of an envelope.
fn never_given_out(world: &World, id: EnvelopeId) -> EnvelopeId {
    let next = |step: u8| {
        let mut bytes = *id.as_bytes();
        bytes[15] = bytes[15].wrapping_add(step);
        EnvelopeId::from_bytes(&bytes).filter(|next| world.slots.contains(&next.slot()))
    };
    let of_table = |next: &EnvelopeId| world.table(*next) == world.table(id);
    (1..=u8::MAX).filter_map(next).find(of_table).expect("one of them has a slot of the table")
}

/// Rows exported a second: with more of them in `HONGBAO_EXPORT_ROWS`, it measures.
pub async fn many_rows_are_exported(world: &World) {
    let rows: u32 = std::env::var(ROWS).map_or(2_200, |rows| rows.parse().unwrap());
    rotate(world).await;
    world.top_up("sender", i64::from(rows) * 1_000).await;
    let mut ids = Vec::new();
    for _ in 0..rows / 11 {
        let id = world.active(1_000, 10).await;
        world.open_at_once(id, "a", 10).await;
        ids.push(id);
    }
    ids.sort();
    let one = ids[ids.len() / 2];
    credit(world).await;
    days_later(world, 70).await;
    run_until_idle(&mut seal(world), 1_000).await;
    let before = whole(&*world.store, one).await.unwrap();
    let began = Instant::now();
    let exported = run_until_idle(&mut export(world), 1_000).await;
    let took = began.elapsed();
    let bytes: u64 = files(world).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    // To know that an id is none, no rows are read: they may be damaged.
    let (file, missing) = (file_of(world, one), never_given_out(world, one));
    let sound = fs::read(&file).unwrap();
    let mut damaged = sound.clone();
    damaged[sound.len() / 2] ^= 0x10;
    fs::write(&file, damaged).unwrap();
    let began = Instant::now();
    assert_eq!(world.store.load(missing).await.unwrap(), None);
    let none = began.elapsed();
    assert!(matches!(world.store.load(one).await, Err(StoreError::Damaged(_))), "these are of its rows");
    fs::write(&file, sound).unwrap();
    let began = Instant::now();
    assert_eq!(whole(&*world.store, one).await.unwrap(), before);
    let lookup = began.elapsed();
    println!(
        "{exported} rows exported in {took:?}, {:.0}/s, {:.1} bytes a row; to find none took {none:?} with the footer, \
         then to find one {lookup:?}",
        f64::from(exported) / took.as_secs_f64(),
        bytes as f64 / f64::from(exported)
    );
}
