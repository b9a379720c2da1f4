//! `[cors]`: which web pages may call us from a browser.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::limits::CORS_AGE_S_MAX;
use hongbao_core::settings::{self, setting};
use hongbao_http::cors::Cors;
use serde::{Deserialize, Serialize};

/// `[cors]`; without origins, no page of another origin may.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorsSection {
    /// Origins of the pages, `https://app.example`, each as browsers write it; `*` alone for all there are.
    pub origins: Vec<String>,
    /// Seconds for which a browser need not ask again whether it may.
    pub max_age_s: u64,
}

impl Default for CorsSection {
    fn default() -> CorsSection {
        CorsSection { origins: Vec::new(), max_age_s: 7_200 }
    }
}

impl CorsSection {
    /// What is wrong with it, for the operator.
    pub fn check(&self) -> Result<(), String> {
        settings::check("cors", &[setting("max_age_s", self.max_age_s, 0..=CORS_AGE_S_MAX)])?;
        self.cors().map(drop)
    }

    /// The same for the front door; `None` where no page may call.
    ///
    /// # Errors
    /// What is wrong with an origin, for the operator.
    pub fn cors(&self) -> Result<Option<Arc<Cors>>, String> {
        if self.origins.is_empty() {
            return Ok(None);
        }
        let cors = Cors::new(&self.origins, Duration::from_secs(self.max_age_s));
        cors.map(|cors| Some(Arc::new(cors))).map_err(|reason| format!("cors: origins: {reason}"))
    }
}
