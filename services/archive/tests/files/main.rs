//! Files of exported tables: what is written is read, and anything else is named.

mod buckets;
mod chains;
mod common;
mod folders;

use std::fs;

use common::{World, damage, made, manifest_of, rows};
use hongbao_core::limits::EXPORT_PART_ROWS_MAX;
use hongbao_store::StoreError;
use object_store::ObjectStoreExt as _;

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
        for world in World::all() {
            let rows = rows(lengths.clone());
            let manifest = manifest_of(&rows, 1);
            let file = world.put(&manifest, &rows).await;
            world.archive.check(&file).await.unwrap();
            let (found_parts, found) = world.read(&file, &manifest).await.unwrap();
            assert!(found == rows, "{} rows", rows.len());
            assert!(found_parts == parts || lengths.len() == 3, "{found_parts} parts of {} rows", rows.len());
            assert_eq!(world.bytes(&file.path).await.len() as u64, file.bytes);
        }
    }
}

#[tokio::test]
async fn the_same_rows_make_the_same_file_under_the_same_name_and_none_is_overwritten() {
    for world in World::all() {
        let rows = rows([3, 0, 5]);
        let manifest = manifest_of(&rows, 1);
        let file = world.put(&manifest, &rows).await;
        assert_eq!(made(&world.archive, &manifest, &rows).await, world.bytes(&file.path).await);
        assert!(
            file.path.starts_with("a/db_07/20260217/envelope_3.") && file.path.ends_with(".parquet"),
            "{}",
            file.path
        );
        world.damage(&file.path, "another").await;
        assert_eq!(world.put(&manifest, &rows).await, file);
        assert_eq!(world.bytes(&file.path).await, b"another");
        // A table that was sealed anew has another one.
        assert_ne!(world.put(&manifest_of(&rows, 2), &rows).await.path, file.path);
    }
}

#[tokio::test]
async fn the_copy_of_a_manifest_says_what_the_database_says() {
    for world in World::all() {
        let rows = rows([3, 0, 5]);
        let manifest = manifest_of(&rows, 5);
        let file = world.put(&manifest, &rows).await;
        for _ in 0..2 {
            world.archive.put_manifest(&manifest, &file).await.unwrap();
        }
        let copy = file.path.replace(".parquet", ".manifest.json");
        let said: serde_json::Value = serde_json::from_slice(&world.bytes(&copy).await).unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!((said["table"]["set"].as_str(), said["table"]["database"].as_str()), (Some("a"), Some("db_07")));
        assert_eq!((said["manifest"]["number"].as_u64(), said["manifest"]["entries"].as_u64()), (Some(5), Some(8)));
        assert_eq!(said["manifest"]["hash"], hex(&manifest.hash()));
        assert_eq!(said["manifest"]["previous_hash"], hex(&[9; 32]));
        assert_eq!(
            (said["file"]["sha256"].as_str(), said["file"]["bytes"].as_u64()),
            (Some(&*hex(&file.sha256)), Some(file.bytes))
        );
        world.damage(&copy, "{}").await;
        assert!(matches!(world.archive.put_manifest(&manifest, &file).await, Err(StoreError::Damaged(_))));
    }
}

/// Every single byte counts: no damage gives other rows, and none ends the process.
#[tokio::test]
async fn i3_a_flipped_byte_anywhere_is_named() {
    for world in World::all() {
        let (rows, manifest, file, sound) = world.sound().await;
        for place in (0..sound.len()).step_by(world.every) {
            let mut flipped = sound.clone();
            flipped[place] ^= 1 << (place % 8);
            world.damage(&file.path, flipped).await;
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
}

#[tokio::test]
async fn a_file_that_is_cut_off_gone_or_another_one_is_named() {
    for world in World::all() {
        let (rows, manifest, file, sound) = world.sound().await;
        for length in (0..sound.len()).step_by(world.every) {
            world.damage(&file.path, sound[..length].to_vec()).await;
            damage(world.read(&file, &manifest).await);
            damage(world.archive.check(&file).await);
        }
        world.files.delete(&(&*file.path).into()).await.unwrap();
        for reason in [damage(world.read(&file, &manifest).await), damage(world.archive.check(&file).await)] {
            assert!(reason.contains(&file.path) && reason.contains("it is not there"), "{reason}");
        }
        // That of another table, with hashes of its own.
        let other = manifest_of(&rows, 2);
        let of_other = world.put(&other, &rows).await;
        let reason = damage(world.read(&of_other, &manifest).await);
        assert!(reason.contains("that of manifest 2 of a db_07, table 3 of 20260217"), "{reason}");
    }
}

/// A file that was in the place before is known by the bytes that were made, never by what it says of itself; and what
/// is too large is not read.
#[tokio::test]
async fn a_file_that_is_in_the_place_already_is_not_taken_on_its_own_word() {
    for world in World::all() {
        let rows = rows([3, 0, 5, 2]);
        let (manifest, other) = (manifest_of(&rows, 1), manifest_of(&rows, 2));
        let file = world.put(&manifest, &rows).await;
        let of_other = world.bytes(&world.put(&other, &rows).await.path).await;
        assert_eq!(of_other.len() as u64, file.bytes, "it is sound, and as long");
        world.damage(&file.path, of_other).await;
        assert_eq!(world.put(&manifest, &rows).await, file);
        assert!(damage(world.archive.check(&file).await).contains(&file.path));

        world.archive.put_manifest(&manifest, &file).await.unwrap();
        if world.dir.is_none() {
            continue;
        }
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
}

/// A file with other metadata, as another version or another program would write it.
fn changed(sound: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = sound.windows(from.len()).position(|window| window == from.as_bytes()).expect("it is in there");
    [&sound[..at], to.as_bytes(), &sound[at + from.len()..]].concat()
}

#[tokio::test]
async fn a_file_of_a_newer_format_or_of_another_program_is_refused_by_name() {
    for world in World::all() {
        let (_, manifest, file, sound) = world.sound().await;
        let format = sound.windows(14).position(|window| window == b"hongbao.format").unwrap();
        // The value follows the key: the type of the field, its length, and the digit.
        let digit = format + 14 + sound[format + 14..].iter().position(|byte| *byte == b'1').unwrap();
        let mut newer = sound.clone();
        newer[digit] = b'2';
        world.damage(&file.path, newer).await;
        let found = world.as_it_is(&file).await;
        let refused = world.read(&found, &manifest).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Unsupported(reason) if reason.contains("is of format 2")), "{refused}");

        for (from, to) in [("hongbao.table", "another.table"), ("settled_seq", "settled_sea")] {
            world.damage(&file.path, changed(&sound, from, to)).await;
            let found = world.as_it_is(&file).await;
            damage(world.read(&found, &manifest).await);
        }
    }
}
