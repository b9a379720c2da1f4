//! What the operator's program is made of.

use std::process::Command;

#[test]
fn it_links_no_database_and_no_web_server() {
    let tree = |package: &str| {
        let arguments =
            ["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{lib}", "--package"];
        let done = Command::new(env!("CARGO")).args(arguments).arg(package).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let linked = |libraries: &str| -> Vec<String> {
        let served = ["sqlx", "axum", "hyper", "redis", "memcache"];
        let is_one = |library: &&str| served.iter().any(|served| library.starts_with(served));
        libraries.lines().filter(is_one).map(str::to_owned).collect()
    };
    assert_eq!(linked(&tree("hongbao-loadtest")), Vec::<String>::new());
    assert!(linked(&tree("hongbao-bench")).len() > 3, "the laboratory does, and it is seen");
}
