#!/bin/sh
# Relays to Postfix (with Cyrus SASL), Exim and Dovecot from Debian's packages, compares what becomes of odd mail with
# Postfix, and reads bounce mail from Dovecot by IMAP. The packages are unpacked into a scratch directory and not
# installed; no system service is started. It needs root, apt-get, dpkg, and overlay mounts in a namespace of its own.
# Arguments go to `go test`.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
mkdir "$dir/deb" "$dir/root"

# fetch NAME... downloads packages.
fetch() { (cd "$dir/deb" && apt-get download -q "$@"); }

servers="postfix exim4-daemon-light sasl2-bin libsasl2-modules libsasl2-2 libsasl2-modules-db
	dovecot-core dovecot-submissiond dovecot-imapd"
fetch $servers
for deb in "$dir"/deb/*.deb; do
	for lib in $(dpkg-deb -f "$deb" Depends Pre-Depends | grep -o '\blib[a-z0-9.+-]*' | sort -u); do
		dpkg-query -W "$lib" >/dev/null 2>&1 || ls "$dir"/deb/"$lib"_* >/dev/null 2>&1 || fetch "$lib"
	done
done
for deb in "$dir"/deb/*.deb; do
	dpkg -x "$deb" "$dir/root"
done
MAILWHY_SERVERS="$dir/root" go test -count=1 -run 'TestReal|TestOddMails' "$@" ./relay/upstream ./relay/app \
	./relay/feedback/mailbox
