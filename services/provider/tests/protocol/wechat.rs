//! WeChat Pay over the sandbox that is WeChat Pay: charges, payouts, refunds, faults, keys and notifications.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::order::{Answer, OrderState};
use hongbao_core::{Order, OrderKind, SystemClock, UserId};
use hongbao_provider::sandbox::wechat::{Emulation, EmulationOptions};
use hongbao_provider::sandbox::{Fault, SandboxOptions};
use hongbao_provider::wechat::wire::SceneReport;
use hongbao_provider::{
    BadNotification, Notification, Provider as _, ProviderError, ProviderMetrics, Wechat, WechatOptions,
};
use prometheus_client::registry::Registry;

use crate::notifications::{received_by, webhook};
use crate::support::{Running, amount_of, charge, now, options, order, outcome, payout};

const MERCHANT: &[u8] = include_bytes!("../keys/merchant.pem");
const MERCHANT_PUBLIC: &[u8] = include_bytes!("../keys/merchant.pub.pem");
const PLATFORM: &[u8] = include_bytes!("../keys/platform.pem");
const PLATFORM_PUBLIC: &[u8] = include_bytes!("../keys/platform.pub.pem");
const API_V3_KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

fn sandbox_options() -> SandboxOptions {
    let emulation = Emulation::new(&EmulationOptions {
        mchid: "1900000001",
        appid: "wx1",
        serial_no: "A1",
        merchant_key: MERCHANT_PUBLIC,
        platform_key_id: "PUB_KEY_ID_1",
        platform_private_key: PLATFORM,
        api_v3_key: API_V3_KEY,
    });
    SandboxOptions { wechat: Some(emulation.unwrap()), ..options() }
}

fn wechat_options(running: &Running) -> WechatOptions {
    WechatOptions {
        url: format!("http://{}", running.address),
        mchid: "1900000001".to_owned(),
        appid: "wx1".to_owned(),
        serial_no: "A1".to_owned(),
        private_key: MERCHANT.to_vec(),
        platform_key_id: "PUB_KEY_ID_1".to_owned(),
        platform_key: PLATFORM_PUBLIC.to_vec(),
        api_v3_key: API_V3_KEY.to_vec(),
        notify_url: "https://hongbao.example/v1/provider/notifications".to_owned(),
        description: "a red envelope".to_owned(),
        transfer_scene_id: "1000".to_owned(),
        transfer_scene_reports: vec![SceneReport { info_type: "a".to_owned(), info_content: "b".to_owned() }],
        timeout: Duration::from_millis(400),
        ca_file: None,
    }
}

fn client_with(options: WechatOptions) -> Wechat {
    Wechat::new(options, Arc::new(SystemClock), ProviderMetrics::register(&mut Registry::default())).unwrap()
}

async fn wechat() -> (Running, Wechat) {
    let running = Running::start(sandbox_options()).await;
    let client = client_with(wechat_options(&running));
    (running, client)
}

fn refund_of(charge: &Order) -> Order {
    Order { of: Some(charge.id), ..order(OrderKind::Refund, charge.amount.get()) }
}

fn closed() -> Result<Answer, ProviderError> {
    Ok(Answer::Failed { reason: "closed".to_owned() })
}

#[tokio::test]
async fn a_charge_is_paid_refunded_and_still_stands_as_paid() {
    let (_running, client) = wechat().await;
    let charge = charge(500);
    assert_eq!(client.query(&charge).await, Ok(Answer::NotFound));
    let Ok(Answer::Pending { action_url: Some(url) }) = client.send(&charge).await else { panic!("a code to scan") };
    assert!(url.contains(&charge.id.number()), "{url}");
    let paid = outcome(&client, &charge).await;
    assert_eq!(amount_of(&paid), 500);
    assert_eq!(client.close(&charge).await, Ok(paid.clone()), "it cannot be closed any more");
    let Err(ProviderError::Rejected(reason)) = client.send(&charge).await else { panic!("it is paid") };
    assert!(reason.contains("ORDERPAID"), "{reason}");
    let refund = refund_of(&charge);
    assert_eq!(client.query(&refund).await, Ok(Answer::NotFound));
    assert_eq!(client.send(&refund).await, Ok(Answer::Pending { action_url: None }));
    assert_eq!(amount_of(&outcome(&client, &refund).await), 500);
    assert!(matches!(client.send(&refund).await, Ok(Answer::Succeeded(_))), "sent again it is the same one");
    assert_eq!(client.query(&charge).await, Ok(paid));
    let again = refund_of(&charge);
    client.send(&again).await.unwrap();
    assert_eq!(outcome(&client, &again).await, closed().unwrap(), "there is nothing left of the charge");
}

