#!/usr/bin/env bash
# Makes a release for linux/amd64 of the last commit in two folders, compares them, and installs the deb.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for folder in first second/deeper; do
  git clone -q --no-local . "$scratch/$folder/mailwhy"
  # What the packages contain must not depend on the umask.
  (umask $([ $folder = first ] && echo 022 || echo 077) &&
    cd "$scratch/$folder/mailwhy" && scripts/release.sh --only linux/amd64 ../out) >"$scratch/log" 2>&1 ||
    { cat "$scratch/log"; exit 1; }
done
if ! diff "$scratch/first/out/SHA256SUMS" "$scratch/second/deeper/out/SHA256SUMS"; then
  echo 'the same commit gave different files in two folders'
  exit 1
fi
cat "$scratch/first/out/SHA256SUMS"
scripts/deploy/packages/deb-test.sh "$scratch"/first/out/*.deb
