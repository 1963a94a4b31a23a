#!/bin/sh
# need.sh WHAT=PACKAGE...: install the packages of what is not here yet, in one go, and nothing else.
#
# WHAT is a program, py:MODULE, or h:HEADER below /usr/include. A component so builds on any toolchain image:
# on a vendor's, which has most of it, and on a distribution's, which has not.
set -eu

packages=
for pair in "$@"; do
    what=${pair%%=*}
    case "$what" in
    py:*) python3 -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('${what#py:}') is None)" 2>/dev/null && continue ;;
    h:*) [ -e "/usr/include/${what#h:}" ] || [ -e "/usr/include/$(uname -m)-linux-gnu/${what#h:}" ] && continue ;;
    *) command -v "$what" >/dev/null && continue ;;
    esac
    packages="$packages ${pair#*=}"
done
[ -z "$packages" ] && exit 0
echo "need.sh: installing$packages"
# shellcheck disable=SC2086
exec sh "${APT_INSTALL:?"the path of apt-install.sh"}" $packages
