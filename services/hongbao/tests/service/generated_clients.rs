//! What others make of the document: redocly's lint finds nothing in it, and clients that are
//! generated from it send, grab and open.

use std::path::Path;
use std::process::Command;

use hongbao_core::Limits;
use hongbao_envelope::http::{Offer, openapi};
use serde_json::{Value, json};

use crate::support::{Folder, Service, text};

/// Runs a command of `ops/clients/run.sh`; whether it succeeded, and its words.
fn run(arguments: &[&str]) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    assert!(root.join("target/clients/installed").exists(), "ops/clients/install.sh installs what this test runs");
    let output = Command::new(root.join("ops/clients/run.sh")).args(arguments).output().unwrap();
    (output.status.success(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
}

/// Makes a client of a new service and lets it run.
fn client(language: &str) {
    let service = Service::start("");
    let (is_good, said) = run(&[language, &format!("http://{}", service.address())]);
    assert!(is_good && said.contains("wang has opened "), "{said}");
    service.check();
}

#[test]
fn a_client_that_is_generated_in_python_sends_grabs_and_opens() {
    client("python");
}

#[test]
fn a_client_that_is_generated_in_typescript_sends_grabs_and_opens() {
    client("typescript");
}

#[test]
fn redocly_finds_nothing_in_the_documents_and_a_mistake_if_there_is_one() {
    let folder = Folder::new();
    let limits = Limits { shares_max: 1, ..Limits::default() };
    let gateway = openapi::document(&Offer {
        limits: &limits,
        takes_rehearsals: true,
        issues_tokens: false,
        makes_money: true,
        has_provider: true,
        asked_directly: false,
    });
    let service = Service::start("");
    let dev = service.nobody().get("/openapi.json").ok(200);
    let mut wrong = dev.clone();
    wrong["paths"]["/v1/wallet"]["get"]["responses"]["200"]["content"]["application/json"]["examples"] =
        json!({ "wrong": { "value": { "user_id": "li", "balance_fen": -1 } } });
    let file = |name: &str, document: &Value| folder.write(name, &document.to_string()).display().to_string();
    let (is_good, said) = run(&["lint", &file("gateway.json", &gateway), &file("dev.json", &dev)]);
    assert!(is_good && !said.contains("warning"), "{said}");
    let (is_good, said) = run(&["lint", &file("wrong.json", &wrong)]);
    assert!(!is_good && said.contains("no-invalid-media-type-examples"), "{said}");
    service.check();
}
