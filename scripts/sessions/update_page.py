"""Writes what clients showed into a page, between its marks; lines are wrapped."""
import os, sys, textwrap

page, out = sys.argv[1:]
BEGIN, END = "<!-- clients -->\n", "<!-- end of clients -->\n"
names = {"smtplib": "Python, smtplib", "net-smtp": "Go, net/smtp", "nodemailer": "Node.js, nodemailer",
         "phpmailer": "PHP, PHPMailer", "javamail": "Java, JavaMail", "swaks": "swaks", "msmtp": "msmtp",
         "curl": "curl"}
block = ""
for name, title in names.items():
    path = os.path.join(out, name)
    if not os.path.exists(path):
        sys.exit(f"{title} did not run: the page has the output of all clients, so nothing is written")
    with open(path, encoding="utf-8", errors="replace") as f:
        lines = [w for line in f.read().strip().splitlines()
                 for w in textwrap.wrap(line, 106, subsequent_indent="  ", break_on_hyphens=False) or [""]]
    block += f"{title}:\n\n```\n" + "\n".join(lines) + "\n```\n\n"
with open(page, encoding="utf-8") as f:
    text = f.read()
before, rest = text.split(BEGIN)
after = rest.split(END)[1]
with open(page, "w", encoding="utf-8") as f:
    f.write(before + BEGIN + "\n" + block + END + after)
