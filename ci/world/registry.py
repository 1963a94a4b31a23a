"""What a registry holds, in three values: found, absent, or *could not tell*.

Only a registry's own "I do not know that" is absence.  A refused login, a web page, a
cut-off body, a digest that does not match and silence are all ``Unknown``, with a
reason a person can act on; no caller may take it for either of the other two.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from ..errors import InfraError
from .clock import Clock
from .credentials import Credentials
from .http import Response, Send, Unreachable, address
from .registry_auth import Again, Refused, error_codes, from_registry, is_html, json_object, problem_of
from .registry_blobs import DIGEST_HEADER, Blobs, expect, location, pull_scope, push_scope
from .registry_session import Budget, Call, RegistrySession
from .registry_tags import page, tombstone

T = TypeVar("T")
MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MAX_MANIFEST = 4 * 1024 * 1024  # what registries accept
MAX_BLOB = 32 * 1024 * 1024  # configs and our own documents, never layers
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PAGE = 1000
ABSENT_CODES = frozenset({"MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN"})
VAGUE_CODES = frozenset({"NOT_FOUND"})  # some registries say this, and so does every other service


@dataclass(frozen=True, slots=True)
class Found:
    """It is there, under this digest."""

    digest: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Absent:
    """The registry says that it does not have it."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Could not tell: ``reason`` names host, path, status and attempts."""

    reason: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """The registry lets us."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The registry is well and does not let us; ``reason`` ends in what to do."""

    reason: str


Lookup = Found | Absent | Unknown
Permission = Granted | Denied | Unknown


