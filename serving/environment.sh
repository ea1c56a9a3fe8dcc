# shellcheck shell=bash
# Sourced by start_flask.sh and run_tests.sh in the project folder: creates .venv and keeps it up to date.

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# stoppable COMMAND...: run a command so that a signal to this script also ends everything that the command started.
stoppable() {
    local child='' stopped='' status=0
    trap 'stopped=yes; end_group "$child"' HUP INT TERM # set first: a signal may arrive as soon as the command runs
    set -m                                             # its own process group
    "$@" </dev/null &
    child=$!
    set +m
    if [ -n "$stopped" ]; then end_group "$child"; fi
    wait "$child" || status=$?
    if [ -n "$stopped" ]; then
        wait "$child" || true # the signal interrupted the first wait
        exit 143
    fi
    trap - HUP INT TERM
    return "$status"
}

end_group() {
    [ -z "$1" ] || kill -- "-$1" 2>/dev/null || true
}

# is_usable PYTHON MODULE...: true if it is Python 3.11 or later and has these modules.
is_usable() {
    local python=$1
    shift
    "$python" -c "import sys$(printf ', %s' "$@"); sys.exit(sys.version_info < (3, 11))" 2>/dev/null
}

# find_python: print the first interpreter that can create virtual environments, or fail and say what is missing.
find_python() {
    local candidate without_venv=''
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if is_usable "$candidate" ensurepip venv; then
            command -v "$candidate"
            return
        elif [ -z "$without_venv" ] && is_usable "$candidate" os; then
            without_venv=$candidate
        fi
    done
    if [ -n "$without_venv" ]; then
        fail "$without_venv has no venv module. Install it and start again (Debian, Ubuntu: sudo apt install" \
            "$("$without_venv" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])'))"
    fi
    fail "Python 3.11 or later is required, but $(found_python). Install it and start again" \
        "(Debian, Ubuntu: sudo apt install python3 python3-venv; others: https://www.python.org/downloads/)"
}

found_python() {
    local version
    version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) &&
        echo "python3 is $version" || echo "python3 was not found"
}

# prepare_venv REQUIREMENTS: create .venv and install the packages in REQUIREMENTS, if the file has changed since the last
# time. A package whose hash is missing or wrong is refused.
prepare_venv() {
    local stamp=.venv/installed-${1//\//-}
    if is_usable .venv/bin/python pip && cmp -s "$1" "$stamp"; then
        return
    fi
    make_venv
    printf 'Installing %s into .venv. The first time takes a minute ...\n' "$1" >&2
    stoppable .venv/bin/python -m pip install --disable-pip-version-check --require-hashes --no-deps -r "$1" >.venv/pip.log 2>&1 ||
        fail "pip could not install $1: $(pip_error) (full log: .venv/pip.log). Check the network connection and start again"
    cat "$1" >"$stamp"
}

# make_venv: create .venv with pip. Recreate it if that was interrupted, or if its Python no longer exists.
make_venv() {
    local python
    if is_usable .venv/bin/python pip && .venv/bin/python -m pip --version >/dev/null 2>&1; then
        return
    fi
    python=$(find_python) || exit 1
    stoppable "$python" -m venv --clear .venv >&2 ||
        fail "$python could not create .venv (see the error above). Fix it and start again"
}

pip_error() {
    grep '^ERROR' .venv/pip.log | tail -n 1 | cut -c 1-200
}
