#!/usr/bin/env python3
"""End to end, with real clients and real servers.

Builds mailwhy once and drives the binary as a user would: mail from Python's smtplib, swaks, curl, msmtp and PHPMailer through
`mailwhy serve` to `mailwhy practice`; what cron and a printer send; PHP, git and mutt through `mailwhy sendmail`; Postfix's smtp-sink as an upstream that refuses or defers everything; and kill -9
with deferred mail in the spool. Everything listens on loopback, lives in a temporary directory and is stopped at
the end. Programs that are missing are installed with apt-get; smtp-sink is unpacked from its package, so that no mail
server is installed.
"""
import binascii
import email
import email.policy
import glob
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SENDER = "app@shop.example"


def sh(*args, **kw):
    return subprocess.run(args, check=True, text=True, capture_output=True, **kw)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise SystemExit(f"FAIL: not within {seconds} s: {what}")


def check(what, ok, detail=""):
    if not ok:
        raise SystemExit(f"FAIL: {what}\n{detail}")
    print(f"  ok: {what}")


class Bench:
    """A temporary directory, the binary, and everything started, which stop() ends."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="mailwhy-e2e-")
        self.bin = os.path.join(self.dir, "mailwhy")
        self.started = []
        sh("go", "build", "-o", self.bin, "./cmd/mailwhy", cwd=ROOT)

    def start(self, *args, env=None):
        log = open(os.path.join(self.dir, "stderr.log"), "a")
        p = subprocess.Popen(args, stdout=log, stderr=log, env=env or os.environ)
        self.started.append(p)
        return p

    def stop(self):
        for p in self.started:
            if p.poll() is None:
                p.kill()
                p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Upstream:
    """`mailwhy practice`, keeping what it accepts."""

    def __init__(self, bench, name):
        self.port = free_port()
        self.mail = os.path.join(bench.dir, name + "-mail")
        os.makedirs(self.mail)
        self.process = bench.start(bench.bin, "practice", "--listen", f"127.0.0.1:{self.port}", "--dump", self.mail)
        until("practice listens", lambda: reachable(self.port))

    def messages(self):
        out = []
        for path in sorted(glob.glob(self.mail + "/*.eml")):
            with open(path, "rb") as f:
                out.append(email.message_from_binary_file(f, policy=email.policy.default))
        return out

    def reports(self):
        return [m for m in self.messages() if m.get_content_type() == "multipart/report"]

    def others(self):
        return [m for m in self.messages() if m.get_content_type() != "multipart/report"]


class Relay:
    """`mailwhy serve` on a spool of its own. A configuration file, if there is one, names the upstream."""

    def __init__(self, bench, name, upstream_port, *flags, config=None):
        self.bench, self.port = bench, free_port()
        self.spool = os.path.join(bench.dir, name + "-spool")
        self.log = os.path.join(bench.dir, name + "-delivery.log")
        upstream = ["-c", config] if config else ["--upstream", f"smtp://127.0.0.1:{upstream_port}?tls=none"]
        self.args = [bench.bin, "serve", "--listen", f"127.0.0.1:{self.port}", *upstream, "--spool", self.spool,
                     "--delivery-log", self.log, *flags]
        self.start()

    def start(self):
        self.process = self.bench.start(*self.args, env=dict(os.environ, MAILWHY_DSN_COLLECT="200ms"))
        until("the relay listens", lambda: reachable(self.port))

    def events(self, kind=None):
        if not os.path.exists(self.log):
            return []
        with open(self.log) as f:
            lines = [json.loads(line) for line in f if line.endswith("\n")]
        return [e for e in lines if kind is None or e["event"] == kind]

    def queue(self):
        out = sh(self.bench.bin, "queue", "list", "--json", "--spool", self.spool).stdout
        return [json.loads(line) for line in out.splitlines()]

    def term(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


def reachable(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def text(subject, to):
    return f"From: {SENDER}\r\nTo: {', '.join(to)}\r\nSubject: {subject}\r\n\r\nHello.\r\n"


def by_smtplib(port, subject, to, bench):
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as s:
        s.sendmail(SENDER, to, text(subject, to))


def by_swaks(port, subject, to, bench):
    sh("swaks", "--server", f"127.0.0.1:{port}", "--from", SENDER, "--to", ",".join(to), "--data", text(subject, to).replace("\r\n", "\\n"))


def by_curl(port, subject, to, bench):
    path = os.path.join(bench.dir, "curl.eml")
    with open(path, "w", newline="") as f:
        f.write(text(subject, to))
    recipients = [a for r in to for a in ("--mail-rcpt", r)]
    sh("curl", "-sS", f"smtp://127.0.0.1:{port}", "--mail-from", SENDER, *recipients, "-T", path)


def by_msmtp(port, subject, to, bench):
    sh("msmtp", "--host=127.0.0.1", f"--port={port}", f"--from={SENDER}", "--tls=off", "--auth=off", *to,
       input=text(subject, to).replace("\r\n", "\n"))


DEBIAN_PYTHON = "/usr/bin/python3"
PHPMAILER = "/usr/share/php/libphp-phpmailer/autoload.php"


def by_phpmailer(port, sender, bench, more):
    """A mail in UTF-8 with PHPMailer; more are statements about $m."""
    script = os.path.join(bench.dir, "mail.php")
    with open(script, "w") as f:
        f.write(f"""<?php require '{PHPMAILER}';
