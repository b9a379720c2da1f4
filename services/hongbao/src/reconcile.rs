//! `hongbao reconcile`: the provider's bill against the books, by number and in both directions.
//!
//! Exit 0 when all lines are as the books say and nothing is missing, 1 when there are differences, 2 (an error) when
//! it could not be found out, such as for a bill that is cut off.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use hongbao_core::limits::RECONCILE_PAGE_MAX;
use hongbao_core::{Clock as _, Date, OrderId, SystemClock, Traffic};
use hongbao_provider::bill::{Expected, plain};
use hongbao_provider::reconcile::{Reconciled, Reconciliation};
use hongbao_provider::sandbox;
use hongbao_wallet::Orders;
use prometheus_client::registry::Registry;

use crate::config::{ProviderSection, ZoneOffset};
use crate::dev::SANDBOX_FOLDER;
use crate::folder::{self, folder_of};
use crate::roles::Role;
use crate::{process, provider, stores};

/// What is asked for.
pub struct Asked<'a> {
    /// The day, by the provider's calendar.
    pub date: Date,
    /// The bill; asked of the provider unless it is given.
    pub bill: Option<&'a Path>,
    /// Where a bill that was asked for is kept.
    pub keep: Option<&'a Path>,
    /// Whether JSON is printed.
    pub json: bool,
    /// Whether the workers are to ask the provider at once for each order that differs.
    pub ask: bool,
}

/// Over an installation.
pub fn run_installation(config: &Path, asked: &Asked<'_>) -> Result<ExitCode, String> {
    let role = Role::load(config)?;
    process::block_on(async {
        let section = &role.installation.provider;
        let text = match asked.bill {
            Some(file) => read(file)?,
            None => fetched(section, asked.date).await?,
        };
        let wallet = stores::open_wallet(&role.installation, &role.file(), Traffic::Live).await?;
        compare(&wallet, text, section.zone_offset_s, asked).await
    })
}

/// Over a folder of `hongbao dev`, with the bill of the sandbox in it.
pub fn run_folder(data: &Path, asked: &Asked<'_>) -> Result<ExitCode, String> {
    process::block_on(async {
        let zone = ZoneOffset::default();
        let text = match asked.bill {
            Some(file) => read(file)?,
            None => sandbox::bill_of(&data.join(SANDBOX_FOLDER), asked.date, zone.0)
                .map_err(|reason| format!("the books of the sandbox: {reason}"))?,
        };
        let opened = folder::open_to_read(&folder_of(data, Traffic::Live)).await;
        let (_, wallet) = opened.map_err(|error| format!("--data: {error}"))?;
        compare(&wallet, text, zone, asked).await
    })
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("--bill {}: {error}", file.display()))
}

async fn fetched(section: &ProviderSection, date: Date) -> Result<String, String> {
    let provider = provider::of_installation(section, Arc::new(SystemClock), &mut Registry::default())?;
    let payments = provider.ok_or("--bill is needed: no provider is configured that could be asked for it")?;
    payments.provider.bill(date).await.map_err(|error| format!("the bill of {date}: {error}"))
}

async fn compare(wallet: &dyn Orders, text: String, zone: ZoneOffset, asked: &Asked<'_>) -> Result<ExitCode, String> {
    if let Some(file) = asked.keep {
        std::fs::write(file, &text).map_err(|error| format!("--keep {}: {error}", file.display()))?;
    }
    let expected = Expected { date: asked.date, zone_offset_s: zone.0 };
    let bill = plain::read(&text, expected).map_err(|bad| format!("the bill: {bad}"))?;
    drop(text);
    let under_way = Reconciliation::new(bill, zone.0, SystemClock.now());
    let found = reconciled(wallet, under_way, expected).await.map_err(|error| format!("the wallet: {error}"))?;
    match asked.json {
        true => println!("{}", serde_json::to_string_pretty(&found).expect("it can be written as JSON")),
        false => println!("{found}"),
    }
    if asked.ask {
        let known = ask_again(wallet, &found).await.map_err(|error| format!("the wallet: {error}"))?;
        eprintln!("hongbao: the workers ask the provider at once for {known} orders");
    }
    Ok(ExitCode::from(u8::from(!found.differences.is_empty())))
}

/// Has the orders that differ asked for at once, those that are over too; gives how many there are.
async fn ask_again(wallet: &dyn Orders, found: &Reconciled) -> Result<usize, hongbao_wallet::WalletError> {
    let numbers: BTreeSet<&str> = found.differences.iter().map(|difference| difference.number.as_str()).collect();
    let mut known = 0;
    for id in numbers.into_iter().filter_map(OrderId::parse_number) {
        known += usize::from(wallet.hint(id, SystemClock.now()).await?);
    }
    Ok(known)
}

/// What happened on the day by the books, and then what the bill names besides, page by page.
async fn reconciled(
    wallet: &dyn Orders,
    mut under_way: Reconciliation,
    Expected { date, zone_offset_s }: Expected,
) -> Result<Reconciled, hongbao_wallet::WalletError> {
    let (from, until) = (date.starts_at(zone_offset_s), date.plus_days(1).starts_at(zone_offset_s));
    let mut after = None;
    loop {
        let orders = wallet.orders_happened(from, until, after, RECONCILE_PAGE_MAX).await?;
        orders.iter().for_each(|order| under_way.take(order));
        match orders.last() {
            Some(last) => after = Some(last.id),
            None => break,
        }
    }
    for ids in under_way.named().chunks(RECONCILE_PAGE_MAX as usize) {
        wallet.find_orders(ids).await?.iter().for_each(|order| under_way.look_up(order));
    }
    Ok(under_way.finish())
}
