"""Audit a target: gather the facts of every wheel and file in it, ask every rule, apply the exceptions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ..documents import suggest
from ..errors import ConfigError, ContractError, EmptyError, Problem
from ..world import files, views
from ..world.process import Run
from . import importing, inspect, libraries, wheel
from .facts import Allowed, Audit, Case, Facts, Finding, Part, Skip, Verdict, Waived, Wanted
from .inspect import Inspection
from .rules import RULES

NAMES = (*(name for name, _ in RULES), importing.RULE)


def examine(
    target: Path,
    wanted: Wanted,
    allowed: Sequence[Allowed],
    run: Run,
    environ: Mapping[str, str],
    *,
    scratch: importing.Scratch = views.scratch,
) -> Audit:
    """Everything there is to say about ``target``: a wheel, a binary, or a folder of them.

    ``run``, ``environ`` and ``scratch`` serve the one rule that needs a process, the import.

    Raises ``ConfigError`` where there is nothing of the kind, ``ContractError`` for a single file
    that cannot be read, ``EmptyError`` for a folder with nothing to audit.
    """
    if wanted.module:
        importing.check_name(wanted.module)
    parts = []
    for facts in _gathered(target):
        imported = importing.imports(facts, wanted.module, run, environ, scratch)
        parts.append(_judged(facts, wanted, allowed, imported))
    if not parts:
        hint = "give a wheel, a binary, or a folder that holds some"
        raise EmptyError("nothing-to-audit", f"there is no wheel and no binary below {target}", hint=hint)
    if wanted.module and not any(part.facts.wheel for part in parts):
        message = f"--import {wanted.module}: there is no wheel in {target} to install"
        raise ConfigError("nothing-to-import", message, hint="audit the wheel, or leave --import out")
    used = {waived.by for part in parts for verdict in part.verdicts for waived in verdict.waived}
    return Audit(target, wanted, tuple(parts), tuple(each for each in allowed if each not in used))


def exceptions(pairs: Iterable[tuple[str, str]], names: Sequence[str] = NAMES) -> tuple[Allowed, ...]:
    """``RULE:PATTERN`` with its reason, as exceptions; ``ConfigError`` for a rule that is none of ``names``."""
    found = []
    for key, reason in pairs:
        rule, colon, pattern = key.partition(":")
        if not (colon and pattern):
            hint = "for example --allow 'resolves:*/libextra.so=the host application loads it first'"
            raise ConfigError("bad-exception", f"--allow wants RULE:PATTERN=REASON, not {key!r}", hint=hint)
        if rule not in names:
            raise ConfigError("unknown-rule", f"--allow: there is no rule {rule!r}", hint=suggest(rule, names))
        found.append(Allowed(rule, pattern, reason))
    return tuple(found)


def _gathered(target: Path) -> Iterator[Facts]:
    if not target.is_dir():
        yield _of_wheel(target) if target.name.endswith(".whl") else _of_file(target)
        return
    names = [name for name in files.walk(target) if _plain(target / name)]
    for name in names:
        if name.endswith(".whl"):
            yield _of_wheel(target / name)
    loose = _of_folder(target, [name for name in names if not name.endswith(".whl")])
    if loose.files or loose.problems:
        yield loose


def _plain(path: Path) -> bool:
    """Links lead to what is looked at anyway, or out of the folder; a pipe would never end."""
    return path.is_file() and not path.is_symlink()


def _of_wheel(path: Path) -> Facts:
    found = wheel.read(path)
    sizes = tuple((member.name, member.packed) for member in found.members)
    return Facts(path.name, found.size, found.binaries, sizes, found.problems, found)


def _of_file(path: Path) -> Facts:
    found = inspect.inspect(path)
    named = Inspection(Path(path.name), found.kind, found.objects, found.host, found.size)
    sizes = tuple((f"{each.target_id} {each.origin}".rstrip(), each.size) for each in found.objects)
    return Facts(path.name, found.size, (named,), sizes)


def _of_folder(folder: Path, names: Sequence[str]) -> Facts:
    found: list[Inspection] = []
    problems: list[Problem] = []
    for name in names:
        try:
            with views.mapped(folder / name) as data:
                if inspect.recognise(bytes(data[:24])) or inspect.claims(name):
                    found.append(inspect.look(data, Path(name), name))
        except ContractError as error:
            problems += error.problems
    sizes = tuple((str(each.path), each.size) for each in found)
    return Facts(folder.name or str(folder), sum(size for _, size in sizes), tuple(found), sizes, tuple(problems))


def _judged(facts: Facts, wanted: Wanted, allowed: Sequence[Allowed], imported: Verdict) -> Part:
    case = Case(facts, wanted, libraries.shipped())
    verdicts = [verdict(name, rule(case), allowed) for name, rule in RULES]
    verdicts.append(imported if imported.state == "skipped" else verdict(imported.rule, imported.findings, allowed))
    return Part(facts, tuple(verdicts))


def verdict(rule: str, answer: Sequence[Finding] | Skip, allowed: Sequence[Allowed]) -> Verdict:
    """How a rule went by its answer, the exceptions applied."""
    if isinstance(answer, Skip):
        return Verdict(rule, "skipped", why=answer.why)
    counted, waived = [], []
    for finding in answer:
        exception = next((each for each in allowed if each.rule == rule and _covers(each, finding)), None)
        if exception is None:
            counted.append(finding)
        else:
            waived.append(Waived(finding, exception))
    return Verdict(rule, "broken" if counted else "kept", tuple(counted), tuple(waived))


def _covers(exception: Allowed, finding: Finding) -> bool:
    return fnmatchcase(finding.subject, exception.pattern)