PHPMailer\\PHPMailer\\PHPMailer::$validator = fn() => true;
$m = new PHPMailer\\PHPMailer\\PHPMailer(true);
$m->isSMTP(); $m->Host = '127.0.0.1'; $m->Port = {port}; $m->SMTPAutoTLS = false; $m->CharSet = 'utf-8';
$m->From = '{sender}'; $m->FromName = 'Jörg'; $m->addAddress('alice@customer.example'); $m->Subject = 'Grüße'; $m->Body = 'Grüße';
{more}
try {{ $m->send(); }} catch (Exception $e) {{ echo $m->ErrorInfo; exit(1); }}
""")
    sh("php", script)


def body_of(upstream):
    """The text of the mail that arrived last."""
    return upstream.messages()[-1].get_content()


def test_clients(bench):
    """One good recipient and one refused, from each client."""
    upstream = Upstream(bench, "clients")
    relay = Relay(bench, "clients", upstream.port, "--retry", "1s")
    for name, send in {"smtplib": by_smtplib, "swaks": by_swaks, "curl": by_curl, "msmtp": by_msmtp}.items():
        before = len(upstream.messages())
        send(relay.port, f"by {name}", ["alice@customer.example", "550-5.1.1@any.test"], bench)
        until(f"{name}: the message and its bounce", lambda: len(upstream.messages()) >= before + 2)
        check(f"{name}: the message is at the upstream once", sum(m["Subject"] == f"by {name}" for m in upstream.others()) == 1)
        reports = [m for m in upstream.reports() if f"by {name}" in m.get_body(("plain",)).get_content()]
        check(f"{name}: one bounce to the sender", len(reports) == 1 and SENDER in reports[0]["To"])
        fields = reports[0].get_payload()[1].as_string()
        check(f"{name}: the bounce has category and fix", "X-Mailwhy-Category: Invalid Address" in fields and "X-Mailwhy-Fix: 1." in fields, fields)
        ids = {e["id"] for e in relay.events("failed")}
        check(f"{name}: the log tells the story", len(ids) >= 1)
    last = relay.events("failed")[-1]
    story = [e["event"] for e in relay.events() if e["id"] == last["id"]]
    check("the story is accepted, relayed, failed, dsn", sorted(set(story)) == ["accepted", "dsn", "failed", "relayed"], story)
    check("the log line has reply, category and fix", last["reply"].startswith("550 5.1.1") and last["diagnosis"]["category"] == "Invalid Address" and last["diagnosis"]["fix"], last)
    check("health says that all is well", subprocess.run([bench.bin, "health", "--spool", relay.spool]).returncode == 0)
    check("the queue is empty", relay.queue() == [])
    check("SIGTERM ends with status 0", relay.term() == 0)
    check("health of a relay that is gone is 1", subprocess.run([bench.bin, "health", "--spool", relay.spool], capture_output=True).returncode == 1)


def smtp_sink(bench):
    """Postfix's smtp-sink, unpacked from its package."""
    place = os.path.join(bench.dir, "postfix")
    os.makedirs(place)
    if not glob.glob("/var/lib/apt/lists/*Packages*"):
        sh("apt-get", "update", "-qq")
    sh("apt-get", "download", "-qq", "postfix", cwd=place)
    sh("dpkg", "-x", glob.glob(place + "/postfix_*.deb")[0], place)
    env = dict(os.environ, LD_LIBRARY_PATH=place + "/usr/lib/postfix")
    path = place + "/usr/sbin/smtp-sink"

    def run(*flags):
        port = free_port()
        os.chmod(bench.dir, 0o755)
        bench.start(path, "-u", "nobody", *flags, f"127.0.0.1:{port}", "64", env=env)
        until("smtp-sink listens", lambda: reachable(port))
        return port

    return run


