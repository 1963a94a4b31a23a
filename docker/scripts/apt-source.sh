#!/bin/sh
# apt-source.sh NAME URL SUITE COMPONENT KEY-URL FINGERPRINT: add a signed apt source, its key known by fingerprint.
set -eu

name=${1:?"usage: apt-source.sh NAME URL SUITE COMPONENT KEY-URL FINGERPRINT"}
url=${2:?"usage: apt-source.sh NAME URL SUITE COMPONENT KEY-URL FINGERPRINT"}
suite=${3:?"usage: apt-source.sh NAME URL SUITE COMPONENT KEY-URL FINGERPRINT"}
component=${4:?"usage: apt-source.sh NAME URL SUITE COMPONENT KEY-URL FINGERPRINT"}
key=${5:?"usage: apt-source.sh NAME URL SUITE COMPONENT KEY-URL FINGERPRINT"}
fingerprint=${6:?"usage: apt-source.sh NAME URL SUITE COMPONENT KEY-URL FINGERPRINT"}
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
if [ "$release" != "$suite" ]; then
    echo "apt-source.sh: $name is asked for packages of '$suite', the image is '$release'" >&2
    exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
set -- -o Acquire::Retries=3
if [ -s /run/secrets/ca ]; then set -- "$@" -o Acquire::https::CAInfo=/run/secrets/ca; fi
/usr/lib/apt/apt-helper "$@" download-file "$key" "$work/key"
mkdir -p /etc/apt/keyrings
python3 "${APT_KEY:?"the path of apt-key.py"}" "$work/key" "$fingerprint" "/etc/apt/keyrings/$name.gpg"
echo "deb [arch=$(dpkg --print-architecture) signed-by=/etc/apt/keyrings/$name.gpg] $url $suite $component" \
    >"/etc/apt/sources.list.d/$name.list"
