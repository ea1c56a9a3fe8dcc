#!/bin/sh
# Installs, or moves to this folder, the one cron job that sends what is due, every minute;
# with SCHEDULER=rq-scheduler, every five minutes, as the safety net beside Redis.
# ./makecron.sh --remove takes it out. Every other line of the crontab stays as it is, byte for byte.
set -eu

CDPATH='' cd -- "$(dirname -- "$0")"
export PWD # the folder's name as it was typed: a link to the current release stays a link

python=$PWD/.venv/bin/python
if ! [ -x "$python" ]; then
    echo "There is no .venv in $PWD yet: ./start_flask.sh makes it. Or: python3 -m venv .venv &&" \
        ".venv/bin/python -m pip install -r requirements.txt" >&2
    exit 1
fi
exec "$python" -m schedulers.cron.install "$@"
