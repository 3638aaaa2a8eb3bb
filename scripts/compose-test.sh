#!/usr/bin/env bash
# Proves docker-compose.yml: builds the image, brings it up, sends mail from outside the containers, and reads the
# annotated log, the delivered message and the bounce. Needs a Docker engine with docker-compose or the compose plugin.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! docker info >/dev/null 2>&1; then
  echo "skipping: no Docker engine is running"
  exit 0
fi
export COMPOSE_PROJECT_NAME=mailwhytest$$ # another run may be under way
alone=mailwhytest-alone
net=mailwhytest$$-net
scratch=$(mktemp -d)
. scripts/containers.sh
cleanup() {
  status=$?
  if [ $status -ne 0 ]; then compose logs --no-color 2>/dev/null | tail -n 60 || true; fi
  compose down -v --remove-orphans >/dev/null 2>&1 || true
  compose -f scripts/dropin/docker-compose.yml down -v >/dev/null 2>&1 || true
  docker rm -fv "$alone" "$net-practice" "$net-1" "$net-2" >/dev/null 2>&1 || true
  docker volume rm "$net-1" "$net-2" >/dev/null 2>&1 || true
  docker network rm "$net" >/dev/null 2>&1 || true
  drop_stand_ins
  rm -rf "$scratch"
  exit $status
}
trap cleanup EXIT

echo "== image"
build_stage
compose build --quiet relay 2>/dev/null || compose build relay
docker image inspect mailwhy --format '{{.Size}} bytes, user {{.Config.User}}'

echo "== up"
compose up -d
for _ in $(seq 60); do
  state=$(docker inspect -f '{{.State.Health.Status}}' "$(compose ps -q relay)")
  [ "$state" = healthy ] && break
  sleep 1
done
[ "$state" = healthy ] || { echo "the relay is $state"; exit 1; }
docker inspect -f 'relay: {{.State.Health.Status}}, read-only {{.HostConfig.ReadonlyRootfs}}' "$(compose ps -q relay)"

echo "== any user, no capabilities, no volume, no clients"
docker run -d --name "$alone" --user 4242:4242 --read-only --cap-drop ALL -p 127.0.0.1:2597:2525 \
  -e MAILWHY_UPSTREAM='smtp://127.0.0.1:9?tls=none' mailwhy >/dev/null
for _ in $(seq 30); do docker exec "$alone" /mailwhy health && break; sleep 1; done
docker exec "$alone" /mailwhy health >/dev/null
docker logs "$alone" 2>&1 | grep -m1 'anonymous volume'
python3 - <<'PY'
import socket
greeting = socket.create_connection(("127.0.0.1", 2597), 20).recv(1000).decode()
print(greeting, end="")
assert greeting.startswith("421 4.7.1 ") and "MAILWHY_CLIENT" in greeting, greeting
PY
docker stop "$alone" >/dev/null
[ "$(docker inspect -f '{{.State.ExitCode}}' "$alone")" = 0 ] || { echo "SIGTERM did not end it with status 0"; exit 1; }

echo "== mail from outside"
python3 - <<'PY'
import smtplib
with smtplib.SMTP("127.0.0.1", 2525, timeout=20) as s:
    print(s.sendmail("app@shop.example", ["alice@customer.example", "550-5.1.1@any.test"],
        "From: app@shop.example\r\nTo: alice@customer.example\r\nSubject: compose test\r\n\r\nhello\r\n"))
PY

