//! `make demo-money` with the binaries of the tests: money goes in and out of an installation, and the books say so.

use std::path::Path;
use std::process::Command;

use hongbao_testbed::free_ports;

use crate::support::text;

#[test]
fn money_goes_in_and_out_of_an_installation_and_bill_and_books_agree() {
    let testbed = hongbao_load_testkit::built("hongbao-testbed", env!("CARGO_BIN_EXE_hongbao"));
    let mut demo = Command::new("python3");
    demo.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops/money/demo.py"));
    demo.arg("--bin").arg(testbed.parent().unwrap()).args(["--port", &free_ports(100).to_string()]);
    let done = demo.output().unwrap();
    let said = format!("{}{}", text(&done.stdout), text(&done.stderr));
    assert!(done.status.success(), "{said}");
    for line in ["all 3 lines are as the books say, and nothing is missing", "orders    3 at the provider"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.contains("verdict   all invariants hold"), "{said}");
}
