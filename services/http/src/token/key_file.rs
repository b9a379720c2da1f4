//! A file of keys (JWKS) as a process knows it: read at the start, on a signal and whenever it changes. A bad new
//! version is refused whole, and the last good one stays.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hongbao_core::Clock;
use hongbao_core::limits::TOKEN_KEY_FILE_BYTES_MAX;
use parking_lot::Mutex;

use super::claims::Parties;
use super::jwks;
use super::keys::{TokenKey, TokenKeys};
use super::verifier::Verifier;

/// Reads a file of keys, checks it, and gives a verifier what was good.
pub struct KeyFile {
    path: PathBuf,
    /// Keys that are in force whatever the file says.
    others: Vec<TokenKey>,
    verifier: Verifier,
    /// The text of the file, or why there was none: what has been judged is not judged again.
    seen: Mutex<Result<String, String>>,
    is_refused: AtomicBool,
    refused: AtomicU64,
}

impl KeyFile {
    /// Reads the file for the first time; its keys are in force beside the `others`.
    ///
    /// # Errors
    /// When the file cannot be read or is not good, for the operator.
    pub fn open(
        path: &Path,
        others: Vec<TokenKey>,
        parties: Parties,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<KeyFile>, String> {
        let named = |reason: String| format!("{}: {reason}", path.display());
        let text = read(path).map_err(named)?;
        let keys = parse(&text, &others).map_err(named)?;
        let verifier = Verifier::new(keys, parties, clock);
        Ok(Arc::new(KeyFile {
            path: path.to_owned(),
            others,
            verifier,
            seen: Mutex::new(Ok(text)),
            is_refused: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }))
    }

    /// What checks tokens with the keys of the last good version.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Whether the file, as it is, was refused: the keys in force are those of before.
    pub fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// How many new versions were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Looks whether the file has changed, and takes over what is new and good. It blocks for as long as reading takes.
    pub fn look(&self) {
        self.judge(false);
    }

    /// Reads the file again: for a signal. What is refused is logged, also when it has been before.
    pub fn reread(&self) {
        self.judge(true);
    }

    fn judge(&self, is_asked: bool) {
        let mut seen = self.seen.lock();
        let now = read(&self.path);
        if now == *seen && !is_asked {
            return;
        }
        let keys = now.clone().and_then(|text| parse(&text, &self.others));
        *seen = now;
        self.is_refused.store(keys.is_err(), Ordering::Relaxed);
        let file = self.path.display();
        match keys {
            // It was only written otherwise: what is known of tokens is kept.
            Ok(keys) if keys.keys() == self.verifier.keys().keys() => {}
            Ok(keys) => {
                tracing::info!(%file, kids = kids(&keys), "new token keys are in force");
                self.verifier.replace_keys(keys);
            }
            Err(reason) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let kids = kids(&self.verifier.keys());
                tracing::error!(%file, error = reason, kids, "new token keys were refused; those in force stay");
            }
        }
    }
}

/// The names of keys, for the log.
fn kids(keys: &TokenKeys) -> String {
    let kids: Vec<&str> = keys.keys().iter().map(|key| key.kid().unwrap_or("(without kid)")).collect();
    kids.join(", ")
}

fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(TOKEN_KEY_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > TOKEN_KEY_FILE_BYTES_MAX {
        return Err(format!("it is over {TOKEN_KEY_FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

fn parse(text: &str, others: &[TokenKey]) -> Result<TokenKeys, String> {
    let keys = others.iter().cloned().chain(jwks::read(text)?).collect();
    TokenKeys::new(keys).map_err(|error| error.to_string())
}
