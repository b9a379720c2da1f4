# The two commands of the README: `make run` and `make test`. A Rust toolchain
# and a C compiler are all that `make run` needs; `make test` installs the rest.
.PHONY: run quick test test-m test-s test-rest schemathesis observe deb clean-machine bench demo demo-money chaos-money cluster cluster-stop cluster-audit

run:
	cargo run --release -p hongbao -- dev

# What starts no server of another kind: formatting, lints, and the suites on SQLite and
# loopback, the simulation with a quarter of its seeds. Two minutes, once all is built.
QUICK = documents domain bad_input connections operations refused threads tokens \
	durable sqlite sqlite_folder admission clocks http2 lane operator pay faults routing silence topology \
	activate audit audit_restarts audit_sets clock credit driver purge refund together simulation memory links

quick:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	HONGBAO_SIM_SEEDS=500 cargo test --workspace $(QUICK:%=--test %)

# MariaDB, memcached, Redis, HAProxy and Galera come from Debian's packages when they are missing, and what else
# tests need from Debian, PyPI and npm into target.
# Tests wait as much as they work, so two groups of them run at the same time, by the
# first letter of their files; each prints what it has to say at its end.
test:
	ops/install.sh
	ops/s3/install.sh
	ops/observe/install.sh
	ops/clients/install.sh
	ops/containers/install.sh
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --workspace --no-run
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-rest test-s test-m

test-m:
	cargo test --workspace --no-fail-fast --test 'm*'

test-s:
	cargo test --workspace --no-fail-fast --test 's*'

test-rest:
	cargo test --workspace --no-fail-fast --test '[!ms]*'
	cargo test --workspace --no-fail-fast --lib --bins
	cargo test --workspace --doc

# The service against its own OpenAPI document: 20,000 requests by schemathesis,
# with all checks, to the all-in-one process and to a gateway. Needs Python 3 and PyPI.
schemathesis:
	ops/install.sh
	cargo build --workspace --bin hongbao --bin hongbao-testbed
	ops/schemathesis/run.sh

# Alerts and dashboard (ops/observe) on a cluster of this machine, with Prometheus and a
# 23 faults: some twelve minutes. The data of all panels are drawn into target/observe.html.
observe:
	ops/install.sh
	cargo build --release -p hongbao -p hongbao-testbed
	ops/observe/try.py

# Two packages for Debian in target/debian: the program, stripped, with units, man pages and completions; and its
# symbols. Needs dpkg-dev, which Debian's build-essential brings.
CARGO_DEB = 3.8.0

deb:
	cargo install --quiet --locked --root target/cargo-deb --target-dir target/cargo-deb/build cargo-deb@$(CARGO_DEB)
	cargo build --release -p hongbao
	rm -rf target/package target/debian
	target/release/hongbao generate target/package
	target/cargo-deb/bin/cargo-deb --package hongbao --no-build --quiet --dbgsym --compress-debug-symbols=zlib --output target/debian/

# docs/from-an-empty-debian.md, performed in an empty Debian: the package, databases, users, certificates, a
# firewall, backup and restore, an upgrade there and back, and the audit. Needs root and ten minutes.
clean-machine: deb
	ops/install.sh
	command -v debootstrap >/dev/null && command -v ip >/dev/null || \
		{ apt-get update --quiet=2 && apt-get install --yes --no-install-recommends debootstrap iproute2; }
	ops/clean-machine/run.py target/debian

# Real binary, real HTTP, and in the same run what it is measured against: a
# bare axum route, and HAProxy. First the embedded service; then a server of a
# SET with MariaDB, memcached and Redis; the same without the last two; then the
# gateway; then 1, 2 and 4 SETs.
bench:
	ops/install.sh
	cargo build --release -p hongbao -p hongbao-bench
	target/release/hongbao-bench bench --server target/release/hongbao
	target/release/hongbao-bench bench --server target/release/hongbao --cluster
	target/release/hongbao-bench bench --server target/release/hongbao --cluster --bare
	target/release/hongbao-bench fronts --server target/release/hongbao
	target/release/hongbao-bench sets --server target/release/hongbao

# A newcomer's tour: 500 users, one envelope, a refund, the audit.
demo:
	cargo build --release -p hongbao -p hongbao-bench
	target/release/hongbao-bench demo --server target/release/hongbao

# Money in and out of an installation without calls of development, with the sandbox provider as a process of its own:
# charge, send, open, pay out, then the reconciliation with the provider's bill, and the audit.
demo-money:
	ops/install.sh
	cargo build --release -p hongbao -p hongbao-testbed
	ops/money/demo.py --bin target/release

# 10,000 operations while the provider does wrong what it can, and servers, workers and the provider are killed; then
# the bill against the books, and the audit. Some minutes.
chaos-money:
	ops/install.sh
	cargo build --release -p hongbao -p hongbao-testbed
	ops/money/chaos.py --bin target/release

# A whole installation on this machine: two SETs, a wallet, a gateway on
# 127.0.0.1:8080. Installs MariaDB, memcached and Redis when they are missing.
cluster:
	cargo build --release -p hongbao -p hongbao-testbed
	target/release/hongbao-testbed start

cluster-stop:
	target/release/hongbao-testbed stop

cluster-audit:
	target/release/hongbao-testbed audit
