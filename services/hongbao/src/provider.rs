//! The payment provider that the settings name.

use std::sync::Arc;

use hongbao_core::Clock;
use hongbao_provider::{HttpProvider, Payments, ProviderMetrics};
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
    match section.kind {
        ProviderKind::None => Ok(None),
        ProviderKind::Http => {
            let metrics = ProviderMetrics::register(registry);
            let provider = HttpProvider::new(&section.http()?, clock, metrics);
            let provider = Arc::new(provider.map_err(|reason| format!("provider: {reason}"))?);
            Ok(Some(Payments { provider, late_charges: section.late_charges }))
        }
    }
}
