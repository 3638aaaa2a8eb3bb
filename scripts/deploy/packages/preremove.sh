#!/bin/sh
# Before removal, not before an upgrade: the service ends. A deb calls this with "remove", an rpm with 0.
set -e
case "$1" in
  remove | 0) if [ -d /run/systemd/system ]; then systemctl disable --now mailwhy.service; fi ;;
esac
