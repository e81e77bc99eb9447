# Both services and the command from one file: `docker build --target auth-service .`, `--target inference-service`, `--target tollgate`.
# The build needs nothing but Rust and a C compiler, and no BuildKit. Release profile, without the embedded engine, for any machine of the
# architecture that it runs on.

FROM rust:1.95-bookworm AS builder
# Linked into the binaries: libc too, so that an image needs no other file.
ENV RUSTFLAGS="-C target-feature=+crt-static"
# Set by --build-arg alone, for images that are built quickly and run slowly.
ARG CARGO_PROFILE_RELEASE_LTO
ARG CARGO_PROFILE_RELEASE_CODEGEN_UNITS
ARG CARGO_PROFILE_RELEASE_OPT_LEVEL
WORKDIR /build
# With a target named, the flags above are not for what runs while something else is built.
RUN rustc -vV | sed -n 's/^host: //p' >/target

# Dependencies first, with every crate of the workspace empty: they are compiled again when a manifest changes, and not with the sources.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY shared/Cargo.toml shared/
COPY auth-service/Cargo.toml auth-service/
COPY inference-service/Cargo.toml inference-service/
COPY inference-service/llama/Cargo.toml inference-service/llama/
COPY clients/rust/Cargo.toml clients/rust/
COPY clients/cli/Cargo.toml clients/cli/
COPY tests/integration/Cargo.toml tests/integration/
COPY tests/bench/Cargo.toml tests/bench/
RUN for manifest in $(find . -mindepth 2 -name Cargo.toml); do \
      crate="${manifest%/Cargo.toml}" && mkdir "$crate/src" && touch "$crate/src/lib.rs" \
      && echo 'fn main() {}' | tee "$crate/build.rs" >"$crate/src/main.rs"; \
    done \
    && cargo build --release --locked --target "$(cat /target)" -p auth-service -p inference-service -p tollgate-cli \
    && find . -path ./target -prune -o -name '*.rs' -exec rm {} +

COPY proto proto
COPY account-page account-page
COPY shared shared
COPY auth-service auth-service
COPY inference-service inference-service
COPY clients clients
# Cargo goes by the time of a file, and the sources may be older than the empty crates. What only tests stays empty.
RUN touch tests/integration/src/lib.rs tests/bench/src/main.rs \
    && find shared auth-service inference-service clients -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --target "$(cat /target)" -p auth-service -p inference-service -p tollgate-cli \
    && mkdir -p /out/data && cd "target/$(cat /target)/release" && cp auth-service inference-service tollgate /out/

# No shell, no libc, no user database: a binary, and the certificates for an Ollama behind TLS.
FROM scratch AS runtime
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# What the embedded store would keep goes to a folder that the user owns; with Redis nothing is written to disk.
COPY --from=builder --chown=10001:10001 /out/data /var/lib/tollgate
ENV TOLLGATE_DATA_DIR=/var/lib/tollgate PATH=/usr/local/bin
WORKDIR /var/lib/tollgate
USER 10001:10001

FROM runtime AS auth-service
COPY --from=builder /out/auth-service /usr/local/bin/auth-service
# Every address, so that a port can be published; without TLS it has to be allowed by TOLLGATE_ALLOW_PLAINTEXT=true.
ENV TOLLGATE_AUTH_LISTEN=0.0.0.0:50051
EXPOSE 50051
HEALTHCHECK --interval=5s --timeout=5s --start-period=15s --retries=3 CMD ["auth-service", "healthcheck"]
ENTRYPOINT ["auth-service"]

FROM runtime AS inference-service
COPY --from=builder /out/inference-service /usr/local/bin/inference-service
ENV TOLLGATE_LISTEN=0.0.0.0:50052
EXPOSE 50052
HEALTHCHECK --interval=5s --timeout=5s --start-period=15s --retries=3 CMD ["inference-service", "healthcheck"]
ENTRYPOINT ["inference-service"]

# The command for people; `docker compose run --rm tollgate` gives it the addresses of both services.
FROM runtime AS tollgate
COPY --from=builder /out/tollgate /usr/local/bin/tollgate
# Volumes that are mounted here belong to its user: docker-compose.tls.yml has certificates made in them.
COPY --from=builder --chown=10001:10001 /out/data /certificates/ca
COPY --from=builder --chown=10001:10001 /out/data /certificates/public
COPY --from=builder --chown=10001:10001 /out/data /certificates/auth-service
COPY --from=builder --chown=10001:10001 /out/data /certificates/inference-service
ENTRYPOINT ["tollgate"]