def test_sink(bench):
    """An upstream that refuses every recipient, and one that defers every recipient."""
    sink = smtp_sink(bench)
    relay = Relay(bench, "refusing", sink("-f", "rcpt"), "--retry", "1s")
    by_smtplib(relay.port, "refused", ["alice@customer.example"], bench)
    held = until("the bounce is held", lambda: relay.events("held"))
    check("everything refused: the message failed", len(relay.events("failed")) == 1)
    check("everything refused: the bounce too, so it is held and says why", held[0]["from"] == "" and held[0]["to"] == SENDER and held[0]["note"], held)
    check("the held bounce is in the queue", [m["recipients"][0]["state"] for m in relay.queue()] == ["held"], relay.queue())
    check("SIGTERM ends with status 0", relay.term() == 0)
    relay = Relay(bench, "deferring", sink("-r", "rcpt"), "--retry", "1s", "--expire-after", "4s")
    by_smtplib(relay.port, "deferred", ["alice@customer.example"], bench)
    until("the message expires", lambda: relay.events("expired"))
    check("everything deferred: tried again, then given up", len(relay.events("deferred")) >= 3)
    relay.term()


def test_kill(bench):
    """kill -9 with deferred mail: after the restart all of it is relayed or bounced, and none twice."""
    upstream = Upstream(bench, "kill")
    relay = Relay(bench, "kill", upstream.port, "--retry", "2s")
    for i in range(20):
        by_smtplib(relay.port, f"deferred {i}", [f"451-4.3.0+once+n{i}@any.test"], bench)
    for i in range(3):
        by_smtplib(relay.port, f"refused {i}", [f"550-5.1.1+r{i}@any.test"], bench)
    until("all are deferred or failed", lambda: len(relay.events("deferred")) >= 20 and len(relay.events("failed")) >= 3)
    check("no bounce is out before the kill", not upstream.reports())
    relay.process.kill()
    relay.process.wait()
    started = time.monotonic()
    relay.start()
    until("all are relayed", lambda: len(upstream.others()) >= 20, 10)
    check(f"relayed {time.monotonic() - started:.1f} s after the restart", time.monotonic() - started < 7)
    subjects = sorted(m["Subject"] for m in upstream.others())
    check("20 messages, none twice", len(subjects) == 20 and len(set(subjects)) == 20, subjects)
    until("the queue is empty", lambda: relay.queue() == [])
    reports = sorted(m.get_payload()[1].as_string().split("Final-Recipient: rfc822; ")[1].split()[0] for m in upstream.reports())
    check("3 bounces that were due at the kill, none twice", reports == [f"550-5.1.1+r{i}@any.test" for i in range(3)], reports)
    relay.term()


def test_reload(bench):
    """SIGHUP: mail that waits for a dead upstream goes to the one that the changed file names; a mistake changes nothing."""
    dead, upstream = free_port(), Upstream(bench, "reload")
    path = os.path.join(bench.dir, "relay.toml")

    def configure(port, extra=""):
        with open(path, "w") as f:
            f.write(f'{extra}\n[upstream.default]\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\n')

    configure(dead)
    relay = Relay(bench, "reload", dead)
    relay.term()
    relay.args = [bench.bin, "serve", "-c", path, "--listen", f"127.0.0.1:{relay.port}", "--spool", relay.spool, "--delivery-log", relay.log]
    relay.start()
    by_smtplib(relay.port, "waits", ["alice@customer.example"], bench)
    until("the lane pauses", lambda: [e for e in relay.events("lane") if e["state"] == "paused"])
    configure(upstream.port, "hostnam = \"typo\"")
    relay.process.send_signal(signal.SIGHUP)
    until("the mistake is told", lambda: "unknown setting" in open(os.path.join(bench.dir, "stderr.log")).read())
    check("a mistake changes nothing", relay.process.poll() is None and not upstream.messages())
    configure(upstream.port)
    relay.process.send_signal(signal.SIGHUP)
    until("the message arrives", lambda: upstream.messages())
    check("mail that waited went to the new upstream, and nobody was bounced", not relay.events("failed") and len(upstream.messages()) == 1)
    check("the log has one pause and one resume", [e["state"] for e in relay.events("lane")] == ["paused", "resumed"], relay.events("lane"))
    check("SIGTERM ends with status 0", relay.term() == 0)


