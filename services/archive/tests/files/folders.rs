//! Folders that are not there, are not the archive, take nothing, or hang.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_archive::{FileArchive, Location};
use hongbao_core::limits::EXPORT_THREADS_MAX;
use hongbao_store::{Archive, StoreError, TableFile};
use hongbao_testkit::store_suite::archive_in;

use super::common::{World, damage, made, manifest_of, opened_in_vain, rows};

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
            "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact folders::a_full_disk_leaves_nothing_in_the_place_of_a_file";
        let ended = Command::new("sh").args(["-c", limited]).arg(itself).env(LITTLE_ROOM, "1").output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        return;
    }
    let (world, rows) = (World::in_folder(), rows([3, 0, 5]));
    let manifest = manifest_of(&rows, 1);
    let large = made(&world.archive, &manifest, &self::rows((0..4_000).map(|number| number % 10))).await;
    let refused = world.archive.put(&manifest, large).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(reason) if reason.contains("the archive")), "{refused}");
    let folder = world.dir.as_ref().unwrap().path().join("a/db_07/20260217");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    // One for which there is room is put there.
    let file = world.put(&manifest, &rows).await;
    assert!(world.read(&file, &manifest).await.unwrap().1 == rows);
}

/// A pipe without a writer stands in for a file system that hangs: who opens it waits. The runtime of this test
/// has one thread.
#[tokio::test]
async fn an_archive_that_hangs_holds_up_few_threads_and_none_of_the_runtime() {
    let (world, rows) = (World::in_folder(), rows([3, 0, 5]));
    let manifest = manifest_of(&rows, 1);
    let file = world.put(&manifest, &rows).await;
    let (path, aside) = (world.path(&file), world.dir.as_ref().unwrap().path().join("aside"));
    fs::rename(&path, &aside).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());

    let silent = |outcome: Result<Arc<dyn TableFile>, StoreError>| {
        let refused = outcome.map(|_| ()).unwrap_err();
        assert!(matches!(&refused, StoreError::Unavailable(reason) if reason.contains("does not answer")), "{refused}");
    };
    // Each SET has an archive of its own in the folder, and all have the threads together.
    let archives = [archive_in(world.dir.as_ref().unwrap().path()), world.archive.clone()];
    for outcome in opened_in_vain(&archives, EXPORT_THREADS_MAX, &file, &manifest, |_| ()).await {
        silent(outcome);
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
