"""Audit an image: read its layers once, try its imports, ask every rule, apply the exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ..errors import ConfigError, InfraError
from ..names import container_name
from ..world.container import Container
from ..world.engine import Engine
from ..world.ledger import Ledger
from ..world.sandbox import RUN_LABEL, STEP_LABEL
from . import layers, libraries, trying
from .contract import Contract
from .examine import verdict
from .facts import Allowed
from .image_facts import ImageAudit, ImageCase, ImageFacts, Tried
from .image_rules import RULES
from .layers import Saved
from .scan import Scan


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where an image is audited: ``env`` is the docker command line's; ``begin`` gives a ledger where one is needed."""

    engine: Engine
    env: Mapping[str, str]
    begin: Callable[[], Ledger]
    say: Callable[[str], None]
    warn: Callable[[str], None]


def examine(
    around: Surroundings, name: str, contract: Contract, values: Mapping[str, str], allowed: Sequence[Allowed] = ()
) -> ImageAudit:
    """Everything there is to say about the image ``name`` of the engine; ``values`` are the build arguments.

    Raises ``ConfigError`` where the engine has no such image, ``InfraError`` where it cannot be read.
    """
    image = around.engine.image(name)
    if image is None:
        hint = "docker pull it, or check the name; a file or folder would have to exist"
        raise ConfigError("no-target", f"{name} is no file, no folder, and no image of the engine", hint=hint)
    around.say(f"audit: reading {name}")
    saved = read(partial(around.engine.archive, image.id), scan(contract), around.warn)
    facts = ImageFacts(name, image.id, saved)
    modules = wanted_modules(contract, values)
    if modules:
        around.say(f"audit: importing {', '.join(modules)}")
        facts = replace(facts, tried=_tried(around, image.id, contract.python, modules))
    return judge(facts, contract, values, allowed)


def read(archive: Callable[[], Iterator[bytes]], look: Scan, warn: Callable[[str], None]) -> Saved:
    """The layers of ``archive``, asked for once more where it breaks off.

    An engine that prunes for somebody else at that moment gives up an export, and hours of building with it.
    """
    try:
        return layers.read(archive(), look)
    except InfraError as error:
        warn(f"audit: {error}; reading it once more")
        return layers.read(archive(), look)


def scan(contract: Contract) -> Scan:
    """What has to be kept of the files for a contract's rules."""
    native = tuple(pattern for component in contract.components for pattern in component.files)
    texts = (contract.protected.record.lstrip("/"),) if contract.protected else ()
    return Scan(native, texts, hashed=contract.protected is not None)


def wanted_modules(contract: Contract, values: Mapping[str, str]) -> tuple[str, ...]:
    """The modules that must import: the tier's, and those of the components that are there."""
    there = [each for each in contract.components if values.get(each.archs, "") not in {"", "none"}]
    return tuple(dict.fromkeys((*contract.modules, *(module for each in there for module in each.modules))))


def _tried(around: Surroundings, image: str, python: str, modules: Sequence[str]) -> tuple[Tried, ...]:
    ledger = around.begin()
    run = ledger.folder.name
    name = container_name(run, "audit-imports")
    thing = ledger.will_make("container", name)
    made = trying.spec(name, image, {RUN_LABEL: run, STEP_LABEL: "audit"})
    sandbox = Container(made, around.engine, around.env, around.say)
    try:
        sandbox.begin()
        return trying.imports(sandbox.probe, python, modules)
    finally:
        ledger.clear(thing, lambda: around.engine.delete_container(name), around.warn)


def judge(
    facts: ImageFacts, contract: Contract, values: Mapping[str, str], allowed: Sequence[Allowed] = ()
) -> ImageAudit:
    """Ask every rule; exceptions are the contract's and ``allowed``."""
    case = ImageCase(facts, contract, values, libraries.shipped())
    exceptions = (*contract.allowed, *allowed)
    verdicts = tuple(verdict(name, rule(case), exceptions) for name, rule in RULES)
    used = {waived.by for each in verdicts for waived in each.waived}
    notes = tuple(filter(None, map(case.absent, contract.components)))
    return ImageAudit(facts, contract, verdicts, notes, tuple(each for each in exceptions if each not in used))
