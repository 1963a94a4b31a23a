"""Rules about the steps of a suite file: what can be told without the tree under test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..audit import secrets
from ..errors import Place, Problem
from ..suites import plan
from ..suites.catalogue import Catalogue, Exemption, Step
from . import listed
from .material import Case


class Variant(NamedTuple):
    """A part of a step as it is written, at ``where`` in the suite file; ``arch`` as in ``listed.Call``."""

    step: str
    arch: str
    data: Mapping[str, Any]
    where: listed.Path


def variants(catalogue: Catalogue) -> Iterator[Variant]:
    """Every step, and what differs in it on some nodes."""
    for name, step in catalogue.data.items():
        yield Variant(name, "", step, ("steps", name))
        if "cpu" in step:
            yield Variant(name, "cpu", step["cpu"], ("steps", name, "cpu"))
        for arch, each in step.get("archs", {}).items():
            yield Variant(name, arch, each, ("steps", name, "archs", arch))


def place(case: Case, *path: str | int) -> Place:
    """Where a value of the suite file stands, by the name a person may open."""
    return case.in_suites(case.catalogue.document.place(*path)) if case.catalogue else Place("")


def summaries(case: Case) -> Iterator[Problem]:
    """No two steps are called the same to a person: a CI shows the summary."""
    seen: dict[str, str] = {}
    for name, step in case.catalogue.data.items() if case.catalogue else ():
        summary = " ".join(step["summary"].split()).lower()
        if summary in seen:
            other = place(case, "steps", seen[summary], "summary")
            hint = f"say what differs from step {seen[summary]} on line {other.line}"
            message = f"steps {seen[summary]} and {name} have one summary"
            yield Problem("summary-twice", message, hint, place=place(case, "steps", name, "summary"))
        seen.setdefault(summary, name)


def limits(case: Case) -> Iterator[Problem]:
    """An inner limit is shorter than the outer one, on every kind of node."""
    for each in variants(case.catalogue) if case.catalogue else ():
        if case.catalogue and (not each.arch or {"limits", "commands"} & each.data.keys()):
            for problem in plan.limit_problems(as_on(case.catalogue, each.step, each.arch)):
                key = "limits" if "limits" in each.data else "commands"
                yield problem._replace(place=place(case, *each.where, key))


def as_on(catalogue: Catalogue, name: str, arch: str) -> Step:
    """A step as the part of it that is written for ``arch`` has it; with an empty one, where no variant counts."""
    return catalogue.step(name, "" if arch == "cpu" else arch or "any")


def profiles(case: Case) -> Iterator[Problem]:
    """Every step is part of some profile; what other projects' files have for other hardware is told as lost."""
    ours = case.catalogue if case.catalogue and not case.catalogue.notices else None
    for name, step in ours.data.items() if ours else ():
        if step.get("profiles") == []:
            hint = "name its profiles; or give it a skip with its reason; or delete it"
            at = place(case, "steps", name, "profiles")
            yield Problem("no-profile", f"no pipeline ever runs step {name}", hint, place=at)


def expired(case: Case) -> Iterator[Problem]:
    """No skip, quarantine, soft step or pool that is away has outlived its last day."""
    for where, exemption in _exemptions(case.catalogue) if case.catalogue else ():
        if not exemption.holds(case.today):
            what = exemption.test or f"step {where[1]}"
            hint = "delete it; or look at its reason anew and give it another day"
            message = f"{what}: this ended on {exemption.until} ({exemption.reason})"
            yield Problem("expired", message, hint, place=place(case, *where, "until"))
    for pool in case.pools.pools if case.pools else ():
        away = pool.away
        if case.pools and away and away.until and away.until < case.today:
            at = case.pools.document.place("pools", pool.name, "away", "until")
            message = f"pool {pool.name} was to be looked at on {away.until} ({away.reason})"
            hint = "delete away where it takes jobs again, else give another day"
            yield Problem("expired", message, hint, place=at._replace(file=case.pipeline_file))


def _exemptions(catalogue: Catalogue) -> Iterator[tuple[listed.Path, Exemption]]:
    for each in variants(catalogue):
        step = as_on(catalogue, each.step, each.arch)
        for key in ("skip", "soft"):
            exemption = step.skip if key == "skip" else step.soft
            if exemption and key in each.data:
                yield (*each.where, key), exemption
        for index, exemption in enumerate(step.skips if "skips" in each.data else ()):
            yield (*each.where, "skips", index), exemption
    for index, exemption in enumerate(catalogue.quarantine):
        yield ("quarantine", index), exemption


def keys(case: Case) -> Iterator[Problem]:
    """No secret stands in an environment or a command."""
    hint = "take it out and revoke it; a step gets those that it names under secrets:"
    for name, where, env in _environments(case.catalogue) if case.catalogue else ():
        for variable, value in env.items():
            hits = [str(hit) for hit in secrets.in_text(value)]
            if hits or secrets.is_secret(variable, value):
                what = hits[0] if hits else f"a value of {len(value)} characters"
                message = f"step {name}: {variable} holds {what}"
                yield Problem("secret", message, hint, place=place(case, *where, "env", variable))
    for call in case.calls:
        hits = [str(hit) for word in (*call.words, *call.command.given) for hit in secrets.in_text(word)]
        if hits:
            message = f"step {call.step}: a command holds {hits[0]}"
            yield Problem("secret", message, hint, place=place(case, *call.where))


def _environments(catalogue: Catalogue) -> Iterator[tuple[str, listed.Path, Mapping[str, str]]]:
    """Every environment: its step, where what has it stands, and its variables."""
    for each in variants(catalogue):
        yield each.step, each.where, each.data.get("env", {})
        for index, command in enumerate(each.data.get("commands", ())):
            yield each.step, (*each.where, "commands", index), command.get("env", {})
