#!/usr/bin/env bash
# Scores package diagnose/bounce against public collections of bounce mail: scripts/bounce-sets.sh [-list] DIR
#
# The collections are not in this repository. Put those that you have below DIR, under these names; each that is
# there is scored, and the exit status is 1 when a target is missed.
#
#   set-of-emails  a clone of github.com/sisimai/set-of-emails
#   flufl.bounce   the directory flufl/bounce of the Python package flufl.bounce 4.0, with its tests; Debian's
#                  python3-flufl.bounce has it: apt-get download, dpkg -x
#   kumomta        crates/kumo-log-types/data of github.com/KumoCorp/kumomta
#   hyvor-relay    worker/bounceparse/testdata of github.com/hyvor/relay
set -euo pipefail
cd "$(dirname "$0")/.."

arguments=()
for a in "$@"; do
  case $a in
    -*) arguments+=("$a") ;;
    *) arguments+=("$(cd "$OLDPWD" && realpath "$a")") ;;
  esac
done
exec go run ./scripts/bouncesets "${arguments[@]}"
