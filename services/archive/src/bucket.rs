//! A bucket of S3, and how it is reached: by the variables of the environment that all its tools know.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::limits::{EXPORT_ANSWER_WITHIN, EXPORT_THREADS_MAX, S3_RETRIES_MAX};
use http::Uri;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::connect::{Connect, is_on};
use crate::files::reason_of;

/// A bucket of S3, or what is below a prefix in it. Nothing is asked of it before it is used.
#[derive(Clone)]
pub struct Bucket {
    url: String,
    store: Arc<dyn ObjectStore>,
}

/// The store knows the secret, so it is left out.
impl fmt::Debug for Bucket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Bucket").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Bucket {
    /// How the URL of a bucket begins.
    pub const SCHEME: &str = "s3://";

    /// The bucket of this URL, `s3://bucket` or `s3://bucket/prefix`, reached as those of these variables say that begin
    /// with `AWS_`.
    ///
    /// # Errors
    /// What is wrong with the URL or the variables, for the operator. No value of a variable with a secret stands in it.
    pub fn new(url: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Bucket, String> {
        let (bucket, prefix) = parse(url)?;
        let builder = AmazonS3Builder::new().with_bucket_name(bucket);
        let builder = variables.into_iter().filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty()).fold(
            builder,
            |builder, (name, value)| match name.to_ascii_lowercase().parse() {
                Ok(AmazonS3ConfigKey::Bucket) | Err(_) => builder,
                Ok(key) => builder.with_config(key, value),
            },
        );
        check(&builder)?;
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(1),
                base: 2.0,
            },
            max_retries: S3_RETRIES_MAX,
            retry_timeout: EXPORT_ANSWER_WITHIN,
        };
        let store = builder
            .with_retry(retry)
            .with_http_connector(Connect)
            // A file is put only if there is none, whatever the environment says.
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // The library would hash the whole of a file on a thread that serves requests. Whatever is put is read back
            // and compared.
            .with_unsigned_payload(true)
            .build()
            .map_err(|error| format!("{url:?} cannot be reached: {}", reason_of(&error)))?;
        Ok(Bucket { url: url.to_owned(), store: Arc::new(PrefixStore::new(store, prefix)) })
    }

    /// As the configuration says.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The files in it, below its prefix.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// The turns for requests to it: a process has them once, however many archives it reads there.
    pub(crate) fn turns(&self) -> Arc<Semaphore> {
        static ALL: Mutex<BTreeMap<String, Arc<Semaphore>>> = Mutex::new(BTreeMap::new());
        let new = || Arc::new(Semaphore::new(EXPORT_THREADS_MAX));
        ALL.lock().entry(self.url.clone()).or_insert_with(new).clone()
    }
}

/// The name of the bucket, and the prefix.
fn parse(url: &str) -> Result<(&str, Path), String> {
    let place = url.strip_prefix(Bucket::SCHEME).unwrap_or_default();
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let is_of_a_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let prefix = Path::parse(prefix).ok().filter(|_| !bucket.is_empty() && bucket.bytes().all(is_of_a_name));
    let prefix = prefix.ok_or_else(|| format!("{url:?} is not the URL of a bucket, as s3://hongbao/archive"))?;
    Ok((bucket, prefix))
}

