#!/bin/sh
# sdist-install.sh LOCK: build and install distributions of a hash lock from their sources, with what is here.
set -eu

lock=${1:?"usage: sdist-install.sh LOCK"}
PIP_CERT=/etc/ssl/certs/ca-certificates.crt python3 -m pip install --no-input --require-hashes --no-deps --no-binary :all: \
    --no-build-isolation --cache-dir /var/cache/rocm-ci-pip --progress-bar off --requirement "$lock"
