//! The chain of a database whose SET has left, and what is read by it.

use std::sync::Arc;

use hongbao_core::held::HeldSlots;
use hongbao_core::id::Fold;
use hongbao_core::manifest::Manifest;
use hongbao_core::{Date, Slot};
use hongbao_store::{Archived, Journals as _, LeftStore, StoreError, StoredManifest};

use crate::common::{World, manifest_of, rows};

const DATABASE: u8 = 7;
/// Where the chain of that database is.
const PLACE: &str = "a/db_07/manifests.json";

fn archived(manifest: Manifest) -> Archived {
    Archived { stored: StoredManifest { hash: manifest.hash(), manifest }, file: None }
}

/// Of two tables without rows.
fn chain() -> Vec<Archived> {
    let first = Manifest { previous: [0; 32], ..manifest_of(&rows([]), 1) };
    let (date, previous) = (Date::parse("20260218").unwrap(), first.hash());
    let second = Manifest { date, previous, ..manifest_of(&rows([]), 2) };
    vec![archived(first), archived(second)]
}

#[tokio::test]
async fn a_chain_is_read_as_it_was_put_and_only_goes_on() {
    for world in World::all() {
        let chain = chain();
        let missing = world.archive.chain(DATABASE).await.unwrap_err();
        assert!(matches!(missing, StoreError::Damaged(_)), "{missing}");
        world.archive.put_chain(DATABASE, &chain[..1]).await.unwrap();
        world.archive.put_chain(DATABASE, &chain).await.unwrap();
        assert_eq!(world.archive.chain(DATABASE).await.unwrap(), chain);
        for other in [&chain[..1], &chain[1..]] {
            let refused = world.archive.put_chain(DATABASE, other).await.unwrap_err();
            assert!(refused.to_string().contains("is not the beginning"), "{refused}");
        }
        assert_eq!(world.archive.chain(DATABASE).await.unwrap(), chain);
    }
}

#[tokio::test]
async fn a_chain_with_a_gap_or_of_another_database_is_never_an_envelope_that_is_not_there() {
    for world in World::all() {
        let chain = chain();
        world.archive.put_chain(DATABASE, &chain).await.unwrap();
        let sound = String::from_utf8(world.bytes(PLACE).await).unwrap();
        let fold = Fold::new(10, 1).unwrap();
        let of_database = Slot::all().filter(|slot| fold.database_of(*slot) == DATABASE);
        let held = HeldSlots::always(of_database, fold);
        let id = rows([1])[0].0.id;
        for (text, reason) in [
            (sound.replace("\"number\": 1", "\"number\": 3"), "is not the next one"),
            (sound.replacen("db_07", "db_08", 1), "of another database"),
            (sound.replacen('[', "{", 1), "manifests.json"),
            (String::new(), "manifests.json"),
        ] {
            assert_ne!(text, sound, "{reason}");
            world.damage(PLACE, text).await;
            let left = LeftStore::new("b", held.clone(), 0, Some(Arc::clone(&world.archive)));
            let refused = left.load(id).await.unwrap_err();
            assert!(matches!(&refused, StoreError::Damaged(said) if said.contains(reason)), "{refused}");
        }
        world.damage(PLACE, sound).await;
        let left = LeftStore::new("b", held.clone(), 0, Some(Arc::clone(&world.archive)));
        assert_eq!(left.load(id).await.unwrap(), None, "the whole chain has no table with it");
        let unread = LeftStore::new("b", held, 0, None).load(id).await.unwrap_err();
        assert!(
            matches!(&unread, StoreError::Unavailable(said) if said.contains("no archive is configured")),
            "{unread}"
        );
    }
}
