#!/bin/sh
# pip-fetch.sh LOCK FOLDER: bring the wheels of a hash lock into FOLDER, checked, and install nothing.
#
# PIP_CERT: see pip-install.sh.
set -eu

lock=${1:?"usage: pip-fetch.sh LOCK FOLDER"}
folder=${2:?"usage: pip-fetch.sh LOCK FOLDER"}

PIP_CERT=/etc/ssl/certs/ca-certificates.crt python -m pip download --no-input --require-hashes --no-deps --only-binary :all: \
    --cache-dir /var/cache/rocm-ci-pip --progress-bar off --dest "$folder" --requirement "$lock"
