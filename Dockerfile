# syntax=docker/dockerfile:1

# docker build -t forebay .
# docker run -p 8006:8006 -v forebay-certs:/certs -v ./forebay.yaml:/etc/forebay/forebay.yaml:ro forebay

FROM rust:1-bookworm AS builder
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin forebay \
 && strip target/release/forebay \
 && mkdir /certs /forebay

# The C library, its loader and CA certificates; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=builder /src/target/release/forebay /usr/local/bin/forebay
# Owned by the user that runs, so that a fresh volume on it is writable for `tls: auto`.
COPY --from=builder --chown=65532:65532 /certs /certs
# For `cache: {disk: {path: /var/lib/forebay}}`: the last known state survives a restart of the container.
COPY --from=builder --chown=65532:65532 /forebay /var/lib/forebay
# Everything else may be read-only: `docker run --read-only` works.
VOLUME /certs /var/lib/forebay
ENV FOREBAY_CERTS=/certs
# ./forebay.yaml is looked for here, and files that it names are relative to it.
WORKDIR /etc/forebay
USER 65532:65532
EXPOSE 8006 9006
# Draining; a second signal stops at once.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/forebay", "health"]
ENTRYPOINT ["/usr/local/bin/forebay"]
CMD ["run"]
