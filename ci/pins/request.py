"""What somebody asks about the lock: all of it, or one pin anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .. import documents
from .. import settings as settings_room
from ..build.workspace import Workspace
from ..errors import ConfigError
from ..recipe import stack as stacks
from ..settings import Settings
from ..world.clock import Clock
from . import update
from .listing import Listing, listing
from .upstream import by_network


class Asked(NamedTuple):
    """``name`` is the pin to resolve anew, empty for a list; ``value`` is given by hand; ``plan`` writes nothing."""

    name: str
    value: str
    drift: bool
    plan: bool


def read(name: str, value: str, *, drift: bool, plan: bool) -> Asked:
    """The options together; raises ``ConfigError`` for some that mean nothing beside each other."""
    if (value or plan) and not name:
        hint = "inv pins --update NAME [--to VALUE] [--plan]"
        raise ConfigError("no-pin", f"{'--to' if value else '--plan'} needs --update", hint=hint)
    if drift and name:
        raise ConfigError("drift-or-update", "--drift and --update were both given", hint="give one of them")
    return Asked(name, value, drift, plan)


def listed(settings: Settings, asked: Asked, clock: Clock, say: Callable[[str], None]) -> Listing:
    """Every pin of the stack; upstream is asked only for drift."""
    documents.refuse(settings_room.problems(settings))
    stack = stacks.load(settings.get("ROCM_CI_STACK").value)
    return listing(stack, clock, by_network(clock, say, briefly=True) if asked.drift else None)


def outlook(work: Workspace, asked: Asked, say: Callable[[str], None]) -> update.Update:
    """What the pin would be and what that rebuilds; nothing is written."""
    return update.outlook(work, asked.name, asked.value, by_network(work.clock, say))
