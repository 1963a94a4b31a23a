#!/bin/sh
# nic-backend.sh none|bnxt: the userspace of the RDMA network cards that an image supports.
#
# Debian has Broadcom's provider only; AMD's (ainic) comes from a vendor repository and
# belongs to stacks on a vendor's base image.
set -eu

case "${1-}" in
none)
    ;;
bnxt)
    sh "${APT_INSTALL:?"the path of apt-install.sh"}" ibverbs-providers
    if ! ls /usr/lib/*/libibverbs/libbnxt_re-*.so >/dev/null; then
        echo "nic-backend.sh: ibverbs-providers is installed but holds no libbnxt_re" >&2
        exit 1
    fi
    ;;
*)
    echo "nic-backend.sh: NIC_BACKEND is '${1-}', this stack knows: none, bnxt" >&2
    exit 2
    ;;
esac
