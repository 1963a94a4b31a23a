#!/bin/sh
# rocm-runtime.sh SOURCE OUT: the HSA and HIP runtimes of a rocm-systems commit, their shared libraries in OUT/lib.
#
# The image's ROCm has clang and llvm-objcopy but no CMake packages of them, and ROCr's build looks for both only
# to get the programs: two files that name them stand in.
# shellcheck source=native-env.sh
set -eu

source=${1:?"usage: rocm-runtime.sh SOURCE OUT"}
out=${2:?"usage: rocm-runtime.sh SOURCE OUT"}
. "${NATIVE_ENV:?"the path of native-env.sh"}"
rocm=$ROCM_HOME
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package() {
    mkdir -p "$work/cmake"
    cat >"$work/cmake/$1Config.cmake" <<CMAKE
if(NOT TARGET $2)
  add_executable($2 IMPORTED GLOBAL)
  set_target_properties($2 PROPERTIES IMPORTED_LOCATION "$rocm/llvm/bin/$2")
endif()
set($1_FOUND TRUE)
set($1_PACKAGE_VERSION "program-only")
CMAKE
}
package Clang clang
package LLVM llvm-objcopy
build() {
    folder=$1
    shift
    cmake -G Ninja -S "$source/projects/$folder" -B "$work/$folder" -DCMAKE_BUILD_TYPE=Release \
        "-DCMAKE_PREFIX_PATH=$work/rocr;$rocm" "-DLLVM_DIR=$work/cmake" "-DClang_DIR=$work/cmake" "$@"
    cmake --build "$work/$folder" --parallel "$MAX_JOBS"
}
# CLR needs ROCr's headers: they go to a folder of their own, the image's ROCm stays what it was.
build rocr-runtime "-DCMAKE_INSTALL_PREFIX=$work/rocr"
cmake --install "$work/rocr-runtime" --strip
build clr "-DCMAKE_INSTALL_PREFIX=$work/clr-out" -DCLR_BUILD_HIP=ON -DCLR_BUILD_OCL=OFF \
    "-DHIP_COMMON_DIR=$source/projects/hip" "-DROCM_PATH=$rocm" "-DHIP_LLVM_ROOT=$rocm/llvm"
cmake --install "$work/clr" --strip
mkdir -p "$out/lib"
cp -P "$work"/rocr/lib/libhsa-runtime64.so* "$work"/clr-out/lib/libamdhip64.so* "$out/lib/"
cache_report
