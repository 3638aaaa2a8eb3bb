#!/usr/bin/env bash
# Installs a deb in a copy of this Debian, runs what it installed, upgrades, removes and purges it:
#
#   scripts/deploy/packages/deb-test.sh FILE.deb
#
# The copy is an overlay in memory with a network of its own, so this machine stays as it is. It needs root.
set -euo pipefail
umask 022
if [ "${1:-}" != inside ]; then
  deb=$(realpath "$1")
  if [ "$(id -u)" != 0 ] || ! command -v dpkg >/dev/null || ! unshare -mn true 2>/dev/null; then
    echo 'skipping: needs root, dpkg and namespaces of its own'
    exit 0
  fi
  exec unshare -mnpf "$0" inside "$deb"
fi

deb=$2
scratch=$(mktemp -d)
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch"/{up,work,root}
if ! mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/up,workdir=$scratch/work" "$scratch/root"; then
  echo 'skipping: no overlay can be mounted here'
  exit 0
fi
mount -t proc proc "$scratch/root/proc"
mount --rbind /dev "$scratch/root/dev"
cp "$deb" "$scratch/root/tmp/mailwhy.deb"
python3 - <<'EOF' # brings up the loopback interface (SIOCSIFFLAGS)
import fcntl, socket, struct
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, struct.pack("16sh", b"lo", 1))
EOF

cat >"$scratch/root/tmp/test.sh" <<'EOF'
set -eu
cd /tmp
step() { echo "== $*"; }
fail() { echo "deb: $*" >&2; exit 1; }

step install
dpkg -i ./mailwhy.deb >/dev/null
mailwhy version
[ "$(stat -c %a:%U /etc/mailwhy/secrets)" = 700:root ] || fail "secrets can be read by others"
[ -f /usr/lib/systemd/system/mailwhy.service ] || fail "no unit"
[ ! -e /etc/systemd/system/multi-user.target.wants/mailwhy.service ] || fail "the service is enabled"
mailwhy health 2>/dev/null && fail "the service was started"
! mailwhy check -c /etc/mailwhy/relay.toml >check 2>&1 || fail "check does not ask for an upstream"
grep -q upstream check || fail "check says: $(cat check)"

step "run it as a user of no privileges"
install -d -m 0700 -o nobody -g nogroup /var/lib/mailwhy
export MAILWHY_SPOOL_DIR=/var/lib/mailwhy MAILWHY_UPSTREAM='smtp://127.0.0.1:9?tls=none'
setpriv --reuid nobody --regid nogroup --clear-groups --no-new-privs \
  mailwhy serve -c /etc/mailwhy/relay.toml >out 2>err &
pid=$!
for _ in $(seq 100); do mailwhy health >/dev/null 2>&1 && break; sleep 0.1; done
mailwhy health || fail "it does not run: $(cat err)"
printf 'Subject: hello\n\nhello\n' | mailwhy sendmail -f a@example.com b@example.org
mailwhy queue list >queue
grep -q b@example.org queue || fail "the mail is not in the queue: $(cat queue)"
kill $pid
wait $pid || fail "it ended with $?: $(cat err)"

step "upgrade with a changed configuration"
echo '# ours' >>/etc/mailwhy/relay.toml
dpkg -i ./mailwhy.deb </dev/null >/dev/null
grep -q '# ours' /etc/mailwhy/relay.toml || fail "the configuration was replaced"

step "remove, then purge"
dpkg -r mailwhy >/dev/null 2>&1
[ ! -e /usr/bin/mailwhy ] || fail "the program is left"
grep -q '# ours' /etc/mailwhy/relay.toml || fail "the configuration went with the program"
dpkg -P mailwhy >/dev/null 2>&1
[ ! -e /etc/mailwhy ] || fail "the configuration is left after a purge"
[ -n "$(ls /var/lib/mailwhy)" ] || fail "the mail is gone"
echo "the deb does what it should"
EOF
chroot "$scratch/root" sh /tmp/test.sh
