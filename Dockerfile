# The image of every role: `docker build -t hongbao .`. The symbols of its binary, for debuggers and
# backtraces: `docker build --target symbols --output symbols .`. Bases are pinned by digest; renew both
# together with the version of Rust that the tests run with.
FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /source
COPY . .
# Crates and compiled dependencies stay in caches of the builder, so that a change costs its own compilation.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --package hongbao && \
    mkdir /built && \
    objcopy --only-keep-debug --compress-debug-sections target/release/hongbao /built/hongbao.debug && \
    objcopy --strip-all --add-gnu-debuglink=/built/hongbao.debug target/release/hongbao /built/hongbao

FROM scratch AS symbols
COPY --from=build /built/hongbao.debug /

FROM debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171
# Whom to trust where an archive, a collector or a database is reached by TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /built/hongbao /usr/bin/
# It writes no file: the root may be read-only.
USER 65532:65532
# A gateway, a server and a worker of the samples.
EXPOSE 8080 9000 9100
# It drains: what was accepted is answered first.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/hongbao"]
CMD ["--help"]
