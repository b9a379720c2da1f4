//! The keys of WeChat Pay API v3: what a merchant signs with, what WeChat's signatures are checked with, and the key
//! that the content of notifications is encrypted with.
//!
//! Signatures are RSASSA-PKCS1-v1_5 with SHA-256, in Base64. What is signed are lines, each ended by a line feed: of a
//! request its method, path with query, time, nonce and body; of an answer or a notification its time, nonce and body.

use ::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hongbao_core::Timestamp;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use webpki::RawPublicKeyEntity;

use crate::signature::{BadSignature, is_now};

/// What an `Authorization` header begins with.
pub const SCHEME: &str = "WECHATPAY2-SHA256-RSA2048";
/// The headers of what WeChat signs: of which key, when, with which nonce, and the signature.
pub const SIGNED_HEADERS: [&str; 4] =
    ["wechatpay-serial", "wechatpay-timestamp", "wechatpay-nonce", "wechatpay-signature"];
/// How the content of a notification is encrypted.
pub const ALGORITHM: &str = "AEAD_AES_256_GCM";

/// A private key, with the serial number or the id that the other side knows it by.
pub struct RsaSigner {
    id: String,
    pair: RsaKeyPair,
}

/// A public key, with the serial number or the id that its owner names.
#[derive(Clone)]
pub struct RsaVerifier {
    id: String,
    key: SubjectPublicKeyInfoDer<'static>,
}

/// The API v3 key.
#[derive(Clone)]
pub struct ContentKey(LessSafeKey);

impl RsaSigner {
    /// Reads a key in PEM: `BEGIN PRIVATE KEY`, of 2048 bits or more.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(id: &str, pem: &[u8]) -> Result<RsaSigner, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|error| error.to_string())?;
        Ok(RsaSigner { id: id.to_owned(), pair })
    }

    fn sign(&self, message: &[u8]) -> Result<String, String> {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        let signed = self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature);
        signed.map_err(|_| "the private key does not sign".to_owned())?;
        Ok(STANDARD.encode(signature))
    }

    /// The value of the `Authorization` header of a request of a merchant.
    ///
    /// # Errors
    /// Why it cannot be signed.
    pub fn authorize(
        &self,
        mchid: &str,
        (method, path): (&str, &str),
        at: Timestamp,
        body: &[u8],
    ) -> Result<String, String> {
        let (seconds, nonce) = (at.millis().div_euclid(1_000), nonce()?);
        let signature = self.sign(&request_message(method, path, &seconds.to_string(), &nonce, body))?;
        let serial = &self.id;
        Ok(format!(
            "{SCHEME} mchid=\"{mchid}\",nonce_str=\"{nonce}\",signature=\"{signature}\",timestamp=\"{seconds}\",\
             serial_no=\"{serial}\""
        ))
    }

    /// The values of [`SIGNED_HEADERS`], of an answer or a notification.
    ///
    /// # Errors
    /// Why it cannot be signed.
    pub fn sign_headers(&self, at: Timestamp, body: &[u8]) -> Result<[String; 4], String> {
        let (seconds, nonce) = (at.millis().div_euclid(1_000).to_string(), nonce()?);
        let signature = self.sign(&message(&seconds, &nonce, body))?;
        Ok([self.id.clone(), seconds, nonce, signature])
    }
}

