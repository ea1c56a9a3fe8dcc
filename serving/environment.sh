# shellcheck shell=bash
# Sourced by start_flask.sh and run_tests.sh, in the project's folder: makes .venv and keeps it up to date.

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# stoppable COMMAND...: runs it so that a signal that ends this script also ends it and everything it has started.
stoppable() {
    local child='' stopped='' status=0
    trap 'stopped=yes; end_group "$child"' HUP INT TERM # first: a signal may come as soon as the command runs
    set -m                                             # a process group of its own
    "$@" </dev/null &
    child=$!
    set +m
    if [ -n "$stopped" ]; then end_group "$child"; fi
    wait "$child" || status=$?
    if [ -n "$stopped" ]; then
        wait "$child" || true # the signal has ended the first wait
        exit 143
    fi
    trap - HUP INT TERM
    return "$status"
}

end_group() {
    [ -z "$1" ] || kill -- "-$1" 2>/dev/null || true
}

# is_usable PYTHON MODULE...: whether it is Python 3.11 or later and has these modules.
is_usable() {
    local python=$1
    shift
    "$python" -c "import sys$(printf ', %s' "$@"); sys.exit(sys.version_info < (3, 11))" 2>/dev/null
}

# find_python: print the first interpreter that can make virtual environments, or say what is missing.
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
        fail "$without_venv has no venv module; install it and start again (Debian, Ubuntu: sudo apt install" \
            "$("$without_venv" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])'))"
    fi
    fail "Python 3.11 or later is needed and $(found_python); install one and start again" \
        "(Debian, Ubuntu: sudo apt install python3 python3-venv; others: https://www.python.org/downloads/)"
}

found_python() {
    local version
    version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) &&
        echo "python3 is $version" || echo "there is no python3"
}

# prepare_venv REQUIREMENTS: .venv with every package that REQUIREMENTS lists. Installs only if the file is not as it
# was last time. A package whose hash is missing or wrong is refused.
prepare_venv() {
    local stamp=.venv/installed-${1//\//-}
    if is_usable .venv/bin/python pip && cmp -s "$1" "$stamp"; then
        return
    fi
    make_venv
    printf 'Installing what %s names into .venv; the first time takes a minute ...\n' "$1" >&2
    stoppable .venv/bin/python -m pip install --disable-pip-version-check --require-hashes --no-deps -r "$1" >.venv/pip.log 2>&1 ||
        fail "pip could not install $1: $(pip_error) (all of it: .venv/pip.log); is this machine online? Then start again"
    cat "$1" >"$stamp"
}

# make_venv: .venv with pip in it; made anew if making it was interrupted or its Python has gone.
make_venv() {
    local python
    if is_usable .venv/bin/python pip && .venv/bin/python -m pip --version >/dev/null 2>&1; then
        return
    fi
    python=$(find_python) || exit 1
    stoppable "$python" -m venv --clear .venv >&2 ||
        fail "$python could not make .venv, for the reason above; mend it and start again"
}

pip_error() {
    grep '^ERROR' .venv/pip.log | tail -n 1 | cut -c 1-200
}
