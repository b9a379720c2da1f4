//! `[provider.wechat]`: WeChat Pay as the payment provider.

use std::path::{Path, PathBuf};

use hongbao_provider::wechat::wire::SceneReport;
use serde::{Deserialize, Serialize};

use super::Secret;

/// Where WeChat Pay is, in mainland China.
pub const WECHAT_URL: &str = "https://api.mch.weixin.qq.com";

/// `[provider.wechat]`: who the merchant is, and the keys of both sides.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WechatSection {
    /// The number of the merchant.
    pub mchid: String,
    /// The app under which users have their openids.
    pub appid: String,
    /// The serial number of the merchant's certificate.
    pub serial_no: String,
    /// The merchant's private key, PEM (`apiclient_key.pem`).
    pub private_key_file: PathBuf,
    /// The id of WeChat's public key.
    pub platform_key_id: String,
    /// That key, PEM (`pub_key.pem`).
    pub platform_key_file: PathBuf,
    /// The API v3 key, of 32 bytes.
    pub api_v3_secret: Option<Secret>,
    /// Where WeChat sends notifications: `/v1/provider/notifications` of a gateway, as it is reached from outside.
    pub notify_url: String,
    /// What payers and those who are paid read.
    pub description: String,
    /// Why users are paid, as it was agreed upon with WeChat.
    pub transfer_scene_id: String,
    /// What is reported of it, as the scene prescribes.
    pub transfer_scene_reports: Vec<SceneReport>,
}

impl Default for WechatSection {
    fn default() -> WechatSection {
        let report =
            |info_type: &str| SceneReport { info_type: info_type.to_owned(), info_content: "红包".to_owned() };
        WechatSection {
            mchid: String::new(),
            appid: String::new(),
            serial_no: String::new(),
            private_key_file: PathBuf::new(),
            platform_key_id: String::new(),
            platform_key_file: PathBuf::new(),
            api_v3_secret: None,
            notify_url: String::new(),
            description: "红包".to_owned(),
            transfer_scene_id: "1000".to_owned(),
            transfer_scene_reports: vec![report("活动名称"), report("奖励说明")],
        }
    }
}

impl WechatSection {
    /// Makes relative paths start in this folder.
    pub fn begin_at(&mut self, folder: &Path) {
        for file in [&mut self.private_key_file, &mut self.platform_key_file] {
            *file = folder.join(&*file);
        }
    }

    /// What is missing or wrong, for the operator.
    pub fn check(&self) -> Result<(), String> {
        let is_word =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        for (name, value) in [
            ("mchid", &self.mchid),
            ("appid", &self.appid),
            ("serial_no", &self.serial_no),
            ("platform_key_id", &self.platform_key_id),
            ("transfer_scene_id", &self.transfer_scene_id),
        ] {
            if !is_word(value) {
                return Err(format!("provider.wechat: {name} must be of letters, digits and _"));
            }
        }
        for (name, file) in
            [("private_key_file", &self.private_key_file), ("platform_key_file", &self.platform_key_file)]
        {
            if file.as_os_str().is_empty() {
                return Err(format!("provider.wechat: {name} is missing"));
            }
        }
        if self.api_v3_secret.as_ref().is_none_or(|secret| secret.0.len() != 32) {
            return Err("provider.wechat: api_v3_secret must have 32 bytes".to_owned());
        }
        let is_url = hongbao_provider::connect::base_of(&self.notify_url).is_ok();
        if !is_url {
            return Err(
                "provider.wechat: notify_url must be like https://hongbao.example.com/v1/provider/notifications"
                    .to_owned(),
            );
        }
        // WeChat counts characters, and a remark of a transfer has the fewest.
        if self.description.is_empty() || self.description.chars().count() > 32 {
            return Err("provider.wechat: description must have 1 to 32 characters".to_owned());
        }
        Ok(())
    }
}
