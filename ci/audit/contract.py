"""What each image of a stack must contain before it gets a tag: the file ``contracts`` of the stack names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import documents
from ..errors import Problem
from ..recipe.stack import HOME, Stack
from ..world import files
from .facts import Allowed


class Component(NamedTuple):
    """Native files with one owner: ``archs`` is the argument that has their targets; ``modules`` must import."""

    name: str
    archs: str
    files: tuple[str, ...]
    modules: tuple[str, ...] = ()


class Wheels(NamedTuple):
    """Wheels that must lie in an image, each of at least so many bytes."""

    files: str
    least: int


class Protected(NamedTuple):
    """Packages that must be as the base wrote them down in ``record``."""

    record: str
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contract:
    """What one image must keep; ``tier`` is empty for an image of which only the general rules are asked.

    ``budget`` is in bytes, 0 for no limit.
    """

    tier: str = ""
    budget: int = 0
    python: str = "python3"
    modules: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    wheels: tuple[Wheels, ...] = ()
    protected: Protected | None = None
    allowed: tuple[Allowed, ...] = ()


def of_tier(stack: Stack, tier: str, rules: Sequence[str]) -> Contract | None:
    """The contract of a tier; None where the stack has none for it: it declares no contracts, or builds a component.

    Raises ``ConfigError`` with everything that is wrong with the file; ``rules`` are the names it may use.
    """
    if not stack.contracts or tier in stack.components:
        return None
    path = stack.recipe / stack.contracts
    document = documents.read(files.read_text(path), stack.contracts)
    schema = json.loads(files.read_text(HOME / "contracts" / "contract.schema.json"))
    documents.refuse((*document.problems, *documents.check(document, schema)))
    documents.refuse(tuple(_problems(stack, document, rules)))
    return _contract(document.value, tier)


def _contract(data: Mapping[str, Any], tier: str) -> Contract:
    entry = data["tiers"][tier]
    components = data.get("components", {})
    protected = data.get("protected") if entry.get("protected") else None
    return Contract(
        tier,
        entry.get("most_mb", 0) * 1_000_000,
        entry.get("python", "python3"),
        tuple(entry.get("imports", ())),
        tuple(_component(name, components[name]) for name in entry.get("components", ())),
        tuple(Wheels(row["files"], row["least_kb"] * 1000) for row in entry.get("wheels", ())),
        Protected(protected["record"], tuple(protected["packages"])) if protected else None,
        tuple(
            Allowed(row["rule"], pattern, row["why"])
            for row in data.get("allow", ())
            for pattern in row["patterns"]
            if tier in row.get("tiers", (tier,))
        ),
    )


def _component(name: str, entry: Mapping[str, Any]) -> Component:
    return Component(name, entry["archs"], tuple(entry["files"]), tuple(entry.get("modules", ())))


def _problems(stack: Stack, document: documents.Document, rules: Sequence[str]) -> Iterator[Problem]:
    """What the schema cannot see: names that lead nowhere, and tiers that nobody wrote a contract for."""
    data = document.value
    components, known = list(data.get("components", {})), {spec.name for spec in stack.args}
    for name in stack.tiers.keys() - data["tiers"].keys():
        hint = "add it to `tiers`; an empty one, {}, asks for the general rules only"
        yield Problem("no-contract", f"tier {name} has no contract", hint, place=document.key("tiers"))
    for name in data["tiers"].keys() - stack.tiers.keys():
        hint = documents.suggest(name, list(stack.tiers))
        yield Problem("unknown-tier", f"no tier {name!r}", hint, place=document.key("tiers", name))
    for name, entry in data.get("components", {}).items():
        if entry["archs"] not in known:
            message = f"the stack has no argument {entry['archs']!r}"
            hint = documents.suggest(entry["archs"], sorted(known))
            yield Problem("unknown-arg", message, hint, place=document.place("components", name, "archs"))
    for tier, entry in data["tiers"].items():
        if entry.get("protected") and "protected" not in data:
            hint = "say at the top of the file which packages, and where the base recorded them"
            where = document.place("tiers", tier, "protected")
            yield Problem("no-protected", f"nothing says what is protected in {tier}", hint, place=where)
        for index, name in enumerate(entry.get("components", ())):
            if name not in components:
                hint = documents.suggest(name, components) if components else "declare it under `components`"
                where = document.place("tiers", tier, "components", index)
                yield Problem("unknown-component", f"no component {name!r}", hint, place=where)
    yield from _exception_problems(stack, document, rules)


def _exception_problems(stack: Stack, document: documents.Document, rules: Sequence[str]) -> Iterator[Problem]:
    for index, row in enumerate(document.value.get("allow", ())):
        if row["rule"] not in rules:
            hint = documents.suggest(row["rule"], list(rules))
            yield Problem(
                "unknown-rule", f"no rule {row['rule']!r}", hint, place=document.place("allow", index, "rule")
            )
        for place, name in enumerate(row.get("tiers", ())):
            if name not in stack.tiers:
                where = document.place("allow", index, "tiers", place)
                yield Problem(
                    "unknown-tier", f"no tier {name!r}", documents.suggest(name, list(stack.tiers)), place=where
                )
