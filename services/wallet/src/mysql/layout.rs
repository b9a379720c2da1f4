//! Which shards there are, and whose money lies in which.

use std::collections::BTreeMap;

use hongbao_core::id::SLOTS;
use hongbao_core::{Slot, Traffic, UserId};
use hongbao_database::mysql::connection::MysqlOptions;

use super::slots::SlotSet;
use crate::WalletError;

/// A database server, or a cluster of them, with the slots of users that it holds.
#[derive(Clone, Debug)]
pub struct DatabaseServer {
    /// How to reach it.
    pub options: MysqlOptions,
    /// Its slots.
    pub slots: Vec<Slot>,
    /// Whose money: each kind of traffic has databases of its own, by name.
    pub traffic: Traffic,
}

/// One shard, before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardPlan {
    /// Its lowest slot, which tells it from all others.
    pub number: u8,
    /// The server that it lies in, by its place among them.
    pub server: usize,
    /// Its database there, by number.
    pub database: u8,
    /// The slots that it holds, in order.
    pub slots: Vec<Slot>,
    /// Whose money it holds.
    pub traffic: Traffic,
}

impl ShardPlan {
    /// The name of its database.
    pub fn name(&self) -> String {
        format!("wallet_{:02}{}", self.database, self.traffic.database_suffix())
    }

    /// Its slots as a set, which `meta` names.
    pub fn slot_set(&self) -> SlotSet {
        self.slots.iter().copied().collect()
    }
}

/// The slot of a user, which decides where the money lies: it must never change.
pub(super) fn slot_of(user: &UserId) -> Slot {
    slot_of_name(user.as_str())
}

/// The same for a name as it is stored.
pub(super) fn slot_of_name(name: &str) -> Slot {
    Slot::of_name(name)
}

/// The shards of these servers, by number.
///
/// # Errors
/// When slots are missing or held twice, or `databases` does not divide 100.
pub(super) fn plan(servers: &[DatabaseServer], databases: u8) -> Result<Vec<ShardPlan>, WalletError> {
    if databases == 0 || !SLOTS.is_multiple_of(databases) {
        return Err(wrong(format!("{databases} wallet databases: the number must divide {SLOTS}")));
    }
    let mut shards: BTreeMap<(usize, u8), Vec<Slot>> = BTreeMap::new();
    for slot in Slot::all() {
        let mut holders = (0..servers.len()).filter(|server| servers[*server].slots.contains(&slot));
        let Some(server) = holders.next() else {
            return Err(wrong(format!("wallet slot {:02} is held by no wallet", slot.number())));
        };
        if holders.next().is_some() {
            return Err(wrong(format!("wallet slot {:02} is held by two wallets", slot.number())));
        }
        shards.entry((server, slot.number() % databases)).or_default().push(slot);
    }
    let mut plans: Vec<ShardPlan> = shards
        .into_iter()
        .map(|((server, database), slots)| {
            let traffic = servers[server].traffic;
            ShardPlan { number: slots[0].number(), server, database, slots, traffic }
        })
        .collect();
    plans.sort_by_key(|plan| plan.number);
    Ok(plans)
}

/// The names of the databases of each server, in the order of the servers.
///
/// # Errors
/// As the layout's: slots that are missing or held twice.
pub fn database_names(servers: &[DatabaseServer], databases: u8) -> Result<Vec<Vec<String>>, WalletError> {
    let plans = plan(servers, databases)?;
    let of_home = |server| plans.iter().filter(|plan| plan.server == server).map(ShardPlan::name).collect();
    Ok((0..servers.len()).map(of_home).collect())
}

fn wrong(reason: String) -> WalletError {
    WalletError::Unavailable(reason)
}

#[cfg(test)]
mod tests {
    use hongbao_database::mysql::connection::MysqlOptions;

    use super::*;

    fn server(slots: impl IntoIterator<Item = u8>) -> DatabaseServer {
        server_in(Traffic::Live, slots)
    }

    fn server_in(traffic: Traffic, slots: impl IntoIterator<Item = u8>) -> DatabaseServer {
        DatabaseServer {
            options: MysqlOptions::default(),
            slots: slots.into_iter().filter_map(Slot::new).collect(),
            traffic,
        }
    }

    #[test]
    fn a_user_never_moves() {
        let slot = |name| slot_of(&UserId::parse(name).unwrap()).number();
        // Changing these loses money: they say where it lies.
        assert_eq!([slot("ann"), slot("bob"), slot("user_1")], [83, 52, 59]);
    }

    #[test]
    fn every_slot_has_one_shard() {
        let plans = plan(&[server(0..50), server(50..100)], 4).unwrap();
        let numbers: Vec<_> = plans.iter().map(|plan| (plan.number, plan.server, plan.name())).collect();
        let name = |number: u8| format!("wallet_{number:02}");
        let first = (0..4).map(|number| (number, 0, name(number)));
        let second = [(50, 1, name(2)), (51, 1, name(3)), (52, 1, name(0)), (53, 1, name(1))];
        assert_eq!(numbers, first.chain(second).collect::<Vec<_>>());
        assert_eq!(plans.iter().map(|plan| plan.slots.len()).sum::<usize>(), 100);
        assert!(plans[0].slot_set().to_string().starts_with("00 04 08"));
    }

    #[test]
    fn the_rehearsal_s_money_lies_in_databases_of_its_own() {
        let plans = plan(&[server_in(Traffic::Shadow, 0..100)], 2).unwrap();
        assert_eq!(plans.iter().map(ShardPlan::name).collect::<Vec<_>>(), ["wallet_00_shadow", "wallet_01_shadow"]);
    }

    #[test]
    fn what_does_not_add_up_is_refused_in_words() {
        let reason = |servers: &[DatabaseServer], databases| plan(servers, databases).unwrap_err().to_string();
        assert!(reason(&[server(0..100)], 3).contains("must divide 100"));
        assert!(reason(&[server(0..100)], 0).contains("must divide 100"));
        assert!(reason(&[server(0..99)], 2).contains("slot 99 is held by no wallet"));
        assert!(reason(&[server(0..100), server(7..8)], 2).contains("slot 07 is held by two wallets"));
    }
}
