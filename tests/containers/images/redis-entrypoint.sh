#!/bin/sh
# What the entrypoint of redis:7 does: Redis does not run as root.
set -eu
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    chown -R redis .
    exec setpriv --reuid redis --regid redis --init-groups "$0" "$@"
fi
exec "$@"
