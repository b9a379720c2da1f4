//! `[provider]`: the payment provider, where money enters and leaves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::SystemClock;
use hongbao_core::limits::{PROVIDER_SECRET_BYTES_MIN, PROVIDER_TIMEOUT_MS};
use hongbao_core::order::LateCharges;
use hongbao_core::settings::{self, setting};
use hongbao_provider::connect::{HttpClient, base_of};
use hongbao_provider::{HttpOptions, ProviderMetrics, Wechat, WechatOptions};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};

use super::client_files::begin_at;
use super::wechat::{WECHAT_URL, WechatSection};
use super::{Secret, ZoneOffset};

/// `[provider]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderSection {
    /// Which there is.
    pub kind: ProviderKind,
    /// Where it is: `https://`, or `http://` on the loopback address; WeChat Pay is where it is if nothing is given.
    pub url: Option<String>,
    /// The id of the secret.
    pub key_id: String,
    /// What requests, answers and notifications are signed with.
    pub secret: Option<Secret>,
    /// For a request to be answered, in milliseconds.
    pub timeout_ms: u64,
    /// A PEM file with the authorities that are trusted instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// Offset from UTC, in seconds, of the zone whose days its bills have.
    pub zone_offset_s: ZoneOffset,
    /// What becomes of a charge whose envelope it can no longer pay for.
    pub late_charges: LateCharges,
    /// Who the merchant is at WeChat Pay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wechat: Option<WechatSection>,
}

/// See [`ProviderSection::kind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// Money neither enters nor leaves.
    #[default]
    None,
    /// One that speaks Hongbao's provider protocol.
    Http,
    /// WeChat Pay, API v3.
    Wechat,
}

impl Default for ProviderSection {
    fn default() -> ProviderSection {
        ProviderSection {
            kind: ProviderKind::None,
            url: None,
            key_id: "hongbao".to_owned(),
            secret: None,
            timeout_ms: 5_000,
            ca_file: None,
            zone_offset_s: ZoneOffset::default(),
            late_charges: LateCharges::default(),
            wechat: None,
        }
    }
}

impl ProviderSection {
    /// Makes relative paths start in this folder.
    pub fn begin_at(&mut self, folder: &Path) {
        begin_at(folder, [&mut self.ca_file]);
        self.wechat.iter_mut().for_each(|wechat| wechat.begin_at(folder));
    }

    /// What is wrong with it, for the operator.
    pub fn check(&self) -> Result<(), String> {
        settings::check("provider", &[setting("timeout_ms", self.timeout_ms, PROVIDER_TIMEOUT_MS)])?;
        self.zone_offset_s.check().map_err(|reason| format!("provider: {reason}"))?;
        let is_one = self.kind != ProviderKind::None;
        for (name, is_given, has_effect, kind) in [
            ("url", self.url.is_some(), is_one, "http"),
            ("secret", self.secret.is_some(), self.kind == ProviderKind::Http, "http"),
            ("ca_file", self.ca_file.is_some(), is_one, "http"),
            ("wechat", self.wechat.is_some(), self.kind == ProviderKind::Wechat, "wechat"),
        ] {
            if is_given && !has_effect {
                return Err(format!("provider: {name} has no effect without kind = \"{kind}\""));
            }
        }
        match self.kind {
            ProviderKind::None => Ok(()),
            ProviderKind::Http => self.http().map(drop),
            ProviderKind::Wechat => self.wechat_section()?.check().and_then(|()| self.wechat_url().map(drop)),
        }
    }

    /// What is wrong with the files that it names, for the operator.
    pub fn check_files(&self) -> Result<(), String> {
        if self.kind == ProviderKind::Wechat {
            let metrics = ProviderMetrics::register(&mut Registry::default());
            let made = Wechat::new(self.wechat()?, Arc::new(SystemClock), metrics);
            return made.map(drop).map_err(|reason| format!("provider: {reason}"));
        }
        let Some(file) = &self.ca_file else { return Ok(()) };
        HttpClient::new(Some(file), 1).map(drop).map_err(|reason| format!("provider: {reason}"))
    }

    fn wechat_section(&self) -> Result<&WechatSection, String> {
        self.wechat.as_ref().ok_or_else(|| "provider.wechat is missing".to_owned())
    }

    fn wechat_url(&self) -> Result<String, String> {
        let url = self.url.clone().unwrap_or_else(|| WECHAT_URL.to_owned());
        base_of(&url).map_err(|reason| format!("provider: url {reason}")).map(|_| url)
    }

    /// How WeChat Pay is reached, and the keys of both sides, which are read.
    ///
    /// # Errors
    /// What is missing or wrong, for the operator.
    pub fn wechat(&self) -> Result<WechatOptions, String> {
        let section = self.wechat_section()?;
        let read = |name: &str, file: &Path| {
            std::fs::read(file).map_err(|error| format!("provider.wechat: {name} {}: {error}", file.display()))
        };
        Ok(WechatOptions {
            url: self.wechat_url()?,
            mchid: section.mchid.clone(),
            appid: section.appid.clone(),
            serial_no: section.serial_no.clone(),
            private_key: read("private_key_file", &section.private_key_file)?,
            platform_key_id: section.platform_key_id.clone(),
            platform_key: read("platform_key_file", &section.platform_key_file)?,
            api_v3_key: section.api_v3_secret.as_ref().map(|secret| secret.0.clone().into_bytes()).unwrap_or_default(),
            notify_url: section.notify_url.clone(),
            description: section.description.clone(),
            transfer_scene_id: section.transfer_scene_id.clone(),
            transfer_scene_reports: section.transfer_scene_reports.clone(),
            timeout: Duration::from_millis(self.timeout_ms),
            ca_file: self.ca_file.clone(),
        })
    }

