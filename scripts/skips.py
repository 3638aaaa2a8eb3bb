#!/usr/bin/env python3
"""Reads the output of `go test -json`: shows what failed, and fails if a test was skipped for want of a program.

Usage: skips.py FILE. Prints the whole output of each test and package that failed, the other skips with their
reasons, and a closing count.
"""
import json
import sys

passed = failed = skipped = 0
said = {}
wanting = []
for line in open(sys.argv[1], encoding="utf-8"):
    event = json.loads(line)
    key = (event.get("Package") or event.get("ImportPath", ""), event.get("Test", ""))
    action = event["Action"]
    if action in ("output", "build-output"):
        said.setdefault(key, []).append(event["Output"])
    elif action == "pass" and key[1]:
        passed += 1
    elif action in ("fail", "build-fail"):
        failed += 1
        print(f"FAILED: {key[0]} {key[1]}\n" + "".join(said.get(key, [])[-200:]))
    elif action == "skip" and key[1]:
        skipped += 1
        words = (s.strip() for s in said.get(key, []))
        why = " ".join(s for s in words if s and not s.startswith(("===", "---")))
        print(f"skipped: {key[0]} {key[1]}: {why}")
        if "is not installed" in why or "not running" in why:
            wanting.append(key)
print(f"{passed} passed, {failed} failed, {skipped} skipped")
if wanting:
    sys.exit("tests were skipped for want of a program: " + ", ".join(f"{p} {t}" for p, t in wanting))
if failed:
    sys.exit("tests failed")
