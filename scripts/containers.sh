# shellcheck shell=bash
# Sourced by the tests with a Docker engine: compose as this machine has it, and stand-ins for the base images where
# no registry can be reached, so that the very same Dockerfiles build. The caller sets scratch, a directory, and calls
# drop_stand_ins at its end.

if docker compose version >/dev/null 2>&1; then
  compose() { docker compose "$@"; }
else
  compose() { docker-compose "$@"; }
  export DOCKER_BUILDKIT=0 # docker-compose 1.29 cannot use it without a plugin
fi
stand_ins=()

# have_image NAME: it is here, or can be pulled.
have_image() {
  docker image inspect "$1" >/dev/null 2>&1 || timeout 20 docker pull -q "$1" >/dev/null 2>&1
}

# build_stage: the image of the build stage, or one from this machine's Go toolchain: with the modules as a file
# system proxy, a shell, and the authorities.
build_stage() {
  local stage root=$scratch/root modcache applet
  stage=$(awk '$1 == "FROM" && $4 == "build" {print $2}' Dockerfile)
  have_image "$stage" && return
  echo "no registry: $stage is made from this machine's Go toolchain"
  go mod download
  modcache=$(go env GOMODCACHE)/cache/download
  command -v busybox >/dev/null || { apt-get update -qq; apt-get install -y -qq busybox-static >/dev/null; }
  [ -f /etc/ssl/certs/ca-certificates.crt ] || apt-get install -y -qq ca-certificates >/dev/null
  mkdir -p "$root"/{bin,tmp,root,proc,etc/ssl/certs,usr/local,modules}
  cp "$(command -v busybox)" "$root/bin/busybox"
  for applet in sh mkdir cp ls cat; do ln -s busybox "$root/bin/$applet"; done
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  cp -a "$(go env GOROOT)" "$root/usr/local/go"
  cp -a "$modcache/." "$root/modules/"
  tar -C "$root" -c . | docker import \
    -c 'ENV PATH=/usr/local/go/bin:/bin' -c 'ENV HOME=/root' -c 'ENV GOPROXY=file:///modules' \
    -c 'ENV GONOSUMDB=*' -c 'ENV GOFLAGS=-mod=mod' -c 'ENV GOTOOLCHAIN=local' - "$stage" >/dev/null
  rm -rf "$root"
  stand_ins+=("$stage")
}

# debian_stage IMAGE PACKAGE: a Debian image, or one made from the archive that has the package already.
debian_stage() {
  have_image "$1" && return
  echo "no registry: $1 is made from the Debian archive"
  command -v mmdebstrap >/dev/null || { apt-get update -qq; apt-get install -y -qq mmdebstrap >/dev/null; }
  local suite=${1#*:}
  mmdebstrap --quiet --variant=minbase --include="$2" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=*/libLLVM*' --dpkgopt='path-exclude=*/llvmjit*' "${suite%-slim}" - |
    docker import -c 'ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin' - "$1" >/dev/null
  stand_ins+=("$1")
}

drop_stand_ins() {
  if [ ${#stand_ins[@]} -gt 0 ]; then
    docker rmi -f mailwhy "${stand_ins[@]}" >/dev/null 2>&1 || true
    docker image prune -f --filter label=mailwhy.stage=build >/dev/null 2>&1 || true
  fi
}

# within SECONDS COMMAND: waits until it succeeds.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.5
  done
}