    /// How the provider is reached.
    ///
    /// # Errors
    /// What is missing or wrong, for the operator.
    pub fn http(&self) -> Result<HttpOptions, String> {
        let url = self.url.clone().ok_or("provider: url is missing")?;
        base_of(&url).map_err(|reason| format!("provider: url {reason}"))?;
        let secret = self.secret.as_ref().ok_or("provider: secret is missing")?;
        if secret.0.len() < PROVIDER_SECRET_BYTES_MIN {
            return Err(format!("provider: secret must have at least {PROVIDER_SECRET_BYTES_MIN} bytes"));
        }
        if secret.is_default() {
            return Err("provider.secret must be set: everybody knows the default".to_owned());
        }
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.key_id.is_empty() || !self.key_id.bytes().all(is_id) {
            return Err("provider: key_id must be of letters, digits and -_. alone".to_owned());
        }
        Ok(HttpOptions {
            url,
            key_id: self.key_id.clone(),
            secret: secret.0.clone().into_bytes(),
            timeout: Duration::from_millis(self.timeout_ms),
            ca_file: self.ca_file.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "one that only we and the provider know";

    fn checked(text: &str) -> Result<ProviderSection, String> {
        let section: ProviderSection = toml::from_str(text).map_err(|error| error.to_string())?;
        section.check().map(|()| section)
    }

    #[test]
    fn there_is_none_unless_it_is_named() {
        assert_eq!(checked("").unwrap().kind, ProviderKind::None);
        let options = checked(&format!("kind = 'http'\nurl = 'https://pay.example'\nsecret = '{SECRET}'"));
        let options = options.unwrap().http().unwrap();
        assert_eq!((options.key_id.as_str(), options.timeout.as_millis()), ("hongbao", 5_000));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_and_no_secret_is_repeated() {
        let with = |more: &str| format!("kind = 'http'\nurl = 'https://pay.example'\n{more}");
        let good = with(&format!("secret = '{SECRET}'"));
        for (text, reason) in [
            ("kind = 'gift'", "unknown variant `gift`"),
            ("kind = 'http'", "provider: url is missing"),
            (&with(""), "provider: secret is missing"),
            (&with("secret = 'short and secret'"), "provider: secret must have at least 32 bytes"),
            (&with("secret = 'replace-me-by-32-random-bytes-or-more'"), "everybody knows the default"),
            (&with("secret = 17"), "a secret is text, in quotes"),
            (&good.replace("https:", "http:"), "provider: url must be like https://"),
            (&format!("{good}\ntimeout_ms = 99"), "provider: timeout_ms must be 100 to 20000, not 99"),
            (&format!("{good}\ntimeout_ms = 20001"), "timeout_ms"),
            (&format!("{good}\nkey_id = 'a,b'"), "key_id"),
            (&format!("{good}\nzone_offset_s = 99999"), "provider: zone_offset_s"),
            (&format!("{good}\ncolour = 1"), "colour"),
            ("url = 'https://pay.example'", "provider: url has no effect without kind = \"http\""),
            (&format!("secret = '{SECRET}'"), "provider: secret has no effect"),
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains(SECRET) && !error.contains("short and secret"), "{error}");
        }
        assert!(!toml::to_string(&checked(&good).unwrap()).unwrap().contains(SECRET));
        let wechat = |more: &str| {
            format!(
                "kind = 'wechat'\n[wechat]\nmchid = '1900000001'\nappid = 'wx1'\nserial_no = 'A1'\n\
                 private_key_file = '/nowhere/key.pem'\nplatform_key_id = 'PUB_KEY_ID_1'\n\
                 platform_key_file = '/nowhere/pub.pem'\n{more}"
            )
        };
        let key = "api_v3_secret = '0123456789abcdef0123456789abcdef'\n";
        let address = "notify_url = 'https://hongbao.example/v1/provider/notifications'\n";
        for (text, reason) in [
            ("kind = 'wechat'", "provider.wechat is missing"),
            ("[wechat]\nmchid = '1'", "provider: wechat has no effect without kind = \"wechat\""),
            (&wechat(address), "provider.wechat: api_v3_secret must have 32 bytes"),
            (&wechat(&format!("{address}api_v3_secret = 'short'")), "api_v3_secret must have 32 bytes"),
            (&wechat(key), "provider.wechat: notify_url must be like"),
            (&wechat(&format!("{key}{address}")).replace("'1900000001'", "'19,'"), "provider.wechat: mchid"),
            (&wechat(&format!("{key}{address}description = ''")), "provider.wechat: description"),
            (&wechat(&format!("{key}{address}colour = 1")), "colour"),
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let whole = checked(&wechat(&format!("{key}{address}"))).unwrap();
        assert!(!toml::to_string(&whole).unwrap().contains("0123456789abcdef"));
        let error = whole.check_files().unwrap_err();
        assert!(error.contains("provider.wechat: private_key_file /nowhere/key.pem"), "{error}");
        let missing = checked(&format!("{good}\nca_file = '/nowhere/ca.pem'")).unwrap();
        assert!(missing.check_files().unwrap_err().contains("provider: ca_file /nowhere/ca.pem"));
    }
}
