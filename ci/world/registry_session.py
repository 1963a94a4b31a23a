"""Asking one registry until it answers, for a limited time: retries, waits, logging in."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from ..errors import ConfigError
from .clock import Clock
from .credentials import Credentials
from .http import LOOPBACK, MAX_BODY, Request, Response, Send, Timeouts, Unreachable, address
from .registry_auth import Again, Fetch, Login, Refused, problem_of

T = TypeVar("T")
FIRST_WAIT = 0.5
API_HOSTS = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}


@dataclass(frozen=True, slots=True)
class Call:
    """One question; ``path`` is relative to the registry or a whole URL it gave us, the rest as in ``Request``."""

    method: str
    path: str
    scope: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    max_body: int = MAX_BODY
    file: Path | None = None
    into: Callable[[Iterator[bytes]], None] | None = field(default=None, repr=False)


class Budget:
    """The time one operation may take, all its requests and waits together."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._end = clock.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that remain, never negative."""
        return max(0.0, self._end - self._clock.monotonic())

    def timeouts(self) -> Timeouts:
        """The limits of one request, so that a registry that hangs leaves time to ask again."""
        standard = Timeouts()
        return Timeouts(min(standard.connect, self.left), min(standard.read, self.left), min(standard.total, self.left))


class Patience(Budget):
    """The time that may pass without a byte of something large; how often it may, the attempts say."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @property
    def left(self) -> float:
        """All of it, each time."""
        return self._seconds

    def timeouts(self) -> Timeouts:
        """The limits of one request: nothing bounds the whole of it."""
        return Timeouts(self._seconds, self._seconds, self._seconds)


def base_url(registry: str) -> tuple[str, str]:
    """``(host, URL)`` of a registry: plain http for the loopback or where it is asked for.

    Raises ``ConfigError`` for anything but a host, a port and a scheme.
    """
    given = registry if "://" in registry else f"//{registry}"
    try:
        parts = urlsplit(given)
        _ = parts.port  # parsed late: a bad port raises here
    except ValueError:
        raise _bad_registry("it has no valid host and port") from None
    if "@" in parts.netloc:
        raise _bad_registry("it contains a user name; log in with docker login instead")
    if not parts.hostname or any(char.isspace() for char in registry):
        raise _bad_registry("it has no valid host and port")
    if parts.scheme not in {"", "http", "https"} or parts.path.strip("/") or parts.query or parts.fragment:
        raise _bad_registry("only a host, a port and http:// or https:// belong there, the rest to names")
    scheme = parts.scheme or ("http" if parts.hostname in LOOPBACK else "https")
    return parts.netloc, f"{scheme}://{API_HOSTS.get(parts.netloc, parts.netloc)}"


def _bad_registry(why: str) -> ConfigError:
    return ConfigError(
        "registry-address",
        f"the address of the registry cannot be used: {why}",
        hint="write it as in `docker login`: registry.example.com, localhost:5000, http://10.0.0.7:5000",
    )


class RegistrySession:
    """Sends calls to one registry, logs in where asked, waits and asks again."""

    def __init__(
        self,
        registry: str,
        *,
        send: Send,
        clock: Clock,
        credentials: Callable[[str], Credentials | None],
        attempts: int,
        deadline: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.host, self.url = base_url(registry)
        self._send = send
        self._clock = clock
        self._attempts = max(1, attempts)
        self._deadline = deadline
        self._jitter = jitter
        secure = self.url.startswith("https:")
        self._login = Login(self.host, secure=secure, credentials=credentials, clock=clock)

    def budget(self) -> Budget:
        """The time of one operation, which starts now."""
        return Budget(self._clock, self._deadline)

    def patience(self) -> Patience:
        """What one transfer of something large has: a registry may check gigabytes before it answers."""
        return Patience(4 * self._deadline)

    def ask(self, call: Call, judge: Callable[[Response], T], budget: Budget) -> T:
        """What ``judge`` makes of the first answer worth judging.

        ``judge`` raises ``Again`` or ``Refused`` for answers it cannot use.  Raises
        ``Refused`` with host, path, status and attempts in its reason.
        """
        for attempt in range(1, self._attempts + 1):
            try:
                return judge(self.once(call, budget))
            except Refused as error:
                raise self._final(call, error, attempt) from None
            except Unreachable as error:
                failure = Again(error.reason, None)
                if error.lasting:
                    raise self._final(call, failure, attempt) from error
            except Again as error:
                failure = error
            self._wait(call, failure, attempt, budget)
        raise AssertionError("the last attempt returns or raises")

    def once(self, call: Call, budget: Budget) -> Response:
        """One attempt, logging in if that is asked.

        Raises ``Again``, ``Refused`` or ``Unreachable`` for what says nothing about the call.
        """
        response = self._exchange(call, budget)
        if response.status == 429 or response.status >= 500:
            raise Again(problem_of(response), response.status, response.headers.get("retry-after"))
        if response.status in {401, 403}:
            raise self._login.refusal(response)
        return response

    def _exchange(self, call: Call, budget: Budget) -> Response:
        tried = self._authorization(call)
        response = self._request(call, tried, budget)
        if response.status != 401:
            return response
        self._login.answer(response, call.scope, lambda fetch: self._fetch(fetch, budget))
        fresh = self._authorization(call)
        return response if fresh == tried else self._request(call, fresh, budget)

    def resolve(self, location: str) -> str:
        """The whole URL of a path, or of a place the registry sends us to; refuses to leave TLS."""
        url = urljoin(self.url, location)
        if self.url.startswith("https:") and not url.startswith("https:"):
            raise Refused(f"the registry sends us from https to {address(url)} over plain http", None)
        return url

    def _authorization(self, call: Call) -> str | None:
        """Our right for this call; an upload that the registry moved elsewhere does not get it."""
        at_home = urlsplit(self.resolve(call.path))[:2] == urlsplit(self.url)[:2]
        return self._login.authorization(call.scope) if at_home else None

    def _request(self, call: Call, authorization: str | None, budget: Budget) -> Response:
        headers = dict(call.headers)
        if authorization is not None:
            headers["Authorization"] = authorization
        url = self.resolve(call.path)
        request = Request(call.method, url, headers, call.body, max_body=call.max_body, file=call.file, into=call.into)
        return self._limited(request, budget)

    def _fetch(self, fetch: Fetch, budget: Budget) -> Response:
        return self._limited(Request(fetch.method, fetch.url, fetch.headers, fetch.body), budget)

    def _limited(self, request: Request, budget: Budget) -> Response:
        if budget.left <= 0:
            raise Unreachable("timeout", f"{address(request.url)}: the time is used up")
        return self._send(replace(request, timeout=budget.timeouts()))

    def _wait(self, call: Call, failure: Again, attempt: int, budget: Budget) -> None:
        """Wait before the next attempt, or say that there is none."""
        if attempt >= self._attempts:
            raise self._final(call, failure, attempt) from None
        told = self._retry_after(failure.retry_after)
        spread = 0.5 + self._jitter()
        wait = FIRST_WAIT * 2 ** (attempt - 1) * spread if told is None else told + FIRST_WAIT * spread
        if wait >= budget.left:
            asked = f"asks to wait {told:g} s" if told is not None else "the next attempt would come too late"
            late = Again(f"{failure.reason}, {asked}, {budget.left:.1f} s are left", failure.status)
            raise self._final(call, late, attempt) from None
        self._clock.sleep(wait)

    def _retry_after(self, header: str | None) -> float | None:
        """Seconds of a ``Retry-After``, which is a number or an HTTP date; None if it is neither."""
        if header is None:
            return None
        if header.strip().isdigit():
            return float(header)
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, (date - self._clock.now()).total_seconds())

    def _final(self, call: Call, error: Again | Refused, attempts: int) -> Refused:
        where = address(urljoin(self.url, call.path))
        count = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        said = error.reason.removeprefix(f"{where}: ")
        reason = self._login.masked(f"{call.method} {where}: {said} ({count})")
        return Refused(reason, error.status, denied=getattr(error, "denied", False))
