#!/usr/bin/env bash
# Makes what a release consists of, in a directory:
#
#   scripts/release.sh [--only GOOS/GOARCH] [--no-sbom] OUT
#
# Static binaries for Linux and macOS, a deb, an rpm and an apk for each Linux, a list of what is inside (SBOM,
# CycloneDX) and SHA256SUMS. The version is the tag of the commit; between tags it is that of the next patch, with the
# commit's id. The same commit gives the same bytes on any machine with the same Go release (scripts/release-test.sh).
# Sign SHA256SUMS with a key of your own: minisign -Sm OUT/SHA256SUMS
set -euo pipefail
only= sbom=yes
while [ $# -gt 1 ]; do
  case $1 in
    --only) only=$2; shift 2 ;;
    --no-sbom) sbom=; shift ;;
    *) break ;;
  esac
done
if [ $# -ne 1 ]; then
  echo 'usage: scripts/release.sh [--only GOOS/GOARCH] [--no-sbom] OUT' >&2
  exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

# The tools' versions are fixed. They are built for this machine, whatever the packages are for.
nfpm() { env -u GOOS -u GOARCH go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.0 "$@"; }
cyclonedx() { env -u GOOS -u GOARCH go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0 "$@"; }

# version is v1.2.3, or v1.2.4-dev.5.gc0ffee for the fifth commit after it.
version() {
  local described base commits id
  described=$(git describe --tags --long --match 'v[0-9]*' 2>/dev/null) ||
    described=v0.0.0-$(git rev-list --count HEAD)-g$(git rev-parse --short HEAD)
  id=${described##*-} described=${described%-*}
  commits=${described##*-} base=${described%-*}
  if [ "$commits" = 0 ]; then
    echo "$base"
  else
    echo "${base%.*}.$((${base##*.} + 1))-dev.$commits.$id"
  fi
}

VERSION=$(version)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export VERSION SOURCE_DATE_EPOCH
export GOFLAGS=-buildvcs=true
echo "mailwhy $VERSION"

for target in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do
  [ -z "$only" ] || [ "$only" = "$target" ] || continue
  export GOOS=${target%/*} ARCH=${target#*/}
  export GOARCH=$ARCH BINARY=$out/mailwhy-$VERSION-$GOOS-$ARCH
  scripts/build.sh "$BINARY"
  if [ "$GOOS" = linux ]; then
    for format in deb rpm apk; do
      nfpm package --config scripts/deploy/packages/nfpm.yaml --packager $format --target "$out"
    done
  fi
done
unset GOOS GOARCH

# The list is read from the binary, so it has what is in there and nothing else.
if [ -n "$sbom" ]; then
  cyclonedx bin -json -noserial -notimestamp -version "$VERSION" -output "$out/mailwhy-$VERSION.cdx.json" "$BINARY"
fi
cd "$out"
rm -f SHA256SUMS
sha256sum -- mailwhy* >SHA256SUMS
cat SHA256SUMS
