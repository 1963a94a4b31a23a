"""What upstream says a pin should hold now: one way per kind."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..errors import ConfigError, InfraError
from ..names import Place, Reference
from ..world import keys, probes, remotes
from ..world.clock import Clock
from ..world.http import Request, Response, Send, Timeouts, Unreachable, address
from ..world.process import Run, run
from ..world.registry import Found, Unknown
from .kinds import EPOCH, Pin

if TYPE_CHECKING:
    from ..world.registry import Registry

_SHORT = re.compile("[0-9a-f]{7,39}")
_MAX_KEY = 1024 * 1024
_GONE = (404, 410)
_NETWORK = "check the address, the network and its proxy, and run it again"


@dataclass(frozen=True)
class Upstream:
    """Whoever is asked: HTTP, programs (git, gpg), registries by host, and the calendar.

    ``clones`` says whether a short commit is worth a copy of all commits.
    """

    send: Send
    run: Run
    registry: Callable[[str], Registry]
    clock: Clock
    clones: bool = True

    def value(self, pin: Pin) -> str:
        """What ``pin`` would be if it were resolved now.

        Raises ``ConfigError`` for a pin that follows nothing, or what is not there, and ``InfraError`` where upstream
        does not answer.
        """
        if pin.name == EPOCH:
            return week(self.clock)
        if not pin.follows:
            raise _follows_nothing(pin)
        ways = {"commit": self._commit, "digest": self._digest, "sha256": self._sha256, "fingerprint": self._key}
        return ways[pin.kind](pin)

    def _commit(self, pin: Pin) -> str:
        if not pin.where:
            raise _no_repository(pin)
        if not _SHORT.fullmatch(pin.follows):
            return remotes.commit_at(pin.where, pin.follows, self.run)
        if self.clones:
            return remotes.whole_commit(pin.where, pin.follows, self.run)
        hint = f"inv pins --update {pin.name}"
        raise ConfigError(
            "short-commit", f"{pin.follows} is a part of a commit, which takes a copy to look up", hint=hint
        )

    def _digest(self, pin: Pin) -> str:
        image = Reference.parse(pin.follows)
        path = image.path if image.host or "/" in image.path else f"library/{image.path}"
        found = self.registry(image.host or "docker.io").head(path, image.tag or "latest")
        if isinstance(found, Found):
            return found.digest
        if isinstance(found, Unknown):
            raise InfraError("unreachable", f"{pin.follows}: {found.reason}", hint=_NETWORK)
        raise ConfigError("no-such-ref", f"the registry has no {pin.follows}", hint="correct what it follows")

    def _sha256(self, pin: Pin) -> str:
        digests: list[str] = []

        def read(pieces: Iterator[bytes]) -> None:
            digest = hashlib.sha256()
            for piece in pieces:
                digest.update(piece)
            digests.append(digest.hexdigest())

        answer = self._get(Request("GET", pin.where, timeout=Timeouts(10, 30, 60), into=read))
        page = "html" in answer.headers.get("content-type", "")
        if page or digests[-1] == hashlib.sha256().hexdigest():
            what = "a web page" if page else "an empty file"
            hint = f"{_NETWORK}; if it is meant: inv pins --update {pin.name} --to {digests[-1]}"
            raise InfraError("no-download", f"{address(pin.where)}: {what} came instead", hint=hint)
        return digests[-1]

    def _key(self, pin: Pin) -> str:
        answer = self._get(Request("GET", pin.where, timeout=Timeouts(10, 15, 30), max_body=_MAX_KEY))
        found = keys.fingerprints(answer.body, self.run)
        if len(found) != 1:
            hint = f"name a URL that serves one key: inv pins --update {pin.of} --to URL"
            message = f"{address(pin.where)} serves {len(found)} keys"
            raise ConfigError("several-keys", message, context="\n".join(found), hint=hint)
        return found[0]

    def _get(self, request: Request) -> Response:
        try:
            answer = self.send(request)
        except Unreachable as error:
            raise InfraError("unreachable", error.reason, hint=_NETWORK) from None
        if answer.status in _GONE:
            message = f"{address(request.url)} is not there (status {answer.status})"
            raise ConfigError("no-such-ref", message, hint="correct the URL, which is a pin too")
        if answer.status != 200:
            raise InfraError(
                "unreachable", f"{address(request.url)} answers with status {answer.status}", hint=_NETWORK
            )
        return answer


def by_network(clock: Clock, say: Callable[[str], None], *, briefly: bool = False) -> Upstream:
    """The upstream that is really there; ``briefly`` for many questions at once, none of which may hold up the rest."""
    from ..build.workspace import registry_at
    from ..world.http import send

    ask = partial(probes.ask, seconds=remotes.PATIENCE) if briefly else run
    return Upstream(send, ask, lambda host: registry_at(Place(host, ""), clock, say), clock, clones=not briefly)


def week(clock: Clock) -> str:
    """The ISO week of the calendar, in UTC: ``2026-W47``."""
    year, number, _ = clock.now().isocalendar()
    return f"{year}-W{number:02d}"


def _no_repository(pin: Pin) -> ConfigError:
    if pin.of:
        hint = f"set {pin.of} first: inv pins --update {pin.of} --to URL"
        return ConfigError("no-upstream", f"{pin.name}: there is no repository in {pin.of}", hint=hint)
    own = pin.name.rpartition("_")[0] + "_REPO"
    hint = f"add {own} to the lock, or say in upstreams.yaml which pin has it: {pin.name}: {{of: NAME}}"
    return ConfigError("no-upstream", f"{pin.name}: no pin says in which repository it is", hint=hint)


def _follows_nothing(pin: Pin) -> ConfigError:
    if pin.of and not pin.where:
        hint = f"inv pins --update {pin.of} --to VALUE comes first"
        return ConfigError("no-upstream", f"{pin.name} follows the URL in {pin.of}, which is not resolved", hint=hint)
    hint = f"inv pins --update {pin.name} --to VALUE" + (f": {pin.chosen}" if pin.chosen else "")
    return ConfigError("follows-nothing", f"{pin.name} follows nothing that could be asked", hint=hint)