PRINTER = ["HELO", "MAIL FROM: scanner@corp.test", "RCPT TO: alice@customer.example", "DATA", "Subject: scan\n\nOne page.\n."]


def by_printer(port, source):
    """A session as an old printer has it: no name, no brackets, LF. Returns the first refusal, or ""."""
    with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0)) as s:
        replies = s.makefile("rb")
        reply = replies.readline().decode()
        for line in PRINTER:
            s.sendall((line + "\n").encode())
            reply = replies.readline().decode()
            if reply[0] in "45":
                return reply
    return ""


def raw(message):
    """The header and body as they arrived, without what the relay put first."""
    return re.sub(r"\AReceived: [^\n]*\n([ \t][^\n]*\n)*", "", message.as_string().replace("\r\n", "\n"))


def test_content(bench):
    """What cron, Python, msmtp, swaks, PHPMailer, curl and a printer send leaves as it should; a strict refusal says what would allow it."""
    upstream = Upstream(bench, "content")
    path = os.path.join(bench.dir, "content.toml")
    with open(path, "w") as f:
        f.write(f"""hostname = "relay.corp.test"
[content]
default_domain = "corp.test"
[[client]]
name = "apps"
networks = ["127.0.0.1"]
[[client]]
name = "printers"
networks = ["127.0.0.2"]
lenient = true
auth = "any"
[upstream.default]
url = "smtp://127.0.0.1:{upstream.port}?tls=none"
""")
    relay = Relay(bench, "content", upstream.port, config=path)

    def arrives(what, send):
        before = len(upstream.messages())
        send()
        return raw(until(f"{what} arrives", lambda: upstream.messages()[before:])[0])

    def cron():
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as s:
            s.sendmail("root", ["root"], "From root Sat Nov 28 10:00:00 2026\nFrom: root (Cron Daemon)\nTo: root\n"
                       "Subject: Cron <root@db1> backup\n\nDisk full\n")

    got = arrives("cron's mail", cron)
    check("cron: the mbox line is a field, the addresses have a domain", got.startswith(
        "X-Mailbox-Line: From root Sat Nov 28 10:00:00 2026\nFrom: root@corp.test (Cron Daemon)\nTo: root@corp.test\n"), got)
    check("cron: Message-ID and Date are there once", got.count("\nMessage-ID: <") == 1 and got.count("\nDate: ") == 1, got)
    event = relay.events("accepted")[-1]
    check("cron: the log says what was changed", event["from"] == event["to"] == "root@corp.test" and event["changed"] ==
          ["domain added", "mailbox line renamed", "message-id added", "date added"], event)

    def python():
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as s:
            s.sendmail(SENDER, ["alice@customer.example"], f"From: {SENDER}\nTo: alice@customer.example\n"
                       "Bcc: boss@corp.test,\n secret@corp.test\nMessage-ID: <>\nSubject: a report\n\nHello.\n")

    got = arrives("Python's mail", python)
    check("Python: Bcc is gone, folded lines too, and Message-ID is new", "boss" not in got and "secret" not in got and
          got.count("Message-ID: <") == 1 and "Message-ID: <>" not in got, got)

    def msmtp():
        sh("msmtp", "--host=127.0.0.1", f"--port={relay.port}", "--from=root", "--tls=off", "--auth=off", "--undisclosed-recipients=off",
           "admin", input="Subject: raid degraded\n\nmd0\n")

    got = arrives("msmtp's mail", msmtp)
    check("msmtp --from=root: there is a From with a domain", re.search(r"^From: .*root@corp\.test", got, re.M) and got.endswith("\n\nmd0\n"), got)
    event = relay.events("accepted")[-1]
    check("msmtp --from=root: the envelope has domains", event["from"] == "root@corp.test" and event["to"] == "admin@corp.test", event)

    refusal = by_printer(relay.port, "127.0.0.1")
    check("printer, strict: the refusal names the setting", refusal.startswith("501 5.5.4 ") and "lenient = true" in refusal, refusal)
    got = arrives("the printer's mail", lambda: check("printer, lenient: accepted", by_printer(relay.port, "127.0.0.2") == ""))
    check("printer, lenient: the mail is whole", got.startswith("Subject: scan\n") and "\nFrom: scanner@corp.test\n" in got and got.endswith("\n\nOne page.\n"), got)
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=20, source_address=("127.0.0.2", 0)) as s:
        check("printer, lenient: every login is accepted", s.login("any", "thing")[0] == 235)

    def swaks():
        sh("swaks", "--server", f"127.0.0.1:{relay.port}", "--from", "www-data", "--to", "admin", "--data", "Disk full\\non /var\\n")

    got = arrives("swaks' mail", swaks)
    check("swaks, a text without a header: an empty line is before it, and From has a domain",
          "\nFrom: www-data@corp.test\n\nDisk full\non /var\n" in "\n" + got, got)

    def php():
        by_phpmailer(relay.port, "www-data", bench, "$m->addCustomHeader('Bcc', 'boss@corp.test');")

    got = arrives("PHPMailer's mail", php)
    check("PHPMailer: Bcc is gone, UTF-8 arrives", "boss" not in got and "Subject: =?utf-8?" in got and "Grüße\n" in body_of(upstream), got)
    event = relay.events("accepted")[-1]
    check("PHPMailer, From www-data: envelope and header have a domain", event["from"] == "www-data@corp.test" and "<www-data@corp.test>\n" in got, event)

    crlf = os.path.join(bench.dir, "mbox.eml")
    with open(crlf, "w", newline="") as f:
        f.write("From root Sat Nov 28 10:00:00 2026\r\nSubject : saved\r\nTo: admin\r\nMessage-ID:\r\n\r\nA page.\r\n")
    got = arrives("curl's mail", lambda: sh("curl", "-sS", f"smtp://127.0.0.1:{relay.port}", "--mail-from", "root", "--mail-rcpt", "admin", "-T", crlf))
    check("curl -T of an mbox file: the header is mended", got.startswith("X-Mailbox-Line: From root Sat Nov 28 10:00:00 2026\nSubject: saved\n"
          "To: admin@corp.test\nMessage-ID: <") and got.endswith("\nFrom: root@corp.test\n\nA page.\n"), got)

    lf = os.path.join(bench.dir, "lf.eml")
    with open(lf, "w", newline="") as f:
        f.write("Subject: LF\n\n" + "A line.\n" * 100000)
    curl = ["curl", "-sv", f"smtp://127.0.0.1:{relay.port}", "--mail-from", SENDER, "--mail-rcpt", "alice@customer.example", "-T", lf]
    told = subprocess.run(curl, capture_output=True, text=True)
    check("curl -T of a file with LF hears why it is refused", told.returncode != 0 and "554 5.6.0 Bare LF" in told.stderr, told.stderr[-2000:])
    got = arrives("the file with LF", lambda: sh(*curl, "--interface", "127.0.0.2"))
    check("curl -T of a file with LF, lenient: all lines arrive", got.count("\nA line.") == 100000)
    check("SIGTERM ends with status 0", relay.term() == 0)


