#!/usr/bin/env bash
# Runs all tests; on a fresh machine it first installs what they need.
set -eu

usage() {
    cat <<'USAGE'
Usage: ./run_tests.sh [--install | PYTEST-ARGUMENT...]

Makes .venv with what the tests need (requirements-dev.txt), installs system packages where this is root and
apt is there, then runs all tests. Arguments go to pytest: ./run_tests.sh -k settings -x
Without root or apt it says what is missing, and tests that need it are skipped; with CI=true that is a failure.

  --install   install only
  -h, --help  this text
USAGE
}

# Each program that tests run, and its Debian package.
PROGRAMS='crontab:cron postfix:postfix saslpasswd2:sasl2-bin openssl:openssl setpriv:util-linux shellcheck:shellcheck strace:strace ip:iproute2 nginx:nginx logrotate:logrotate systemd-analyze:systemd redis-server:redis-server chromium:chromium'

main() {
    case ${1-} in
    -h | --help)
        usage
        return
        ;;
    esac
    unset CDPATH
    cd -P -- "$(dirname -- "$0")"
    export PATH="$PATH:/usr/sbin:/sbin"
    . serving/environment.sh
    prepare_system
    prepare_venv requirements-dev.txt requirements.txt requirements-postgresql.txt requirements-redis.txt
    if [ "${1-}" != --install ]; then
        exec .venv/bin/python -m pytest "$@"
    fi
}

missing() {
    local pair
    for pair in $PROGRAMS; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
    done
    ls /usr/lib/*/sasl2/liblogin.so* >/dev/null 2>&1 || echo libsasl2-modules
    ls /usr/lib/*/sasl2/libsasldb.so* >/dev/null 2>&1 || echo libsasl2-modules-db
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || echo postgresql
}

prepare_system() {
    local packages
    packages=$(missing | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        # shellcheck disable=SC2086 # one word for each package
        install_packages $packages || true
        packages=$(missing | tr '\n' ' ')
        [ -n "$packages" ] || return 0
    fi
    [ "${CI-}" != true ] || fail "with CI=true nothing may be missing; install: $packages"
    echo "Missing, so some tests will be skipped: $packages" >&2
}

# Nothing of it is started on this machine: Postfix is installed unconfigured, PostgreSQL without a cluster, and
# a policy holds for the others meanwhile.
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
