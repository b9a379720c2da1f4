//! What the tests of runs share: the service, and a run against it.

// No test uses all of it.
#![allow(dead_code)]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What tokens of the service are signed with.
pub const SECRET: &str = "a secret that guards nothing but a test";

/// The service's binary, built as it is now.
pub fn service() -> &'static Path {
    hongbao_load_testkit::service(env!("CARGO_BIN_EXE_hongbao-loadtest"))
}

/// A run that has ended, and what it wrote.
pub struct Run {
    pub output: Output,
    pub dir: tempfile::TempDir,
}

impl Run {
    /// Runs a scenario for two seconds, if nothing else is said, with these arguments besides.
    pub fn of(arguments: &[&str]) -> Run {
        let seconds: &[&str] = if arguments.contains(&"--seconds") { &[] } else { &["--seconds", "2"] };
        Run::as_long_as_it_takes(&[arguments, seconds].concat())
    }

    pub fn as_long_as_it_takes(arguments: &[&str]) -> Run {
        let dir = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_hongbao-loadtest"))
            .arg("run")
            .args(arguments)
            .args(["--lag-ms-max", "1000"])
            .args(["--json".as_ref(), dir.path().join("json").as_os_str()])
            .args(["--html".as_ref(), dir.path().join("html").as_os_str()])
            .args(["--history".as_ref(), dir.path().join("history").as_os_str()])
            .output()
            .unwrap();
        Run { output, dir }
    }

    pub fn embedded(arguments: &[&str]) -> Run {
        let dir = tempfile::tempdir().unwrap();
        let own = ["--embedded", "--server", service().to_str().unwrap(), "--data", dir.path().to_str().unwrap()];
        Run::of(&[arguments, &own[..]].concat())
    }

    pub fn exits_with(self, code: i32) -> Run {
        let (out, err) = (String::from_utf8_lossy(&self.output.stdout), String::from_utf8_lossy(&self.output.stderr));
        assert_eq!(self.output.status.code(), Some(code), "{out}{err}");
        self
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    pub fn outcome(&self) -> Value {
        serde_json::from_str(&self.read("json")).unwrap()
    }

    pub fn checked(&self, rule: &str) -> (u64, u64) {
        let outcome = self.outcome();
        let check = outcome["audit"].as_array().unwrap().iter().find(|check| {
            let message = check["rule"].as_str().unwrap();
            message.contains(rule)
        });
        let check = check.unwrap_or_else(|| panic!("no rule about {rule}"));
        (check["checked"].as_u64().unwrap(), check["broken"].as_u64().unwrap())
    }
}

/// A token of an operator, which marks requests as a rehearsal.
pub fn operator_token() -> String {
    let claims = serde_json::json!({ "sub": "operator", "exp": 4_102_444_800_u64, "role": "operator" });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

pub fn assert_refused(run: &Run, message: &str) {
    let said = String::from_utf8_lossy(&run.output.stderr).into_owned();
    assert!(run.output.status.code() == Some(2) && said.contains(message), "{message}: {said}");
}

/// `hongbao dev` that was there before the run.
pub struct Dev {
    process: Child,
    pub addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Dev {
    pub fn start() -> Dev {
        Dev::start_with("")
    }

    /// Settings begin in the section `[auth]`.
    pub fn start_with(settings: &str) -> Dev {
        Dev::start_as(&format!("[auth]\nhs256_secret = \"{SECRET}\"\n{settings}"))
    }

    /// The same with these settings alone.
    pub fn start_as(settings: &str) -> Dev {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, settings).unwrap();
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(service())
            .args(["dev", "--listen", &addr.to_string(), "--data"])
            .arg(dir.path().join("data"))
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(addr).is_err() {
            assert!(Instant::now() < until, "the service does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Dev { process, addr, _dir: dir }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
