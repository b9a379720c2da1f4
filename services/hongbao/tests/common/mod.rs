//! What the tests of the real binary share: a client, and small tools.

// Each test target uses its own part of this.
#![allow(dead_code)]

pub mod client;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

/// If it is set, all processes that the tests start have this value of `http.fast_path`.
pub const FAST_PATH_OF_TESTS: &str = "TESTS_HTTP_FAST_PATH";

/// The binary with arguments, and without what the environment of the tests
/// would configure.
pub fn hongbao(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hongbao"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HONGBAO_")) {
        command.env_remove(name);
    }
    if let Some(value) = std::env::var_os(FAST_PATH_OF_TESTS) {
        command.env("HONGBAO_HTTP__FAST_PATH", value);
    }
    command.args(arguments);
    command
}

/// Text that a command printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The text of an answer's field.
pub fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The number in an answer's field.
pub fn number_of(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Looks again and again until it holds.
pub fn wait_until(within: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {within:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Bytes that no other call gives: for ids.
pub fn fresh_bytes() -> [u8; 16] {
    rand::Rng::random(&mut rand::rng())
}
