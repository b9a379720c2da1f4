//! `hongbao sandbox --wechat` as a process that is killed: what WeChat Pay is asked for has one outcome.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::order::{Answer, Order, OrderState, Request};
use hongbao_core::{Clock as _, Fen, OrderId, OrderKind, SystemClock, UserId};
use hongbao_provider::wechat::wire::SceneReport;
use hongbao_provider::{Provider as _, ProviderMetrics, Wechat, WechatOptions, ask};
use prometheus_client::registry::Registry;

use crate::sandbox::{SandboxProcess, billed};
use crate::support::{Folder, text};

const API_V3_SECRET: &str = "0123456789abcdef0123456789abcdef";

fn key(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../provider/tests/keys").join(name)
}

/// The file of `--wechat`; with other keys than it should have where that is asked for.
fn file(folder: &Folder, merchant_key: &str) -> PathBuf {
    let text = format!(
        "mchid = '1900000001'\nappid = 'wx1'\nserial_no = 'A1'\nmerchant_key_file = {:?}\n\
         platform_key_id = 'PUB_KEY_ID_1'\nplatform_private_key_file = {:?}\napi_v3_secret = '{API_V3_SECRET}'\n",
        key(merchant_key),
        key("platform.pem"),
    );
    folder.write("wechat.toml", &text)
}

fn wechat(address: SocketAddr) -> Wechat {
    let read = |name: &str| std::fs::read(key(name)).unwrap();
    let options = WechatOptions {
        url: format!("http://{address}"),
        mchid: "1900000001".to_owned(),
        appid: "wx1".to_owned(),
        serial_no: "A1".to_owned(),
        private_key: read("merchant.pem"),
        platform_key_id: "PUB_KEY_ID_1".to_owned(),
        platform_key: read("platform.pub.pem"),
        api_v3_key: API_V3_SECRET.into(),
        notify_url: "https://hongbao.example/v1/provider/notifications".to_owned(),
        description: "a red envelope".to_owned(),
        transfer_scene_id: "1000".to_owned(),
        transfer_scene_reports: vec![SceneReport { info_type: "a".to_owned(), info_content: "b".to_owned() }],
        timeout: Duration::from_millis(500),
        ca_file: None,
    };
    Wechat::new(options, Arc::new(SystemClock), ProviderMetrics::register(&mut Registry::default())).unwrap()
}

/// Drives an order as a worker does, with a shorter pause, until its outcome is known.
async fn driven(address: SocketAddr, number: u8) -> Order {
    let now = SystemClock.now();
    let kind = if number.is_multiple_of(2) { OrderKind::Charge } else { OrderKind::Payout };
    let (id, amount) = (OrderId::mint(now, [number; 10]), Fen::new(100 + i64::from(number)).unwrap());
    let mut order = Order::new(id, kind, UserId::parse("ann").unwrap(), amount, now);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !order.state.is_final() {
        assert!(Instant::now() < deadline, "no outcome of {order:?}");
        let (request, taken) = order.take_up(SystemClock.now(), 1_000);
        // A worker waits until the circuit closes; here is another one.
        order = ask(&wechat(address), &taken, request, &SystemClock).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(order.attention, None);
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_at_wechat_pay_have_one_outcome_though_it_is_killed_again_and_again() {
    let folder = Folder::new();
    let options = file(&folder, "merchant.pub.pem");
    let more = ["--wechat", options.to_str().unwrap(), "--confirm-ms", "30", "--hour-ms", "36000"];
    let faults = [more.as_slice(), &["--faults", "timeout_done=50,cut=50,error_500=50,refusal=50"]].concat();
    let mut sandbox = SandboxProcess::start(&folder, "127.0.0.1:0", &faults);
    let address = sandbox.address;
    let driving: Vec<_> = (0..24).map(|number| tokio::spawn(driven(address, number))).collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        sandbox.kill();
        sandbox = SandboxProcess::start(&folder, &address.to_string(), &faults);
    }
    let mut happened = Vec::new();
    for driving in driving {
        let order = driving.await.unwrap();
        if order.state == OrderState::Succeeded {
            let again = ask(&wechat(address), &order, Request::Query, &SystemClock).await;
            assert_eq!((again.state, again.attention), (OrderState::Succeeded, None), "one outcome");
            happened.push((order.id.number(), order.amount.get()));
        }
    }
    assert!(happened.len() > 12, "{}", happened.len());
    happened.sort_unstable();
    assert_eq!(billed(address).await, happened);
}

#[tokio::test]
async fn what_keeps_it_from_being_wechat_pay_is_said() {
    let folder = Folder::new();
    for (name, reason) in [("merchant.pem", "merchant_key_file: "), ("nowhere.pem", "nowhere.pem")] {
        let options = file(&folder, name);
        let mut command = SandboxProcess::command(&folder, "127.0.0.1:0", &["--wechat", options.to_str().unwrap()]);
        let output = command.output().unwrap();
        assert_ne!(output.status.code(), Some(0));
        let said = text(&output.stderr);
        assert!(said.contains("--wechat ") && said.contains(reason), "{said}");
        assert!(!said.contains(API_V3_SECRET), "{said}");
    }
    let sandbox = SandboxProcess::start(&folder, "127.0.0.1:0", &[]);
    let now = SystemClock.now();
    let id = OrderId::mint(now, [1; 10]);
    let order = Order::new(id, OrderKind::Charge, UserId::parse("ann").unwrap(), Fen::new(1).unwrap(), now);
    assert!(!matches!(wechat(sandbox.address).query(&order).await, Ok(Answer::NotFound)), "it is not WeChat Pay");
}
