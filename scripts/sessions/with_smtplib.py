"""Sends with Python's smtplib and prints what an application gets."""
import smtplib, sys

server = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
try:
    server.sendmail("app@example.com", [sys.argv[2]], "Subject: x\r\n\r\ntext\r\n")
except smtplib.SMTPException as e:
    print(f"{type(e).__name__}: {e}")
