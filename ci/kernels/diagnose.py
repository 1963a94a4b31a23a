"""Why a compile failed, told once per file with the archs it failed for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import CiError, FailedError, InfraError, Place, Problem
from ..world.containers import engine_failed
from ..world.process import Finished

_KILLED = re.compile(r"unable to execute command: Killed|command failed due to signal.*Killed|^Killed$", re.MULTILINE)
_DISK = re.compile(r"No space left on device", re.IGNORECASE)
_NOISE = re.compile(r"^(failed to execute:|\d+ (error|warning)s? generated|\.+ /?\S+$)")
_PLACE = re.compile(r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?P<column>\d+): (?:fatal )?error:", re.MULTILINE)
_LINES = 40


@dataclass(frozen=True, slots=True)
class Failure:
    """One compile that made no object."""

    source: str
    arch: str
    finished: Finished


def error(failures: Sequence[Failure], *, contained: bool) -> CiError:
    """One error with a problem per file; ``failed`` if the product is at fault anywhere, else ``infra``."""
    by_file: dict[str, list[Failure]] = {}
    for failure in sorted(failures, key=lambda each: (each.source, each.arch)):
        by_file.setdefault(failure.source, []).append(failure)
    rows = [_problem(source, found, contained) for source, found in by_file.items()]
    kind = FailedError if any(fault for fault, _ in rows) else InfraError
    return kind.of([problem for fault, problem in sorted(rows, key=lambda row: not row[0])])


def _problem(source: str, found: list[Failure], contained: bool) -> tuple[bool, Problem]:
    """(is it the product's fault, the problem)."""
    archs = ", ".join(each.arch for each in found)
    killed = [each for each in found if was_killed(each.finished)]
    if killed:
        names = ", ".join(each.arch for each in killed)
        message = f"{source}: the compiler was killed, probably memory, for {names}"
        hint = "set MAX_JOBS lower, for example MAX_JOBS=1, and run the same command again"
        return False, Problem("killed", message, hint, readable(killed[0].finished), Place(source))
    first = found[0].finished
    text = readable(first)
    if _DISK.search(text):
        hint = "free space (docker system df; inv reap) or set ROCM_CI_STATE to a folder on another disk"
        return False, Problem("disk", f"{source}: the disk is full", hint, text, Place(source))
    if contained and engine_failed(first):
        hint = "run inv doctor, then the same command again; what is compiled is kept"
        return False, Problem("engine", f"{source}: the engine gave up", hint, text, Place(source))
    if len({readable(each.finished) for each in found}) > 1:
        text = "\n".join(f"for {each.arch}:\n{_brief(each.finished)}" for each in found)
    match = _PLACE.search(text)
    place = Place(match["file"], int(match["line"]), int(match["column"])) if match else Place(source)
    hint = "fix it and run the same command again; what is compiled is kept"
    return True, Problem("compile-failed", f"{source} does not compile for {archs}", hint, text, place)


def was_killed(finished: Finished) -> bool:
    """Whether the kernel took the compiler away: it has no other code for that than the signal."""
    return finished.code in {137, -9} or (not finished.ok and bool(_KILLED.search(finished.stderr)))


def readable(finished: Finished) -> str:
    """What the compiler said, without the wrapper's noise and without the arch, which the message names."""
    return said(finished) or f"it ended with {finished.code} and said nothing"


def said(finished: Finished) -> str:
    """The compiler's own lines, empty where it was silent."""
    lines = [line for line in (finished.stderr or finished.stdout).splitlines() if not _NOISE.match(line)]
    return "\n".join(lines[:_LINES])


def _brief(finished: Finished) -> str:
    return "\n".join(readable(finished).splitlines()[: _LINES // 3])
