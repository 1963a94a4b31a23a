"""``wheel`` from its options to its result: version, compile, pack, audit, and only then out it goes."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from .. import documents
from ..audit.examine import examine
from ..audit.facts import Audit, Wanted
from ..audit.importing import check_name
from ..build.perform import Screen
from ..build.workspace import open_workspace
from ..errors import ConfigError, Problem
from ..kernels import job as compiling
from ..kernels import workshop
from ..kernels.toolchain import Image, Local, Toolchain
from ..names import WheelVersion
from ..settings import Settings
from ..world import files
from ..world.history import History, history
from ..world.ledger import Ledger
from ..world.process import Run, run
from . import bundle, pack, tools
from .source import Source
from .version import NO_TORCH, trial, version

OUT = "dist"
_HIP_VERSION = re.compile(r"HIP version: (\d+\.\d+)")
_PATIENCE = 60.0
_NO_COMMIT_MOMENT = 1_577_836_800
"""2020-01-01: the time stamp in wheels of a tree that no commit dates; zip knows none before 1980."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the verb as they were typed; empty where not given."""

    project: str = ""
    arch: str = ""
    objects: str = ""
    rocm: str = ""
    torch: str = ""
    out: str = ""
    module: str = ""
    trial: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, checked; ``compile`` is None where objects are there already or none belong in the wheel.

    ``bundle``: the wheel is to travel to other jobs in one.
    """

    settings: Settings
    source: Source
    objects: Path | None
    compile: compiling.Request | None
    history: History | None
    options: Options
    out: Path
    bundle: bool = True

    @property
    def state(self) -> Path:
        """The folder of this host."""
        return Path(self.settings.get("ROCM_CI_STATE").value)

    @property
    def torch(self) -> str:
        """The torch it is built with."""
        return self.options.torch or NO_TORCH

    def version(self, rocm: str) -> WheelVersion:
        """The version of the wheel, made with ``rocm``; ``ConfigError`` for a tree that no commit describes."""
        if self.options.trial:
            return trial(self.source.release, rocm, self.torch)
        return version(self.source.name, self.source.release, self.history, rocm, self.torch)


@dataclass(frozen=True, slots=True)
class Result:
    """A wheel that passed its audit, and the bundle it travels in, where one was wanted.

    Both empty where the audit found something.
    """

    made: pack.Made
    wheel: Path | None
    sha256: str
    size: int
    bundle: Path | None
    bundle_sha256: str
    audit: Audit


def read(settings: Settings, options: Options) -> Request:
    """Check everything that can be checked before a compile, all problems at once; takes well under a second."""
    root = Path(options.project or compiling.DEFAULT_PROJECT).absolute()
    source = Source.read(root)
    options = replace(options, rocm=options.rocm or source.rocm)
    past = history(root)
    problems: list[Problem] = []
    request = Request(settings, source, None, None, past, options, Path(options.out or OUT).absolute())
    checks = (
        lambda: tools.preflight(source),
        lambda: _checked_version(request),
        lambda: files.check_folder(request.out, "--out"),
        lambda: check_name(options.module) if options.module else None,
    )
    for step in checks:
        _try(problems, step)
    compiles = not options.objects and any(path.endswith(".hip") for path in source.files())
    if not compiles and not options.rocm:
        hint = "say which ROCm the wheel is for: --rocm 7.2, or rocm under [tool.rocm-ci.wheel] of its pyproject.toml"
        problems.append(Problem("no-rocm", "nothing is compiled here that would tell the version of ROCm", hint))
    documents.refuse(problems)
    if compiles:
        return replace(request, compile=compiling.read(settings, str(root), options.arch, ""))
    return replace(request, objects=Path(options.objects).absolute() if options.objects else None)


def _checked_version(request: Request) -> None:
    request.version(request.options.rocm or "0")


def _try(problems: list[Problem], step: Callable[[], None]) -> None:
    try:
        step()
    except ConfigError as error:
        problems += error.problems


def perform(request: Request, ledger: Ledger, screen: Screen, start: Run = run) -> Result:
    """Make the wheel and its bundle; nothing appears in the out folder that the audit has not passed."""
    work = ledger.folder / "wheel"
    thing = ledger.will_make("folder", str(work))
    try:
        with files.disk_errors(f"cannot make {work}"):
            work.mkdir()
        return _Job(request, work, ledger, screen, start).perform()
    finally:
        ledger.clear(thing, lambda: files.remove(work), screen.warn)


@dataclass(frozen=True, slots=True)
class _Job:
    request: Request
    work: Path
    ledger: Ledger
    screen: Screen
    start: Run

    def perform(self) -> Result:
        request = self.request
        objects, compiler, rocm = self._objects()
        made = pack.Made(
            request.source.name,
            request.version(rocm),
            request.history.commit if request.history else "",
            request.torch,
            pack.archs(objects) if objects else (),
            compiler,
        )
        moment = request.history.moment if request.history else _NO_COMMIT_MOMENT
        self.screen.say(f"packing {made.project} {made.version}")
        wheel = pack.pack(
            request.source, made, objects, self.work, tools.Tools.at(self.start, request.settings, moment)
        )
        wanted = Wanted(made.archs, 0, request.options.module)
        audit = examine(wheel, wanted, (), self.start, request.settings.environ, scratch=self._scratch)
        return self._out(made, wheel, audit)

    def _scratch(self, _purpose: str) -> AbstractContextManager[Path]:
        """A folder inside the run's own, which the ledger knows: a kill leaves nothing that reap cannot find."""
        folder = self.work / "clean"
        folder.mkdir()
        return nullcontext(folder)

    def _objects(self) -> tuple[Path | None, str, str]:
        """The folder of code objects, what compiled them, and its ROCm."""
        rocm = self.request.options.rocm
        wanted = self.request.compile
        if wanted is None:
            return self.request.objects, "", rocm
        wanted = replace(wanted, out=self.work / "objects")
        done = compiling.perform(wanted, self.ledger, self.screen)
        return wanted.out, done.compiler.identity, rocm or self._rocm(done.compiler, wanted)

    def _rocm(self, compiler: Toolchain, wanted: compiling.Request) -> str:
        """Major and minor of the compiler's ROCm, as it says; HIP's third number is not ROCm's."""
        said = compiler.name
        if not isinstance(compiler, Local):
            said = self._asked(compiler, wanted)
        match = _HIP_VERSION.search(said)
        if match is None:
            hint = "say which ROCm it belongs to, for example --rocm 7.2"
            raise ConfigError("no-rocm", f"{compiler.name} does not tell its HIP version", hint=hint)
        return match[1]

    def _asked(self, compiler: Image, wanted: compiling.Request) -> str:
        """What the image's compiler says of its version."""
        space = open_workspace(wanted.settings, {}, (compiler.tier,), self.screen.say)
        empty = self.work / "empty"
        empty.mkdir()
        ledger, warn = self.ledger, self.screen.warn
        place = workshop.in_container(compiler, wanted.project, empty, workspace=space, ledger=ledger, warn=warn)
        with place as bench:
            command = bench.command((*bench.compiler, "--version"))
            return self.start(replace(command, deadline=_PATIENCE)).stdout

    def _out(self, made: pack.Made, wheel: Path, found: Audit) -> Result:
        """Let a wheel that passed appear, then the bundle that holds it."""
        digest, size = bundle.digest(wheel), wheel.stat().st_size
        if found.broken:
            return Result(made, None, digest, size, None, "", found)
        versions = {"rocm": made.version.rocm, "torch": made.torch, made.project: str(made.version)}
        manifest = bundle.Manifest(made.commit, _base(made.compiler), made.archs, versions)
        target = self.request.out / wheel.name
        packed = self.request.out / f"{made.project}-{made.version}.tar"
        files.copy_whole(wheel, target)
        if not self.request.bundle:
            return Result(made, target, digest, size, None, "", found)
        bundle.make(packed, {f"wheels/{wheel.name}": target}, manifest)
        return Result(made, target, digest, size, packed, bundle.digest(packed), found)


def _base(compiler: str) -> str:
    """The digest of the image it was compiled in; empty for a compiler of this host."""
    return compiler if compiler.startswith("sha256:") else ""
