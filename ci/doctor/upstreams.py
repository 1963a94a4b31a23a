"""What a stack is built from elsewhere: commits, images, downloads, keys and packages, each asked for, all at once.

A build of hours must not end at a key that is gone.  Asked is the cheapest question that tells: a HEAD, one commit
without its files, a list of packages.  Only what the tiers reach with these settings is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

from ..build.inputs import contexts_of, declared
from ..errors import CiError, ConfigError, InfraError, Outcome
from ..names import Reference
from ..pins.kinds import Pin, command, pins_of
from ..recipe import pins as lock
from ..recipe import stack as stacks
from ..recipe.stack import Stack
from ..recipe.values import Resolved, resolve_args
from ..world import keys, probes, remotes
from ..world.http import address
from ..world.probes import Told
from ..world.registry import Absent, Found, Registry
from . import apt, pages
from .findings import Case, Finding, mistakes
from .nics import MAKERS

ALL = 40.0
"""Seconds for all of them together; with what else doctor asks, less than a minute."""

_KEY = 1024 * 1024
_HUB = "docker.io"
_WHERE = re.compile(r"^(?:[A-Z]+ )?(?:\S*[./]\S*: )+")
"""The address before a reason: the server is named once, and the pins."""

_NETWORK = "check the network, its proxy and the address, then inv doctor again"


class Question(NamedTuple):
    """What is asked about one pin, of whom; ``value`` names the pin that a person corrects where the thing is gone."""

    group: str
    name: str
    server: str
    ask: Callable[[Case], Told]
    value: str


class Needs(NamedTuple):
    """The pins that the tiers reach with these settings, and those that they do not; ``given`` for this run."""

    asked: tuple[Pin, ...]
    left: tuple[str, ...]
    given: frozenset[str]
    args: Resolved


def look_at_pins(case: Case, seconds: float = ALL) -> Iterator[Finding]:
    """All of it, unresolved pins among it."""
    if case.stack is None:
        return
    try:
        needs = needed(case)
    except ConfigError as error:
        yield from mistakes("pins", error.problems)
        return
    yield from mistakes("args", needs.args.problems)
    open_pins = [pin for pin in needs.asked if not pin.resolved and pin.name not in needs.given]
    for pin in open_pins:
        yield _unresolved(pin, case.stack)
    yield _counted(needs, len(open_pins))
    questions = tuple(_questions(case.stack, needs))
    told = probes.gather({each.name: partial(each.ask, case) for each in questions}, seconds)
    answers = {name: _understood(answer, seconds) for name, answer in told.items()}
    for group in dict.fromkeys(each.group for each in questions):
        asked = [each for each in questions if each.group == group]
        yield from _group(group, asked, answers, case.stack.option)


def _counted(needs: Needs, unresolved: int) -> Finding:
    if not needs.asked:
        return Finding("pins", "ok", "no tier is built from elsewhere")
    done = f"{len(needs.asked) - unresolved} of {len(needs.asked)} resolved"
    left = f"; not needed with these settings: {', '.join(needs.left)}" if needs.left else ""
    return Finding("pins", "ok", done + left)


def needed(case: Case) -> Needs:
    """The pins of the stack, those first that a tier's reached stages declare or a root is pinned by.

    Values that somebody gave stand in for the lock's.  Raises ``ConfigError`` for a recipe that cannot be meant.
    """
    stack = case.stack
    if stack is None:
        return Needs((), (), frozenset(), Resolved((), (), ()))
    args = resolve_args(stack, case.settings, stacks.archs())
    values = {arg.name: arg.value for arg in args.values if arg.name in stack.pins}
    given = frozenset(arg.name for arg in args.values if not arg.source.startswith(("stack", "pins")))
    contexts = contexts_of(stack, args, ())
    reached = frozenset[str]().union(*(declared(stack, tier, args, contexts) for tier in stack.tiers.values()))
    unread = {spec.name for spec in stack.args} - {arg.name for arg in args.values}
    roots = {stack.roots[name].pin for tier in stack.tiers.values() for _, name in tier.parents if name in stack.roots}
    pins = pins_of(replace(stack, pins={**stack.pins, **values}))
    use = [pin for pin in pins if pin.name in (reached - unread) | roots and _elsewhere(pin)]
    left = (pin.name for pin in pins if pin not in use and pin.kind != "plain")
    return Needs(tuple(use), tuple(left), given, args)


def _elsewhere(pin: Pin) -> bool:
    """Whether the pin stands for something that a server has, or for nothing yet."""
    return pin.kind != "plain" or not pin.resolved


def _unresolved(pin: Pin, stack: Stack) -> Finding:
    """The finding of a pin without a value, and the command that gets it one."""
    wanted = f": {pin.value.removeprefix(lock.MARK)}"
    if pin.of and not pin.where:
        wanted = f", {pin.of} comes first"
    elif pin.kind in ("sha256", "fingerprint"):
        wanted = ""
    remedy = command(pin, stack)
    return Finding("pins", "fail", f"not resolved{wanted}", remedy, Outcome.CONFIG, pin.name)


def _understood(answer: Told | BaseException | None, seconds: float) -> Told:
    if answer is None:
        return Told(None, f"no answer within {seconds:g} s")
    if isinstance(answer, CiError):
        return Told(None, answer.problems[0].message)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _group(group: str, questions: list[Question], answers: Mapping[str, Told], of_this_stack: str) -> Iterator[Finding]:
    """What is gone has a line each; what could not be told, one for each server."""
    there = [each.name for each in questions if answers[each.name].there]
    unclear: dict[tuple[str, str], list[str]] = {}
    for each in questions:
        told = answers[each.name]
        if told.there is False:
            remedy = f"inv pins --update {each.value}{of_this_stack}"
            yield Finding(group, "fail", told.said, remedy, Outcome.CONFIG, each.name)
        elif told.there is None:
            unclear.setdefault((each.server, _WHERE.sub("", told.said)), []).append(each.name)
    for (server, said), names in unclear.items():
        message = f"could not tell: {said} ({', '.join(names)})"
        yield Finding(group, "fail", message, _NETWORK, Outcome.INFRA, server)
    if there:
        yield Finding(group, "ok", f"{len(there)} of {len(questions)} there")


# --- the questions ----------------------------------------------------------------------------


def _questions(stack: Stack, needs: Needs) -> Iterator[Question]:
    for pin in needs.asked:
        if not pin.where:
            continue
        server = urlsplit(pin.where).netloc.rpartition("@")[2]
        if pin.kind == "commit" and pin.resolved:
            yield Question("commits", pin.name, server, partial(_commit, pin), pin.name)
        elif pin.kind == "commit" and pin.name in needs.given:
            yield Question("commits", pin.name, server, partial(_branch, pin), pin.name)
        elif pin.kind == "digest":
            server = Reference.parse(pin.where).host or _HUB
            yield Question("images", pin.name, server, partial(_image, pin), pin.name)
        elif pin.kind == "sha256":
            yield Question("downloads", pin.name, server, partial(_download, pin), f"{pin.of} --to VALUE")
        elif pin.kind == "fingerprint":
            yield Question("keys", pin.name, server, partial(_key, pin), pin.name)
    yield from _repositories(stack, needs)


def _repositories(stack: Stack, needs: Needs) -> Iterator[Question]:
    """A repository of packages is what has a URL and a key beside it: X_REPO and X_FINGERPRINT."""
    codename = needs.args.get("UBUNTU_CODENAME")
    arch = stack.platform.rpartition("/")[2]
    for pin in needs.asked:
        stem = pin.name.removesuffix("_FINGERPRINT")
        url = needs.args.get(f"{stem}_REPO") or stack.pins.get(f"{stem}_REPO", "")
        if pin.kind != "fingerprint" or not url or url.startswith(lock.MARK) or not codename:
            continue
        version = needs.args.get(f"{stem}_VERSION") or stack.pins.get(f"{stem}_VERSION", "")
        wanted: dict[str, str] = {}
        name = f"{stem}_REPO"
        for maker in (each for each in MAKERS if each.stem == stem):
            wanted = dict.fromkeys(maker.image, version if maker.exact else "")
            url, name = url if maker.exact else f"{url}/{version}", f"{stem}_VERSION"
        server = urlsplit(url).netloc.rpartition("@")[2]
        repository = apt.Repository(url, codename, arch)
        yield Question("packages", name, server, partial(_packages, repository, wanted), f"{name} --to VALUE")


def _commit(pin: Pin, case: Case) -> Told:
    return probes.commit(pin.where, pin.value, case.fetch)


def _image(pin: Pin, case: Case) -> Told:
    """The pinned digest, or the tag while it is not resolved."""
    from ..world.credentials import docker_credentials

    name = Reference.parse(pin.where)
    path = name.path if name.host or "/" in name.path else f"library/{name.path}"
    login = docker_credentials(lambda _note: None, seconds=pages.PATIENCE / 2)
    registry = Registry(
        name.host or _HUB, send=case.send, clock=case.clock, credentials=login, attempts=1, deadline=pages.PATIENCE
    )
    seen = registry.head(path, pin.value if pin.resolved else name.tag or "latest")
    if isinstance(seen, Found):
        return Told(True)
    if isinstance(seen, Absent):
        return Told(False, f"{pin.where} is not there" if not pin.resolved else f"{pin.where} has no {pin.value}")
    return Told(None, seen.reason)


def _branch(pin: Pin, case: Case) -> Told:
    """A branch or tag that somebody gave for this run: the plan asks for its commit."""
    try:
        remotes.commit_at(pin.where, pin.value.removeprefix(lock.MARK), case.fetch)
    except ConfigError as error:
        return Told(False, error.problems[0].message)
    except InfraError as error:
        return Told(None, error.problems[0].message)
    return Told(True)


def _download(pin: Pin, case: Case) -> Told:
    return pages.there(pin.where, case.send)


def _key(pin: Pin, case: Case) -> Told:
    """A key is small: it is read, and compared with its fingerprint where that is resolved."""
    data = pages.read(pin.where, case.send, _KEY)
    if isinstance(data, Told) or not pin.resolved:
        return data if isinstance(data, Told) else Told(True)
    try:
        found = keys.fingerprints(data, case.fetch)
    except (ConfigError, InfraError) as error:
        return Told(None, f"{address(pin.where)}: {error.problems[0].message}")
    said = f"{address(pin.where)} has key {', '.join(found)}, pinned is {pin.value}"
    return Told(True) if found == (pin.value,) else Told(False, said)


def _packages(repository: apt.Repository, wanted: Mapping[str, str], case: Case) -> Told:
    return apt.look(repository, wanted, case.send)
