"""Tags on Docker Hub, which removes them through an API of its own and not as other registries do.

Logging in (``/v2/auth/token``) and lists (``/v2/namespaces/.../tags``) are as its public reference
says.  The removal of a tag is in no reference; it is the request that its web pages send.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from ..errors import ConfigError, InfraError
from .clock import Clock
from .credentials import Credentials
from .http import Response, Send, address
from .registry import Absent, Unknown
from .registry_auth import Refused, is_html, json_object
from .registry_blobs import expect
from .registry_session import API_HOSTS, Budget, Call, RegistrySession

T = TypeVar("T")
HOSTS = frozenset({*API_HOSTS, *API_HOSTS.values()})
"""The names that Docker Hub has as a registry."""

_API = "https://hub.docker.com/v2"
_PAGE = 100


class _Page(NamedTuple):
    names: tuple[str, ...]
    following: str
    total: int


class DockerHub:
    """What retention needs of Docker Hub, under the names that ``Registry`` has for it."""

    def __init__(
        self,
        *,
        send: Send,
        clock: Clock,
        credentials: Callable[[str], Credentials | None],
        attempts: int = 4,
        deadline: float = 30.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.host = "docker.io"
        self._credentials = credentials
        self._token = ""
        self._session = RegistrySession(
            self.host,
            send=send,
            clock=clock,
            credentials=credentials,
            attempts=attempts,
            deadline=deadline,
            jitter=jitter,
        )

    def tags(self, repository: str) -> tuple[str, ...] | Absent | Unknown:
        """All tags of a repository, sorted; never a part of them."""
        namespace, name = _parts(repository)
        url = f"{_API}/namespaces/{namespace}/repositories/{name}/tags?page_size={_PAGE}"
        names: set[str] = set()
        while url:
            try:
                found = self._ask("GET", url, self._listed)
            except Refused as error:
                return Unknown(error.reason, error.status)
            if isinstance(found, Absent):
                return Unknown(f"GET {address(url)}: its list of tags changed", 404) if names else found
            if found.following and names.issuperset(found.names):
                return Unknown(f"GET {address(url)}: its list of tags does not come to an end")
            names.update(found.names)
            if not found.following and len(names) < found.total:
                return Unknown(f"GET {address(url)}: {len(names)} tags of {found.total} were listed")
            url = found.following
        return tuple(sorted(names))

    def drop(self, repository: str, tag: str, note: str) -> None:
        """Remove one tag; the digest under it and all its other tags stay.

        Nothing is put in its place, so ``note`` is not needed here.  Raises ``InfraError``.
        """
        del note
        namespace, name = _parts(repository)
        what = f"{self.host}/{namespace}/{name}:{tag}"
        try:
            if not self._user():
                raise Refused("nobody is logged in", None, denied=True)
            self._ask("DELETE", f"{_API}/repositories/{namespace}/{name}/tags/{tag}/", _removed)
            one = f"{_API}/namespaces/{namespace}/repositories/{name}/tags/{tag}"
            left = self._ask("GET", one, lambda answer: expect(answer, 200, 404).status == 200)
        except Refused as error:
            raise _undropped(what, error.reason, denied=error.denied or error.status in {401, 403}) from error
        if left:
            raise _undropped(what, "it was accepted, but the tag is still there", denied=False)

    def _ask(self, method: str, url: str, judge: Callable[[Response], T]) -> T:
        """What ``judge`` makes of the answer; a token that ran out is replaced once.  Raises ``Refused``."""
        budget = self._session.budget()
        aged = bool(self._token)
        try:
            return self._as_user(Call(method, url), judge, budget)
        except Refused as error:
            if error.status != 401 or not aged:
                raise
        self._token = ""
        return self._as_user(Call(method, url), judge, budget)

    def _as_user(self, call: Call, judge: Callable[[Response], T], budget: Budget) -> T:
        self._token = self._token or self._log_in(budget)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return self._session.ask(replace(call, headers=headers), judge, budget)

    def _user(self) -> Credentials | None:
        user = self._credentials(self.host)
        return user if user and user.username and user.password else None

    def _log_in(self, budget: Budget) -> str:
        """A token; empty where nobody is logged in.  Raises ``Refused``."""
        user = self._user()
        if user is None:
            return ""
        body = json.dumps({"identifier": user.username, "secret": user.password}).encode()
        headers = {"Content-Type": "application/json"}
        return self._session.ask(Call("POST", f"{_API}/auth/token", headers=headers, body=body), _token, budget)

    def _listed(self, answer: Response) -> _Page | Absent:
        """A page; a 404 is absence only for somebody: a stranger gets it for what is private, too."""
        if expect(answer, 200, 404).status == 200:
            return _page(answer)
        if self._token and json_object(answer.body) and not is_html(answer.headers):
            return Absent()
        raise Refused("status 404, which Docker Hub also says of what a login may not see", 404)


def _parts(repository: str) -> tuple[str, str]:
    """Namespace and name; raises ``ConfigError`` where Docker Hub has no such names."""
    namespace, _, name = repository.rpartition("/")
    if not name or "/" in namespace:
        raise ConfigError("hub-repository", f"{repository} is no repository of Docker Hub", hint="write NAMESPACE/NAME")
    return namespace or "library", name


def _page(answer: Response) -> _Page:
    content = json_object(answer.body)
    rows, following, total = content.get("results"), content.get("next") or "", content.get("count")
    if not isinstance(rows, list) or not isinstance(following, str) or not isinstance(total, int):
        raise Refused("status 200, but not with a list of tags", 200)
    names = tuple(row.get("name") if isinstance(row, dict) else None for row in rows)
    if following and urlsplit(following)[:2] != urlsplit(_API)[:2]:
        raise Refused(f"its list of tags goes on at {address(following)}, which is another place", 200)
    if not all(isinstance(name, str) and name for name in names):
        raise Refused("status 200, but with tags that have no name", 200)
    return _Page(tuple(str(name) for name in names), following, total)


def _removed(answer: Response) -> None:
    """A tag that is not there is removed; whether one is there, the look afterwards says."""
    expect(answer, 200, 202, 204, 404)


def _token(answer: Response) -> str:
    token = json_object(expect(answer, 200).body).get("access_token")
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
        raise Refused("status 200 without a token", 200)
    return token


def _undropped(what: str, why: str, *, denied: bool) -> InfraError:
    hint = (
        "docker login -u USER with a personal access token that may read, write and delete"
        if denied
        else "the tag is as it was or gone; the same command again continues"
    )
    return InfraError("hub-drop-denied" if denied else "hub-drop", f"{what} was not dropped: {why}", hint=hint)
