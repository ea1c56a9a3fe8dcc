#!/usr/bin/env bash
# Starts the whole service; on a fresh machine it first makes .venv and installs requirements.txt.
set -eu

usage() {
    cat <<'USAGE'
Usage: ./start_flask.sh [--demo]

Serves on http://$HOST:$PORT (127.0.0.1:5000 unless set) and sends what is due, until Ctrl-C or SIGTERM.
The first start makes .venv and installs requirements.txt into it. Settings come from the environment and
from .env in this folder.

  --demo      on data of its own in the folder demo/: three example recipients and one email a few seconds
              ahead; prints where each message was put. No mail leaves this machine.
  -h, --help  this text
USAGE
}

case ${1-} in
-h | --help)
    usage
    exit 0
    ;;
esac
unset CDPATH
cd -P -- "$(dirname -- "$0")"
. serving/environment.sh
prepare_venv requirements.txt
exec .venv/bin/python -m serving "$@"
