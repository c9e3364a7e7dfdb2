#!/usr/bin/env bash
# setup.sh FOLDER PACKAGE...
#
# Creates a Python environment in FOLDER with the packages for a comparison.
set -euo pipefail
folder=${1:?folder}
shift
python3 -m venv "$folder"
"$folder/bin/pip" install -q --disable-pip-version-check "$@"