/// What the library would find out at a request alone, or never say.
fn check(builder: &AmazonS3Builder) -> Result<(), String> {
    let value = |key: AmazonS3ConfigKey| builder.get_config_value(&key);
    let allows = |key: ClientConfigKey| {
        let value = value(AmazonS3ConfigKey::Client(key));
        value.is_some_and(|value| is_on(&value))
    };
    let endpoint = value(AmazonS3ConfigKey::S3Endpoint).or_else(|| value(AmazonS3ConfigKey::Endpoint));
    if let Some(endpoint) = &endpoint {
        let uri: Option<Uri> = endpoint.parse().ok();
        let uri = uri.filter(|uri| uri.host().is_some() && uri.query().is_none() && !endpoint.contains('@'));
        match uri.as_ref().and_then(Uri::scheme_str) {
            Some("https") => {}
            Some("http") if allows(ClientConfigKey::AllowHttp) => {}
            Some("http") => {
                return Err("AWS_ENDPOINT_URL has no TLS, which AWS_ALLOW_HTTP=true alone allows".to_owned());
            }
            _ => return Err("AWS_ENDPOINT_URL is not the URL of a server, as https://s3.example.com".to_owned()),
        }
    }
    let keys = [AmazonS3ConfigKey::AccessKeyId, AmazonS3ConfigKey::SecretAccessKey].map(|key| value(key).is_some());
    if keys[0] != keys[1] {
        return Err("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are needed both, or none".to_owned());
    }
    match endpoint {
        // Other servers do not ask for a region.
        Some(_) if !keys[0] => {
            Err("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are needed with AWS_ENDPOINT_URL".to_owned())
        }
        None if value(AmazonS3ConfigKey::Region).is_none() => {
            Err("AWS_REGION is needed, or AWS_ENDPOINT_URL for a server that is not Amazon's".to_owned())
        }
        _ if value(AmazonS3ConfigKey::Client(ClientConfigKey::ProxyUrl)).is_some() => {
            Err("AWS_PROXY_URL is not supported".to_owned())
        }
        // The library would compute it of the whole of a file on a thread that serves requests.
        _ if value(AmazonS3ConfigKey::Checksum).is_some() => {
            Err("AWS_CHECKSUM_ALGORITHM is not supported: what is put is read back and compared".to_owned())
        }
        _ if allows(ClientConfigKey::AllowInvalidCertificates) => {
            Err("AWS_ALLOW_INVALID_CERTIFICATES is not supported; SSL_CERT_FILE names authorities to trust".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "sEcReT")];

    fn bucket(url: &str, variables: &[(&str, &str)]) -> Result<Bucket, String> {
        let of_test = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Bucket::new(url, of_test.chain([("PATH".to_owned(), "/bin".to_owned())]))
    }

    #[test]
    fn a_bucket_has_a_name_a_region_and_keys_or_those_of_its_host() {
        let amazon = [KEYS[0], KEYS[1], ("AWS_REGION", "eu-north-1")];
        for url in ["s3://hongbao", "s3://hongbao/", "s3://hongbao/archive", "s3://hongbao/a/b/"] {
            let made = bucket(url, &amazon).unwrap();
            assert_eq!(made.url(), url);
            assert!(!format!("{made:?}").contains("sEcReT"));
        }
        bucket("s3://hongbao", &[("AWS_DEFAULT_REGION", "eu-north-1")]).unwrap();
        let plain = [KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL", "http://10.0.0.7:9000"), ("AWS_ALLOW_HTTP", "true")];
        bucket("s3://hongbao", &plain).unwrap();
        for url in ["s3://", "s3:///a", "s3://Hongbao", "s3://a b/c", "s3://hongbao/a//b", "s3://k:s@hongbao/a"] {
            assert!(bucket(url, &amazon).unwrap_err().contains("is not the URL of a bucket"), "{url}");
        }
    }

    #[test]
    fn variables_that_do_not_work_are_refused_by_name_and_without_the_secret() {
        let [id, secret] = KEYS;
        let endpoint = |url| ("AWS_ENDPOINT_URL", url);
        let cases: [(&[(&str, &str)], &str); 12] = [
            (&[], "AWS_REGION is needed"),
            (&[id, secret], "AWS_REGION is needed"),
            (&[id, secret, ("AWS_REGION", "")], "AWS_REGION is needed"),
            (&[secret, ("AWS_REGION", "r")], "AWS_ACCESS_KEY_ID and"),
            (&[id, ("AWS_REGION", "r")], "AWS_ACCESS_KEY_ID and"),
            (&[endpoint("https://s3.example.com")], "are needed with AWS_ENDPOINT_URL"),
            (&[id, secret, endpoint("http://10.0.0.7:9000")], "AWS_ALLOW_HTTP=true alone"),
            (&[id, secret, endpoint("10.0.0.7:9000")], "is not the URL of a server"),
            (&[id, secret, endpoint("https://a:b@10.0.0.7")], "is not the URL of a server"),
            (&[id, secret, endpoint("https://a"), ("AWS_PROXY_URL", "http://b")], "AWS_PROXY_URL"),
            (&[id, secret, endpoint("https://a"), ("AWS_CHECKSUM_ALGORITHM", "SHA256")], "AWS_CHECKSUM_ALGORITHM"),
            (&[id, secret, endpoint("https://a"), ("AWS_ALLOW_INVALID_CERTIFICATES", "true")], "INVALID_CERTIFICATES"),
        ];
        for (variables, reason) in cases {
            let refused = bucket("s3://hongbao", variables).unwrap_err();
            assert!(refused.contains(reason) && !refused.contains("sEcReT"), "{refused}");
        }
    }
}
