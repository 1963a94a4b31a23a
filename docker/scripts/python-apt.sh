#!/bin/sh
# python-apt.sh VERSION: CPython of that version as python3, from the sources that apt-source.sh has added.
set -eu

version=${1:?"usage: python-apt.sh VERSION"}
shift
sh "${APT_INSTALL:?"the path of apt-install.sh"}" "python$version" "python$version-dev" "python$version-venv" "$@"
update-alternatives --install /usr/bin/python3 python3 "/usr/bin/python$version" 1
update-alternatives --set python3 "/usr/bin/python$version"
ln -sf "/usr/bin/python$version-config" /usr/bin/python3-config
ln -sf python3 /usr/bin/python
"python$version" -m ensurepip --upgrade
