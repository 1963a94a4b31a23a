"""``hip-compile`` from its options to its result: what is asked for, what would be done, doing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from .. import documents
from .. import settings as settings_room
from ..build import host
from ..build.perform import Performance, Screen
from ..build.record import Records
from ..build.workspace import Workspace, open_workspace
from ..errors import ConfigError, InternalError, Problem
from ..recipe import args
from ..recipe import stack as stacks
from ..settings import Settings
from ..world import files
from ..world.clock import SystemClock
from ..world.crew import RunAll, run_all
from ..world.ledger import Ledger
from ..world.process import Run, run
from . import toolchain, workshop
from .cache import Cache, Digests
from .compile import Compile, Row, Unit, plan
from .handout import hand_out
from .sources import Project, find
from .toolchain import Local, Toolchain
from .workshop import Bench, Counter, Rate

DEFAULT_PROJECT = "kernels"
_ARCHS = "PYTORCH_ROCM_ARCH"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, checked."""

    settings: Settings
    stack: stacks.Stack
    project: Project
    archs: tuple[str, ...]
    out: Path
    notices: tuple[str, ...]

    @property
    def state(self) -> Path:
        """The folder of this host."""
        return Path(self.settings.get("ROCM_CI_STATE").value)

    @property
    def folder(self) -> Path:
        """Where this user's objects are kept."""
        return Records(self.state).folder / "kernels"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run would do."""

    request: Request
    compiler: Toolchain
    units: tuple[Unit, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run did; ``wrapper`` is what ccache or sccache said, None without one."""

    request: Request
    compiler: Toolchain
    rows: tuple[Row, ...]
    written: int
    seconds: float
    jobs: int
    wrapper: Rate | None


@dataclass(frozen=True, slots=True)
class Outside:
    """The seams to programs; tests fake them."""

    run: Run = run
    run_all: RunAll = run_all


REAL = Outside()


def read(settings: Settings, project: str, arch: str, out: str) -> Request:
    """Check every option; raises ``ConfigError`` with all problems before anything is asked or written."""
    problems = list(settings_room.problems(settings))
    loaded: list[stacks.Stack] = []
    found: list[Project] = []
    checked = [args.Checked("")]
    _try(problems, lambda: loaded.append(stacks.load(settings.get("ROCM_CI_STACK").value)))
    _try(problems, lambda: found.append(find(Path(project or DEFAULT_PROJECT))))
    if out:
        _try(problems, lambda: files.check_folder(Path(out).absolute(), "--out"))
    if loaded:
        _try(problems, lambda: checked.append(_archs(settings, loaded[0], arch)))
    problems += checked[-1].problems
    documents.refuse(problems)
    target = Path(out).absolute() if out else found[0].objects
    return Request(settings, loaded[0], found[0], tuple(checked[-1].value.split(";")), target, checked[-1].notices)


def _archs(settings: Settings, stack: stacks.Stack, given: str) -> args.Checked:
    """The option beats the variable beats the stack. The option is no argument of the toolchain image."""
    default = next((spec.default for spec in stack.args if spec.name == _ARCHS), "")
    text = given or settings.get(_ARCHS, default).value
    if not text:
        hint = 'say which, for example --arch "gfx942;gfx950"'
        raise ConfigError("no-arch", f"stack {stack.name} has no default for {_ARCHS}", hint=hint)
    return args.arch_list("--arch" if given else _ARCHS, text, stacks.archs())


def _try(problems: list[Problem], step: Callable[[], None]) -> None:
    try:
        step()
    except ConfigError as error:
        problems += error.problems


def outlook(request: Request, say: Callable[[str], None], outside: Outside = REAL) -> Outlook:
    """What would be compiled, and with what; writes nothing."""
    compiler: Toolchain | None
    compiler = toolchain.local(request.settings, request.archs, request.folder, outside.run, keep=False)
    if compiler is None:
        compiler = toolchain.planned(_workspace(request, say))
    digests = Digests(request.project.root)
    cache = Cache(request.folder, digests)
    return Outlook(request, compiler, plan(request.project, request.archs, compiler.identity, cache, digests))


def _workspace(request: Request, say: Callable[[str], None]) -> Workspace:
    return open_workspace(request.settings, {}, (toolchain.tier_of(request.stack),), say)


def perform(request: Request, ledger: Ledger, screen: Screen, outside: Outside = REAL) -> Result:
    """Compile what is not there, and hand all of it out."""
    return _Job(request, ledger, screen, outside).perform()


class _Job:
    def __init__(self, request: Request, ledger: Ledger, screen: Screen, outside: Outside) -> None:
        self._request = request
        self._ledger = ledger
        self._screen = screen
        self._outside = outside
        self._workspace: Workspace | None = None
        self._jobs = int(host.max_jobs(request.settings))

    def perform(self) -> Result:
        request, project = self._request, self._request.project
        clock = SystemClock()
        begun = clock.monotonic()
        compiler = self._compiler()
        digests = Digests(project.root)
        cache = Cache(request.folder, digests)
        units = plan(project, request.archs, compiler.identity, cache, digests)
        work = Compile(project, cache, self._ledger.folder / "objects", self._screen.say)
        missing = work.reuse(units)
        rate = self._compile(work, missing, compiler) if missing else None
        rows = tuple(work.rows[unit.key] for unit in units)
        made = [work.made[unit.key] for unit in units]
        written = hand_out(request.out, project, rows, made, compiler.identity)
        return Result(request, compiler, rows, written, clock.monotonic() - begun, self._jobs, rate)

    def _compiler(self) -> Toolchain:
        request = self._request
        found = toolchain.local(request.settings, request.archs, request.folder, self._outside.run)
        if found:
            return found
        self._workspace = _workspace(request, self._screen.say)
        on_unknown = request.settings.get("ROCM_CI_ON_UNKNOWN").value
        return toolchain.built(Performance(self._workspace, self._ledger, self._screen, False, on_unknown))

    def _compile(self, work: Compile, missing: Sequence[Unit], compiler: Toolchain) -> Rate | None:
        """Compile ``missing`` where the compiler is; the staging folder is gone at the end."""
        count = len(missing) + len(work.rows)
        self._screen.say(f"compiling {len(missing)} of {count} objects, {self._jobs} at once, with {compiler.name}")
        thing = self._ledger.will_make("folder", str(work.staging))
        try:
            with files.disk_errors(f"cannot make {work.staging}"):
                work.staging.mkdir()
            counter = _counter(compiler, work.staging, self._outside.run)
            with self._bench(compiler, work.staging) as bench:
                work.perform(missing, bench, self._jobs, self._outside.run_all)
            work.cache.prune()
            return counter.rate() if counter else None
        finally:
            self._ledger.clear(thing, lambda: files.remove(work.staging), self._screen.warn)

    def _bench(self, compiler: Toolchain, staging: Path) -> AbstractContextManager[Bench]:
        project = self._request.project
        if isinstance(compiler, Local):
            return workshop.at_home(compiler, project, staging)
        if self._workspace is None:
            raise InternalError("no-workspace", "an image was chosen without a workspace")
        return workshop.in_container(
            compiler,
            project,
            staging,
            workspace=self._workspace,
            ledger=self._ledger,
            warn=self._screen.warn,
            start=self._outside.run,
        )


def _counter(compiler: Toolchain, staging: Path, start: Run) -> Counter | None:
    return Counter(compiler, staging, start) if isinstance(compiler, Local) and compiler.wrapper else None
