#!/bin/sh
# One of two PostgreSQL nodes that replicate synchronously, for trials and tests. In production use what your
# platform gives: a managed database with a synchronous standby, Patroni, CloudNativePG.
#
#   node.sh run       starts the node: as the primary when it is the FIRST one and its PEER is not the primary,
#                     else as the standby of PEER
#   node.sh promote   makes a standby the primary. Nothing here does that by itself: two nodes cannot know which
#                     of them is cut off
#   node.sh health    succeeds when the node answers
#
# PEER is the other node's host, PASSWORD that of the users mailwhy and replicator.
#
# A primary waits with each commit until its standby has it. So an old primary that comes back where it cannot
# see the new one commits nothing.
set -eu
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
PATH=$bin:$PATH
export PGDATA=/data/pg PGCONNECT_TIMEOUT=2 PGPASSWORD="${PASSWORD:-}"

peer_is_primary() {
  [ "$(psql -h "$PEER" -U replicator -d postgres -Atc 'select not pg_is_in_recovery()' 2>/dev/null)" = t ]
}

# The whole cluster is made here, once.
create() {
  printf '%s' "$PASSWORD" >/tmp/password
  initdb --no-locale -E UTF8 --auth-local=trust --auth-host=scram-sha-256 --pwfile=/tmp/password >/dev/null
  rm -f /tmp/password
  cat >>"$PGDATA/postgresql.conf" <<'CONF'
listen_addresses = '*'
unix_socket_directories = '/tmp'
synchronous_standby_names = 'ANY 1 (*)'
synchronous_commit = on
wal_keep_size = '256MB'
max_connections = 100
jit = off
CONF
  printf 'host all all all scram-sha-256\nhost replication replicator all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  # No standby is there yet to wait for.
  pg_ctl -w -o "-c listen_addresses= -c synchronous_standby_names=" start >/dev/null
  psql -h /tmp -d postgres -q -v ON_ERROR_STOP=1 -v password="$PASSWORD" <<'SQL'
create role mailwhy login password :'password';
create role replicator login replication password :'password';
grant pg_read_all_stats to mailwhy;
create database mailwhy owner mailwhy;
SQL
  pg_ctl -w stop >/dev/null
}

# A standby starts from a fresh copy: an old primary may hold commits that its successor never had.
follow() {
  rm -rf "$PGDATA"
  until pg_basebackup -h "$PEER" -U replicator -D "$PGDATA" -R -X stream -c fast 2>/dev/null; do
    rm -rf "$PGDATA"
    sleep 1
  done
}

case ${1:-run} in
run)
  if peer_is_primary; then
    follow
  elif [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ "${FIRST:-no}" = yes ]; then create; else follow; fi
  fi
  chmod 0700 "$PGDATA"
  exec postgres
  ;;
promote) psql -h /tmp -d postgres -Atc 'select pg_promote()' ;;
health) pg_isready -q -h /tmp ;;
*)
  echo "node.sh run | promote | health" >&2
  exit 2
  ;;
esac
