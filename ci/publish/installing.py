"""Install a staged release as a user would: the printed line, a new environment, pip and uv, over HTTP."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InfraError, Problem
from ..names import wheel_path
from ..settings import Settings
from ..wheels.install import Line, lines
from ..world import files, serving
from ..world.process import Command, Finished, Run
from . import index, pythons
from .installers import Installer, environ, finding, installers
from .manifest import Release, WheelRow
from .places import Places
from .readback import Inside

_ELSEWHERE = re.compile(r"[^/]+\.data/(purelib|platlib)/")
_NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_MINUTES = 60.0


class Bench(NamedTuple):
    """What installs are done with: an empty folder, the way programs are started, the host's settings."""

    scratch: Path
    run: Run
    settings: Settings


def install(places: Places, release: Release, inside: Mapping[str, Inside], bench: Bench) -> Iterator[Problem]:
    """What goes wrong when the wheels are installed from their staged index.

    Raises ``InfraError`` where it cannot be tried: no uv, no Python that fits, third-party requirements
    that cannot be had.
    """
    if not release.wheels:
        return
    both = installers(bench.settings)
    groups = pythons.grouped(release.wheels, bench.run, both[1].program, finding(bench.settings))
    for python, rows in groups.items():
        for installer in both:
            places.say(
                f"installing {len(rows)} of its wheels into a clean environment with {installer.name} ({python})"
            )
            with (
                _room(bench.scratch / f"{installer.name}-environment") as room,
                serving.serve(places.store.within(release.commit), negotiates=installer.name == "uv") as served,
            ):
                # Many web servers know nothing of JSON pages: one installer is given those, the other these.
                trial = _Trial(release, tuple(rows), inside, bench, installer, room, served)
                yield from trial.problems(python)


@contextmanager
def _room(folder: Path) -> Iterator[Path]:
    """A folder for one environment, which may be large, and is gone afterwards."""
    with files.disk_errors(f"cannot make {folder}"):
        (folder / "home").mkdir(parents=True)
    try:
        yield folder
    finally:
        files.remove(folder)


@dataclass(frozen=True)
class _Trial:
    release: Release
    rows: tuple[WheelRow, ...]
    inside: Mapping[str, Inside]
    bench: Bench
    installer: Installer
    room: Path
    served: serving.Served

    @property
    def python(self) -> str:
        """The interpreter of the new environment."""
        return str(self.room / "environment" / "bin" / "python")

    def problems(self, base: str) -> Iterator[Problem]:
        """What is wrong with the environment after every printed line was run in it."""
        made = self._start(*self.installer.environment(base, self.room / "environment"))
        if not made.ok:
            hint = f"install what makes them (apt-get install python3-venv), or make room below {self.room}"
            raise InfraError("no-venv", f"cannot make a clean environment of {base}", hint=hint, context=made.tail())
        failed = False
        for line in self._lines():
            problem = self._installed(line)
            failed = failed or problem is not None
            if problem:
                yield problem
        if not failed:
            yield from self._judged(self._asked())

    def _start(self, *argv: str) -> Finished:
        home = self.room / "home"
        env = environ(self.bench.settings, home, f"{self.served.url}/simple/")
        done = self.bench.run(Command(argv, cwd=home, env=env, deadline=60 * _MINUTES))
        if not done.ok and _NO_SPACE.search(done.tail()):
            message = f"{self.installer.name} has no room for a clean environment below {self.room}"
            raise InfraError("disk", message, hint=files.DISK_REMEDY, context=done.tail())
        return done

    def _lines(self) -> tuple[Line, ...]:
        wanted = {row.filename for row in self.rows}
        entries = [entry for entry in index.entries(self.release) if entry.filename in wanted]
        return tuple(dict.fromkeys(line for entry in entries for line in lines([entry], self.served.url)))

    def _installed(self, line: Line) -> Problem | None:
        """Run a printed line; a failure that remains where nothing but our index is asked is the release's."""
        done = self._start(*self.installer.printed(line, self.python))
        if done.ok:
            return None
        alone = self._start(*self.installer.alone(line, self.python))
        if self.served.troubles:
            raise self.served.troubles[0]
        if alone.ok:
            hint = "check the network and the pip configuration (PIP_INDEX_URL, PIP_FIND_LINKS), then run it again"
            message = f"{self.installer.name} cannot get what {line.requirement} requires; nothing is known about it"
            raise InfraError("no-requirements", message, hint=hint, context=done.tail())
        message = f"{self.installer.name} does not install {line.requirement} from the staged index"
        hint = "users would see the same: the installer's words are below"
        return Problem("not-installable", message, hint, alone.tail())

    def _asked(self) -> Mapping[str, Any]:
        """What the environment's own Python says of each project."""
        wanted = {row.project: _files(self.inside[row.sha256].record) for row in self._chosen()}
        question = self.room / "wanted.json"
        files.write_json(question, wanted)
        program = Path(__file__).with_name("inside.py")
        done = self._start(self.python, "-I", str(program), str(question))
        try:
            found: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            hint = "run it again; if it stays so, a wheel brings a .pth file that breaks Python"
            message = f"the Python of the clean environment does not answer (exit {done.code})"
            raise InfraError("no-answer", message, hint=hint, context=done.tail()) from None
        return found

    def _chosen(self) -> Sequence[WheelRow]:
        """Of each project the wheel that was sent, where several would do."""
        chosen: dict[str, WheelRow] = {}
        for row in self.rows:
            if row.project not in chosen or self._sent(row):
                chosen[row.project] = row
        return tuple(chosen.values())

    def _sent(self, row: WheelRow) -> bool:
        return wheel_path(row.sha256, row.filename) in self.served.sent

    def _judged(self, found: Mapping[str, Any]) -> Iterator[Problem]:
        for row in self._chosen():
            who = f"{self.installer.name} was asked for {row.project} {row.version}"
            seen = found.get(row.project) or {"version": "nothing", "wrong": []}
            version = seen["version"]
            if version != row.version:
                hint = "another wheel of the release, or of this host's indices, brought it"
                yield Problem("installed-version", f"{who}, and {version} is installed", hint)
            elif not self._sent(row):
                hint = "this host's pip configuration offers the same version elsewhere: take it out there"
                yield Problem("installed-elsewhere", f"{who}, and did not take it from the staged index", hint)
            elif seen["wrong"]:
                hint = "two wheels of the release bring the same file, or the wheel's RECORD lies"
                message = f"{who}; {len(seen['wrong'])} installed files are not those of the wheel"
                yield Problem("installed-bytes", message, hint, "\n".join(seen["wrong"][:20]))


def _files(record: str) -> dict[str, str]:
    """The files of a wheel that are installed as they are, with their digests."""
    found = {}
    for path, said, *_ in csv.reader(record.splitlines()):
        plain = _ELSEWHERE.sub("", path)
        if said.startswith("sha256=") and ".data/" not in plain:
            found[plain] = said
    return found
