//! Files of exported tables: what is written is read, and anything else is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_archive::{FileArchive, Location};
use hongbao_core::limits::{EXPORT_PART_ROWS_MAX, EXPORT_THREADS_MAX};
use hongbao_core::manifest::{Manifest, Sealer};
use hongbao_core::{Audience, Date, Entry, EntryKind, Envelope, Fen, GroupId, Kind, Seed, Stage};
use hongbao_store::{Archive, ArchivedFile, Rows, StoreError, TableFile};
use hongbao_testkit::store_suite::{NOW, archive_in, created, id_at, user};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Rows of all kinds, in the order of their ids: with journals of so many entries, the last of which is a refund.
fn rows(lengths: impl IntoIterator<Item = u32>) -> Rows {
    let mut ids: Vec<_> = (0..).zip(lengths).map(|(number, length)| (id_at(NOW, number), number, length)).collect();
    ids.sort();
    let row = |(id, number, length): (_, u64, u32)| {
        let audience = match number % 3 {
            0 => Audience::Link,
            1 => Audience::Group(GroupId::parse("a_group").unwrap()),
            _ => Audience::User(user(format!("user_{number}"))),
        };
        let stage = if number % 5 == 4 { Stage::Created } else { Stage::Settled };
        let envelope = Envelope {
            kind: if number % 2 == 0 { Kind::Lucky } else { Kind::Equal },
            greeting: ["", "恭喜发财", "a \"quoted\" \u{1f9e7}\n"][number as usize % 3].to_owned(),
            audience,
            seed: Seed::new([number as u8; 32]),
            stage,
            expires_at: (stage == Stage::Settled).then(|| NOW.plus_millis(number as i64)),
            settled_seq: length,
            ..created(id)
        };
        let entry = |seq| Entry {
            envelope_id: id,
            seq,
            kind: if seq == length { EntryKind::Refund } else { EntryKind::Open(user(format!("opener-{seq}"))) },
            amount: Fen::new(i64::from(seq)).unwrap(),
            remaining: Fen::new(i64::from(length - seq)).unwrap(),
            at: NOW.plus_millis(i64::from(seq)),
        };
        (envelope, (1..=length).map(entry).collect())
    };
    ids.into_iter().map(row).collect()
}

fn manifest_of(rows: &Rows, number: u64) -> Manifest {
    let mut sealer = Sealer::default();
    for (envelope, journal) in rows {
        sealer.add(envelope, journal);
    }
    let date = Date::parse("20260217").unwrap();
    Manifest { number, database: 7, table: 3, date, content: sealer.content(), previous: [9; 32] }
}

async fn made(archive: &Arc<dyn Archive>, manifest: &Manifest, rows: &Rows) -> Vec<u8> {
    let mut file = archive.begin(manifest).unwrap();
    for (envelope, journal) in rows {
        file.add(envelope.clone(), journal.clone()).await.unwrap();
    }
    file.finish().await.unwrap()
}

struct World {
    dir: TempDir,
    archive: Arc<dyn Archive>,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        World { archive: archive_in(dir.path()), dir }
    }

    async fn put(&self, manifest: &Manifest, rows: &Rows) -> ArchivedFile {
        self.archive.put(manifest, made(&self.archive, manifest, rows).await).await.unwrap()
    }

    fn path(&self, file: &ArchivedFile) -> PathBuf {
        self.dir.path().join(&file.path)
    }

    /// The file that is in the place of one, as if it had been exported so.
    fn as_it_is(&self, file: &ArchivedFile) -> ArchivedFile {
        let all = fs::read(self.path(file)).unwrap();
        let sha256 = |bytes: &[u8]| Sha256::digest(bytes).into();
        let footer = &all[all.len() - file.footer_bytes as usize..];
        let (bytes, sha256, footer_sha256) = (all.len() as u64, sha256(&all), sha256(footer));
        ArchivedFile { bytes, sha256, footer_sha256, ..file.clone() }
    }

    async fn read(&self, file: &ArchivedFile, manifest: &Manifest) -> Result<(usize, Rows), StoreError> {
        let opened = self.archive.open(file, manifest.hash()).await?;
        let mut all = Rows::new();
        for part in 0..opened.parts().len() {
            let rows = opened.part(part).await?;
            assert!(opened.ids(part).await?.iter().eq(rows.iter().map(|(envelope, _)| &envelope.id)));
            assert_eq!(opened.parts()[part], (rows[0].0.id, rows[rows.len() - 1].0.id));
            all.extend(rows);
        }
        assert_eq!(opened.entries(), all.iter().map(|(_, journal)| journal.len() as u64).sum::<u64>());
        Ok((opened.parts().len(), all))
    }
}