#[tokio::test]
async fn a_payout_is_confirmed_with_a_package_and_paid_once() {
    let (_running, client) = wechat().await;
    let payout = payout(300);
    assert_eq!(client.query(&payout).await, Ok(Answer::NotFound));
    let package = format!("package-{}", payout.id.number());
    assert_eq!(client.send(&payout).await, Ok(Answer::Pending { action_url: Some(package) }));
    let paid = outcome(&client, &payout).await;
    assert_eq!(amount_of(&paid), 300);
    assert_eq!(client.close(&payout).await, Ok(paid.clone()));
    assert_eq!(client.send(&payout).await, Ok(Answer::Pending { action_url: None }), "it has no amount yet");
    assert_eq!(client.query(&payout).await, Ok(paid));
    let other = Order { user: UserId::parse("bob").unwrap(), ..payout };
    assert!(matches!(client.send(&other).await, Err(ProviderError::Rejected(_))), "a number has one order");
}

#[tokio::test]
async fn what_is_closed_is_asked_for_and_a_number_that_has_not_arrived_is_not_closed() {
    let (_running, client) = wechat().await;
    for order in [charge(Fault::Never.amount().get()), payout(Fault::Never.amount().get())] {
        assert_eq!(client.close(&order).await, Ok(Answer::NotFound), "it may still be on its way");
        assert!(matches!(client.send(&order).await, Ok(Answer::Pending { .. })));
        assert_eq!(client.close(&order).await, closed());
        assert_eq!(client.query(&order).await, closed());
    }
    let refund = refund_of(&charge(100));
    assert_eq!(client.close(&refund).await, Ok(Answer::NotFound), "a refund is not closed, only asked for");
}

#[tokio::test]
async fn a_payout_that_needs_a_name_is_never_sent_and_one_that_is_forgotten_is_not_lost() {
    let (_running, client) = wechat().await;
    let much = payout(200_000);
    assert_eq!(client.send(&much).await, Ok(Answer::Failed { reason: "more_than_without_a_name".to_owned() }));
    assert_eq!(client.query(&much).await, Ok(Answer::NotFound));
    let old = Order { state: OrderState::Succeeded, ..payout(300) };
    assert!(matches!(client.query(&old).await, Err(ProviderError::Unknown(_))), "WeChat keeps it for 30 days");
    let begun = Order { state: OrderState::Pending, ..charge(300) };
    assert!(matches!(client.query(&begun).await, Err(ProviderError::Unknown(_))), "its code may not be scanned yet");
}

#[tokio::test]
async fn whatever_goes_wrong_an_order_has_one_outcome_under_its_number() {
    let (_running, client) = wechat().await;
    for (fault, fen) in [
        (Fault::TimeoutDone, Some(9_002)),
        (Fault::TimeoutNotDone, None),
        (Fault::Error500, None),
        (Fault::Cut, Some(9_007)),
        (Fault::RateLimited, None),
        (Fault::WrongAmount, Some(9_014)),
        (Fault::Partial, Some(4_507)),
    ] {
        for order in [charge(fault.amount().get()), payout(fault.amount().get())] {
            // A client of its own: three that are not answered in a row would close the way.
            let sent = client_with(wechat_options(&_running)).send(&order).await;
            match (fault, &sent) {
                (Fault::RateLimited, Err(ProviderError::RateLimited { .. })) => {}
                (Fault::WrongAmount | Fault::Partial, Ok(Answer::Pending { .. })) => {}
                (_, Err(ProviderError::Unknown(_))) => {}
                _ => panic!("{fault:?}: {sent:?}"),
            }
            let client = client_with(wechat_options(&_running));
            match fen {
                Some(fen) => assert_eq!(amount_of(&outcome(&client, &order).await), fen, "{fault:?}"),
                None => assert_eq!(client.query(&order).await, Ok(Answer::NotFound), "{fault:?}"),
            }
        }
    }
    let refused = payout(Fault::Refusal.amount().get());
    client.send(&refused).await.unwrap();
    let failed = Answer::Failed { reason: "insufficient_provider_funds".to_owned() };
    assert_eq!(outcome(&client, &refused).await, failed);
}

