#!/bin/sh
# pip-install-from.sh FOLDER LOCK: install exactly the distributions of a hash lock from the wheels in FOLDER.
#
# No index is asked: what is not in FOLDER, or is not what LOCK says, is an error.
set -eu

folder=${1:?"usage: pip-install-from.sh FOLDER LOCK"}
lock=${2:?"usage: pip-install-from.sh FOLDER LOCK"}

python -m pip install --no-input --no-index --find-links "$folder" --require-hashes --no-deps --only-binary :all: \
    --no-cache-dir --progress-bar off --requirement "$lock"
