"""One step, or one shard of it, in one sandbox: its commands one after the other, each judged by itself."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join as shown
from typing import NamedTuple

from ..build.perform import Screen
from ..errors import CiError, ConfigError, DeadlineError, InfraError, Interrupted, Outcome
from ..printable import printable
from ..world import files, host
from ..world.clock import Clock
from ..world.process import Lines
from ..world.sandbox import Ended, Limits, Sandbox
from ..world.spans import Spans
from . import records, shard, words
from .catalogue import Command
from .plan import Planned
from .records import Records
from .results import CommandResult
from .verdict import IDLE, Verdict, judge

STOPPING = frozenset({Outcome.TIMEOUT, Outcome.INFRA, Outcome.INTERRUPTED, Outcome.INTERNAL})
"""After one of these the next command of the step could not be believed."""

EVIDENCE = 30.0
"""Seconds for collecting what a failed command leaves to see."""

ROOM = 1 << 20
"""Bytes the disk of the run folder has to have left where a verdict is to count."""

_CANNOT_START = frozenset({126, 127})
_ASK = 10.0

FULL = "the disk of the run folder is full"


class _Place(NamedTuple):
    """One command's number, its results folder, and its folders as the sandbox sees them."""

    number: int
    folder: Path
    inside: words.Folders


