#!/usr/bin/env bash
# Proves scripts/deploy/cluster: three relays on one PostgreSQL queue take mail while one of them is killed, and then
# the primary; the standby is promoted and the old primary comes back as its standby. What was answered with 250 must
# have arrived. Needs a Docker engine with docker-compose or the compose plugin.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! docker info >/dev/null 2>&1; then
  echo "skipping: no Docker engine is running"
  exit 0
fi
export COMPOSE_PROJECT_NAME=mailwhycluster$$
scratch=$(mktemp -d)
. scripts/containers.sh
cluster() { compose -f scripts/deploy/cluster/docker-compose.yml "$@"; }
cleanup() {
  status=$?
  if [ $status -ne 0 ]; then cluster logs --no-color 2>/dev/null | tail -n 80 || true; fi
  cluster down -v --remove-orphans >/dev/null 2>&1 || true
  docker rmi -f mailwhy-postgres >/dev/null 2>&1 || true
  drop_stand_ins
  rm -rf "$scratch"
  exit $status
}
trap cleanup EXIT

ready() { docker exec "$(cluster ps -q "$1")" /mailwhy health --ready >/dev/null 2>&1; }
# taking RELAY: the relay answers a message with 250.
taking() {
  python3 - "$1" <<'PY' 2>/dev/null
import smtplib, sys
with smtplib.SMTP("127.0.0.1", 2540 + int(sys.argv[1]), timeout=5) as s:
    s.sendmail("app@shop.example", ["bob@customer.example"], "Subject: is it taking?\r\n\r\nhello\r\n")
PY
}

echo "== images"
build_stage
debian_stage debian:bookworm-slim postgresql
cluster build --quiet 2>/dev/null || cluster build

echo "== up"
cluster up -d
for i in 1 2 3; do
  within 90 ready relay-$i || { echo "relay-$i is not ready"; exit 1; }
done

echo "== load on three relays, while one is killed and then the primary"
python3 scripts/rolling.py "$scratch/stop" 127.0.0.1:2541 127.0.0.1:2542 127.0.0.1:2543 >"$scratch/rolling" &
load=$!
sleep 4
docker kill "$(cluster ps -q relay-2)" >/dev/null
sleep 4
docker kill "$(cluster ps -q pg-a)" >/dev/null
promoted=$SECONDS
cluster exec -T pg-b sh /node.sh promote >/dev/null
cluster up -d pg-a >/dev/null 2>&1
within 60 taking 1 || { echo "relay-1 takes no mail after the promotion"; exit 1; }
echo "mail is taken again $((SECONDS - promoted)) s after the promotion and the start of another standby"
cluster up -d relay-2 >/dev/null 2>&1
within 60 ready relay-2 || { echo "relay-2 is not ready"; exit 1; }
sleep 4
touch "$scratch/stop"
wait $load
taken=$(cat "$scratch/rolling")

practice=$(cluster ps -q practice)
all() {
  rm -rf "$scratch/mail"
  docker cp "$practice:/mail" "$scratch/mail" >/dev/null
  arrived=$(grep -ho '^Subject: rolling [0-9]*\.' "$scratch"/mail/*.eml | sort -u | wc -l)
  [ "$arrived" = "$taken" ]
}
within 90 all || { echo "$taken were taken, $arrived arrived"; exit 1; }
twice=$(($(grep -ho '^Subject: rolling [0-9]*\.' "$scratch"/mail/*.eml | wc -l) - taken))
echo "$taken taken, all arrived, $twice of them twice"
[ "$twice" -le 8 ] # what was under way at the two kills, at most, and what the client sent again

echo "== a refusal is explained whichever relay takes the mail, and the queue of one is the queue of all"
python3 - <<'PY'
import smtplib
with smtplib.SMTP("127.0.0.1", 2543, timeout=20) as s:
    s.sendmail("app@shop.example", ["550-5.1.1@any.test", "452-4.2.2@any.test"], "Subject: refused\r\n\r\nhello\r\n")
PY
waits() {
  for i in 1 2 3; do
    docker exec "$(cluster ps -q relay-$i)" /mailwhy queue list | grep -q '452-4.2.2@any.test' || return 1
  done
}
within 60 waits || { echo "the queue is not the same at each relay"; exit 1; }
bounced() {
  rm -rf "$scratch/mail"
  docker cp "$practice:/mail" "$scratch/mail" >/dev/null
  [ "$(grep -l '^X-Mailwhy-Category: Invalid Address' "$scratch"/mail/*.eml | wc -l)" = 1 ]
}
within 60 bounced || { echo "the bounce did not come once"; exit 1; }
docker exec "$(cluster ps -q relay-1)" /mailwhy queue list | head -n 5
for i in 1 2 3; do
  docker stop -t 30 "$(cluster ps -q relay-$i)" >/dev/null
  [ "$(docker inspect -f '{{.State.ExitCode}}' "$(cluster ps -aq relay-$i)")" = 0 ] || exit 1
done
echo "cluster: ok"