impl RsaVerifier {
    /// Reads a key in PEM: `BEGIN PUBLIC KEY`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(id: &str, pem: &[u8]) -> Result<RsaVerifier, String> {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
        RawPublicKeyEntity::try_from(&key).map_err(|error| error.to_string())?;
        Ok(RsaVerifier { id: id.to_owned(), key })
    }

    /// The serial number or the id.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn verify(&self, message: &[u8], signature: &str) -> Result<(), BadSignature> {
        let signature = STANDARD.decode(signature).map_err(|_| BadSignature::Unreadable)?;
        let key = RawPublicKeyEntity::try_from(&self.key).map_err(|_| BadSignature::OtherKey)?;
        let algorithm = webpki::ring::RSA_PKCS1_2048_8192_SHA256;
        key.verify_signature(algorithm, message, &signature).map_err(|_| BadSignature::Wrong)
    }

    /// Checks an answer or a notification.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn check_headers(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), BadSignature> {
        let mut values = [""; 4];
        for (value, name) in values.iter_mut().zip(SIGNED_HEADERS) {
            let mut found = headers.get_all(name).iter();
            let (Some(one), None) = (found.next(), found.next()) else { return Err(BadSignature::Missing) };
            *value = one.to_str().map_err(|_| BadSignature::Unreadable)?;
        }
        let [serial, seconds, nonce, signature] = values;
        if serial != self.id {
            return Err(BadSignature::OtherKey);
        }
        self.verify(&message(seconds, nonce, body), signature)?;
        check_time(seconds, now).map(drop)
    }

    /// Checks the `Authorization` header of a request of a merchant; gives when it was signed.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn check_authorization(
        &self,
        mchid: &str,
        authorization: &str,
        (method, path): (&str, &str),
        body: &[u8],
        now: Timestamp,
    ) -> Result<Timestamp, BadSignature> {
        let fields = authorization.strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix(' '));
        let fields = fields.ok_or(BadSignature::Missing)?;
        let field = |name: &str| {
            let of_name = |field: &&str| field.strip_prefix(name).is_some_and(|rest| rest.starts_with("=\""));
            let field = fields.split(',').find(of_name)?;
            field[name.len() + 2..].strip_suffix('"')
        };
        let [their_mchid, nonce, signature, seconds, serial] =
            ["mchid", "nonce_str", "signature", "timestamp", "serial_no"].map(field);
        if their_mchid != Some(mchid) || serial != Some(&self.id) {
            return Err(BadSignature::OtherKey);
        }
        let (Some(nonce), Some(signature), Some(seconds)) = (nonce, signature, seconds) else {
            return Err(BadSignature::Unreadable);
        };
        self.verify(&request_message(method, path, seconds, nonce, body), signature)?;
        check_time(seconds, now)
    }
}

impl ContentKey {
    /// Of 32 bytes.
    ///
    /// # Errors
    /// That it has another length.
    pub fn new(key: &[u8]) -> Result<ContentKey, String> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| "must have 32 bytes".to_owned())?;
        Ok(ContentKey(LessSafeKey::new(key)))
    }

    /// Decrypts what has this nonce and associated data; `None` if it was encrypted with another key, or changed.
    pub fn open(&self, nonce: &str, associated: &str, ciphertext: &str) -> Option<Vec<u8>> {
        let nonce = Nonce::try_assume_unique_for_key(nonce.as_bytes()).ok()?;
        let mut bytes = STANDARD.decode(ciphertext).ok()?;
        let plain = self.0.open_in_place(nonce, Aad::from(associated.as_bytes()), &mut bytes).ok()?;
        Some(plain.to_vec())
    }

    /// Encrypts; gives the nonce and the ciphertext. What is encrypted twice is so with two nonces.
    ///
    /// # Errors
    /// Why it cannot be encrypted.
    pub fn seal(&self, associated: &str, plain: &[u8]) -> Result<(String, String), String> {
        let text = nonce()?[..12].to_owned();
        let failed = |_| "it cannot be encrypted".to_owned();
        let nonce = Nonce::try_assume_unique_for_key(text.as_bytes()).map_err(failed)?;
        let mut bytes = plain.to_vec();
        let aad = Aad::from(associated.as_bytes());
        self.0.seal_in_place_append_tag(nonce, aad, &mut bytes).map_err(failed)?;
        Ok((text, STANDARD.encode(bytes)))
    }
}

fn check_time(seconds: &str, now: Timestamp) -> Result<Timestamp, BadSignature> {
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: i64 = seconds.parse().ok().filter(|_| is_number).ok_or(BadSignature::Unreadable)?;
    if is_now(seconds, now) { Ok(Timestamp::from_millis(seconds * 1_000)) } else { Err(BadSignature::NotNow) }
}