def digest_of(body: bytes) -> str:
    """The digest a registry gives to these bytes."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


class Registry:
    """One registry.

    ``registry`` is a host with an optional port and scheme; plain http is used for
    the loopback and for addresses that begin with ``http://``, nowhere else.
    ``attempts`` and ``deadline`` (seconds) bound each operation, retries included.
    Lookups never raise for what the world does; ``put_*`` raise ``InfraError``.
    """

    def __init__(
        self,
        registry: str,
        *,
        send: Send,
        clock: Clock,
        credentials: Callable[[str], Credentials | None],
        attempts: int = 4,
        deadline: float = 30.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._session = RegistrySession(
            registry,
            send=send,
            clock=clock,
            credentials=credentials,
            attempts=attempts,
            deadline=deadline,
            jitter=jitter,
        )
        self.host = self._session.host
        self._blobs = Blobs(self._session)
        self._verified = False

    def ping(self) -> Permission:
        """Whether a registry answers here and takes our login."""
        return self._ping(self._session.budget())

    def head(self, repository: str, reference: str) -> Lookup:
        """What a tag or digest names now, without fetching it."""
        call = _manifest_call("HEAD", repository, reference)
        found = self._look_up(call, lambda answer: _headed(answer, reference))
        if isinstance(found, Found) and found.size < 0:  # allowed by the protocol; the body tells
            whole = self.manifest(repository, reference)
            return whole[0] if isinstance(whole, tuple) else whole
        return found

    def manifest(self, repository: str, reference: str) -> tuple[Found, bytes] | Absent | Unknown:
        """A manifest or index and its bytes, which are what the digest says."""
        call = _manifest_call("GET", repository, reference)
        return self._look_up(call, lambda answer: _read_manifest(answer, reference))

    def blob(self, repository: str, digest: str) -> bytes | Absent | Unknown:
        """A small blob, checked against its digest; layers are too large for this."""
        call = Call("GET", f"/v2/{repository}/blobs/{digest}", pull_scope(repository), max_body=MAX_BLOB)
        return self._look_up(call, lambda answer: _read_blob(answer, digest))

    def put_manifest(self, repository: str, reference: str, body: bytes, media_type: str) -> Found:
        """Store a manifest under a tag or its digest and look that it is there.

        Raises ``InfraError`` if the registry refuses, or then shows something else.
        """
        digest = digest_of(body)
        call = Call(
            "PUT",
            _manifest_path(repository, reference),
            push_scope(repository),
            {"Content-Type": media_type},
            body,
        )
        try:
            self._session.ask(call, lambda answer: expect(answer, 201), self._session.budget())
        except Refused as error:
            raise self._failed("push", f"{repository}:{reference}", error) from error
        seen = self.head(repository, reference)
        if isinstance(seen, Found) and seen.digest == digest:
            return seen
        raise self._unverified(f"{repository}:{reference}", digest, seen)

    def put_blob(self, repository: str, body: bytes) -> str:
        """Store a small blob unless it is there; its digest.  Raises ``InfraError``."""
        digest = digest_of(body)
        self._store(repository, digest, len(body), body, self._session.budget())
        return digest

    def has_blob(self, repository: str, digest: str, size: int) -> bool:
        """Whether a blob is there, or has to be pushed.  Raises ``InfraError`` where the registry does not say."""
        try:
            return self._blobs.holds(repository, digest, size, self._session.budget())
        except Refused as error:
            raise self._failed("push", f"{repository}@{digest}", error) from error

    def mount_blob(self, repository: str, digest: str, source: str) -> bool:
        """Whether this registry takes a blob from another repository of its own; it need not."""
        return self._blobs.mount(repository, digest, source, self._session.budget())

    def save_blob(self, repository: str, digest: str, size: int, path: Path) -> None:
        """Bring a blob of any size to ``path``, checked against its digest.  Raises ``InfraError``."""
        try:
            self._blobs.save(repository, digest, size, path, self._session.patience())
        except Refused as error:
            raise self._failed("pull", f"{repository}@{digest}", error) from error

    def send_blob(self, repository: str, digest: str, path: Path) -> None:
        """Store a blob of any size unless it is there.  Raises ``InfraError``."""
        self._store(repository, digest, path.stat().st_size, path, self._session.patience())

    def tags(self, repository: str) -> tuple[str, ...] | Absent | Unknown:
        """All tags of a repository, sorted; never a part of them.  Absent is one that has none."""
        url = self._session.resolve(f"/v2/{repository}/tags/list?n={PAGE}")
        names: set[str] = set()
        while url:
            call = Call("GET", url, pull_scope(repository))
            found = self._look_up(call, partial(page, url=url))
            if isinstance(found, Unknown) or (isinstance(found, Absent) and not names):
                return found
            if isinstance(found, Absent) or (found.following and names.issuperset(found.names)):
                return Unknown(f"GET {address(url)}: its list of tags does not come to an end")
            names.update(found.names)
            url = found.following
        return tuple(sorted(names))

    def delete(self, repository: str, digest: str) -> None:
        """Remove a manifest with every tag that it has; one that is not there is removed.

        Raises ``InfraError``, with the reference ``registry-delete-off`` where nothing can be deleted.
        """
        if not DIGEST.fullmatch(digest):
            raise ValueError(f"{digest} is no digest")
        call = Call("DELETE", _manifest_path(repository, digest), f"repository:{repository}:delete")
        budget = self._session.budget()

        def judge(answer: Response) -> None:
            if expect(answer, 200, 202, 204, 404).status == 404:
                self._absence(answer, budget)
            elif is_html(answer.headers):
                raise Refused(problem_of(answer), answer.status)

        try:
            self._session.ask(call, judge, budget)
        except Refused as error:
            if error.status == 405:
                hint = "deletion is switched off in this registry; its operator sets storage.delete.enabled: true"
                raise InfraError("registry-delete-off", f"{self.host}: {error.reason}", hint=hint) from error
            raise self._failed("delete", f"{repository}@{digest}", error) from error

    def drop(self, repository: str, tag: str, note: str) -> None:
        """Remove one tag; the digest under it and all its other tags stay.

        ``note`` is unique and says who drops the tag and when.  A registry deletes digests, not tags:
        the tag is moved to a manifest of its own first.  Killed in between, a second drop finishes.
        Raises ``InfraError``; before the tag is touched where the registry deletes nothing.
        """
        stone = tombstone(tag, note)
        self.delete(repository, digest_of(stone))
        seen = self.head(repository, tag)
        if isinstance(seen, Found):
            self.put_manifest(repository, tag, stone, MANIFEST_TYPES[0])
            self.delete(repository, digest_of(stone))
            seen = self.head(repository, tag)
        if not isinstance(seen, Absent):
            raise self._undropped(f"{repository}:{tag}", seen)

    def can_push(self, repository: str) -> Permission:
        """Whether we may push: begins an upload and takes it back, so nothing is stored."""
        call = Call("POST", f"/v2/{repository}/blobs/uploads/", push_scope(repository), body=b"")
        try:
            budget = self._session.budget()
            url = self._session.ask(call, lambda answer: self._session.resolve(location(answer)), budget)
        except Refused as error:
            return Denied(error.reason) if error.denied else Unknown(error.reason, error.status)
        self._cancel(repository, url, budget)
        return Granted()

    def _store(self, repository: str, digest: str, size: int, body: bytes | Path, budget: Budget) -> None:
        try:
            if self._blobs.holds(repository, digest, size, budget):
                return
            self._blobs.put(repository, digest, body, budget)
            stored = self._blobs.holds(repository, digest, size, budget)
        except Refused as error:
            raise self._failed("push", f"{repository}@{digest}", error) from error
        if not stored:
            raise self._unverified(f"{repository}@{digest}", digest, Absent())

    def _ping(self, budget: Budget) -> Permission:
        try:
            self._session.ask(Call("GET", "/v2/"), _ponged, budget)
        except Refused as error:
            self._verified = self._verified or error.denied
            return Denied(error.reason) if error.denied else Unknown(error.reason, error.status)
        self._verified = True
        return Granted()

    def _look_up(self, call: Call, read: Callable[[Response], T]) -> T | Absent | Unknown:
        """What ``read`` makes of a 200; a 404 is judged here, all else is unknown."""
        budget = self._session.budget()

        def judge(answer: Response) -> T | Absent:
            if expect(answer, 200, 404).status == 404:
                return self._absence(answer, budget)
            return read(answer)

        try:
            return self._session.ask(call, judge, budget)
        except Refused as error:
            return Unknown(error.reason, error.status)

    def _absence(self, answer: Response, budget: Budget) -> Absent:
        """A 404 is absence only in the mouth of a registry; raises ``Refused`` otherwise."""
        codes = {code for code, _ in error_codes(answer)} - VAGUE_CODES
        if codes & ABSENT_CODES:
            return Absent()
        if codes or is_html(answer.headers):
            raise Refused(problem_of(answer), 404)
        if from_registry(answer) or self._verified:
            return Absent()
        pong = self._ping(budget)
        if isinstance(pong, Unknown):
            raise Refused(f"{problem_of(answer)}, and nothing proves it a registry: {pong.reason}", 404)
        return Absent()

    def _cancel(self, repository: str, url: str, budget: Budget) -> None:
        """Give the upload back; a registry that does not take it lets it expire."""
        try:
            self._session.once(Call("DELETE", url, push_scope(repository)), budget)
        except (Again, Refused, Unreachable):
            return

    def _failed(self, deed: Literal["push", "pull", "delete"], what: str, error: Refused) -> InfraError:
        message = f"{self.host}/{what} was not {deed}{'d' if deed == 'delete' else 'ed'}: {error.reason}"
        if error.denied:
            hint = f"log in with an account that may {deed}: docker login {self.host}"
            return InfraError(f"registry-{deed}-denied", message, hint=hint)
        left = "nothing is published under this name yet; " if deed == "push" else ""
        return InfraError(f"registry-{deed}", message, hint=f"{left}the same command again continues")

    def _undropped(self, what: str, seen: Found | Unknown) -> InfraError:
        why = seen.reason if isinstance(seen, Unknown) else f"it leads to {seen.digest}: somebody else writes it"
        hint = "look at the tag, then run the same command again"
        return InfraError("registry-drop", f"{self.host}/{what} was not dropped: {why}", hint=hint)

    def _unverified(self, what: str, digest: str, seen: Lookup) -> InfraError:
        shown = {Found: "another digest", Absent: "nothing", Unknown: "no usable answer"}[type(seen)]
        return InfraError(
            "registry-push-unverified",
            f"{self.host}/{what} was accepted, but reading it back shows {shown}",
            hint="somebody else may write the same name, or the registry lags; run the same command again",
            context=f"pushed {digest}\nread back {seen}",
        )


def _manifest_call(method: str, repository: str, reference: str) -> Call:
    headers = {"Accept": ", ".join(MANIFEST_TYPES)}
    path = _manifest_path(repository, reference)
    return Call(method, path, pull_scope(repository), headers, max_body=MAX_MANIFEST)


def _manifest_path(repository: str, reference: str) -> str:
    return f"/v2/{repository}/manifests/{reference}"


def _ponged(answer: Response) -> None:
    expect(answer, 200)
    kind = answer.headers.get("content-type", "")
    if not from_registry(answer) and (is_html(answer.headers) or "json" not in kind):
        raise Refused(f"status 200, but {kind or 'untyped'} content: this is not a registry", 200)


def _described(answer: Response, reference: str) -> tuple[str, str]:
    """Digest and media type of a 200, or why it is not the answer of a registry."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()
    if kind not in MANIFEST_TYPES:
        raise Refused(f"status 200, but {kind or 'untyped'} content instead of an image manifest", 200)
    digest = answer.headers.get(DIGEST_HEADER, "")
    if not DIGEST.fullmatch(digest):
        raise Refused("status 200 without a usable Docker-Content-Digest", 200)
    if ":" in reference and digest != reference:
        raise Refused(f"status 200 with digest {digest} for {reference}", 200)
    return digest, kind


def _headed(answer: Response, reference: str) -> Found:
    """``Found``, with size -1 where no length is said."""
    digest, kind = _described(answer, reference)
    length = answer.headers.get("content-length", "")
    return Found(digest, kind, int(length) if length.isdigit() else -1)


def _read_manifest(answer: Response, reference: str) -> tuple[Found, bytes]:
    digest, kind = _described(answer, reference)
    if digest_of(answer.body) != digest:
        raise Again(f"status 200, but the body is {digest_of(answer.body)} instead of {digest}", 200)
    if json_object(answer.body).get("schemaVersion") != 2:
        raise Refused("status 200, but the body is not an image manifest", 200)
    return Found(digest, kind, len(answer.body)), answer.body


def _read_blob(answer: Response, digest: str) -> bytes:
    if digest_of(answer.body) != digest:
        raise Again(f"status 200, but the body is {digest_of(answer.body)} instead of {digest}", 200)
    return answer.body
