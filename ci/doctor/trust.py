"""Check of trust: what decided how far this host's run is trusted, and whether its credentials say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..build import scope
from ..build.scope import Trust
from ..errors import Outcome
from ..names import Place
from ..world import git, guests
from ..world.registry import Denied, Granted, Permission, Registry, Unknown
from .findings import Case, Finding

_ASKING = 1.0  # seconds for one question to a registry: two of them have to fit into the check


def look_at_trust(case: Case) -> Iterator[Finding]:
    """Trust, scope and places; the registry is asked for the rights that they promise. Nothing is stored."""
    text = case.settings.get("ROCM_CI_REGISTRY").value
    given = Place.parse(text) if text.strip() else None
    found = scope.reach(case.settings, given, lambda: _trees(case))
    yield Finding("trust", "ok", "; ".join(scope.lines(found)))
    if found.scope.bound and (mark := guests.noted(case.state)):
        yield Finding("trust", "warn", scope.shared(mark), "run untrusted jobs on other hosts")
    if case.stack is None:
        return
    if found.writes and found.writes != given:  # the check of the registry asks about the given one
        yield from _promised(_asked(case, found.writes, case.stack.repository), found.writes)
    if found.scope.trust is Trust.UNTRUSTED and found.reads:
        may = _asked(case, found.reads, case.stack.repository)
        if isinstance(may, Granted):
            message = f"this run is untrusted, and its credentials may write {found.reads}, which trusted builds read"
            yield Finding("trust", "warn", message, "give untrusted jobs credentials for their own place alone")
        elif isinstance(may, Unknown):
            message = f"{found.reads}, where images are looked up, cannot be asked: {may.reason}"
            yield Finding("trust", "fail", message, "check the registry that the policy names", Outcome.INFRA)


def _trees(case: Case) -> Iterator[Path]:
    if case.stack:
        yield case.stack.recipe
    yield git.toplevel(case.folder, case.start) or case.folder


def _asked(case: Case, place: Place, repository: str) -> Permission:
    from ..world.credentials import docker_credentials

    login = docker_credentials(lambda _text: None, seconds=_ASKING)
    registry = Registry(place.host, send=case.send, clock=case.clock, credentials=login, attempts=1, deadline=_ASKING)
    return registry.can_push(place.repository(repository).path)


def _promised(may: Permission, place: Place) -> Iterator[Finding]:
    if isinstance(may, Denied):
        yield Finding("trust", "warn", f"{place} cannot be pushed to: {may.reason}", f"docker login {place.host}")
    elif isinstance(may, Unknown):
        remedy = "check the registry that the policy names"
        yield Finding("trust", "fail", f"whether {place} takes a push: {may.reason}", remedy, Outcome.INFRA)
