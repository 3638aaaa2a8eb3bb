# A static binary in an empty image: no shell, no libraries. It runs as any user and with a read-only root file
# system; only /spool is written to, so mount a volume there.
FROM golang:1.26 AS build
LABEL mailwhy.stage=build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The image has no repository to read the version from: docker build --build-arg VERSION=v1.2.3
ARG VERSION=
RUN VERSION="$VERSION" sh scripts/build.sh /image/mailwhy
# Writable by whoever the container runs as, like /tmp.
RUN mkdir -p -m 1777 /image/spool /image/mail \
 && mkdir -p /image/etc/ssl/certs \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM scratch
COPY --from=build /image/ /
# With container set it listens on all addresses; only its own host may send until MAILWHY_CLIENT names others.
ENV MAILWHY_SPOOL_DIR=/spool container=oci
USER 65532:65532
VOLUME /spool
# 587 is listened on in place of boky/postfix: docs/migrate.md
EXPOSE 2525 587
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/mailwhy", "health"]
ENTRYPOINT ["/mailwhy"]
CMD ["serve"]
