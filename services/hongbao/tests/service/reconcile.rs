//! `hongbao reconcile`: what is injected is named, and the exit code says it.

use std::sync::Arc;

use hongbao_core::order::Answer;
use hongbao_core::{Clock as _, Date, Fen, Order, OrderId, OrderKind, SystemClock, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_provider::Provider as _;
use hongbao_provider::sandbox::{Chances, Pace, Sandbox, SandboxOptions};
use hongbao_wallet::sqlite::SqliteWallet;
use hongbao_wallet::{Changed, OrderChange, OrderOpening, Orders as _};
use serde_json::Value;

use crate::support::{Folder, Service, hongbao, text};

fn reconciled(folder: &Folder, more: &[&str]) -> (Option<i32>, String) {
    let date = Date::of(SystemClock.now(), 28_800).to_string();
    let mut command = hongbao(&["reconcile", "--date", &date]);
    let output = command.args(["--data".as_ref(), folder.data().as_os_str()]).args(more).output().unwrap();
    (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
}

fn sandbox(folder: &Folder) -> Sandbox {
    let options = SandboxOptions {
        key_id: "test".to_owned(),
        secret: vec![7; 32],
        pages_at: "http://127.0.0.1:9".to_owned(),
        notify_url: None,
        zone_offset_s: 28_800,
        pace: Pace { confirm_ms: 0, ..Pace::default() },
        seed: 1,
        chances: Chances::default(),
        by_hand: false,
        wechat: None,
    };
    Sandbox::open(&folder.data().join("sandbox"), options, Arc::new(SystemClock)).unwrap()
}

/// Charges a user at the sandbox, and stores what it answers.
async fn charge(sandbox: &Sandbox, wallet: &SqliteWallet, fen: i64) -> Order {
    let now = SystemClock.now();
    let (id, amount) = (OrderId::mint(now, [fen.to_be_bytes()[7]; 10]), Fen::new(fen).unwrap());
    let order = Order::new(id, OrderKind::Charge, UserId::parse("ann").unwrap(), amount, now);
    let OrderOpening::Opened(mut order) = wallet.open_order(order.into()).await.unwrap() else { panic!("it is new") };
    let sent = Order { sent_at: Some(now), ..order.clone() };
    sandbox.send(&sent).await.unwrap();
    while order.happened_at.is_none() {
        let answer = sandbox.query(&sent).await.unwrap();
        assert!(matches!(answer, Answer::Pending { .. } | Answer::Succeeded(_)), "{answer:?}");
        let after = order.answered(Some(answer), now);
        let change = OrderChange { before: order, after, may_pay: false, refund: None };
        let changed = wallet.change_orders(vec![change]).await.unwrap().remove(0);
        let Changed::Done { order: stored, .. } = changed else { panic!("{changed:?}") };
        order = *stored;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_is_named_and_a_bill_that_is_not_whole_is_refused() {
    let folder = Folder::new();
    let mut service = Service::start_in(&folder, "");
    service.terminate();
    service.wait();
    let sandbox = sandbox(&folder);
    let running = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { sandbox.run().await }
    });
    let wallet = SqliteWallet::open(&folder.data(), Mode::Durable).await.unwrap();
    let first = charge(&sandbox, &wallet, 500).await;
    let second = charge(&sandbox, &wallet, 7).await;
    let keep = folder.path("bill.csv");
    let keep = keep.to_str().unwrap();
    let (code, said) = reconciled(&folder, &["--keep", keep]);
    assert!(code == Some(0) && said.contains("all 2 lines are as the books say"), "{said}");
    assert!(said.contains("charges 5.07"), "{said}");

    let bill = std::fs::read_to_string(keep).unwrap();
    let other = OrderId::mint(SystemClock.now(), [9; 10]).number();
    let without_second: String =
        bill.lines().filter(|line| !line.starts_with(&second.id.number())).map(|line| format!("{line}\n")).collect();
    for (text, code, reason) in [
        (bill.clone(), 0, "verdict  all 2 lines"),
        (without_second.replace(",507,", ",500,").replace(",2\n", ",1\n"), 1, "missing_at_provider charge"),
        (bill.replace(&first.id.number(), &other), 1, "missing_in_books charge"),
        (bill.replace(",500,", ",501,").replace(",507,", ",508,"), 1, "amount_differs charge"),
        (without_second.clone(), 2, "the bill: line"),
        (bill[..bill.len() - 1].to_owned(), 2, "the bill is cut off"),
        (bill.replace(",500,CNY", ",500,USD"), 2, "the currency is \"USD\""),
    ] {
        let file = folder.write("changed.csv", &text);
        let (exit, said) = reconciled(&folder, &["--bill", file.to_str().unwrap()]);
        assert_eq!(exit, Some(code), "{said}");
        assert!(said.contains(reason), "{reason}: {said}");
    }
    let file = folder.write("changed.csv", &bill.replace(&first.id.number(), &other));
    let (code, said) = reconciled(&folder, &["--json", "--bill", file.to_str().unwrap()]);
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, found["matched"].as_i64(), found["lines"].as_i64()), (Some(1), Some(1), Some(2)), "{said}");
    let kinds: Vec<_> = found["differences"].as_array().unwrap().iter().map(|found| found["kind"].as_str()).collect();
    assert_eq!(kinds, [Some("missing_at_provider"), Some("missing_in_books")], "{said}");
    running.abort();
    let (code, said) = reconciled(&folder, &["--bill", "/nowhere.csv"]);
    assert!(code == Some(2) && said.contains("--bill /nowhere.csv"), "{said}");
}
