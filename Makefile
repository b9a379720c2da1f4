# The two commands of the README: `make run` and `make test`. A Rust toolchain
# and a C compiler are all they need.
.PHONY: run test bench demo cluster cluster-stop cluster-audit

run:
	cargo run --release -p hongbao -- dev

test:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --workspace

# Real binary, real HTTP, and a bare axum route as the yardstick in the same run.
bench:
	cargo build --release -p hongbao -p hongbao-loadtest
	target/release/hongbao-loadtest bench --server target/release/hongbao

# A newcomer's tour: 500 users, one envelope, a refund, the audit.
demo:
	cargo build --release -p hongbao -p hongbao-loadtest
	target/release/hongbao-loadtest demo --server target/release/hongbao

# A whole installation on this machine: two SETs, a wallet, a gateway on
# 127.0.0.1:8080. Installs MariaDB, memcached and Redis when they are missing.
cluster:
	cargo build --release -p hongbao
	ops/cluster.sh start

cluster-stop:
	ops/cluster.sh stop

cluster-audit:
	ops/cluster.sh audit