#[tokio::test]
async fn each_wrong_key_is_noticed_on_the_side_that_has_it() {
    let (running, _) = wechat().await;
    let order = charge(500);
    let with = |change: fn(&mut WechatOptions)| {
        let mut options = wechat_options(&running);
        change(&mut options);
        client_with(options)
    };
    for (name, client) in [
        ("private key", with(|options| options.private_key = PLATFORM.to_vec())),
        ("serial_no", with(|options| options.serial_no = "B2".to_owned())),
        ("mchid", with(|options| options.mchid = "1900000002".to_owned())),
    ] {
        let Err(ProviderError::Rejected(reason)) = client.send(&order).await else { panic!("{name}") };
        assert!(reason.contains("401: SIGN_ERROR"), "{name}: {reason}");
    }
    for (name, client) in [
        ("platform key", with(|options| options.platform_key = MERCHANT_PUBLIC.to_vec())),
        ("platform_key_id", with(|options| options.platform_key_id = "PUB_KEY_ID_2".to_owned())),
    ] {
        let Err(ProviderError::Unknown(reason)) = client.query(&order).await else { panic!("{name}") };
        assert!(reason.contains("it answers 404, and the "), "{name}: {reason}");
    }
    let Err(ProviderError::Rejected(reason)) = with(|options| options.appid = "wx2".to_owned()).send(&order).await
    else {
        panic!("another app")
    };
    assert!(reason.contains("400: PARAM_ERROR"), "{reason}");
    assert_eq!(client_with(wechat_options(&running)).query(&order).await, Ok(Answer::NotFound), "none was taken");
}

#[tokio::test]
async fn notifications_are_read_with_both_keys_and_forged_changed_or_old_ones_are_not() {
    let (url, received) = webhook(0).await;
    let running = Running::start(SandboxOptions { notify_url: Some(url), ..sandbox_options() }).await;
    let client = client_with(wechat_options(&running));
    let charge = charge(500);
    client.send(&charge).await.unwrap();
    outcome(&client, &charge).await;
    let hint = |order: &Order| Ok(Notification { id: format!("{}-succeeded", order.id.number()), order: order.id });
    let (headers, body) = received_by(&received, 1).await.remove(0);
    assert_eq!(client.notification(&headers, &body, now()), hint(&charge));
    let replayed = client.notification(&headers, &body, now().plus_millis(301_000));
    assert_eq!(replayed, Err(BadNotification::NotNow));
    let changed = client.notification(&headers, &body[1..], now());
    assert_eq!(changed, Err(BadNotification::WrongSignature));
    let mut unsigned = headers.clone();
    unsigned.remove("wechatpay-nonce");
    assert_eq!(client.notification(&unsigned, &body, now()), Err(BadNotification::NotSigned));
    let mut options = wechat_options(&running);
    options.api_v3_key = vec![1; 32];
    let other = client_with(options);
    assert_eq!(other.notification(&headers, &body, now()), Err(BadNotification::Unreadable));

    received.lock().clear();
    let (payout, refund) = (payout(300), refund_of(&charge));
    for order in [&payout, &refund] {
        client.send(order).await.unwrap();
        outcome(&client, order).await;
    }
    let said: Vec<_> = received_by(&received, 2).await;
    let read: Vec<_> = said.iter().map(|(headers, body)| client.notification(headers, body, now())).collect();
    assert!(read.contains(&hint(&payout)) && read.contains(&hint(&refund)), "{read:?}");

    received.lock().clear();
    let forged = crate::support::charge(Fault::Forged.amount().get());
    client.send(&forged).await.unwrap();
    let (headers, body) = received_by(&received, 1).await.remove(0);
    assert_eq!(client.notification(&headers, &body, now()), Err(BadNotification::WrongSignature));
    assert_eq!(client.query(&forged).await, closed());
}
