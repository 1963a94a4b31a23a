#!/bin/sh
# wheels-install.sh FOLDER...: install the wheels of our own stages, and nothing they ask for.
#
# A folder with a file ABSENT is of a component that no gfx target of this build supports: it says so and is passed over.
set -eu

# A distribution's Python keeps pip out of its own folders unless it is told.
export PIP_BREAK_SYSTEM_PACKAGES=1
for folder in "$@"; do
    if [ -f "$folder/ABSENT" ]; then
        echo "wheels-install.sh: nothing from $folder: $(cat "$folder/ABSENT")"
        continue
    fi
    python3 -m pip install --no-input --no-index --no-deps --no-cache-dir --force-reinstall "$folder"/*.whl
done
