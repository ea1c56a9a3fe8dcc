#!/usr/bin/env bash
# Prints a list of all packages in .venv, with versions and licences, as CycloneDX JSON:
#   deploy/sbom.sh >sbom.json
# For another environment, name its Python: deploy/sbom.sh /opt/venv/bin/python >sbom.json
# cyclonedx-py, which creates the list, is installed in a temporary folder. Nothing else is changed.
set -eu
cd -P -- "$(dirname -- "$0")/.."
python=${1:-.venv/bin/python}
if ! "$python" -c 'import pip, venv'; then
    echo "deploy/sbom.sh: no $python with pip and venv; ./start_flask.sh creates .venv" >&2
    exit 1
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv --without-pip "$folder"
"$python" -m pip --python "$folder/bin/python" --quiet --disable-pip-version-check \
    install --no-compile --require-hashes --no-deps -r requirements/sbom.txt >&2
PYTHONWARNINGS=ignore "$folder/bin/cyclonedx-py" environment --pyproject pyproject.toml --mc-type application --output-reproducible "$python"
