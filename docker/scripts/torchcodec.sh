#!/bin/sh
# torchcodec.sh SOURCE OUT: the torchcodec wheel for the torch that is installed, in OUT.
#
# A wheel made for another torch imports and then fails in a call, so none is taken from elsewhere.
set -eu

source=${1:?"usage: torchcodec.sh SOURCE OUT"}
out=${2:?"usage: torchcodec.sh SOURCE OUT"}
export I_CONFIRM_THIS_IS_NOT_A_LICENSE_VIOLATION=1 BUILD_AGAINST_ALL_FFMPEG_FROM_S3=0 ENABLE_CUDA=0 CMAKE_GENERATOR=Ninja
exec sh "${WHEEL_BUILD:?"the path of wheel-build.sh"}" "$source" "$out"
