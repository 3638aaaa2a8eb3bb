#!/bin/sh
# After removal, and after a purge of the deb. Mail that waits is never deleted with the program.
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
case "$1" in
  purge)
    rm -rf /etc/mailwhy
    if [ -d /var/lib/mailwhy ]; then
      echo 'mailwhy: mail may still wait in /var/lib/mailwhy; delete the directory yourself'
    fi
    ;;
esac
