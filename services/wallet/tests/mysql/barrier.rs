//! The barrier of a wallet on two database servers, of which one has a log that
//! stalls, and is killed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::id::stable_hash;
use hongbao_core::{Fen, Slot, Traffic, Transfer, TransferId, TransferOutcome, UserId};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_database::{Barrier as _, Durable, durably};
use hongbao_testbed::{LogStall, Part};
use hongbao_testkit::wallet_suite::{top_up, user};
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet, migrate};
use hongbao_wallet::{Wallet as _, WalletError, WalletReads as _, WalletScans as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::common::options;

/// For a statement: far beyond what a stall takes here.
const PATIENT: Duration = Duration::from_secs(30);
/// Long beyond the time that a commit takes on a busy machine.
const WHILE: Duration = Duration::from_millis(700);

/// Two homes with half of the slots each: the one whose log can be stalled, and another.
struct Homes {
    stalling: Part,
    other: Part,
    /// A user of each.
    users: [UserId; 2],
}

impl Homes {
    async fn new() -> Homes {
        let (stalling, other) = (Part::mariadb_with_a_log_that_stalls("ib_logfile0", &[]), Part::mariadb(&[]));
        let of_half = |half: u64| {
            let mut users = (0..).map(|number| user(&format!("user_{number}")));
            users.find(|user| stable_hash(user.as_str().as_bytes()) % 100 / 50 == half).expect("half of all")
        };
        let homes = Homes { stalling, other, users: [of_half(0), of_half(1)] };
        migrate(&homes.reached_at(homes.stalling.node()), 1).await.unwrap();
        homes
    }

    /// How to reach them, the one that stalls at this address.
    fn reached_at(&self, stalling: String) -> Vec<DatabaseServer> {
        let home = |half: u8, node: String| DatabaseServer {
            options: MysqlOptions { statement_timeout: PATIENT, ..options(&[node]) },
            slots: Slot::all().filter(|slot| slot.number() / 50 == half).collect(),
            traffic: Traffic::Live,
        };
        vec![home(0, stalling), home(1, self.other.node())]
    }

    /// A process's wallet.
    async fn wallet(&self) -> Arc<MysqlWallet> {
        self.wallet_at(self.stalling.node()).await
    }

    async fn wallet_at(&self, stalling: String) -> Arc<MysqlWallet> {
        Arc::new(MysqlWallet::open(self.reached_at(stalling), 1).await.unwrap())
    }

    fn top_up(&self, number: u64, home: usize, fen: i64) -> Transfer {
        top_up(number, self.users[home].as_str(), fen)
    }

    /// A top-up in the home that stalls which can be read, and which waits for the log.
    async fn visible(
        &self,
        reader: &MysqlWallet,
        writer: &Arc<MysqlWallet>,
        number: u64,
        fen: i64,
    ) -> (LogStall, JoinHandle<Result<Vec<TransferOutcome>, WalletError>>) {
        let stall = self.stalling.stall_log();
        let (writer, transfer) = (writer.clone(), self.top_up(number, 0, fen));
        let id = transfer.id;
        let commit = tokio::spawn(async move { writer.transfer(vec![transfer]).await });
        while reader.find(&[id]).await.unwrap().is_empty() {}
        (stall, commit)
    }
}

fn balance(wallet: &Arc<MysqlWallet>, user: &UserId) -> JoinHandle<Result<Fen, WalletError>> {
    let (wallet, user) = (wallet.clone(), user.clone());
    tokio::spawn(async move { wallet.balance(&user).await })
}

/// The amounts of a user's transfers, newest first.
fn listed(wallet: &Arc<MysqlWallet>, user: &UserId, before: Option<i64>) -> JoinHandle<Result<Vec<i64>, WalletError>> {
    let (wallet, user) = (wallet.clone(), user.clone());
    tokio::spawn(async move {
        let page = wallet.history(&user, &[], before, 10).await?;
        Ok(page.iter().map(|posted| posted.transfer.amount.get()).collect())
    })
}

/// The numbers of those of these top-ups that are there, durably.
fn found(wallet: &Arc<MysqlWallet>, numbers: [u64; 2]) -> JoinHandle<Result<Option<Durable<Vec<u64>>>, WalletError>> {
    let wallet = wallet.clone();
    tokio::spawn(async move {
        let ids = numbers.map(|number| top_up(number, "anybody", 1).id);
        durably(&*wallet, || async {
            let found = wallet.find(&ids).await?;
            let is_there = |id: TransferId| found.iter().any(|transfer| transfer.id == id);
            Ok(Some(numbers.into_iter().zip(ids).filter(|(_, id)| is_there(*id)).map(|(number, _)| number).collect()))
        })
        .await
    })
}

#[tokio::test]
async fn what_was_read_from_the_home_that_stalls_is_answered_when_it_is_durable_and_the_other_home_goes_on() {
    let homes = Homes::new().await;
    let (reader, writer) = (homes.wallet().await, homes.wallet().await);
    let before = vec![homes.top_up(1, 0, 10), homes.top_up(2, 1, 20)];
    writer.transfer(before).await.unwrap();
    assert_eq!(reader.balance(&homes.users[0]).await.unwrap().get(), 10);

    let (stall, commit) = homes.visible(&reader, &writer, 3, 5).await;
    let (balance, found) = (balance(&reader, &homes.users[0]), found(&reader, [3, 2]));
    assert_eq!(reader.balance(&homes.users[1]).await.unwrap().get(), 20, "its barrier does not wait");
    assert_eq!(reader.transfer(vec![homes.top_up(4, 1, 1)]).await.unwrap(), [TransferOutcome::Done]);
    assert_eq!(reader.balance(&homes.users[1]).await.unwrap().get(), 21);
    tokio::time::sleep(WHILE).await;
    assert!(!balance.is_finished(), "it could be read, and a crash would have taken it back");
    assert!(!found.is_finished(), "the barrier of one home says nothing of the other");
    drop(stall);
    assert_eq!(balance.await.unwrap().unwrap().get(), 15);
    assert_eq!(found.await.unwrap().unwrap().expect("something was found").into_inner(), [3, 2]);
    assert_eq!(commit.await.unwrap().unwrap(), [TransferOutcome::Done]);
}

#[tokio::test]
async fn the_newest_transfer_is_listed_when_it_is_durable_and_those_before_it_at_any_time() {
    let mut homes = Homes::new().await;
    let (reader, writer) = (homes.wallet().await, homes.wallet().await);
    writer.transfer(vec![homes.top_up(1, 0, 10)]).await.unwrap();
    let owner = homes.users[0].clone();
    assert_eq!(listed(&reader, &owner, None).await.unwrap().unwrap(), [10]);

    let (stall, commit) = homes.visible(&reader, &writer, 2, 5).await;
    let list = listed(&reader, &owner, None);
    let newest = reader.scan(0, 10).await.unwrap().pop().expect("there are two").position;
    assert_eq!(listed(&reader, &owner, Some(newest)).await.unwrap().unwrap(), [10], "a barrier has covered it");
    tokio::time::sleep(WHILE).await;
    assert!(!commit.is_finished() && !list.is_finished(), "it could be read, and a crash would have taken it back");
    drop(stall);
    assert_eq!(list.await.unwrap().unwrap(), [5, 10]);
    assert_eq!(commit.await.unwrap().unwrap(), [TransferOutcome::Done]);

    let (stall, commit) = homes.visible(&reader, &writer, 3, 7).await;
    let list = listed(&reader, &owner, None);
    tokio::time::sleep(WHILE).await;
    homes.stalling.kill();
    drop(stall);
    homes.stalling.restart();
    assert!(commit.await.unwrap().is_err(), "nobody was told that it is durable");
    match list.await.unwrap() {
        Err(_) => {}
        Ok(amounts) => assert_eq!(amounts, [5, 10], "what the crash has taken back is not listed"),
    }
}

/// The way to a server whose clients learn of its death when they are told to.
async fn relay_to(server: SocketAddr) -> (String, watch::Sender<bool>) {
    let (tell, told) = watch::channel(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(carry(client, server, told.clone()));
        }
    });
    (address, tell)
}

