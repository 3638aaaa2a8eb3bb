#!/usr/bin/env bash
# Writes the manual pages of all commands into a directory, for packages: scripts/man.sh DIR
set -euo pipefail
dir=${1:?usage: scripts/man.sh DIR}
mkdir -p "$dir"
dir=$(realpath "$dir")
cd "$(dirname "$0")/.."
go test ./cmd/mailwhy -count=1 -run '^TestManPages$' -man "$dir" >/dev/null
ls "$dir" | wc -l | xargs printf '%s manual pages\n'
