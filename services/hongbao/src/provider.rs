//! The payment provider that the settings name.

use std::sync::Arc;

use hongbao_core::Clock;
use hongbao_provider::{HttpProvider, Payments, Provider, ProviderMetrics, Wechat};
use prometheus_client::registry::Registry;

use crate::config::{ProviderKind, ProviderSection};

/// The provider of an installation, if it has one. Nothing is connected yet.
///
/// # Errors
/// What is wrong with the settings, for the operator.
pub fn of_installation(
    section: &ProviderSection,
    clock: Arc<dyn Clock>,
    registry: &mut Registry,
) -> Result<Option<Payments>, String> {
    if section.kind == ProviderKind::None {
        return Ok(None);
    }
    let metrics = ProviderMetrics::register(registry);
    let provider: Result<Arc<dyn Provider>, String> = match section.kind {
        ProviderKind::Wechat => Wechat::new(section.wechat()?, clock, metrics).map(|provider| Arc::new(provider) as _),
        _ => HttpProvider::new(&section.http()?, clock, metrics).map(|provider| Arc::new(provider) as _),
    };
    let provider = provider.map_err(|reason| format!("provider: {reason}"))?;
    Ok(Some(Payments { provider, late_charges: section.late_charges }))
}