#[tokio::test]
async fn what_is_written_is_read_to_the_last_byte() {
    let longest = EXPORT_PART_ROWS_MAX as u32;
    for (lengths, parts) in [
        (vec![], 0),
        (vec![0], 1),
        (vec![0, 0, 0], 1),
        (vec![3, 0, 1, 2, 0, 7, 11], 1),
        (vec![longest + 5], 1),
        (vec![2, longest + 5, 3], 3),
        (vec![longest - 1], 1),
        ((0..6_000).map(|number| number % 10).collect(), 3),
    ] {
        let (world, rows) = (World::new(), rows(lengths.clone()));
        let manifest = manifest_of(&rows, 1);
        let file = world.put(&manifest, &rows).await;
        world.archive.check(&file).await.unwrap();
        let (found_parts, found) = world.read(&file, &manifest).await.unwrap();
        assert!(found == rows, "{} rows", rows.len());
        assert!(found_parts == parts || lengths.len() == 3, "{found_parts} parts of {} rows", rows.len());
        assert_eq!(fs::metadata(world.path(&file)).unwrap().len(), file.bytes);
    }
}

#[tokio::test]
async fn the_same_rows_make_the_same_file_under_the_same_name_and_none_is_overwritten() {
    let (world, rows) = (World::new(), rows([3, 0, 5]));
    let manifest = manifest_of(&rows, 1);
    let file = world.put(&manifest, &rows).await;
    assert_eq!(made(&world.archive, &manifest, &rows).await, fs::read(world.path(&file)).unwrap());
    assert!(file.path.starts_with("a/db_07/20260217/envelope_3.") && file.path.ends_with(".parquet"), "{}", file.path);
    fs::write(world.path(&file), b"another").unwrap();
    assert_eq!(world.put(&manifest, &rows).await, file);
    assert_eq!(fs::read(world.path(&file)).unwrap(), b"another");
    // A table that was sealed anew has another one.
    assert_ne!(world.put(&manifest_of(&rows, 2), &rows).await.path, file.path);
}

#[tokio::test]
async fn the_copy_of_a_manifest_says_what_the_database_says() {
    let (world, rows) = (World::new(), rows([3, 0, 5]));
    let manifest = manifest_of(&rows, 5);
    let file = world.put(&manifest, &rows).await;
    for _ in 0..2 {
        world.archive.put_manifest(&manifest, &file).await.unwrap();
    }
    let copy = world.path(&file).with_extension("manifest.json");
    let said: serde_json::Value = serde_json::from_slice(&fs::read(&copy).unwrap()).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((said["table"]["set"].as_str(), said["table"]["database"].as_str()), (Some("a"), Some("db_07")));
    assert_eq!((said["manifest"]["number"].as_u64(), said["manifest"]["entries"].as_u64()), (Some(5), Some(8)));
    assert_eq!(said["manifest"]["hash"], hex(&manifest.hash()));
    assert_eq!(said["manifest"]["previous_hash"], hex(&[9; 32]));
    assert_eq!(
        (said["file"]["sha256"].as_str(), said["file"]["bytes"].as_u64()),
        (Some(&*hex(&file.sha256)), Some(file.bytes))
    );
    fs::write(&copy, "{}").unwrap();
    assert!(matches!(world.archive.put_manifest(&manifest, &file).await, Err(StoreError::Damaged(_))));
}

