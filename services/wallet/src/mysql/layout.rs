//! Which shards there are, and whose money lies in which.

use std::collections::BTreeMap;

use hongbao_core::id::{SLOTS, stable_hash};
use hongbao_core::{Slot, UserId, World};

use super::Home;
use crate::WalletError;

/// One shard, before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Its lowest slot, which tells it from all others.
    pub number: u8,
    /// The home that it lies in, by its place among them.
    pub home: usize,
    /// Its database there, by number.
    pub database: u8,
    /// The slots that it holds, in order.
    pub slots: Vec<Slot>,
    /// Whose money it holds.
    pub world: World,
}

impl Plan {
    /// The name of its database.
    pub fn name(&self) -> String {
        format!("wallet_{:02}{}", self.database, self.world.database_suffix())
    }

    /// Its slots as `meta` names them.
    pub fn slots_text(&self) -> String {
        self.slots.iter().map(|slot| format!("{:02}", slot.number())).collect::<Vec<_>>().join(" ")
    }
}

/// The slot of a user, which decides where the money lies: it must never change.
pub(super) fn slot_of(user: &UserId) -> Slot {
    let number = (stable_hash(user.as_str().as_bytes()) % u64::from(SLOTS)) as u8;
    Slot::new(number).expect("a remainder of 100 is below 100")
}

/// The shards of these homes, by number.
///
/// # Errors
/// When slots are missing or held twice, or `databases` does not divide 100.
pub(super) fn plan(homes: &[Home], databases: u8) -> Result<Vec<Plan>, WalletError> {
    if databases == 0 || !SLOTS.is_multiple_of(databases) {
        return Err(wrong(format!("{databases} wallet databases: the number must divide {SLOTS}")));
    }
    let mut shards: BTreeMap<(usize, u8), Vec<Slot>> = BTreeMap::new();
    for slot in Slot::all() {
        let mut holders = (0..homes.len()).filter(|home| homes[*home].slots.contains(&slot));
        let Some(home) = holders.next() else {
            return Err(wrong(format!("wallet slot {:02} is held by no wallet", slot.number())));
        };
        if holders.next().is_some() {
            return Err(wrong(format!("wallet slot {:02} is held by two wallets", slot.number())));
        }
        shards.entry((home, slot.number() % databases)).or_default().push(slot);
    }
    let mut plans: Vec<Plan> = shards
        .into_iter()
        .map(|((home, database), slots)| {
            let world = homes[home].world;
            Plan { number: slots[0].number(), home, database, slots, world }
        })
        .collect();
    plans.sort_by_key(|plan| plan.number);
    Ok(plans)
}

/// The names of the databases of each home, in the order of the homes.
///
/// # Errors
/// As the layout's: slots that are missing or held twice.
pub fn database_names(homes: &[Home], databases: u8) -> Result<Vec<Vec<String>>, WalletError> {
    let plans = plan(homes, databases)?;
    let of_home = |home| plans.iter().filter(|plan| plan.home == home).map(Plan::name).collect();
    Ok((0..homes.len()).map(of_home).collect())
}

fn wrong(words: String) -> WalletError {
    WalletError::Unavailable(words)
}

#[cfg(test)]
mod tests {
    use hongbao_database::mysql::connection::MysqlOptions;

    use super::*;

    fn home(slots: impl IntoIterator<Item = u8>) -> Home {
        home_in(World::Real, slots)
    }

    fn home_in(world: World, slots: impl IntoIterator<Item = u8>) -> Home {
        Home { options: MysqlOptions::default(), slots: slots.into_iter().filter_map(Slot::new).collect(), world }
    }

    #[test]
    fn a_user_never_moves() {
        let slot = |name| slot_of(&UserId::parse(name).unwrap()).number();
        // Whoever changes these loses money: they say where it lies.
        assert_eq!([slot("ann"), slot("bob"), slot("user_1")], [83, 52, 59]);
    }

    #[test]
    fn every_slot_has_one_shard() {
        let plans = plan(&[home(0..50), home(50..100)], 4).unwrap();
        let numbers: Vec<_> = plans.iter().map(|plan| (plan.number, plan.home, plan.name())).collect();
        let name = |number: u8| format!("wallet_{number:02}");
        let first = (0..4).map(|number| (number, 0, name(number)));
        let second = [(50, 1, name(2)), (51, 1, name(3)), (52, 1, name(0)), (53, 1, name(1))];
        assert_eq!(numbers, first.chain(second).collect::<Vec<_>>());
        assert_eq!(plans.iter().map(|plan| plan.slots.len()).sum::<usize>(), 100);
        assert!(plans[0].slots_text().starts_with("00 04 08"));
    }

    #[test]
    fn the_rehearsal_s_money_lies_in_databases_of_its_own() {
        let plans = plan(&[home_in(World::Rehearsal, 0..100)], 2).unwrap();
        assert_eq!(plans.iter().map(Plan::name).collect::<Vec<_>>(), ["wallet_00_shadow", "wallet_01_shadow"]);
    }

    #[test]
    fn what_does_not_add_up_is_refused_in_words() {
        let words = |homes: &[Home], databases| plan(homes, databases).unwrap_err().to_string();
        assert!(words(&[home(0..100)], 3).contains("must divide 100"));
        assert!(words(&[home(0..100)], 0).contains("must divide 100"));
        assert!(words(&[home(0..99)], 2).contains("slot 99 is held by no wallet"));
        assert!(words(&[home(0..100), home(7..8)], 2).contains("slot 07 is held by two wallets"));
    }
}
