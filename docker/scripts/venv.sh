#!/bin/sh
# venv.sh FOLDER LOCK: a virtual environment whose pip is the one of the hash lock LOCK.
set -eu

venv=${1:?"usage: venv.sh FOLDER LOCK"}
lock=${2:?"usage: venv.sh FOLDER LOCK"}

python3 -m venv "$venv"
PIP_CERT=/etc/ssl/certs/ca-certificates.crt "$venv/bin/python" -m pip install --no-input --require-hashes --no-deps \
    --cache-dir /var/cache/rocm-ci-pip --upgrade --requirement "$lock"
"$venv/bin/python" -m pip --version
