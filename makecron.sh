#!/bin/sh
# Install the cron job that sends due emails every minute, or move it to this folder.
# With SCHEDULER=rq-scheduler it is a safety net for Redis, and runs every five minutes.
# ./makecron.sh --remove removes it. Every other line of the crontab stays the same, byte for byte.
set -eu

CDPATH='' cd -- "$(dirname -- "$0")"
export PWD # the folder as it was typed, so that a link to the current release stays a link

python=$PWD/.venv/bin/python
if ! [ -x "$python" ]; then
    echo "There is no .venv in $PWD. Run ./start_flask.sh to create it, or: python3 -m venv .venv &&" \
        ".venv/bin/python -m pip install -r requirements.txt" >&2
    exit 1
fi
exec "$python" -m schedulers.cron.install "$@"
