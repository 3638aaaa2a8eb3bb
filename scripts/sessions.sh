#!/bin/sh
# What applications show of a refusal in the session: sends to an address that does not exist, with real clients, through
# a relay with accept.mode = "try", and checks that category and fix are there. --update writes it into docs/sessions.md.
#
# Clients that are not installed are skipped with a word. nodemailer, PHPMailer and JavaMail come from Debian's packages,
# which are unpacked into a scratch directory and not installed (apt-get, dpkg).
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'kill $relay $upstream 2>/dev/null || true; rm -rf "$dir"' EXIT
relay= upstream=
to=unknown@any.test failed=0
mkdir "$dir/deb" "$dir/root" "$dir/out"

# has PROGRAM... reports whether all are installed.
has() { for p in "$@"; do command -v "$p" >/dev/null || return 1; done; }

# unpack PACKAGE... unpacks Debian packages into $dir/root.
unpack() {
	(chmod 755 "$dir" "$dir/deb" && cd "$dir/deb" && apt-get download -qq "$@" >/dev/null 2>&1) || return 1
	for deb in "$dir"/deb/*.deb; do dpkg -x "$deb" "$dir/root"; done
}

# free is a port that nobody listens on.
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# await PORT waits until something greets there.
await() {
	python3 - "$1" <<-'END'
		import socket, sys, time
		for _ in range(200):
		    try:
		        with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as s:
		            sys.exit(not s.recv(4).startswith(b"220"))
		    except OSError:
		        time.sleep(0.05)
		sys.exit("nothing greets")
	END
}

# client NAME COMMAND... runs a client and keeps what it prints. What differs from run to run is left out.
client() {
	name=$1
	shift
	"$@" >"$dir/raw" 2>&1 || true
	sed -e 's/See [0-9A-Z]\{20,\}/See ID/' -e "s/$port/2525/g" "$dir/raw" >"$dir/out/$name"
	echo "== $name"
	cat "$dir/out/$name"
}

# explained NAME... holds that these clients showed category and fix.
explained() {
	for name in "$@"; do
		[ -e "$dir/out/$name" ] || continue
		if ! grep -q 'Invalid Address: check the address for a typo' "$dir/out/$name"; then
			echo "FAILED: $name shows no category or no fix" >&2
			failed=1
		fi
	done
}

go build -o "$dir/mailwhy" ./cmd/mailwhy
go build -o "$dir/gosmtp" ./scripts/sessions/gosmtp
practice=$(free)
"$dir/mailwhy" practice --listen "127.0.0.1:$practice" >"$dir/practice.log" 2>&1 &
upstream=$!
await "$practice"
port=$(free)
MAILWHY_ACCEPT_MODE=try MAILWHY_HOSTNAME=relay.example "$dir/mailwhy" serve --listen "127.0.0.1:$port" \
	--upstream "smtp://127.0.0.1:$practice?tls=none" --spool "$dir/spool" >"$dir/delivery.log" 2>"$dir/relay.log" &
relay=$!
await "$port"
printf 'From: app@example.com\r\nSubject: x\r\n\r\ntext\r\n' >"$dir/mail"

client smtplib python3 scripts/sessions/with_smtplib.py "$port" "$to"
client net-smtp "$dir/gosmtp" "$port" "$to"
if has node && unpack node-nodemailer; then
	modules=$(dirname "$(find "$dir/root" -path '*/node*/nodemailer/package.json' | head -n 1)")
	NODE_PATH=$(dirname "$modules") client nodemailer node scripts/sessions/with_nodemailer.js "$port" "$to"
else
	echo 'skipping nodemailer: node, or its package, is missing' >&2
fi
if has php && unpack libphp-phpmailer; then
	php=$(dirname "$(find "$dir/root" -name PHPMailer.php | head -n 1)")
	client phpmailer php scripts/sessions/with_phpmailer.php "$port" "$to" "$php"
else
	echo 'skipping PHPMailer: php, or its package, is missing' >&2
fi
if has java javac && unpack libmail-java libactivation-java; then
	jars="$dir/root/usr/share/java/javax.mail.jar:$dir/root/usr/share/java/javax.activation.jar"
	client javamail java -cp "$jars" scripts/sessions/WithJavaMail.java "$port" "$to"
else
	echo 'skipping JavaMail: a JDK, or its package, is missing' >&2
fi
has swaks && client swaks swaks --server 127.0.0.1 --port "$port" --from app@example.com --to "$to" \
	--silent 1 || true
has msmtp && client msmtp sh -c "msmtp --host=127.0.0.1 --port=$port --from=app@example.com $to <'$dir/mail'" || true
has curl && client curl curl -sS "smtp://127.0.0.1:$port" --mail-from app@example.com --mail-rcpt "$to" \
	-T "$dir/mail" || true

explained smtplib net-smtp nodemailer phpmailer javamail swaks msmtp
if [ -e "$dir/out/curl" ] && ! grep -q 'curl: (' "$dir/out/curl"; then # it shows no text of a server
	echo 'FAILED: curl takes the mail for sent' >&2
	failed=1
fi
[ "$failed" = 0 ] || exit 1
if [ "${1:-}" = --update ]; then
	python3 scripts/sessions/update_page.py docs/sessions.md "$dir/out"
fi
