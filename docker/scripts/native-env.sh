# . native-env.sh: compilers behind a compiler cache, and mold as the linker, each only where a trial of it works.
#
# ccache keeps its files in the cache mount at /var/cache/rocm-ci-ccache.  sccache is used instead where USE_SCCACHE
# is 1; bucket and credentials are secrets of the RUN, so that no image has them.  mold links this build alone:
# what an image compiles at run time passes flags that mold does not know.
#
# ROCM_HOME is where the projects look for ROCm: a vendor's is in /opt/rocm, a distribution's where its hipconfig
# says. ROCM_PATH stays what it is: clang takes it for the one place of its device libraries.
MAX_JOBS=${MAX_JOBS:-$(nproc)}
export MAX_JOBS CMAKE_BUILD_PARALLEL_LEVEL="$MAX_JOBS"
ROCM_HOME=${ROCM_HOME:-${ROCM_PATH:-/opt/rocm}}
if [ ! -d "$ROCM_HOME" ] && command -v hipconfig >/dev/null; then ROCM_HOME=$(hipconfig --rocmpath); fi
export ROCM_HOME
trial=$(mktemp -d)
printf 'int main(void) { return 0; }\n' >"$trial/trial.c"
: "${CC:=cc}" "${CXX:=c++}"
export CC CXX
CACHE_LAUNCHER=
if [ "${USE_SCCACHE:-0}" = 1 ]; then
    if ! sccache "$CC" -c "$trial/trial.c" -o "$trial/trial.o"; then
        echo "native-env.sh: USE_SCCACHE is 1 and sccache cannot compile" >&2
        exit 1
    fi
    CACHE_LAUNCHER=sccache
    if [ -d /opt/sccache-wrappers ]; then export HIP_CLANG_PATH=/opt/sccache-wrappers; fi
elif command -v ccache >/dev/null; then
    export CCACHE_DIR=/var/cache/rocm-ci-ccache CCACHE_COMPILERCHECK=content CCACHE_MAXSIZE="${CCACHE_MAXSIZE:-20G}"
    if ccache "$CC" -c "$trial/trial.c" -o "$trial/trial.o"; then
        CACHE_LAUNCHER=ccache
        ccache --zero-stats >/dev/null
    fi
fi
if [ -n "$CACHE_LAUNCHER" ]; then
    export CMAKE_C_COMPILER_LAUNCHER="$CACHE_LAUNCHER" CMAKE_CXX_COMPILER_LAUNCHER="$CACHE_LAUNCHER"
    export CMAKE_HIP_COMPILER_LAUNCHER="$CACHE_LAUNCHER"
fi
if command -v mold >/dev/null && "$CC" -fuse-ld=mold "$trial/trial.c" -o "$trial/trial" 2>/dev/null; then
    LDFLAGS="${LDFLAGS:+$LDFLAGS }-fuse-ld=mold"
    export LDFLAGS
fi
rm -rf "$trial"
echo "native-env.sh: jobs $MAX_JOBS, compiler cache ${CACHE_LAUNCHER:-none}, linker flags ${LDFLAGS:-none}"

cache_report() {
    case "$CACHE_LAUNCHER" in
    ccache) ccache --show-stats ;;
    sccache) sccache --show-stats ;;
    esac
}
