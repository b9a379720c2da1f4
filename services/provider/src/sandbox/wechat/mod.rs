//! The sandbox as WeChat Pay: the calls of API v3 that the adapter uses, over the same books and with the same faults.
//!
//! Made after the public documents; no server of WeChat's was asked. Closing a charge that has not arrived prevents
//! nothing here, as is said of WeChat; a payout that came back still stands as paid, since WeChat has no word for it.

mod answers;
mod notification;
mod serve;

use std::sync::Arc;

use crate::wechat::keys::{ContentKey, RsaSigner, RsaVerifier};

pub use serve::router;

/// The merchant that the sandbox knows, and the keys of both sides. A copy is the same one.
#[derive(Clone)]
pub struct Emulation(Arc<Keys>);

struct Keys {
    mchid: String,
    appid: String,
    merchant: RsaVerifier,
    platform: RsaSigner,
    content: ContentKey,
}

/// What an emulation is made of.
pub struct EmulationOptions<'a> {
    /// Of the merchant.
    pub mchid: &'a str,
    /// Of the app.
    pub appid: &'a str,
    /// The serial number of the merchant's certificate.
    pub serial_no: &'a str,
    /// The merchant's public key, PEM.
    pub merchant_key: &'a [u8],
    /// The id of the key that answers and notifications are signed with.
    pub platform_key_id: &'a str,
    /// That private key, PEM.
    pub platform_private_key: &'a [u8],
    /// What the content of notifications is encrypted with.
    pub api_v3_key: &'a [u8],
}

impl Emulation {
    /// Of these keys.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(options: &EmulationOptions<'_>) -> Result<Emulation, String> {
        let named = |name: &'static str| move |reason: String| format!("{name}: {reason}");
        let merchant = RsaVerifier::new(options.serial_no, options.merchant_key);
        let platform = RsaSigner::new(options.platform_key_id, options.platform_private_key);
        Ok(Emulation(Arc::new(Keys {
            mchid: options.mchid.to_owned(),
            appid: options.appid.to_owned(),
            merchant: merchant.map_err(named("merchant_key_file"))?,
            platform: platform.map_err(named("platform_private_key_file"))?,
            content: ContentKey::new(options.api_v3_key).map_err(named("api_v3_key"))?,
        })))
    }
}
