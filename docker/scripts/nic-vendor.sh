#!/bin/sh
# nic-vendor.sh none|ainic|bnxt|all: the userspace of RDMA network cards from their vendors' repositories.
#
# Versions, repositories and key fingerprints are in the environment; those of a backend that was not chosen are not
# needed. All sources are added first, so that apt looks at them once.
set -eu

backend=${1-}
case "$backend" in
none | bnxt)
    if [ -n "${AINIC_VERSION:-}" ]; then
        echo "nic-vendor.sh: AINIC_VERSION is '$AINIC_VERSION', which means nothing with NIC_BACKEND $backend; allowed: ainic, all" >&2
        exit 2
    fi
    ;;
ainic | all) ;;
*)
    echo "nic-vendor.sh: NIC_BACKEND is '$backend', allowed: none, ainic, bnxt, all" >&2
    exit 2
    ;;
esac
codename=${UBUNTU_CODENAME:?"the Ubuntu release of the base image"}
base=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
if [ "$base" != "$codename" ]; then
    echo "nic-vendor.sh: UBUNTU_CODENAME is '$codename', the base image is '$base'" >&2
    exit 2
fi
[ "$backend" = none ] && exit 0
packages=
case "$backend" in
ainic | all)
    sh "${APT_SOURCE:?}" amdainic "${AINIC_REPO:?}/${AINIC_VERSION:?}" "$codename" main "${AINIC_SIGNER_URL:?}" "${AINIC_FINGERPRINT:?}"
    packages="$packages libionic-dev ionic-common"
    ;;
esac
case "$backend" in
bnxt | all)
    sh "${APT_SOURCE:?}" broadcom-nic "${BNXT_REPO:?}" "$codename" main "${BNXT_SIGNER_URL:?}" "${BNXT_FINGERPRINT:?}"
    packages="$packages bnxt-rocelib=${BNXT_VERSION:?}"
    ;;
esac
# shellcheck disable=SC2086
sh "${APT_INSTALL:?}" $packages
# Broadcom's package puts its provider where the loader does not look.
for library in /usr/local/lib/"$(uname -m)"-linux-gnu/libbnxt_re*; do
    if [ -e "$library" ]; then cp -a "$library" /usr/local/lib/; fi
done
ldconfig
