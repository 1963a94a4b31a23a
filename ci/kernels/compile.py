"""Compile what is not there yet: plan, run in parallel over (file, arch), verify, keep, hand out.

Nothing reaches the cache that was not looked at: an object has to be a whole ELF for its arch,
made from the bytes its key was made from.  The objects' folder changes only when every object is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..audit.code_object import Kernel
from ..audit.inspect import look
from ..errors import CiError, ContractError, FailedError, InfraError, Place
from ..world import files
from ..world.crew import RunAll, run_all
from ..world.process import Command, Finished
from . import depfile, diagnose
from .batch import Batch
from .cache import Cache, Digests, Entry, Hit, unit_key
from .sources import Project
from .workshop import SOURCE, Bench

_TARGET = "object"
"""What the dependency rule is written for; it says nothing."""

_INCLUDED = "-H"
"""Names each included file on stderr, which compiler caches keep and give back."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One compile: a source for an arch, its key, and the object where it was compiled before."""

    source: str
    arch: str
    digest: str
    key: str
    hit: Hit | None


@dataclass(frozen=True, slots=True)
class Row:
    """How one unit ended. ``seconds`` is its compile's; a cached one took them when it was compiled."""

    source: str
    arch: str
    cached: bool
    seconds: float
    size: int
    digest: str
    kernels: tuple[Kernel, ...]


def arguments(project: Project, source: str, arch: str) -> tuple[str, ...]:
    """What hipcc is told, but for where things go: one code object, for one arch, the same in every folder."""
    return (
        "--genco", "-c", "--no-gpu-bundle-output", f"--offload-arch={arch}",
        "-fuse-cuid=none", "-ffile-compilation-dir=.", "-fno-crash-diagnostics",
        *project.flags, *(f"-I{name}" for name in project.include), source,
    )  # fmt: skip


def plan(project: Project, archs: Sequence[str], compiler: str, cache: Cache, digests: Digests) -> tuple[Unit, ...]:
    """Every unit, and whether it is there; ``compiler`` is its identity, empty means nothing can be there."""
    units = []
    for source in project.sources:
        digest = digests.of(source)
        for arch in archs:
            key = unit_key((compiler, arch, source, digest, project.names, *arguments(project, source, arch)))
            units.append(Unit(source, arch, digest, key, cache.find(key) if compiler else None))
    return tuple(units)


