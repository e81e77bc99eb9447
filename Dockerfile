# Both services from one file: `docker build --target auth-service .`, `docker build --target inference-service .`
# Needs nothing but Rust and a C compiler, and no BuildKit. Release profile, without the embedded engine, for any machine of the
# architecture.

FROM rust:1.95-bookworm AS builder
WORKDIR /build
COPY . .
RUN cargo build --release --locked -p auth-service -p inference-service

FROM debian:bookworm-slim AS runtime
# What the embedded store would keep goes to a folder that the user owns; with Redis nothing is written to disk.
RUN groupadd --system --gid 10001 tollgate \
    && useradd --system --uid 10001 --gid tollgate --home-dir /var/lib/tollgate --shell /usr/sbin/nologin tollgate \
    && install -d -o tollgate -g tollgate -m 0700 /var/lib/tollgate
# For an Ollama or a Redis behind TLS.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV TOLLGATE_DATA_DIR=/var/lib/tollgate
WORKDIR /var/lib/tollgate
USER tollgate

FROM runtime AS auth-service
COPY --from=builder /build/target/release/auth-service /usr/local/bin/auth-service
# Every address, so that a port can be published; without TLS it has to be allowed by TOLLGATE_ALLOW_PLAINTEXT=true.
ENV TOLLGATE_AUTH_LISTEN=0.0.0.0:50051
EXPOSE 50051
HEALTHCHECK --interval=5s --timeout=5s --start-period=15s --retries=3 CMD ["auth-service", "healthcheck"]
ENTRYPOINT ["auth-service"]

FROM runtime AS inference-service
COPY --from=builder /build/target/release/inference-service /usr/local/bin/inference-service
ENV TOLLGATE_LISTEN=0.0.0.0:50052
EXPOSE 50052
HEALTHCHECK --interval=5s --timeout=5s --start-period=15s --retries=3 CMD ["inference-service", "healthcheck"]
ENTRYPOINT ["inference-service"]
