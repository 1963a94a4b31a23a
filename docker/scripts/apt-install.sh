#!/bin/sh
# apt-install.sh PACKAGE...: install packages so that the layer holds the packages and nothing else.
#
# Lists and archives live in a cache mount at $cache, not in apt's own folders: the stock
# images' docker-clean hook empties only those, and a layer must not carry them.
# A mirror that answers for half of the lists is an error, never an old package.
set -eu

if [ $# -eq 0 ]; then
    echo "apt-install.sh: no package named" >&2
    exit 2
fi

cache=/var/cache/rocm-ci-apt
mkdir -p "$cache/lists/partial" "$cache/archives/partial"
chown -R _apt "$cache/lists/partial" "$cache/archives/partial"
export DEBIAN_FRONTEND=noninteractive

# Mounted beside the system's bundle and not over it: installing ca-certificates rewrites that file.
ca=/run/secrets/ca
if [ -s "$ca" ]; then
    apt() { apt-get -o "Acquire::https::CAInfo=$ca" "$@"; }
else
    apt() { apt-get "$@"; }
fi
apt_cached() {
    apt -o "Dir::State::lists=$cache/lists" -o "Dir::Cache=$cache" -o "Dir::Cache::archives=$cache/archives" \
        -o Acquire::Retries=3 "$@"
}

apt_cached -o APT::Update::Error-Mode=any -q update
apt_cached -qq -o Dpkg::Use-Pty=0 --yes --no-install-recommends install "$@"

# What the package tools write about themselves differs in each run and is of no use in an image.
rm -rf /run/adduser /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log /var/log/bootstrap.log \
    /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old