fn damage(outcome: Result<impl Sized, StoreError>) -> String {
    match outcome.map(|_| ()) {
        Err(StoreError::Damaged(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// Every single byte counts: no damage gives other rows, and none ends the process.
#[tokio::test]
async fn i3_a_flipped_byte_anywhere_is_named() {
    let (world, rows) = (World::new(), rows([3, 0, 5, 2]));
    let manifest = manifest_of(&rows, 1);
    let file = world.put(&manifest, &rows).await;
    let sound = fs::read(world.path(&file)).unwrap();
    for place in 0..sound.len() {
        let mut flipped = sound.clone();
        flipped[place] ^= 1 << (place % 8);
        fs::write(world.path(&file), flipped).unwrap();
        assert!(damage(world.archive.check(&file).await).contains("SHA-256"), "byte {place}");
        if let Ok(opened) = world.archive.open(&file, manifest.hash()).await {
            match opened.ids(0).await {
                Ok(ids) => assert!(ids.iter().eq(rows.iter().map(|(envelope, _)| &envelope.id)), "byte {place}"),
                Err(error) => assert!(matches!(error, StoreError::Damaged(_)), "byte {place}: {error}"),
            }
        }
        match world.read(&file, &manifest).await {
            // The mark at the start of the file is in no part.
            Ok((_, read)) => assert!(place < 4 && read == rows, "byte {place}"),
            Err(error) => assert!(matches!(error, StoreError::Damaged(_)), "byte {place}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_file_that_is_cut_off_gone_or_another_one_is_named() {
    let (world, rows) = (World::new(), rows([3, 0, 5, 2]));
    let manifest = manifest_of(&rows, 1);
    let file = world.put(&manifest, &rows).await;
    let sound = fs::read(world.path(&file)).unwrap();
    for length in 0..sound.len() {
        fs::write(world.path(&file), &sound[..length]).unwrap();
        damage(world.read(&file, &manifest).await);
        damage(world.archive.check(&file).await);
    }
    fs::remove_file(world.path(&file)).unwrap();
    for reason in [damage(world.read(&file, &manifest).await), damage(world.archive.check(&file).await)] {
        assert!(reason.contains(&file.path) && reason.contains("it is not there"), "{reason}");
    }
    // That of another table, with hashes of its own.
    let other = manifest_of(&rows, 2);
    let of_other = world.put(&other, &rows).await;
    let reason = damage(world.read(&of_other, &manifest).await);
    assert!(reason.contains("that of manifest 2 of a db_07, table 3 of 20260217"), "{reason}");
}

/// A file that was in the place before is known by the bytes that were made, never by what it says of itself; and what
/// is too large is not read.
#[tokio::test]
async fn a_file_that_is_in_the_place_already_is_not_taken_on_its_own_word() {
    let (world, rows) = (World::new(), rows([3, 0, 5, 2]));
    let (manifest, other) = (manifest_of(&rows, 1), manifest_of(&rows, 2));
    let file = world.put(&manifest, &rows).await;
    let of_other = fs::read(world.path(&world.put(&other, &rows).await)).unwrap();
    assert_eq!(of_other.len() as u64, file.bytes, "it is sound, and as long");
    fs::write(world.path(&file), of_other).unwrap();
    assert_eq!(world.put(&manifest, &rows).await, file);
    assert!(damage(world.archive.check(&file).await).contains(&file.path));

    world.archive.put_manifest(&manifest, &file).await.unwrap();
    let copy = world.path(&file).with_extension("manifest.json");
    for path in [world.path(&file), copy.clone()] {
        // Of its bytes the disk has none.
        fs::File::options().write(true).open(path).unwrap().set_len(1 << 40).unwrap();
    }
    assert_eq!(world.put(&manifest, &rows).await, file);
    let reason = damage(world.archive.check(&file).await);
    assert!(reason.contains("it has 1099511627776 bytes"), "{reason}");
    damage(world.archive.put_manifest(&manifest, &file).await);
}

/// A file with other metadata, as another version or another program would write it.
fn changed(sound: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = sound.windows(from.len()).position(|window| window == from.as_bytes()).expect("it is in there");
    [&sound[..at], to.as_bytes(), &sound[at + from.len()..]].concat()
}

#[tokio::test]
async fn a_file_of_a_newer_format_or_of_another_program_is_refused_by_name() {
    let (world, rows) = (World::new(), rows([3, 0, 5, 2]));
    let manifest = manifest_of(&rows, 1);
    let file = world.put(&manifest, &rows).await;
    let sound = fs::read(world.path(&file)).unwrap();
    let format = sound.windows(14).position(|window| window == b"hongbao.format").unwrap();
    // The value follows the key: the type of the field, its length, and the digit.
    let digit = format + 14 + sound[format + 14..].iter().position(|byte| *byte == b'1').unwrap();
    let mut newer = sound.clone();
    newer[digit] = b'2';
    fs::write(world.path(&file), newer).unwrap();
    let found = world.as_it_is(&file);
    let refused = world.read(&found, &manifest).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unsupported(reason) if reason.contains("is of format 2")), "{refused}");

    for (from, to) in [("hongbao.table", "another.table"), ("settled_seq", "settled_sea")] {
        fs::write(world.path(&file), changed(&sound, from, to)).unwrap();
        let found = world.as_it_is(&file);
        damage(world.read(&found, &manifest).await);
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_not_made_and_a_database_of_a_rehearsal_has_files_of_its_own() {
    let (dir, rows) = (tempfile::tempdir().unwrap(), rows([1]));
    let manifest = manifest_of(&rows, 1);
    let folder = dir.path().join("mount");
    let absent = archive_in(&folder);
    let outcome = absent.put(&manifest, made(&absent, &manifest, &rows).await).await;
    assert!(matches!(&outcome, Err(StoreError::Unavailable(reason)) if reason.contains("mount")), "{outcome:?}");
    assert!(!folder.exists());
    let location = Location::Folder(dir.path().to_owned());
    let shadow: Arc<dyn Archive> = Arc::new(FileArchive::new(location, None, "a b", "_shadow"));
    let path = shadow.put(&manifest, made(&shadow, &manifest, &rows).await).await.unwrap().path;
    assert!(path.starts_with("a b/db_07_shadow/") && Path::new(&path).is_relative(), "{path}");
}

/// An empty folder in the place of the archive is what is seen of it while its disk is not mounted.
#[tokio::test]
async fn a_folder_that_is_not_marked_as_the_archive_takes_nothing_and_says_nothing_of_what_is_there() {
    let (dir, rows) = (tempfile::tempdir().unwrap(), rows([3, 0, 5]));
    let (folder, manifest) = (dir.path().join("archive"), manifest_of(&rows, 1));
    let mark = folder.join("hongbao-archive");
    let location = Location::Folder(folder.clone());
    let archive: Arc<dyn Archive> = Arc::new(FileArchive::new(location, Some("main"), "a", ""));
    fs::create_dir(&folder).unwrap();
    fs::write(&mark, "main\n").unwrap();
    let new = async || made(&archive, &manifest, &rows).await;
    let file = archive.put(&manifest, new().await).await.unwrap();
    archive.check(&file).await.unwrap();

    fs::rename(&folder, dir.path().join("disk")).unwrap();
    fs::create_dir(&folder).unwrap();
    for (marked, reason) in [(None, "no file hongbao-archive"), (Some("mai"), "\"mai\""), (Some("main2"), "\"main2\"")]
    {
        marked.into_iter().for_each(|id| fs::write(&mark, id).unwrap());
        let outcomes = [
            archive.put(&manifest, new().await).await.map(|_| ()),
            archive.put_manifest(&manifest, &file).await,
            archive.put_chain(7, &[]).await,
            archive.check(&file).await,
            archive.open(&file, manifest.hash()).await.map(|_| ()),
        ];
        for outcome in outcomes {
            assert!(matches!(&outcome, Err(StoreError::Unavailable(said)) if said.contains(reason)), "{outcome:?}");
        }
    }
    fs::remove_file(&mark).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing was made there, the mark neither");
    fs::remove_dir(&folder).unwrap();
    fs::rename(dir.path().join("disk"), &folder).unwrap();
    archive.check(&file).await.unwrap();
    // In the archive itself a file that is not there is gone.
    fs::remove_file(folder.join(&file.path)).unwrap();
    assert!(damage(archive.open(&file, manifest.hash()).await).contains("it is not there"));
}

/// Says that this process may write little.
const LITTLE_ROOM: &str = "HONGBAO_TEST_LITTLE_ROOM";

/// A limit on the size of files stands in for a full disk: it needs no mount. It is of a process, so the test starts
/// itself under it.
#[tokio::test]
async fn a_full_disk_leaves_nothing_in_the_place_of_a_file() {
    if std::env::var_os(LITTLE_ROOM).is_none() {
        let itself = std::env::current_exe().unwrap();
        let limited =
            "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact a_full_disk_leaves_nothing_in_the_place_of_a_file";
        let ended = Command::new("sh").args(["-c", limited]).arg(itself).env(LITTLE_ROOM, "1").output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        return;
    }
    let (world, rows) = (World::new(), rows([3, 0, 5]));
    let manifest = manifest_of(&rows, 1);
    let large = made(&world.archive, &manifest, &self::rows((0..4_000).map(|number| number % 10))).await;
    let refused = world.archive.put(&manifest, large).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(reason) if reason.contains("the archive")), "{refused}");
    let folder = world.dir.path().join("a/db_07/20260217");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    // One for which there is room is put there.
    let file = world.put(&manifest, &rows).await;
    assert!(world.read(&file, &manifest).await.unwrap().1 == rows);
}

/// A pipe that nobody writes into stands in for a file system that hangs: who opens it waits. The runtime of this test
/// has one thread.
#[tokio::test]
async fn an_archive_that_hangs_holds_up_few_threads_and_none_of_the_runtime() {
    let (world, rows) = (World::new(), rows([3, 0, 5]));
    let manifest = manifest_of(&rows, 1);
    let file = world.put(&manifest, &rows).await;
    let (path, aside) = (world.path(&file), world.dir.path().join("aside"));
    fs::rename(&path, &aside).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());

    let silent = |outcome: Result<Arc<dyn TableFile>, StoreError>| {
        let refused = outcome.map(|_| ()).unwrap_err();
        assert!(matches!(&refused, StoreError::Unavailable(reason) if reason.contains("does not answer")), "{refused}");
    };
    // Each SET has an archive of its own in the folder, and all have the threads together.
    let archives = [archive_in(world.dir.path()), world.archive.clone()];
    let reads = (0..EXPORT_THREADS_MAX).map(|number| {
        let (archive, file, hash) = (archives[number % 2].clone(), file.clone(), manifest.hash());
        tokio::spawn(async move { archive.open(&file, hash).await })
    });
    let reads: Vec<_> = reads.collect();
    let mut ticks = 0;
    while !reads.iter().all(|read| read.is_finished()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        ticks += 1;
    }
    assert!(ticks > 100, "the runtime went on while they waited: {ticks}");
    for read in reads {
        silent(read.await.unwrap());
    }
    let began = Instant::now();
    for archive in &archives {
        silent(archive.open(&file, manifest.hash()).await);
    }
    assert!(began.elapsed() < Duration::from_millis(500), "while all threads hang it is unavailable at once");
    assert!(archive_threads() >= EXPORT_THREADS_MAX, "they are still there");

    drop(fs::OpenOptions::new().write(true).open(&path).unwrap());
    fs::rename(&aside, &path).unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while world.read(&file, &manifest).await.is_err() {
        assert!(Instant::now() < end, "it answers again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(world.read(&file, &manifest).await.unwrap().1 == rows);
}

/// How many threads of this process wait for an archive, or read in one.
fn archive_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    names.filter(|name| name.trim() == "archive").count()
}

#[tokio::test]
async fn a_file_system_that_takes_no_files_says_so() {
    let rows = rows([1]);
    let (archive, manifest) = (archive_in(Path::new("/proc")), manifest_of(&rows, 1));
    let refused = archive.put(&manifest, made(&archive, &manifest, &rows).await).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(reason) if reason.contains("the archive /proc")), "{refused}");
}