def test_strict(bench):
    """What a relay with nothing but defaults refuses, it refuses with the setting that would allow it."""
    upstream = Upstream(bench, "strict")
    relay = Relay(bench, "strict", upstream.port, "--hostname", "relay")
    wanted = "content.default_domain completes the addresses of clients in [[client]]"

    def refuses(who, send):
        try:
            send()
        except smtplib.SMTPResponseException as e:
            said = e.smtp_error.decode()
        except smtplib.SMTPRecipientsRefused as e:
            said = str(e.recipients)
        except subprocess.CalledProcessError as e:
            said = e.stdout + e.stderr
        else:
            said = ""
        check(f"{who}: the refusal of root names content.default_domain", wanted in " ".join(said.split()), said)

    def python():
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as s:
            s.sendmail("root", [SENDER], text("x", [SENDER]))

    refuses("smtplib", python)
    refuses("swaks", lambda: sh("swaks", "--server", f"127.0.0.1:{relay.port}", "--from", SENDER, "--to", "admin"))
    refuses("msmtp", lambda: sh("msmtp", "--host=127.0.0.1", f"--port={relay.port}", "--from=root", "--tls=off", "--auth=off", "admin", input="x\n"))
    refuses("curl", lambda: sh("curl", "-sv", f"smtp://127.0.0.1:{relay.port}", "--mail-from", "root", "--mail-rcpt", "admin", "-T", "/dev/null"))
    refuses("PHPMailer", lambda: by_phpmailer(relay.port, "www-data", bench, ""))
    for line, setting in {"HELO": "lenient = true", "MAIL FROM: a@b.test": "lenient = true"}.items():
        with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as s:
            replies = s.makefile("rb")
            for command in ("EHLO x", line) if line != "HELO" else (line,):
                s.sendall(command.encode() + b"\r\n")
            s.sendall(b"QUIT\r\n")
            said = replies.read().decode()
        check(f"printer, {line}: the refusal names {setting}", setting in said and "\n501 " in said, said)
    refused = relay.events("refused")
    check("the log has every refusal with its reply", len(refused) >= 7 and all(e["reply"] for e in refused), refused)
    check("nothing arrived", upstream.messages() == [])
    check("SIGTERM ends with status 0", relay.term() == 0)


