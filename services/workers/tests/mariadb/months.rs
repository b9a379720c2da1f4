//! Sealed months of a wallet in several databases, some of whose users move to another one.

use std::sync::Arc;

use hongbao_core::{Slot, Traffic};
use hongbao_testbed::Part;
use hongbao_wallet::mysql::{DatabaseServer, Moved, MysqlWallet, migrate, move_slots};
use hongbao_workers::SealedRows;

use super::databases::{options, set_on};
use crate::common::months::{seal_months, two_old_months};
use crate::common::sealed::{NO_ROWS, audited, credit};
use crate::common::{World, run_until_idle};

fn server(part: &Part, holds: impl Fn(u8) -> bool) -> DatabaseServer {
    let slots = Slot::all().filter(|slot| holds(slot.number())).collect();
    DatabaseServer { options: options(part), slots, traffic: Traffic::Live }
}

/// Of each part of the wallet, how many months count, and how many do not.
async fn months(world: &World) -> Vec<(u8, usize, usize)> {
    let mut months = Vec::new();
    for place in world.wallet.shards() {
        let rows = world.wallet.months(place.shard, 0, 100).await.unwrap();
        let void = rows.iter().filter(|row| row.is_void).count();
        months.push((place.shard, rows.len() - void, void));
    }
    months
}

#[tokio::test]
async fn months_of_users_who_have_moved_are_sealed_anew_without_them() {
    let (here, there) = (Part::mariadb(&[]), Part::mariadb(&[]));
    let moves = |slot: u8| slot % 2 == 1 && slot < 60;
    let before = vec![server(&here, |_| true)];
    let after = vec![server(&here, |slot| !moves(slot)), server(&there, moves)];
    migrate(&before, 2).await.unwrap();
    let wallet = Arc::new(MysqlWallet::open(before.clone(), 2).await.unwrap());
    let mut world = World::with(set_on(&here, 8).await, wallet, tempfile::tempdir().unwrap()).await;
    world.slots = vec![Slot::new(8).unwrap()];
    two_old_months(&world).await;
    let all = audited(&world, SealedRows::All).await.1;
    run_until_idle(&mut seal_months(&world), 1_000).await;
    assert_eq!(months(&world).await, [(0, 2, 0), (1, 2, 0)]);
    assert_eq!(audited(&world, SealedRows::All).await.0, [""; 0]);

    assert_eq!(move_slots(&before, &after, 2, &mut |_, _| true).await.unwrap(), Moved::All);
    world.wallet = Arc::new(MysqlWallet::open(after, 2).await.unwrap());
    let moved = months(&world).await;
    assert_eq!(moved, [(0, 2, 0), (1, 0, 0), (61, 0, 2)]);
    for rows in [NO_ROWS, SealedRows::All] {
        let (codes, report) = audited(&world, rows).await;
        assert_eq!((codes, report.books), (vec![], all.books), "{rows:?}");
    }
    run_until_idle(&mut seal_months(&world), 1_000).await;
    assert_eq!(months(&world).await, [(0, 2, 0), (1, 2, 0), (61, 2, 0)]);
    let young = world.active(1_000, 10).await;
    world.open_many(young, "a", 3).await;
    credit(&world).await;
    for rows in [NO_ROWS, SealedRows::All] {
        let (codes, report) = audited(&world, rows).await;
        assert_eq!((codes, report.transfers, report.sealed.transfers), (vec![], 4, all.transfers), "{rows:?}");
    }
}
