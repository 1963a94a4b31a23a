"""What a command line asks of an image, understood and checked before the engine is asked anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import documents, settings
from ..errors import ConfigError, Problem
from ..recipe.args import Checked, arch_list
from ..recipe.stack import archs, load
from ..recipe.values import resolve_args
from ..settings import Settings
from ..world import buildx
from ..world.engine import Engine, endpoint
from ..world.ledger import Ledger
from . import image, image_rules, inspect, request, trying
from .contract import Component, Contract, of_tier
from .examine import exceptions
from .image import Surroundings
from .image_facts import ImageAudit

_ARCHS = "--arch"


@dataclass(frozen=True, slots=True)
class Asked:
    """An audit of an image as it was asked for: its contract, and the arguments that says something of."""

    name: str
    contract: Contract
    values: Mapping[str, str]
    notices: tuple[str, ...]
    settings: Settings

    def perform(
        self,
        allow: Mapping[str, str],
        begin: Callable[[], Ledger],
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> ImageAudit:
        """Do it, with the exceptions ``allow``; ``begin`` opens the ledger where something must be made."""
        allowed = exceptions(allow.items(), image_rules.NAMES)
        engine = Engine(endpoint(self.settings))
        around = Surroundings(engine, buildx.environment(self.settings, engine.at), begin, say, warn)
        return image.examine(around, self.name, self.contract, self.values, allowed)


def is_image(target: str) -> bool:
    """Whether TARGET can only be an image: an existing path wins, and what is written like a file stays one."""
    written = target.startswith(("/", ".", "~")) or target.endswith(".whl") or inspect.claims(target)
    return not written and not Path(target).exists()


def requested(given: Settings, target: str, budget: str, module: str, tier: str) -> Asked:
    """What a command line asks for; raises ``ConfigError`` with everything about it that cannot be meant."""
    problems = list(settings.problems(given))
    most = request.limit(budget, problems)
    if module:
        trying.check_name(module)
    if tier:
        for option, value in (("--budget-mb", budget), ("--import", module)):
            if value:
                hint = "leave it out, or leave --tier out to ask for the general rules"
                problems.append(Problem("contract-and-option", f"{option}: the contract of {tier} says that", hint))
        documents.refuse(problems)
        return _by_tier(given, target, tier)
    asked = given.get("PYTORCH_ROCM_ARCH")
    checked = arch_list(asked.source, asked.value, archs()) if asked.source else Checked("")
    documents.refuse((*problems, *checked.problems))
    components = (Component("device code", _ARCHS, ("*",)),) if checked.value else ()
    contract = Contract(budget=most, modules=tuple(filter(None, (module,))), components=components)
    return Asked(target, contract, {_ARCHS: checked.value}, checked.notices, given)


def _by_tier(given: Settings, target: str, tier: str) -> Asked:
    stack = load(given.get("ROCM_CI_STACK").value)
    stack.tier(tier)
    contract = of_tier(stack, tier, image_rules.NAMES)
    if contract is None:
        hint = "name a file with `contracts:` in the stack, or leave --tier out"
        raise ConfigError("no-contract", f"stack {stack.name} has no contracts", hint=hint)
    args = resolve_args(stack, given, archs())
    documents.refuse(args.problems)
    values = {arg.name: arg.value for arg in args.values}
    return Asked(target, contract, values, args.notices, given)