class OldServer(threading.Thread):
    """A server without 8BITMIME that keeps what it gets in files."""

    def __init__(self, bench):
        super().__init__(daemon=True)
        self.dir = os.path.join(bench.dir, "old-mail")
        os.makedirs(self.dir)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.envelopes = []
        self.start()

    def run(self):
        while True:
            threading.Thread(target=self.serve, args=(self.listener.accept()[0],), daemon=True).start()

    def serve(self, conn):
        with conn, conn.makefile("rwb") as f:
            f.write(b"220 old.test\r\n")
            f.flush()
            while line := f.readline():
                verb = line[:4].upper()
                reply = {b"EHLO": b"250-old.test\r\n250 SIZE\r\n", b"DATA": b"354 go\r\n"}.get(verb, b"250 2.0.0 Ok\r\n")
                if verb == b"MAIL":
                    sender = line.decode()
                f.write(reply)
                f.flush()
                if verb == b"QUIT":
                    return
                if verb == b"DATA":
                    self.keep(f, sender)
                    f.write(b"250 2.0.0 Ok\r\n")
                    f.flush()

    def keep(self, f, sender):
        path = os.path.join(self.dir, f"{time.monotonic_ns()}.part")
        with open(path, "wb") as out:
            while (line := f.readline()) not in (b".\r\n", b""):
                out.write(line[1:] if line.startswith(b".") else line)
        os.rename(path, path[:-5] + ".eml")
        self.envelopes.append(sender)


def dkim_key(bench, kind):
    """A key of corp.test: its settings, and its record."""
    out = sh(bench.bin, "dkim", "keygen", "corp.test", "--type", kind, "--selector", kind, cwd=bench.dir).stdout
    record = re.search(r"value  (v=DKIM1.*)", out).group(1)
    file = glob.glob(os.path.join(bench.dir, kind + "*.pem"))[0]
    return f'[[dkim]]\ndomain = "corp.test"\nselector = "{kind}"\nkey_file = "{file}"\n', record


VERIFIER = """
import dkim, json, sys
zone, d = json.loads(sys.argv[1]), dkim.DKIM(open(sys.argv[2], "rb").read())
print([d.verify(idx=i, dnsfunc=lambda name, timeout=5: zone[name.decode().split(".")[0]].encode()) for i in range(2)])
"""


def peak(process):
    """The largest resident size of a process so far, in MB (10^6 bytes)."""
    with open(f"/proc/{process.pid}/status") as f:
        return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1)) * 1024 / 1e6


