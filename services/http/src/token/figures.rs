//! What an operator sees of the keys of tokens.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::key_file::KeyFile;
use super::verifier::Verifier;

/// Registers the keys in force, as `hongbao_token_key`, and what became of their file.
pub fn register(verifier: &Verifier, file: Option<&Arc<KeyFile>>, registry: &mut Registry) {
    registry.register_collector(Box::new(Figures { verifier: verifier.clone(), file: file.cloned() }));
}

struct Figures {
    verifier: Verifier,
    file: Option<Arc<KeyFile>>,
}

impl std::fmt::Debug for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Figures").finish_non_exhaustive()
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (name, help) = ("hongbao_token_key", "1 for each key that tokens are checked with now.");
        let mut keys = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for key in self.verifier.keys().keys() {
            let labels = [("kid", key.kid().unwrap_or_default()), ("alg", key.algorithm())];
            ConstGauge::new(1).encode(keys.encode_family(&labels)?)?;
        }
        // Where there is no file, none is refused.
        let file = self.file.as_ref();
        let stale = ConstGauge::new(i64::from(file.is_some_and(|file| file.is_refused())));
        let help = "1 while the file of token keys is refused and the keys of before are in force.";
        stale.encode(encoder.encode_descriptor("hongbao_token_keys_stale", help, None, MetricType::Gauge)?)?;
        let refused = ConstCounter::new(file.map_or(0, |file| file.refused()));
        let help = "New versions of the file of token keys that were refused.";
        refused.encode(encoder.encode_descriptor("hongbao_token_keys_refused", help, None, MetricType::Counter)?)
    }
}
