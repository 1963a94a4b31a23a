"""The place where compiles happen: this host, or a container of the toolchain image."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..build.workspace import Workspace
from ..errors import CiError
from ..world import buildx
from ..world.containers import Mount, Workshop
from ..world.ledger import Ledger
from ..world.process import Command, Run, run
from .sources import Project
from .toolchain import Image, Local

SOURCE, OUTPUT = "/src", "/out"
"""Where the project and the staging folder are in the container."""

CCACHE_LOG = "ccache.log"


@dataclass(frozen=True, slots=True)
class Bench:
    """How to start a ``compiler``: ``prefix`` before it, ``output`` is its name for the staging folder.

    ``remembers`` is a compiler cache in front of it, which may hand out an object without
    reading a file; the included files are then asked for on stderr.
    """

    prefix: tuple[str, ...]
    compiler: tuple[str, ...]
    cwd: Path | None
    env: Mapping[str, str]
    output: str
    contained: bool
    remembers: bool = False

    def command(self, words: tuple[str, ...]) -> Command:
        """A program and its arguments, as they are run there."""
        return Command((*self.prefix, *words), cwd=self.cwd, env=self.env)


@contextmanager
def at_home(toolchain: Local, project: Project, staging: Path) -> Iterator[Bench]:
    """Compile on this host. A compiler cache is told what the compiler really is: hipcc only wraps it."""
    wrapped = (toolchain.wrapper, toolchain.hipcc) if toolchain.wrapper else (toolchain.hipcc,)
    env = {
        **toolchain.env,
        "CCACHE_COMPILERCHECK": f"string:{toolchain.identity}",
        "CCACHE_STATSLOG": str(staging / CCACHE_LOG),
        "SCCACHE_C_CUSTOM_CACHE_BUSTER": toolchain.identity,
    }
    yield Bench((), wrapped, project.root, env, str(staging), contained=False, remembers=bool(toolchain.wrapper))


@contextmanager
def in_container(
    toolchain: Image,
    project: Project,
    staging: Path,
    *,
    workspace: Workspace,
    ledger: Ledger,
    warn: Callable[[str], None],
    start: Run = run,
) -> Iterator[Bench]:
    """Compile in the toolchain image; the container is in the ledger before it starts and gone at the end."""
    engine = workspace.engine
    if engine.image(toolchain.identity) is None:  # it was found in the registry
        engine.pull(toolchain.reference, workspace.stack.platform)
    env = buildx.environment(workspace.settings, engine.at)
    user = "0:0" if engine.is_rootless() else f"{os.getuid()}:{os.getgid()}"
    mounts = (Mount(project.root, SOURCE), Mount(staging, OUTPUT, read_only=False))
    shop = Workshop(f"rocm-ci-{ledger.folder.name}-kernels", toolchain.identity, mounts, user, env)
    thing = ledger.will_make("container", shop.name)
    try:
        shop.begin(start)
        yield Bench(shop.inside(SOURCE), ("hipcc",), None, env, OUTPUT, contained=True)
    finally:
        ledger.clear(thing, lambda: shop.end(start), warn)


@dataclass(frozen=True, slots=True)
class Rate:
    """What a compiler cache said of this run: how many compiles it spared, and how many it could not."""

    name: str
    hits: int
    misses: int


class Counter:
    """Counts what the compiler cache of a run did; made before the first compile, asked after the last."""

    def __init__(self, toolchain: Local, staging: Path, start: Run = run) -> None:
        self._toolchain = toolchain
        self._log = staging / CCACHE_LOG
        self._start = start
        self._before = self._sccache()

    def rate(self) -> Rate:
        """Hits and misses since this was made."""
        name = Path(self._toolchain.wrapper).name
        if name == "ccache":
            words = self._log.read_text(encoding="utf-8", errors="replace").split() if self._log.is_file() else []
            hits = sum(word in {"direct_cache_hit", "preprocessed_cache_hit"} for word in words)
            return Rate(name, hits, words.count("cache_miss"))
        hits, misses = (now - then for now, then in zip(self._sccache(), self._before, strict=True))
        return Rate(name, hits, misses)

    def _sccache(self) -> tuple[int, int]:
        """Hits and misses since sccache's server began; zeros where it does not say."""
        if Path(self._toolchain.wrapper).name != "sccache":
            return (0, 0)
        argv = (self._toolchain.wrapper, "--show-stats", "--stats-format", "json")
        try:
            stats = json.loads(self._start(Command(argv, env=self._toolchain.env, deadline=30)).stdout)["stats"]
            return sum(stats["cache_hits"]["counts"].values()), sum(stats["cache_misses"]["counts"].values())
        except (CiError, ValueError, KeyError, TypeError, AttributeError):
            return (0, 0)
