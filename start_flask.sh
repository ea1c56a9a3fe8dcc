#!/usr/bin/env bash
# Starts the service. On a new machine, it first creates .venv and installs requirements.txt.
set -eu

usage() {
    cat <<'USAGE'
Usage: ./start_flask.sh [--demo]

Runs the web server at http://$HOST:$PORT (default: 127.0.0.1:5000) and sends due emails, until Ctrl-C or
SIGTERM. The first start creates .venv and installs requirements.txt into it. Settings are read from the
environment and from .env in this folder.

  --demo      use example data in the folder demo/: three recipients and one email, due in a few seconds;
              prints the path of each delivered message. No mail leaves this machine.
  -h, --help  show this text
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
