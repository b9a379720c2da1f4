//! The calls of the contract, as reports and thresholds name them.

use hongbao_core::calls::Call;

/// What a call is named; `None` of what no user asks for under load. A call that is added
/// to the contract does not compile here before this is decided.
pub const fn name(call: Call) -> Option<&'static str> {
    match call {
        Call::Create => Some("create"),
        Call::Pay => Some("pay"),
        Call::Grab => Some("grab"),
        Call::Open => Some("open"),
        Call::Detail => Some("view"),
        Call::Balance | Call::Transfers | Call::Envelopes | Call::Events | Call::EventStream => None,
        Call::Charge | Call::Charges | Call::ShowCharge | Call::Payout | Call::Payouts | Call::ShowPayout => None,
        Call::ProviderNotification => None,
        Call::FrozenUsers | Call::SetFrozenUser | Call::FreezeLog => None,
        Call::Permits | Call::SetPermits | Call::DevToken | Call::DevTopUp | Call::Document | Call::Docs => None,
    }
}

pub fn names() -> impl Iterator<Item = &'static str> {
    Call::ALL.into_iter().filter_map(name)
}
