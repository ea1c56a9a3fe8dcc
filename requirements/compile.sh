#!/usr/bin/env bash
# Writes requirements.txt and the .txt files here from the .in files: every direct and indirect package with its version
# and the hashes of its files. Run it after you change a .in file. It needs uv (pip install uv).
# A pinned package keeps its version unless you name it: requirements/compile.sh --upgrade-package flask
set -eu
cd -P -- "$(dirname -- "$0")"

# compile TARGET SOURCE HOW-TO-INSTALL [ARGUMENT...]
compile() {
    local target=$1 source=$2 how=$3
    shift 3
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --override overrides.txt \
        --no-annotate --no-header --output-file "$target" "$@" "$source" >/dev/null
    sed -i "1i # Written by requirements/compile.sh from $source. To install it: $how" "$target"
}

# The first has every package but those of sbom.in; the others take their versions from it.
compile dev.txt dev.in 'pip install --no-deps -r requirements/dev.txt' "$@"
compile ../requirements.txt service.in 'pip install -r requirements.txt' --constraint dev.txt "$@"
compile postgresql.txt postgresql.in 'pip install -r requirements/postgresql.txt' --constraint dev.txt "$@"
compile redis.txt redis.in 'pip install --no-deps -r requirements/redis.txt' --constraint dev.txt "$@"
compile sbom.txt sbom.in 'pip install -r requirements/sbom.txt' --constraint dev.txt "$@"
