//! Which month of a database is due, and where it ends.

use hongbao_core::limits::MONTH_SEALED_AFTER_DAYS;
use hongbao_core::manifest::YearMonth;
use hongbao_core::{Date, Timestamp};
use hongbao_database::durable::durably;
use hongbao_wallet::{LedgerEnd, Line, ShardPlace, Wallet, WalletError};

use super::under_way::{Span, UnderWay};
use super::why::Why;
use crate::job::JobError;

/// Begins the next month of a database, if it is over for long enough.
pub(super) async fn begin(
    wallet: &dyn Wallet,
    place: ShardPlace,
    zone_offset_s: i32,
    now: Timestamp,
) -> Result<Result<UnderWay, Why>, JobError> {
    let generations = wallet.generations();
    // What the month goes on from must outlive it, so it is durable.
    let read = durably::<_, WalletError, _>(wallet, || async { wallet.ledger_end(place.shard).await.map(Some) });
    let end = read.await?.expect("it is always there").into_inner();
    if let Some(last) = end.last.as_ref().filter(|last| last.hash != last.month.hash()) {
        let reason = format!("manifest {} was changed, and nothing is sealed after it", last.month.number);
        return Err(WalletError::Damaged(reason).into());
    }
    let Some(span) = next_span(wallet, place, &end, zone_offset_s, now).await? else { return Ok(Err(Why::NotDue)) };
    let attempt = wallet.begin_month(place.shard).await?;
    let number = end.sealed().map_or(1, |last| last.month.number + 1);
    // Another worker has sealed it, or users have left.
    if attempt.number != number || attempt.moved_slots != end.moved_slots {
        return Ok(Err(Why::Taken));
    }
    Ok(Ok(UnderWay::begin(attempt, place, span, zone_offset_s, end.sealed(), generations)))
}

async fn next_span(
    wallet: &dyn Wallet,
    place: ShardPlace,
    end: &LedgerEnd,
    zone_offset_s: i32,
    now: Timestamp,
) -> Result<Option<Span>, WalletError> {
    let sealed = end.sealed().map(|last| &last.month);
    let after = sealed.map(|month| month.last_position);
    let Some(first) = first_behind(wallet, place, after, end.last_position).await? else { return Ok(None) };
    // Callers give the times, which nearly rise with the positions: one that is late belongs to a later month.
    let youngest = Date::of(now, zone_offset_s).plus_days(-MONTH_SEALED_AFTER_DAYS).starts_at(zone_offset_s);
    let not_due = YearMonth::of(youngest, zone_offset_s);
    let of = match YearMonth::of(first.transfer.at, zone_offset_s) {
        // The clock of its caller was wrong, and the sealing does not wait for that time.
        of if of > YearMonth::of(now, zone_offset_s) => sealed.map_or(not_due.previous(), |sealed| sealed.month.next()),
        of => of,
    };
    let month = sealed.map_or(of, |sealed| of.max(sealed.month.next()));
    if month >= not_due {
        return Ok(None);
    }
    // The month ends between these: halved until they are neighbours.
    let (mut last, mut behind) = (first.position - place.base, end.last_position + 1);
    while behind - last > 1 {
        let middle = i64::midpoint(last, behind);
        let next = first_behind(wallet, place, Some(middle - 1), behind - 1).await?;
        match next.filter(|line| YearMonth::of(line.transfer.at, zone_offset_s) <= month) {
            Some(line) => last = line.position - place.base,
            None => behind = middle,
        }
    }
    Ok(Some(Span { month, after, until: last }))
}

/// The first transfer behind a position of the database, `None` for its beginning, up to another one.
async fn first_behind(
    wallet: &dyn Wallet,
    place: ShardPlace,
    after: Option<i64>,
    until: i64,
) -> Result<Option<Line>, WalletError> {
    let page = wallet.scan(place.behind(after), 1).await?;
    Ok(page.into_iter().next().filter(|line| line.position <= place.base + until))
}