def test_large(bench):
    """Messages of 50 MB, four at once, mended, rewritten, converted, signed twice and stamped: whole, and in little memory."""
    upstream = OldServer(bench)
    keys = {kind: dkim_key(bench, kind) for kind in ("rsa", "ed25519")}
    path = os.path.join(bench.dir, "large.toml")
    with open(path, "w") as f:
        f.write(f"""hostname = "relay.corp.test"
[content]
default_domain = "corp.test"
[smtpd]
max_message_size = "100MB"
[feedback]
pipe = true
[feedback.return_path]
address = "b@bounces.corp.test"
upstreams = ["default"]
[[rewrite]]
name = "team"
senders = ["root@corp.test"]
set_from = "Größen <team@corp.test>"
add_headers = ["X-Team: ops"]
[upstream.default]
url = "smtp://127.0.0.1:{upstream.port}?tls=none"
""" + "".join(settings for settings, _ in keys.values()))
    relay = Relay(bench, "large", upstream.port, config=path)
    body = ("Größe: 50 MB, Zeile für Zeile, mit Umlauten.\r\n" * 1_050_000).encode()
    content = "From root Sat Nov 28 10:00:00 2026\r\nFrom: root\r\nTo : ops\r\nBcc: boss\r\nSubject: groß\r\n\r\n".encode() + body

    def send():
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=300) as s:
            s.sendmail("root", ["ops"], content, mail_options=["BODY=8BITMIME"])

    by_smtplib(relay.port, "small", ["ops@corp.test"], bench)
    until("the small one is relayed", lambda: len(relay.events("relayed")) == 1)
    before = peak(relay.process)
    started = time.monotonic()
    senders = [threading.Thread(target=send) for _ in range(4)]
    for s in senders:
        s.start()
    for s in senders:
        s.join()
    until("all are relayed", lambda: len(relay.events("relayed")) == 5, 300)
    print(f"  {len(body) / 1e6:.0f} MB four times in {time.monotonic() - started:.0f} s, peak RSS {peak(relay.process):.0f} MB, {before:.0f} MB before")
    check("memory is flat", peak(relay.process) < 100, peak(relay.process))
    check("every envelope has a return path", sum("MAIL FROM:<b+" in e for e in upstream.envelopes) >= 4, upstream.envelopes)
    event = relay.events("relayed")[-1]
    check("the log says rewritten, converted and signed", event["changed"][0] == "from rewritten" and
          event["changed"][-2:] == ["converted to 7bit", "dkim signed"], event)
    for name in sorted(glob.glob(upstream.dir + "/*.eml"))[-4:]:
        with open(name, "rb") as f:
            header, _, text = f.read().partition(b"\r\n\r\n")
        check("a large one is 7-bit, mended, and whole", header.isascii() and text.isascii() and b"\r\nTo: ops@corp.test\r\n" in header and
              b"<team@corp.test>\r\n" in header and b"\r\nX-Team: ops\r\n" in header and
              b"boss" not in header and binascii.a2b_qp(text) == body, header.decode(errors="replace"))
    valid = sh(DEBIAN_PYTHON, "-c", VERIFIER, json.dumps({kind: record for kind, (_, record) in keys.items()}), name).stdout
    check("both signatures of a large one verify", valid == "[True, True]\n", valid)
    check("SIGTERM ends with status 0", relay.term() == 0)


