//! Which databases a move is about.

use hongbao_database::mysql::connection::MysqlOptions;

use crate::WalletError;
use crate::mysql::layout::{DatabaseServer, ShardPlan, plan};

/// A database that slots leave, and the one that they come to.
#[derive(Debug)]
pub(super) struct Pair {
    /// As the file in force has it.
    pub source: ShardPlan,
    pub from: MysqlOptions,
    /// As the next file has it: all of its slots move.
    pub target: ShardPlan,
    pub to: MysqlOptions,
}

/// The pairs, by the number of the target. A server of both files is the same if a node of it is.
///
/// # Errors
/// For the operator, what no move can do: slots that come to a database which has others, or from several; a
/// part that is to be two.
pub(super) fn pairs(from: &[DatabaseServer], to: &[DatabaseServer], databases: u8) -> Result<Vec<Pair>, WalletError> {
    if from.iter().any(|old| to.iter().filter(|next| is_same(old, next)).count() > 1) {
        return Err(WalletError::Unavailable(
            "a part of the wallet in force has nodes in two parts of the next file: whose rows are whose, none could tell"
                .to_owned(),
        ));
    }
    let sources = plan(from, databases)?;
    let mut pairs = Vec::new();
    for target in plan(to, databases)? {
        let next = &to[target.server];
        let holder = |slot| sources.iter().find(|source| source.slots.contains(slot)).expect("each slot has a holder");
        let mut holders: Vec<&ShardPlan> = target.slots.iter().map(holder).collect();
        holders.dedup();
        let stays = |source: &ShardPlan| is_same(&from[source.server], next);
        if holders.iter().all(|source| stays(source)) {
            continue;
        }
        let [source] = holders[..] else {
            return Err(WalletError::Unavailable(format!(
                "{} with the slots {} would be filled from {} databases: slots that come from different parts of the \
                 wallet, or to one that has others, need a part of their own",
                target.name(),
                target.slot_set(),
                holders.len()
            )));
        };
        pairs.push(Pair {
            source: source.clone(),
            from: from[source.server].options.clone(),
            to: next.options.clone(),
            target,
        });
    }
    Ok(pairs)
}

fn is_same(one: &DatabaseServer, other: &DatabaseServer) -> bool {
    one.options.nodes.iter().any(|node| other.options.nodes.contains(node))
}

#[cfg(test)]
mod tests {
    use hongbao_core::{Slot, Traffic};

    use super::*;

    fn server(node: &str, slots: impl IntoIterator<Item = u8>) -> DatabaseServer {
        DatabaseServer {
            options: MysqlOptions { nodes: vec![node.parse().unwrap()], ..MysqlOptions::default() },
            slots: slots.into_iter().filter_map(Slot::new).collect(),
            traffic: Traffic::Live,
        }
    }

    fn moved(from: &[DatabaseServer], to: &[DatabaseServer]) -> Result<Vec<(String, String, String)>, String> {
        let pairs = pairs(from, to, 2).map_err(|error| error.to_string())?;
        let of = |pair: &Pair| (pair.target.name(), pair.from.nodes[0].to_string(), pair.to.nodes[0].to_string());
        Ok(pairs.iter().map(of).collect())
    }

    #[test]
    fn slots_that_change_their_holder_move_database_by_database() {
        let now = [server("a:1", 0..50), server("b:1", 50..100)];
        assert_eq!(moved(&now, &now), Ok(vec![]));
        let next = [server("a:1", 0..25), server("b:1", 50..100), server("c:1", 25..50)];
        let to_c = |db: &str| (db.to_owned(), "a:1".to_owned(), "c:1".to_owned());
        assert_eq!(moved(&now, &next), Ok(vec![to_c("wallet_01"), to_c("wallet_00")]));
        let all = [server("c:1", 0..50), server("b:1", 50..100)];
        assert_eq!(moved(&now, &all), Ok(vec![to_c("wallet_00"), to_c("wallet_01")]));
    }

    #[test]
    fn what_a_move_cannot_do_is_refused_by_name() {
        let now = [server("a:1", 0..50), server("b:1", 50..100)];
        let grown = [server("a:1", 0..25), server("b:1", 25..100)];
        assert!(moved(&now, &grown).unwrap_err().contains("wallet_01 with the slots 25 27"));
        let together = [server("a:1", 0..40), server("b:1", 60..100), server("c:1", 40..60)];
        assert!(moved(&now, &together).unwrap_err().contains("would be filled from 2 databases"));
        let mut of_two = server("a:1", 0..50);
        of_two.options.nodes.push("c:1".parse().unwrap());
        let now = [of_two, server("b:1", 50..100)];
        let split = [server("a:1", 0..25), server("c:1", 25..50), server("b:1", 50..100)];
        assert!(moved(&now, &split).unwrap_err().contains("has nodes in two parts"));
    }
}