fn nonce() -> Result<String, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    Ok(crate::signature::hex(&bytes))
}

fn request_message(method: &str, path: &str, seconds: &str, nonce: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method}\n{path}\n{seconds}\n{nonce}\n");
    [head.as_bytes(), body, b"\n"].concat()
}

fn message(seconds: &str, nonce: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{seconds}\n{nonce}\n");
    [head.as_bytes(), body, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);
    const REQUEST: (&str, &str) = ("POST", "/v3/pay/transactions/native");
    const MERCHANT: &[u8] = include_bytes!("../../tests/keys/merchant.pem");
    const MERCHANT_PUBLIC: &[u8] = include_bytes!("../../tests/keys/merchant.pub.pem");
    const PLATFORM_PUBLIC: &[u8] = include_bytes!("../../tests/keys/platform.pub.pem");

    #[test]
    fn a_request_is_taken_as_it_was_signed_and_not_otherwise() {
        let signer = RsaSigner::new("SERIAL", MERCHANT).unwrap();
        let verifier = RsaVerifier::new("SERIAL", MERCHANT_PUBLIC).unwrap();
        let header = signer.authorize("19000", REQUEST, NOW, b"{}").unwrap();
        let check = |header: &str, request, body: &[u8], millis| {
            verifier.check_authorization("19000", header, request, body, NOW.plus_millis(millis)).err()
        };
        assert_eq!(check(&header, REQUEST, b"{}", 299_000), None);
        assert_eq!(check(&header, REQUEST, b"{}", 301_000), Some(BadSignature::NotNow));
        assert_eq!(check(&header, REQUEST, b"{ }", 0), Some(BadSignature::Wrong));
        assert_eq!(check(&header, ("GET", REQUEST.1), b"{}", 0), Some(BadSignature::Wrong));
        assert_eq!(check(&header, ("POST", "/v3/other"), b"{}", 0), Some(BadSignature::Wrong));
        for (from, to, reason) in [
            ("19000", "19001", BadSignature::OtherKey),
            ("SERIAL", "OTHER", BadSignature::OtherKey),
            (SCHEME, "Bearer", BadSignature::Missing),
            ("timestamp=", "time=", BadSignature::Unreadable),
            ("signature=\"", "signature=\"*", BadSignature::Unreadable),
        ] {
            assert_eq!(check(&header.replacen(from, to, 1), REQUEST, b"{}", 0), Some(reason), "{from}");
        }
        let other = RsaVerifier::new("SERIAL", PLATFORM_PUBLIC).unwrap();
        let checked = other.check_authorization("19000", &header, REQUEST, b"{}", NOW);
        assert_eq!(checked, Err(BadSignature::Wrong), "it is another key");
    }

    #[test]
    fn content_is_read_with_its_key_nonce_and_associated_data_alone() {
        let key = ContentKey::new(&[7; 32]).unwrap();
        let (nonce, sealed) = key.seal("transaction", b"{}").unwrap();
        assert_eq!(key.open(&nonce, "transaction", &sealed).as_deref(), Some(b"{}".as_slice()));
        assert_eq!(key.open(&nonce, "refund", &sealed), None);
        assert_eq!(key.open("000000000000", "transaction", &sealed), None);
        assert_eq!(key.open("short", "transaction", &sealed), None);
        assert_eq!(key.open(&nonce, "transaction", "no base64"), None);
        assert_eq!(ContentKey::new(&[8; 32]).unwrap().open(&nonce, "transaction", &sealed), None);
        assert!(ContentKey::new(&[7; 31]).is_err());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(RsaSigner::new("SERIAL", MERCHANT_PUBLIC).is_err());
        assert!(RsaVerifier::new("SERIAL", MERCHANT).is_err());
        assert!(RsaVerifier::new("SERIAL", b"").is_err());
    }
}
