#!/bin/sh
# pip-install.sh LOCK: install exactly the distributions of a hash lock, and nothing they ask for beyond it.
#
# PIP_CERT names the system's bundle because pip would read the folder of single
# certificates beside it, where a bundle mounted over the file for this RUN does not count.
set -eu

lock=${1:?"usage: pip-install.sh LOCK"}

PIP_CERT=/etc/ssl/certs/ca-certificates.crt python -m pip install --no-input --require-hashes --no-deps --only-binary :all: \
    --cache-dir /var/cache/rocm-ci-pip --progress-bar off --requirement "$lock"
