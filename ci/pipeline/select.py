"""Which steps a change selects, and why each of them runs or does not. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from ..documents import Document, refuse, suggest
from ..errors import ConfigError, Problem
from ..recipe.dockerfile.globs import GlobError
from ..suites.catalogue import PROFILES, Catalogue, Exemption
from ..world.diffs import Diff
from .patterns import Globs, Paths, shown
from .pools import Pools

WHOLE = ("nightly", "full")
"""Profiles that no change narrows."""


class Wish(NamedTuple):
    """What somebody asked for: a profile, steps by name instead, and the labels of the pull request."""

    profile: str = "pr"
    only: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


class Choice(NamedTuple):
    """Whether a step runs, and the reason in words."""

    step: str
    runs: bool
    why: str


class Selection(NamedTuple):
    """Every step of a catalogue, in its order; ``everything`` says why all of the profile run, empty else."""

    profile: str
    choices: tuple[Choice, ...]
    notices: tuple[str, ...]
    everything: str


class Asked(NamedTuple):
    """The profile that wish and labels come to; why the change does not matter, empty where it does; and notices."""

    profile: str
    everything: str
    notices: tuple[str, ...]


def asked(wish: Wish, pools: Pools) -> Asked:
    """What ``wish`` asks for by its profile and labels; of several profiles the last of ``PROFILES`` counts."""
    profile, everything, notices = wish.profile, "", []
    for name in wish.labels:
        label = pools.labels.get(name)
        if label is None:
            continue
        if label.profile and PROFILES.index(label.profile) > PROFILES.index(profile):
            notices.append(f"label {shown(name)} makes it profile {label.profile}, not {profile}")
            profile = label.profile
        if label.run_all and not everything:
            everything = f"label {shown(name)}"
    if profile in WHOLE:
        everything = f"profile {profile}"
    return Asked(profile, everything, tuple(notices))


def choose(
    catalogue: Catalogue, diff: Diff, triggers: Mapping[str, str], wish: Wish, *, pools: Pools, today: date
) -> Selection:
    """Choose among the steps of ``catalogue``.

    The first rule that knows an answer gives it: ``--only``, a skip that holds, the profile, a label, a change that is
    not known, none, or one of documents alone, a file that every step depends on (``triggers``: why), the
    sources of the step.  Raises ``ConfigError`` for an unknown step and for patterns that cannot be meant.
    """
    _refuse_unknown(catalogue, wish.only)
    found = asked(wish, pools)
    paths = Paths(diff.files, diff.links)
    globs = _globs(catalogue, pools)
    everything = found.everything or ("" if wish.only else _everything(diff, triggers, paths, globs[None]))
    nothing = "" if everything else _nothing(paths, globs[None])
    choices, notices = [], [*found.notices, *_counted(diff, found, wish)]
    for name in catalogue.data:
        skip = _skip(catalogue, name)
        if skip and not skip.holds(today):
            notices.append(f"step {name} runs again: its skip ended on {skip.until} ({skip.reason})")
        held = skip if skip and skip.holds(today) else None
        if held and name in wish.only:
            notices.append(f"step {name} does not run, although --only asks for it: {held}")
        runs, why = _of_wish(catalogue, name, found.profile, wish.only, held) or (
            (True, everything) if everything else (False, nothing) if nothing else _by_sources(globs[name], paths)
        )
        choices.append(Choice(name, runs, why))
    return Selection(found.profile, tuple(choices), tuple(notices), "" if wish.only else everything)


def _refuse_unknown(catalogue: Catalogue, only: Sequence[str]) -> None:
    problems = [
        Problem("unknown-step", f"{catalogue.file} has no step {name!r}", suggest(name, list(catalogue.data)))
        for name in only
        if name not in catalogue.data
    ]
    if problems:
        raise ConfigError.of(problems)


def _of_wish(
    catalogue: Catalogue, name: str, profile: str, only: Sequence[str], skip: Exemption | None
) -> tuple[bool, str] | None:
    """What is settled before any change is looked at."""
    if only and name not in only:
        return False, "--only asks for others"
    if skip:
        return False, f"skipped: {skip}"
    if only:
        return True, "--only asks for it"
    profiles = catalogue.data[name].get("profiles", PROFILES)
    if profile != "full" and profile not in profiles:
        return False, f"not part of profile {profile}, only of {', '.join(profiles) or 'none'}"
    return None


def _everything(diff: Diff, triggers: Mapping[str, str], paths: Paths, docs: Globs) -> str:
    """Why all steps run, by what changed."""
    if diff.unknown:
        return f"what changed is not known: {diff.unknown}"
    if not triggers or _only_documents(paths, docs):
        return ""
    file = min(triggers)
    more = f", and {len(triggers) - 1} more such files" if len(triggers) > 1 else ""
    return f"{shown(file)} changed: {triggers[file]}{more}"


def _nothing(paths: Paths, docs: Globs) -> str:
    """Why no step runs, by what changed."""
    if not paths.files:
        return "no file changed"
    return "only documents changed" if _only_documents(paths, docs) else ""


def _only_documents(paths: Paths, docs: Globs) -> bool:
    return sum(1 for _ in docs.matches(paths)) == len(paths.files)


def _by_sources(sources: Globs, paths: Paths) -> tuple[bool, str]:
    if not sources.patterns:
        return True, "it names no sources: any change runs it"
    if match := sources.first(paths):
        return True, f"{shown(match[0])} matches its source {match[1]}"
    if match := sources.leads(paths):
        return True, f"{shown(match[0])}, which its source {match[1]} may lie below, changed"
    count = len(paths.files)
    return False, f"none of {count} changed files matches its sources" if count > 1 else _one(paths.files[0])


def _one(file: str) -> str:
    return f"{shown(file)} matches none of its sources"


def _skip(catalogue: Catalogue, name: str) -> Exemption | None:
    data = catalogue.data[name].get("skip")
    return Exemption(**{**data, "until": date.fromisoformat(data["until"])}) if data else None


def _counted(diff: Diff, found: Asked, wish: Wish) -> Iterator[str]:
    """What a person should hear about the change itself."""
    if not (wish.only or found.everything or diff.unknown or diff.files):
        yield f"no file changed since {diff.base[:12]}: nothing is run"


# --- patterns -----------------------------------------------------------------------------------


def _globs(catalogue: Catalogue, pools: Pools) -> Mapping[str | None, Globs]:
    """The sources of each step, and under None the documents; raises ``ConfigError`` with every wrong pattern."""
    problems: list[Problem] = []
    made: dict[str | None, Globs] = {
        name: compiled(step.get("sources", ()), catalogue.document, ("steps", name, "sources"), problems.append)
        for name, step in catalogue.data.items()
    }
    made[None] = compiled(pools.docs, pools.document, ("docs",), problems.append)
    refuse(tuple(problems))
    return made


def compiled(
    patterns: Sequence[str], document: Document, where: tuple[str, ...], wrong: Callable[[Problem], None]
) -> Globs:
    """The list of patterns that stands at ``where``; one that cannot be meant goes to ``wrong`` and is left out."""
    if patterns and all(each.startswith("!") for each in patterns):
        hint = 'begin it with what they take from, "**" for every file'
        wrong(Problem("bad-pattern", "a list of ! alone lets no file in", hint, place=document.place(*where, 0)))
    try:
        return Globs(patterns)
    except GlobError:
        return Globs(tuple(_right(patterns, document, where, wrong)))


def _right(
    patterns: Sequence[str], document: Document, where: tuple[str, ...], wrong: Callable[[Problem], None]
) -> Iterator[str]:
    for index, pattern in enumerate(patterns):
        try:
            Globs((pattern,))
            yield pattern
        except GlobError as error:
            hint = "write tests/x for a file or folder, *.md, a/**/b.py, or ! and one of these"
            wrong(Problem("bad-pattern", str(error), hint, place=document.place(*where, index)))
