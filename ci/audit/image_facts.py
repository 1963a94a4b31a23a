"""What the rules of an image judge: its layers and files, its distributions, what was tried in it, and its contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from ..errors import Outcome
from . import secrets
from .contract import Component, Contract
from .facts import Allowed, Finding, Verdict
from .installed import Distribution, distributions
from .layers import Saved
from .libraries import Libraries
from .tree import Tree


class Tried(NamedTuple):
    """A module that was imported in the image; ``wrong`` says how that ended where it did not end well."""

    module: str
    python: str
    wrong: str = ""
    said: str = ""


@dataclass(frozen=True)
class ImageFacts:
    """One image, taken apart; ``name`` is how it was asked for."""

    name: str
    digest: str
    saved: Saved
    tried: tuple[Tried, ...] = ()

    @cached_property
    def tree(self) -> Tree:
        """Its files as a container sees them."""
        return Tree(self.saved.layers)

    @cached_property
    def distributions(self) -> tuple[Distribution, ...]:
        """The Python distributions in it."""
        return distributions(self.tree)

    @property
    def size(self) -> int:
        """The bytes of the files of all layers: what an engine unpacks."""
        return sum(layer.size for layer in self.saved.layers)

    def layer(self, number: int) -> str:
        """What made a layer, without secrets; the root image's has no history."""
        return secrets.masked(self.saved.commands[number]) or "(root image)"


class ImageCase(NamedTuple):
    """What a rule looks at; ``values`` are the build arguments."""

    facts: ImageFacts
    contract: Contract
    values: Mapping[str, str]
    libraries: Libraries

    def absent(self, component: Component) -> str:
        """Why a component is not in this image; empty where it must be."""
        value = self.values.get(component.archs, "")
        return (
            "" if value not in {"", "none"} else f"{component.name} is absent: {component.archs} is {value or 'empty'}"
        )


@dataclass(frozen=True, slots=True)
class ImageAudit:
    """How every rule went; ``unused`` are exceptions that covered nothing, ``notes`` say what was not judged."""

    facts: ImageFacts
    contract: Contract
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()
    unused: tuple[Allowed, ...] = ()

    @property
    def broken(self) -> tuple[tuple[str, Finding], ...]:
        """All that counts against it: (rule, finding)."""
        return tuple((verdict.rule, finding) for verdict in self.verdicts for finding in verdict.findings)

    def to_json(self) -> dict[str, Any]:
        """All of it as one JSON document."""
        layers = enumerate(self.facts.saved.layers)
        return {
            "schema": 1,
            "outcome": Outcome.CONTRACT if self.broken else Outcome.OK,
            "target": self.facts.name,
            "digest": self.facts.digest,
            "tier": self.contract.tier or None,
            "size": self.facts.size,
            "layers": [{"size": layer.size, "made_by": self.facts.layer(number)} for number, layer in layers],
            "rules": [verdict.to_json() for verdict in self.verdicts],
            "notes": list(self.notes),
            "unused": [each._asdict() for each in self.unused],
        }
