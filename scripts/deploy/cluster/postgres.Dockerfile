# A PostgreSQL node of the trial cluster, from Debian's package: see node.sh.
FROM debian:bookworm-slim
RUN ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 \
 || (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql \
 && rm -rf /var/lib/apt/lists/*)
RUN mkdir -p -m 0700 /data && chown postgres:postgres /data
COPY node.sh /node.sh
USER postgres
VOLUME /data
# Fast shutdown: it does not wait for the relays to disconnect.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=2s --timeout=5s --start-period=60s CMD ["/bin/sh", "/node.sh", "health"]
ENTRYPOINT ["/bin/sh", "/node.sh"]
CMD ["run"]