@dataclass
class Stage:
    """What one step runs with. ``folder`` is its own on this host, ``inside`` where the sandbox sees it."""

    planned: Planned
    sandbox: Sandbox
    folder: Path
    inside: words.Folders
    until: float
    clock: Clock
    screen: Screen
    spans: Spans
    quarantined: frozenset[str] = frozenset()
    failed_before: frozenset[str] = frozenset()
    part: tuple[int, int] = (1, 1)
    seconds_of: Mapping[str, float] = field(default_factory=dict)
    done: list[tuple[CommandResult, Records]] = field(default_factory=list)

    def run(self) -> None:
        """Run the step's commands; how each went is in ``done``, also when this raises.

        Of a divided step every shard runs its share of the tests, and every other command whole: most prepare.
        """
        for number, command in enumerate(self.planned.step.commands, 1):
            with self.spans.during("command", shown((command.kind, *command.words))) as doing:
                doing.span = doing.span._replace(log=str(self.folder / str(number) / words.LOG))
                result = self._command(number, command)
                doing.span = doing.span._replace(outcome=result.verdict.outcome, why=result.verdict.reasons)
            if result.verdict.outcome in STOPPING:
                return

    def _command(self, number: int, command: Command) -> CommandResult:
        place = _Place(
            number, self.folder / str(number), self.inside._replace(results=f"{self.inside.results}/{number}")
        )
        with files.disk_errors(f"cannot make {place.folder}"):
            place.folder.mkdir()
        divided = False
        if command.kind == "pytest":
            excluded = words.exclusions([each.test for each in self.planned.excluded])
            command = command._replace(words=(*command.words, *excluded))
            divided = self.part[1] > 1
        if divided and (end := self._divide(place, command)):
            return end
        argv = words.argv(command, place.inside, select=divided)
        self.screen.say(f"{self.planned.name}: {shown(argv)}")
        ended = self._attend(place, command, argv)
        return self._judged(place, command, argv, (ended, records.read(place.folder)))

    def _divide(self, place: _Place, command: Command) -> CommandResult | None:
        """Collect, plan the shards and write down which tests are ours; a result where that is the end of it."""
        argv = words.argv(command, place.inside, collect=True)
        ended = self._attend(place, command, argv)
        found = records.read(place.folder)
        for name in (words.JUNIT, words.EVENTS):
            files.remove(place.folder / name)
        if ended.code or ended.limit or ended.lost or not found.collected:
            return self._judged(place, command, argv, (ended, found))
        plan = shard.plan(found.collected, self.seconds_of, self.part[1])
        written = {"collected": list(found.collected), "shards": [list(each) for each in plan]}
        files.write_json(place.folder / words.SHARDS, written)
        mine = plan[self.part[0] - 1]
        if not mine:
            verdict = Verdict(Outcome.SKIPPED, (IDLE,))
            return self._noted(CommandResult(place.number, argv, verdict, ended, place.folder), records.NOTHING)
        files.write_whole(place.folder / words.SELECT, "".join(f"{each}\n" for each in mine).encode())
        return None

    def _attend(self, place: _Place, command: Command, argv: tuple[str, ...]) -> Ended:
        """Run one command to its end, its output shown and kept; one that is interrupted is in ``done`` too."""
        begun = self.clock.monotonic()
        with files.disk_errors(f"cannot write in {place.folder}"):
            log = files.LineLog(place.folder / words.LOG)

        def on_line(_stream: str, line: str) -> None:
            log.add(line)
            self.screen.say(printable(line))

        with log:
            try:
                ended = self._followed(place, command, argv, on_line)
            except Interrupted as error:
                rungs = error.rungs or (signal.Signals(error.signal).name,)
                cut = Ended(None, self.clock.monotonic() - begun, rungs=rungs)
                with suppress(InfraError):  # a full disk must not hide the signal
                    self._kept(place, command, argv, (cut, records.read(place.folder)))
                raise
        return _blaming_the_disk(ended, place.folder, log.lost)

    def _followed(self, place: _Place, command: Command, argv: tuple[str, ...], on_line: Lines) -> Ended:
        """Attend the command; ``ConfigError`` where the folder it was to run in is not there."""
        limits = self.planned.step.limits
        left = max(self.until - self.clock.monotonic(), 1.0)
        cwd = place.inside.fill(self.planned.step.workdir)
        try:
            ended = self.sandbox.attend(
                argv,
                env=words.filled(dict(command.env), place.inside),
                cwd=cwd,
                limits=Limits(left, min(limits.silent, left), limits.grace, EVIDENCE),
                on_line=on_line,
                on_limit=lambda _kind: self._evidence(place),
            )
        except InfraError:
            self._expect_folder(cwd)
            raise
        if ended.code in _CANNOT_START:
            self._expect_folder(cwd)
        return ended

    def _expect_folder(self, cwd: str) -> None:
        """Docker and the kernel call a missing folder a missing program."""
        with suppress(InfraError, DeadlineError):
            if self.sandbox.probe(("sh", "-c", '[ -d "$1" ]', "sh", cwd), _ASK).code == 1:
                message = f"step {self.planned.name}: the image has no folder {cwd} to run it in"
                raise ConfigError("no-workdir", message, hint="correct the step's workdir; the folder may have moved")

    def _judged(
        self, place: _Place, command: Command, argv: tuple[str, ...], seen: tuple[Ended, Records]
    ) -> CommandResult:
        result = self._kept(place, command, argv, seen)
        if result.verdict.outcome not in {Outcome.OK, Outcome.SKIPPED} and not seen[0].limit and not seen[0].lost:
            self._evidence(place)
        return result

    def _kept(
        self, place: _Place, command: Command, argv: tuple[str, ...], seen: tuple[Ended, Records]
    ) -> CommandResult:
        ended, found = seen
        verdict = judge(
            command.kind,
            ended,
            found,
            allow_empty=command.allow_empty,
            quarantined=self.quarantined,
            failed_before=self.failed_before,
        )
        if ended.lost.startswith(FULL) and verdict.outcome is Outcome.FAILED:  # what fails on it may fail for it
            reasons = tuple(sorted(verdict.reasons, key=lambda each: not each.startswith(FULL)))
            verdict = verdict._replace(outcome=Outcome.INFRA, reasons=reasons)
        return self._noted(CommandResult(place.number, argv, verdict, ended, place.folder), found)

    def _noted(self, result: CommandResult, found: Records) -> CommandResult:
        self.done.append((result, found))
        verdict = result.verdict
        row = {"argv": list(result.words), "outcome": verdict.outcome, "reasons": list(verdict.reasons)}
        try:
            files.write_json(result.folder / "result.json", {"schema": 1, **row, "counts": verdict.counts._asdict()})
        except InfraError:
            if not result.ended.lost:  # else the world is blamed already
                raise
        return result

    def _evidence(self, place: _Place) -> None:
        """What can be seen from inside before anything is taken down; never changes the outcome."""
        argv = (
            "python3",
            f"{place.inside.suite}/evidence.py",
            f"--seconds={EVIDENCE - 10:g}",
            f"--out={place.inside.results}",
        )
        try:
            done = self.sandbox.probe(argv, EVIDENCE)
        except Interrupted:
            raise
        except CiError as error:
            self.screen.warn(f"{self.planned.name}: no evidence could be taken: {error}")
            return
        if not done.ok:
            self.screen.warn(f"{self.planned.name}: the evidence is incomplete: {done.tail(2)}")


def _blaming_the_disk(ended: Ended, folder: Path, lost: str) -> Ended:
    """``ended``, the world to blame where log, JUnit and events had no room; ``lost`` says why the log has gaps."""
    if ended.lost or not (lost or host.free_disk(folder) < ROOM):
        return ended
    return ended._replace(lost=f"{FULL}; {files.DISK_REMEDY}")


VERSIONS = """\
import importlib.metadata as m, json, platform, sys
rows = {d.metadata["Name"]: d.version for d in m.distributions() if d.metadata["Name"]}
print(json.dumps({"python": sys.version, "platform": platform.platform(), "packages": dict(sorted(rows.items()))}))
"""
"""Run inside a sandbox: every installed package with its version."""


def write_versions(sandbox: Sandbox, path: Path, screen: Screen) -> None:
    """Keep the versions of what is installed in the sandbox; an image without Python has none to tell."""
    try:
        done = sandbox.probe(("python3", "-c", VERSIONS), EVIDENCE)
        files.write_json(path, json.loads(done.stdout))
    except Interrupted:
        raise
    except (InfraError, ValueError) as error:
        screen.warn(f"the versions inside the image are not known: {error}")
