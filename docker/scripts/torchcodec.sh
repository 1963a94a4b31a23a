#!/bin/sh
# torchcodec.sh SOURCE OUT: the torchcodec wheel for the torch that is installed, in OUT.
#
# A wheel made for another torch imports and then fails in a call, so none is taken from elsewhere. FFmpeg is the one
# that is installed: its build fetches others as soon as BUILD_AGAINST_ALL_FFMPEG_FROM_S3 is set, whatever to.
# It asks CMake for pybind11, which pip puts where CMake does not look.
set -eu

source=${1:?"usage: torchcodec.sh SOURCE OUT"}
out=${2:?"usage: torchcodec.sh SOURCE OUT"}
unset BUILD_AGAINST_ALL_FFMPEG_FROM_S3
export I_CONFIRM_THIS_IS_NOT_A_LICENSE_VIOLATION=1 ENABLE_CUDA=0 CMAKE_GENERATOR=Ninja
# Headers of torch and of FFmpeg that are newer than its warnings.
export TORCHCODEC_DISABLE_COMPILE_WARNING_AS_ERROR=1
pybind11_DIR=$(python3 -m pybind11 --cmakedir)
export pybind11_DIR
exec sh "${WHEEL_BUILD:?"the path of wheel-build.sh"}" "$source" "$out"
