#!/usr/bin/env python3
"""Sends mail to two relays by turns until it is told to stop, as a client with two servers does: where one
refuses the connection or says 421 it goes to the other. Prints how many messages were taken; fails at a 5xx.

    rolling.py STOPFILE HOST:PORT HOST:PORT
"""
import os
import smtplib
import sys
import time

PATIENCE = 60  # seconds for one message to be taken by either


def send(address, n):
    """Reports whether the relay took message n. A refusal for good ends the program."""
    host, port = address.rsplit(":", 1)
    try:
        with smtplib.SMTP(host, int(port), timeout=20) as s:
            s.sendmail("app@shop.example", ["alice@customer.example"],
                       f"From: app@shop.example\r\nSubject: rolling {n}.\r\n\r\nhello\r\n")
        return True
    except smtplib.SMTPResponseException as e:
        if e.smtp_code >= 500:
            sys.exit(f"message {n}: {e.smtp_code} {e.smtp_error}")
    except smtplib.SMTPRecipientsRefused as e:
        if any(code >= 500 for code, _ in e.recipients.values()):
            sys.exit(f"message {n}: {e.recipients}")
    except OSError:
        pass
    return False


def main():
    stop, relays = sys.argv[1], sys.argv[2:]
    n = 0
    while not os.path.exists(stop):
        end = time.monotonic() + PATIENCE
        turn = n
        while not send(relays[turn % len(relays)], n):
            turn += 1
            if time.monotonic() > end:
                sys.exit(f"message {n}: nobody took it in {PATIENCE} s")
            time.sleep(0.05)
        n += 1
    print(n)


main()
