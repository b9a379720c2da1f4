# The two commands of the README: `make run` and `make test`. A Rust toolchain
# and a C compiler are all they need.
.PHONY: run test bench demo

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
