"""Which compiler: the local ``hipcc`` when there is one on PATH, the stack's toolchain image otherwise.

A compiler is known by what it is, not by where it is: the local one by its version and the
bytes of every program, library and bitcode file it works with, the image by its digest.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from ..build.perform import Performance
from ..build.workspace import Workspace
from ..errors import ConfigError, InfraError
from ..recipe.stack import Stack
from ..settings import Settings
from ..world import files
from ..world.process import Command, Finished, Run, run

WRAPPERS = ("ccache", "sccache")
_PASSED = (
    "PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "CCACHE_DIR", "SCCACHE_DIR",
    "ROCM_PATH", "HIP_PATH", "HIP_CLANG_PATH", "HIP_DEVICE_LIB_PATH", "LD_LIBRARY_PATH",
)  # fmt: skip
"""What leads to a compiler, its libraries and its caches; flags from outside are not among them."""

_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Local:
    """The ``hipcc`` of this host; ``wrapper`` is ccache or sccache, empty without."""

    name: str
    identity: str
    hipcc: str
    wrapper: str
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Image:
    """The toolchain image: its digest is its identity. Empty, like ``reference``, while it is still to be built."""

    name: str
    identity: str
    reference: str
    tier: str


Toolchain = Local | Image


def environment(settings: Settings) -> dict[str, str]:
    """What a local compiler sees: enough to find itself and its caches, no flags from outside."""
    found = {name: settings.host(name) for name in _PASSED if settings.host(name)}
    return {**found, "LC_ALL": "C", "HIP_PLATFORM": "amd"}


def local(
    settings: Settings, archs: Sequence[str], folder: Path, start: Run = run, *, keep: bool = True
) -> Local | None:
    """The local compiler, or None. ``folder`` keeps digests of its files, unless ``keep`` is off.

    Raises ``ConfigError`` when it cannot compile for one of ``archs``.
    """
    path = settings.host("PATH")
    hipcc = which("hipcc", path=path)
    if hipcc is None:
        return None
    env = environment(settings)
    version = start(Command((hipcc, "--version"), env=env, deadline=_PATIENCE))
    if not version.ok:
        hint = "reinstall it, or take it off PATH: the stack's toolchain image compiles then"
        raise InfraError("broken-hipcc", f"{hipcc} does not work", context=version.tail(5), hint=hint)
    lines = [line for line in version.stdout.splitlines() if line and not line.startswith("InstalledDir")]
    digest = _Memory(folder / "tools.json", keep=keep)
    parts = [*lines, *sorted(digest.of(path) for path in _files(hipcc, archs, env, start))]
    digest.save()
    identity = "hipcc:" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    wrapper = next((found for name in WRAPPERS if (found := which(name, path=path))), "")
    name = f"{hipcc} ({'; '.join(line for line in lines if 'version' in line)})"
    return Local(name, identity, hipcc, wrapper, env)


def _files(hipcc: str, archs: Sequence[str], env: Mapping[str, str], start: Run) -> set[Path]:
    """Every file the compiler works with: its programs, their libraries, the bitcode it links in."""
    words = ("-###", "--genco", "-c", *(f"--offload-arch={arch}" for arch in archs), "-x", "hip", "/dev/null")
    shown = start(Command((hipcc, *words), env=env, deadline=_PATIENCE))
    if not shown.ok:
        hint = "install a newer ROCm, or take it off PATH: the stack's toolchain image compiles then"
        message = f"{hipcc} cannot compile for {', '.join(archs)}"
        raise ConfigError("old-hipcc", message, context=_errors(shown), hint=hint)
    steps = [shlex.split(line) for line in shown.stderr.splitlines() if line.startswith(' "')]
    programs = {Path(hipcc), *(Path(step[0]) for step in steps)}
    linked = start(Command(("ldd", *sorted(str(path.resolve()) for path in programs)), env=env, deadline=_PATIENCE))
    libraries = (word for word in linked.stdout.split() if word.startswith("/") and not word.endswith(":"))
    bitcode = (word for step in steps for word in step[1:] if word.startswith("/") and word.endswith(".bc"))
    found = {*programs, *map(Path, libraries), *map(Path, bitcode)}
    return {path.resolve() for path in found if path.is_file()}


def _errors(finished: Finished) -> str:
    lines = [line for line in finished.stderr.splitlines() if "error:" in line]
    return "\n".join(lines) or finished.tail(5)


class _Memory:
    """Digests of large files, known again by size, time and inode: hashing a compiler takes half a second."""

    def __init__(self, path: Path, *, keep: bool) -> None:
        self._path = path
        self._keep = keep
        data = files.read_json(path)
        self._known: dict[str, list[object]] = data if isinstance(data, dict) else {}
        self._used: dict[str, list[object]] = {}

    def of(self, path: Path) -> str:
        status = path.stat()
        mark: list[object] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        known = self._known.get(str(path), [])
        digest = str(known[-1]) if known[:-1] == mark else _digest(files.blocks(path))
        self._used[str(path)] = [*mark, digest]
        return digest

    def save(self) -> None:
        if self._keep and self._used != self._known:
            with files.disk_errors(f"cannot make {self._path.parent}"):
                self._path.parent.parent.mkdir(parents=True, exist_ok=True)
                self._path.parent.mkdir(mode=0o700, exist_ok=True)
            files.write_json(self._path, self._used)


def _digest(blocks: Iterable[bytes]) -> str:
    state = hashlib.sha256()
    for block in blocks:
        state.update(block)
    return state.hexdigest()


def tier_of(stack: Stack) -> str:
    """The tier the stack compiles kernels in; raises ``ConfigError`` where it names none."""
    if not stack.toolchain:
        hint = "put hipcc on PATH, choose another --stack, or add `toolchain: TIER` to the stack file"
        message = f"there is no hipcc on PATH, and stack {stack.name} names no toolchain tier"
        raise ConfigError("no-toolchain", message, hint=hint)
    return stack.toolchain


def planned(workspace: Workspace) -> Image:
    """The image as it is now; its identity is empty where it would have to be built first."""
    tier = tier_of(workspace.stack)
    plan = workspace.plan((tier,))
    found = next((each for each in plan.tiers if each.name == tier), None)
    if found is None or found.decision != "reuse" or found.found is None:
        return Image(f"tier {tier}, to be built first", "", "", tier)
    return Image(found.found.reference, found.found.digest, found.found.reference, tier)


def built(performance: Performance) -> Image:
    """The image, built where nobody did before."""
    tier = tier_of(performance.workspace.stack)
    performance.run((tier,))
    result = next(each for each in performance.results if each.tier == tier)
    return Image(result.reference, result.digest, result.reference, tier)