@dataclass
class Compile:
    """One run: ``rows`` and the bytes ``made``, by the units' keys, and what failed, fill as compiles end."""

    project: Project
    cache: Cache
    staging: Path
    say: Callable[[str], None]
    rows: dict[str, Row] = field(default_factory=dict)
    made: dict[str, bytes] = field(default_factory=dict)
    failures: list[diagnose.Failure] = field(default_factory=list)
    problems: list[CiError] = field(default_factory=list)
    warnings: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _marks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    _bare: tuple[str, ...] = ()

    def reuse(self, units: Sequence[Unit]) -> tuple[Unit, ...]:
        """Take what is there; gives the units that have to be compiled."""
        for unit in units:
            if unit.hit:
                self._settle(unit, unit.hit, cached=True)
        return tuple(unit for unit in units if not unit.hit)

    def perform(self, units: Sequence[Unit], bench: Bench, jobs: int, start: RunAll = run_all) -> None:
        """Compile ``units``, all of them whatever happens to one, then raise what went wrong.

        The largest sources first: one begun last would keep one job busy and the others waiting.
        """
        self._marks = {path: files.mark(self.project.root / path) for path in files.walk(self.project.root)}
        units = sorted(units, key=lambda unit: self._marks.get(unit.source, ())[:1], reverse=True)
        if bench.remembers:
            self._bare = self._read_by_nothing(bench, units[0].arch, start)
        words = [self._words(bench, place, unit) for place, unit in enumerate(units)]
        count = 0

        def done(place: int, finished: Finished, seconds: float) -> None:
            nonlocal count
            count += 1
            unit = units[place]
            verdict = self._take(unit, place, finished, seconds, bench)
            self.say(f"[{count}/{len(units)}] {unit.source} {unit.arch} {verdict} {seconds:.1f} s")

        if bench.contained:
            Batch(bench, self.staging, done).run(words, jobs, start)
        else:
            start([bench.command(each) for each in words], jobs, done)
        for (source, text), archs in self.warnings.items():
            self.say(f"warnings for {source}, {', '.join(sorted(archs))}:\n{text}")
        self._refuse(bench)

    def _refuse(self, bench: Bench) -> None:
        if self.failures:
            raise diagnose.error(self.failures, contained=bench.contained)
        if self.problems:
            raise type(self.problems[0]).of([problem for each in self.problems for problem in each.problems])

    def _words(self, bench: Bench, place: int, unit: Unit) -> tuple[str, ...]:
        stem = f"{bench.output}/{place}"
        words = arguments(self.project, unit.source, unit.arch)
        listing = (_INCLUDED,) if bench.remembers else _listing(stem)
        return (*bench.compiler, *words, *listing, "-o", f"{stem}.hsaco")

    def _read_by_nothing(self, bench: Bench, arch: str, start: RunAll) -> tuple[str, ...]:
        """What the compiler reads for an empty source: it includes those before the source begins."""
        empty = self.staging / "empty.hip"
        files.write_whole(empty, b"")
        words = arguments(self.project, str(empty), arch)
        listing = _listing(str(self.staging / "empty"))
        argv = (bench.compiler[-1], *words, *listing, "-o", str(self.staging / "empty.hsaco"))
        start([Command(argv, cwd=bench.cwd, env=bench.env)], 1, lambda *_: None)
        return tuple(name for name in self._listed("empty") if name != str(empty))

    def _take(self, unit: Unit, place: int, finished: Finished, seconds: float, bench: Bench) -> str:
        """Verify and keep one object; what is wrong is told at the end, when all are done."""
        if not finished.ok:
            self.failures.append(diagnose.Failure(unit.source, unit.arch, finished))
            return "failed"
        try:
            data = self._object(unit, place)
            included = _named(finished.stderr) + self._bare if bench.remembers else self._listed(str(place))
            headers, outside = self._headers(unit, included, bench)
            hit = Hit(Entry(*self._inspected(unit, data, seconds)), data)
            self.cache.keep(unit.key, headers, outside, hit)
        except (ContractError, FailedError) as error:
            self.problems.append(error)
            return "refused"
        except InfraError as error:
            if error.problems[0].reference != "edited":
                raise
            self.problems.append(error)
            return "edited"
        self._settle(unit, hit, cached=False)
        if text := diagnose.said(finished):
            self.warnings.setdefault((unit.source, text), []).append(unit.arch)
        return "compiled"

    def _object(self, unit: Unit, place: int) -> bytes:
        path = self.staging / f"{place}.hsaco"
        with files.disk_errors(f"cannot read what was compiled from {unit.source}"):
            data = path.read_bytes() if path.is_file() else b""
            path.unlink(missing_ok=True)
        return data

    def _inspected(self, unit: Unit, data: bytes, seconds: float) -> tuple[str, int, float, tuple[Kernel, ...]]:
        import hashlib

        shown = f"the code object of {unit.source} for {unit.arch}"
        found = look(memoryview(data), Path("object.hsaco"), shown)
        if found.kind != "code-object" or found.targets != (unit.arch,):
            message = f"{shown} is a {found.kind} for {', '.join(found.targets) or 'no target'}"
            hint = "the compiler did something else than it was told; see its flags in pyproject.toml"
            raise ContractError("wrong-object", message, hint=hint, place=Place(unit.source))
        kernels = tuple(kernel for each in found.objects for kernel in each.kernels)
        return hashlib.sha256(data).hexdigest(), len(data), round(seconds, 3), kernels

    def _listed(self, stem: str) -> tuple[str, ...]:
        path = self.staging / f"{stem}.d"
        if not path.is_file():
            return ()
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        path.unlink()
        return depfile.parse(text)

    def _headers(self, unit: Unit, included: Sequence[str], bench: Bench) -> tuple[dict[str, str], dict[str, str]]:
        """Digests of what was read: the project's own files, and the system's where they are not the image's.

        A file edited while the compiler read it would leave an object under a key that is not its own.
        """
        if not included:
            hint = "the compiler wrote no list of included files; a newer ROCm does"
            raise FailedError("no-dependencies", f"{unit.source}: its headers are unknown", hint=hint)
        own: dict[str, str] = {}
        outside: dict[str, str] = {}
        digests = Digests(self.project.root)
        for name in included:
            inside = self._inside(name, bench)
            if inside is not None:
                own[inside] = digests.fresh(inside)
                if files.mark(self.project.root / inside) != self._marks.get(inside):
                    raise _edited(unit, inside)
            elif not bench.contained:
                outside[name] = self.cache.digest(name)
        if digests.fresh(unit.source) != unit.digest:
            raise _edited(unit, unit.source)
        own.pop(unit.source, None)
        return own, outside

    def _inside(self, name: str, bench: Bench) -> str | None:
        """The name relative to the project, None for a file of the system."""
        import os.path

        root = SOURCE if bench.contained else str(self.project.root)
        path = os.path.normpath(os.path.join(root, name))  # noqa: PTH118 - it may be a path of the container
        return os.path.relpath(path, root) if path.startswith(root + "/") else None

    def _settle(self, unit: Unit, hit: Hit, *, cached: bool) -> None:
        entry = hit.entry
        self.rows[unit.key] = Row(
            unit.source, unit.arch, cached, entry.seconds, entry.size, entry.digest, entry.kernels
        )
        self.made[unit.key] = hit.data


def _listing(stem: str) -> tuple[str, ...]:
    """Have the compiler proper list what it includes: its driver ignores -MD in device-only compiles."""
    words = ("-dependency-file", f"{stem}.d", "-MT", _TARGET, "-sys-header-deps")
    return tuple(each for word in words for each in ("-Xclang", word))


def _named(stderr: str) -> tuple[str, ...]:
    """The files ``-H`` names: dots for the depth, then the path."""
    found = (line.partition(" ") for line in stderr.splitlines())
    return tuple(dict.fromkeys(path for dots, blank, path in found if blank and dots and not dots.strip(".")))


def _edited(unit: Unit, path: str) -> InfraError:
    message = f"{path} was edited while {unit.source} was compiled for {unit.arch}"
    return InfraError("edited", message, hint="run the same command again", place=Place(path))
