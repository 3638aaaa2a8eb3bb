#!/bin/sh
# After installation. The service is neither enabled nor started: it has no upstream yet. After an upgrade a
# service that was running goes on with the new program.
#
# A deb calls this with "configure" and the version that was there before; an rpm with how many are installed.
set -e
case "$1" in
  configure) upgrade=$2 ;;
  1) upgrade= ;;
  [2-9]*) upgrade=yes ;;
  *) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  if [ -n "$upgrade" ]; then systemctl try-restart mailwhy.service; fi
fi
if [ -z "$upgrade" ]; then
  echo 'mailwhy: name your upstream in /etc/mailwhy/relay.toml, then: systemctl enable --now mailwhy'
fi
