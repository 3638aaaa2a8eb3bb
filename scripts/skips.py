#!/usr/bin/env python3
"""Reads the output of `go test -json` and fails if a test was skipped for want of a program.

Usage: skips.py FILE. Prints the closing count, with the other skips and their reasons.
"""
import json
import sys

passed = failed = skipped = 0
said = {}
wanting = []
for line in open(sys.argv[1], encoding="utf-8"):
    event = json.loads(line)
    if "Test" not in event:
        continue
    key = (event["Package"], event["Test"])
    action = event["Action"]
    if action == "output":
        said.setdefault(key, []).append(event["Output"].strip())
    elif action == "pass":
        passed += 1
    elif action == "fail":
        failed += 1
    elif action == "skip":
        skipped += 1
        why = " ".join(s for s in said.get(key, []) if s and not s.startswith(("===", "---")))
        print(f"skipped: {key[0]} {key[1]}: {why}")
        if "is not installed" in why or "not running" in why:
            wanting.append(key)
print(f"{passed} passed, {failed} failed, {skipped} skipped")
if wanting or failed:
    sys.exit("tests were skipped for want of a program: " + ", ".join(f"{p} {t}" for p, t in wanting))