async fn carry(client: TcpStream, server: SocketAddr, mut told: watch::Receiver<bool>) {
    // Without a server the connection is closed at once.
    let Ok(server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        // A client that goes takes its connection to the server along. One whose server is gone waits.
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        let _ = to_server.shutdown().await;
        std::future::pending::<()>().await;
    };
    let down = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        // It fails when the test has ended.
        let _ = told.wait_for(|told| *told).await;
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

#[tokio::test]
async fn what_was_read_from_a_home_that_was_killed_and_started_anew_is_read_again_and_the_other_home_goes_on() {
    let mut homes = Homes::new().await;
    let (address, tell) = relay_to(homes.stalling.address()).await;
    let (reader, writer) = (homes.wallet_at(address).await, homes.wallet().await);
    let before = vec![homes.top_up(1, 0, 10), homes.top_up(2, 1, 20)];
    writer.transfer(before).await.unwrap();
    for (user, fen) in homes.users.iter().zip([10, 20]) {
        assert_eq!(reader.balance(user).await.unwrap().get(), fen);
    }

    let generations = reader.generations().0;
    let (stall, commit) = homes.visible(&reader, &writer, 3, 5).await;
    let (balance, found) = (balance(&reader, &homes.users[0]), found(&reader, [3, 2]));
    tokio::time::sleep(WHILE).await;
    homes.stalling.kill();
    drop(stall);
    homes.stalling.restart();
    assert!(commit.await.unwrap().is_err(), "nobody was told that it is durable");
    assert!(!balance.is_finished() && !found.is_finished());
    assert_eq!(reader.transfer(vec![homes.top_up(4, 1, 1)]).await.unwrap(), [TransferOutcome::Done]);
    assert_eq!(reader.balance(&homes.users[1]).await.unwrap().get(), 21);

    tell.send(true).unwrap();
    assert_eq!(balance.await.unwrap().unwrap().get(), 10, "what the crash has taken back is not answered");
    assert_eq!(found.await.unwrap().unwrap().expect("something was found").into_inner(), [2]);
    let after = reader.generations().0;
    assert_ne!(after[0], generations[0]);
    assert_eq!(after[1], generations[1], "what was read there before is not void");
    assert_eq!(reader.transfer(vec![homes.top_up(3, 0, 5)]).await.unwrap(), [TransferOutcome::Done]);
    assert_eq!(reader.balance(&homes.users[0]).await.unwrap().get(), 15);
}
