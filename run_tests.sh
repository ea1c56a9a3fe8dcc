#!/usr/bin/env bash
# Runs the tests in parallel. On a new machine, it first installs what they need.
set -eu

usage() {
    cat <<'USAGE'
Usage: ./run_tests.sh [--quick | --lint | --format | --install | --containers] [PYTEST-ARGUMENT...]

Creates .venv with the packages in requirements/dev.txt, installs the system packages that the tests need (with apt, if
run as root), and runs all tests in parallel. Other arguments are passed to pytest:

  ./run_tests.sh                        all tests
  ./run_tests.sh --quick                unit and architecture tests: need only Python, take seconds
  ./run_tests.sh tests/web -x           one folder, stopping at the first failure
  ./run_tests.sh -m 'not browser'       every folder except tests/browser
  ./run_tests.sh -p randomly            all tests in random order

Without root or apt, it lists the missing packages and skips the tests that need them. With CI=true, a missing package
or a skipped test is a failure.

  --lint      check style, formatting, types, imports and shell scripts instead of running tests
  --format    fix style and formatting where a tool can
  --install   install the packages and exit
  --containers
              build the image and run deploy/compose.yaml in podman; needs root, takes minutes
  -h, --help  show this text

TEST_WORKERS sets how many tests run in parallel. The default is two per core, because most tests spend their time
waiting. With --quick it is one per core.
USAGE
}

# Each program that the tests run, and its Debian package.
PROGRAMS='crontab:cron postfix:postfix saslpasswd2:sasl2-bin openssl:openssl setpriv:util-linux shellcheck:shellcheck strace:strace ip:iproute2 nginx:nginx logrotate:logrotate systemd-analyze:systemd redis-server:redis-server chromium:chromium firefox-esr:firefox-esr'
# Those that ./run_tests.sh --containers runs.
CONTAINER_PROGRAMS='podman:podman runc:runc mmdebstrap:mmdebstrap catatonit:catatonit netavark:netavark aardvark-dns:aardvark-dns'

main() {
    local mode=all
    case ${1-} in
    -h | --help)
        usage
        return
        ;;
    --quick | --lint | --format | --install | --containers)
        mode=${1#--}
        shift
        ;;
    esac
    unset CDPATH
    cd -P -- "$(dirname -- "$0")"
    export PATH="$PATH:/usr/sbin:/sbin"
    unset PYTHONDONTWRITEBYTECODE # otherwise each worker compiles all tests, which takes longer than to collect them
    . serving/environment.sh
    case $mode in
    all | install) prepare_system ;;
    containers) prepare_containers ;;
    esac
    prepare_venv requirements/dev.txt
    case $mode in
    all) run_pytest "$@" ;;
    quick) TEST_WORKERS=${TEST_WORKERS:-$(cores)} run_pytest tests/unit tests/architecture "$@" ;;
    lint) lint ;;
    format) format ;;
    containers) .venv/bin/python -m tests.containers.run ;;
    esac
}

lint() {
    export PATH="$PWD/.venv/bin:$PATH"
    step ruff check .
    step ruff format --check .
    step mypy
    step lint-imports
    if command -v shellcheck >/dev/null; then
        step shellcheck -x ./*.sh serving/environment.sh deploy/sbom.sh requirements/compile.sh tests/containers/images/*.sh .ci/run
    else
        echo "shellcheck is not installed: the shell scripts were not checked" >&2
        [ "${CI-}" != true ]
    fi
}

format() {
    .venv/bin/ruff check --fix . && .venv/bin/ruff format .
}

step() {
    printf '\n== %s\n' "$*"
    "$@" </dev/null
}

# Each worker runs one test at a time. An idle worker takes over tests that another worker has not started.
run_pytest() {
    exec .venv/bin/python -m pytest -n "${TEST_WORKERS:-$((2 * $(cores)))}" --dist worksteal "$@"
}

cores() {
    getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2
}

# missing_of PROGRAM:PACKAGE...: print the packages whose programs are missing.
missing_of() {
    local pair
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || [ -x "/usr/lib/podman/${pair%%:*}" ] || echo "${pair#*:}"
    done
}

missing() {
    # shellcheck disable=SC2086 # one word per program
    missing_of $PROGRAMS
    ls /usr/lib/*/sasl2/liblogin.so* >/dev/null 2>&1 || echo libsasl2-modules
    ls /usr/lib/*/sasl2/libsasldb.so* >/dev/null 2>&1 || echo libsasl2-modules-db
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || echo postgresql
}

prepare_system() {
    local packages
    packages=$(missing | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        # shellcheck disable=SC2086 # one word per package
        install_packages $packages || true
        packages=$(missing | tr '\n' ' ')
        [ -n "$packages" ] || return 0
    fi
    [ "${CI-}" != true ] || fail "CI=true requires every package; install: $packages"
    echo "Some tests will be skipped; missing packages: $packages" >&2
}

prepare_containers() {
    local packages
    [ "$(id -u)" = 0 ] || fail "--containers needs root"
    # shellcheck disable=SC2046,SC2086 # one word per program and package
    set -- $(missing_of $CONTAINER_PROGRAMS)
    [ $# = 0 ] || install_packages "$@" || true
    # shellcheck disable=SC2086
    packages=$(missing_of $CONTAINER_PROGRAMS | tr '\n' ' ')
    [ -z "$packages" ] || fail "the containers need these packages: $packages"
}

# Installs packages without starting services: Postfix stays unconfigured, PostgreSQL creates no cluster, and a policy
# file stops the other services from starting.
install_packages() (
    policy=/usr/sbin/policy-rc.d
    if ! [ -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    echo "Installing system packages: $*" >&2
    export DEBIAN_FRONTEND=noninteractive
    echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
    case " $* " in *' postgresql '*)
        mkdir -p /etc/postgresql-common
        [ -e /etc/postgresql-common/createcluster.conf ] ||
            echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
        ;;
    esac
    apt-get -qq update </dev/null
    apt-get -qq install -y --no-install-recommends "$@" </dev/null >/dev/null
)

main "$@"