# The image has no shell, so files are read through docker cp.
practice=$(compose ps -q practice)
found() {
  rm -rf "$scratch/mail"
  docker cp "$practice:/mail" "$scratch/mail" >/dev/null
  grep -lq 'Subject: compose test' "$scratch"/mail/*.eml 2>/dev/null && grep -lq 'X-Mailwhy-Category' "$scratch"/mail/*.eml 2>/dev/null
}
for _ in $(seq 30); do found && break; sleep 1; done
found || { echo "the message or its bounce did not arrive"; ls "$scratch/mail"; exit 1; }

echo "== the page of the practice upstream"
python3 - <<'PY'
import urllib.request
page = urllib.request.urlopen("http://127.0.0.1:8026/", timeout=20).read().decode()
assert "compose test" in page, page
PY

echo "== the delivery log"
compose logs --no-color relay >"$scratch/log"
grep -o '{"v":1.*' "$scratch/log" | cut -c1-400
grep -q '"event":"failed".*"category":"' "$scratch/log"
grep -q '"event":"relayed"' "$scratch/log"

echo "== the bounce"
grep -h -A8 '^Final-Recipient:' "$scratch"/mail/*.eml
grep -hq '^X-Mailwhy-Fix:' "$scratch"/mail/*.eml

echo "== kill -9 with mail in the spool: it is on its volume, and goes on after the restart"
compose stop practice >/dev/null 2>&1
python3 - <<'PY'
import smtplib
with smtplib.SMTP("127.0.0.1", 2525, timeout=20) as s:
    s.sendmail("app@shop.example", ["bob@customer.example"], "Subject: after the kill\r\n\r\nhello\r\n")
PY
compose kill -s KILL relay >/dev/null 2>&1
compose up -d >/dev/null 2>&1
practice=$(compose ps -q practice)
survived() {
  rm -rf "$scratch/mail"
  docker cp "$practice:/mail" "$scratch/mail" >/dev/null
  grep -lq 'Subject: after the kill' "$scratch"/mail/*.eml
}
for _ in $(seq 30); do survived && break; sleep 1; done
survived || { echo "the message did not survive"; exit 1; }
echo "it arrived"
compose down -v >/dev/null 2>&1

echo "== two relays are restarted one after the other, under load; the page of one in a browser"
docker network create "$net" >/dev/null
docker run -d --name "$net-practice" --network "$net" mailwhy practice --listen 0.0.0.0:2526 --dump /mail >/dev/null
for i in 1 2; do
  docker run -d --name "$net-$i" --network "$net" -v "$net-$i:/spool" -p "127.0.0.1:259$i:2525" \
    -p "127.0.0.1:802$i:8026" -e MAILWHY_PAGE_LISTEN=0.0.0.0:8026 -e MAILWHY_HOSTNAME="relay$i.mailwhy.example" \
    -e MAILWHY_CLIENT=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16 \
    -e MAILWHY_UPSTREAM="smtp://$net-practice:2526?tls=none" mailwhy >/dev/null
done
for i in 1 2; do
  for _ in $(seq 30); do docker exec "$net-$i" /mailwhy health >/dev/null 2>&1 && break; sleep 1; done
done
if command -v chromium >/dev/null; then
  chromium --headless --no-sandbox --disable-gpu --dump-dom http://127.0.0.1:8021/ 2>/dev/null >"$scratch/page.html"
  grep -o '<title>[^<]*</title>' "$scratch/page.html"
  grep -q 'type="password"' "$scratch/page.html" # the page asks for a token
fi
python3 scripts/rolling.py "$scratch/stop" 127.0.0.1:2591 127.0.0.1:2592 >"$scratch/rolling" &
load=$!
for i in 1 2 1 2; do
  sleep 2
  docker stop -t 30 "$net-$i" >/dev/null
  [ "$(docker inspect -f '{{.State.ExitCode}}' "$net-$i")" = 0 ] || { docker logs "$net-$i"; exit 1; }
  docker start "$net-$i" >/dev/null
  for _ in $(seq 30); do docker exec "$net-$i" /mailwhy health --ready >/dev/null 2>&1 && break; sleep 0.5; done
done
touch "$scratch/stop"
wait $load
taken=$(cat "$scratch/rolling")
all() {
  rm -rf "$scratch/mail"
  docker cp "$net-practice:/mail" "$scratch/mail" >/dev/null
  arrived=$(grep -ho '^Subject: rolling [0-9]*\.' "$scratch"/mail/*.eml | sort -u | wc -l)
  [ "$arrived" = "$taken" ]
}
for _ in $(seq 30); do all && break; sleep 1; done
all || { echo "$taken were taken, $arrived arrived"; exit 1; }
twice=$(($(grep -ho '^Subject: rolling [0-9]*\.' "$scratch"/mail/*.eml | wc -l) - taken))
echo "$taken taken over 4 restarts, all arrived, $twice of them twice"
[ "$twice" -le 4 ] # what was under way at a stop, at most
docker rm -fv "$net-practice" "$net-1" "$net-2" >/dev/null

echo "== a compose file for boky/postfix, with only the image changed"
dropin=scripts/dropin/docker-compose.yml
compose -f $dropin up -d
for _ in $(seq 60); do
  state=$(docker inspect -f '{{.State.Health.Status}}' "$(compose -f $dropin ps -q mail)")
  [ "$state" = healthy ] && break
  sleep 1
done
[ "$state" = healthy ] || { echo "the relay is $state"; compose -f $dropin logs --no-color; exit 1; }
compose -f $dropin logs --no-color mail | grep -E 'became|has no counterpart|is refused'
python3 - <<'PY'
import smtplib
with smtplib.SMTP("127.0.0.1", 1587, timeout=20) as s:
    s.sendmail("app@web1.shop.example", ["alice@customer.example"],
        "From: app@web1.shop.example\r\nSubject: drop-in test\r\n\r\nhello\r\n")
PY
practice=$(compose -f $dropin ps -q practice)
dropped() {
  rm -rf "$scratch/mail"
  docker cp "$practice:/mail" "$scratch/mail" >/dev/null
  grep -q '^From: app@shop.example' "$scratch"/mail/*.eml
}
for _ in $(seq 30); do dropped && break; sleep 1; done
dropped || { echo "the message did not arrive"; compose -f $dropin logs --no-color; exit 1; }
compose -f $dropin logs --no-color practice | grep 'as shop' # it came with AUTH
compose -f $dropin down -v >/dev/null 2>&1
echo "compose: ok"