def test_sendmail(bench):
    """Programs that call sendmail: PHP's mail(), git send-email, mutt."""
    upstream = Upstream(bench, "sendmail")
    socket_path = os.path.join(bench.dir, "smtp.sock")
    config = os.path.join(bench.dir, "sendmail.toml")
    with open(config, "w") as f:
        f.write(f"""hostname = "relay.corp.test"
listen = [{{ address = "unix:{socket_path}" }}]
spool = {{ dir = "{os.path.join(bench.dir, 'sendmail-spool')}" }}
accept = {{ mode = "try" }}
upstream = {{ default = {{ host = "127.0.0.1", port = {upstream.port}, tls = "none" }} }}
""")
    relay = bench.start(bench.bin, "serve", "-c", config)
    until("the relay listens", lambda: os.path.exists(socket_path))
    sendmail = os.path.join(bench.dir, "sendmail")
    os.symlink(bench.bin, sendmail)
    who = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in (("NAME", "Dev"), ("EMAIL", "dev@corp.test"))}
    env = dict(os.environ, MAILWHY_CONFIG=config, HOME=bench.dir, **who)  # git asks who it is, and HOME does not say

    def arrives(what, send):
        before = len(upstream.messages())
        send()
        until(what, lambda: len(upstream.messages()) == before + 1)
        return upstream.messages()[-1]

    def php(code):
        return sh("php", "-d", f"sendmail_path={sendmail} -t -i", "-r", code, env=env)

    got = arrives("PHP's mail", lambda: php(
        r"""var_dump(mail('a@customer.example', 'Grüße', "Hi\n.\nend", "From: Shop <shop@corp.test>\r\nBcc: b@customer.example", '-fshop@corp.test'));"""))
    check("PHP mail(): it is whole, without Bcc", got["Bcc"] is None and got.get_content() == "Hi\n.\nend\n" and got["From"] == "Shop <shop@corp.test>", got)
    for code, says in (("550-5.1.1", "Invalid Address"), ("552-5.3.4", "Fix")):
        told = php(f"var_dump(mail('{code}@customer.example', 's', 'x', 'From: shop@corp.test'));")
        check(f"PHP mail() to {code}: false, and why is on standard error", told.stdout == "bool(false)\n" and says in told.stderr, told)
    told = sh("php", "-d", f"sendmail_path={sendmail} -t -i --relay unix:/does/not/exist", "-r", "var_dump(mail('a@customer.example', 's', 'x'));", env=env)
    check("PHP mail() without a relay: false, and why", told.stdout == "bool(false)\n" and "no relay takes mail at unix:/does/not/exist" in told.stderr, told)

    patch = os.path.join(bench.dir, "0001.patch")
    with open(patch, "w") as f:
        f.write("From 0 Mon Sep 17 00:00:00 2001\nFrom: dev@corp.test\nDate: Sun, 29 Nov 2026 09:00:00 +0000\nSubject: [PATCH] x\n\n---\n.\n")
    git = ["git", "send-email", f"--smtp-server={sendmail}", "--from=dev@corp.test", "--confirm=never", "--suppress-cc=all", "--quiet"]
    got = arrives("git's mail", lambda: sh(*git, "--to=a@customer.example", patch, env=env, cwd=bench.dir))
    check("git send-email: the patch is whole", got["Subject"] == "[PATCH] x" and got.get_content() == "---\n.\n", got)
    told = subprocess.run([*git, "--to=550-5.1.1@customer.example", patch], env=env, cwd=bench.dir, capture_output=True, text=True)
    check("git send-email hears the refusal", told.returncode != 0 and "Invalid Address" in told.stderr, told)

    mutt = ["mutt", "-n", "-F", "/dev/null", "-e", f"set sendmail='{sendmail} -oem -oi' copy=no from=me@corp.test use_envelope_from=yes", "-s", "hi", "-b", "b@customer.example"]
    got = arrives("mutt's mail", lambda: sh(*mutt, "--", "a@customer.example", input="Hi\n.\n", env=env))
    check("mutt: it is whole, without Bcc", got["Bcc"] is None and got["To"] == "a@customer.example" and got.get_content() == "Hi\n.\n", got)
    check("mailq prints the queue", "Mail queue is empty\n" == sh(sendmail, "-bp", env=env).stdout)
    relay.send_signal(signal.SIGTERM)
    check("SIGTERM ends with status 0", relay.wait(timeout=20) == 0)


def install():
    """Programs that are missing, and PHPMailer."""
    missing = [p for p in ("swaks", "curl", "msmtp", "mutt") if not shutil.which(p)]
    git = subprocess.run(["git", "--exec-path"], capture_output=True, text=True).stdout.strip()
    if not os.path.exists(git + "/git-send-email") or subprocess.run(["perl", "-MMail::Address", "-e", "1"], capture_output=True).returncode:
        missing += ["git-email", "libmailtools-perl"]
    if not shutil.which("php") or not os.path.exists(PHPMAILER):
        missing += ["php-cli", "libphp-phpmailer"]
    if subprocess.run([DEBIAN_PYTHON, "-c", "import dkim, nacl"], capture_output=True).returncode != 0:
        missing += ["python3-dkim", "python3-nacl"]
    if missing:
        sh("apt-get", "update", "-qq")
        sh("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)


def main():
    install()
    bench = Bench()
    try:
        for test in (test_clients, test_sink, test_kill, test_reload, test_content, test_strict, test_large, test_sendmail):
            print(f"{test.__name__}: {test.__doc__.splitlines()[0]}")
            test(bench)
    except (SystemExit, Exception):
        with open(os.path.join(bench.dir, "stderr.log"), errors="replace") as f:
            sys.stderr.write("".join(f.readlines()[-40:]))
        raise
    finally:
        bench.stop()
    print("end to end: ok")


main()
