"""Blobs of one registry: is it there, take it in, hand it out, from memory or by way of a file.

Layers have many gigabytes: they pass through here piece by piece, and what bounds them is
the time without a byte, not the time of the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from .files import disk_errors
from .http import Response, Unreachable
from .registry_auth import Again, Refused, is_html, problem_of
from .registry_session import Budget, Call, RegistrySession

DIGEST_HEADER = "docker-content-digest"


def pull_scope(repository: str) -> str:
    """The right to read."""
    return f"repository:{repository}:pull"


def push_scope(repository: str) -> str:
    """The right to write."""
    return f"repository:{repository}:pull,push"


def expect(answer: Response, *statuses: int) -> Response:
    """The answer if it has one of these statuses; raises ``Refused``."""
    if answer.status not in statuses:
        raise Refused(problem_of(answer), answer.status)
    return answer


def location(answer: Response) -> str:
    """Where an upload that was accepted goes on; raises ``Refused``."""
    found = expect(answer, 202).headers.get("location")
    if found is None:
        raise Refused(f"status {answer.status} without a Location to upload to", answer.status)
    return found


class Blobs:
    """The blobs of the registry that ``session`` talks to; all of it raises ``Refused``."""

    def __init__(self, session: RegistrySession) -> None:
        self._session = session

    def holds(self, repository: str, digest: str, size: int, budget: Budget) -> bool:
        """Whether the blob is there."""
        call = Call("HEAD", f"/v2/{repository}/blobs/{digest}", push_scope(repository))
        return self._session.ask(call, lambda answer: _holds(answer, digest, size), budget)

    def put(self, repository: str, digest: str, body: bytes | Path, budget: Budget) -> None:
        """Send the blob."""
        start = Call("POST", f"/v2/{repository}/blobs/uploads/", push_scope(repository), body=b"")
        # A failed PUT may have used up its upload: every attempt starts a new one.
        self._session.ask(start, lambda answer: self._upload(repository, answer, digest, body, budget), budget)

    def mount(self, repository: str, digest: str, source: str, budget: Budget) -> bool:
        """Whether the registry took the blob from its own repository ``source``; it need not know how."""
        scope = f"{push_scope(repository)} {pull_scope(source)}"
        call = Call("POST", f"/v2/{repository}/blobs/uploads/?mount={digest}&from={source}", scope, body=b"")
        try:
            return self._session.ask(call, lambda answer: answer.status == 201, budget)
        except Refused:
            return False

    def save(self, repository: str, digest: str, size: int, path: Path, budget: Budget) -> None:
        """Write the blob of ``size`` bytes to ``path``; what is there afterwards is what ``digest`` says.

        Raises ``InfraError`` where the disk does not take it.
        """
        sink = _Sink(path, size)
        call = Call("GET", f"/v2/{repository}/blobs/{digest}", pull_scope(repository), into=sink.take)

        def judge(answer: Response) -> None:
            expect(answer, 200)
            if sink.digest != digest:
                raise Again(f"status 200, but the body is {sink.digest} instead of {digest}", 200)

        self._session.ask(call, judge, budget)

    def _upload(self, repository: str, started: Response, digest: str, body: bytes | Path, budget: Budget) -> None:
        url = self._session.resolve(location(started))
        url += ("&" if urlsplit(url).query else "?") + f"digest={digest}"
        headers = {"Content-Type": "application/octet-stream"}
        held, file = (None, body) if isinstance(body, Path) else (body, None)
        call = Call("PUT", url, push_scope(repository), headers, held, file=file)
        expect(self._session.once(call, budget), 201)


class _Sink:
    """Writes a body to a file, anew for each answer, and knows the digest of what came last."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self.digest = ""

    def take(self, pieces: Iterator[bytes]) -> None:
        """Write the pieces; raises ``Unreachable`` before they are more than was announced."""
        self.digest = ""
        hashed, written = hashlib.sha256(), 0
        with disk_errors(f"cannot write {self._path}"):
            self._path.unlink(missing_ok=True)  # an attempt that was given up may still hold the old file
            stream = self._path.open("xb")
        with stream:
            for piece in pieces:
                written += len(piece)
                if written > self._size:
                    raise Unreachable("too-large", f"the body has more than the {self._size} bytes of the blob")
                hashed.update(piece)
                with disk_errors(f"cannot write {self._path}"):
                    stream.write(piece)
            with disk_errors(f"cannot write {self._path}"):
                stream.flush()
        self.digest = f"sha256:{hashed.hexdigest()}"


def _holds(answer: Response, digest: str, size: int) -> bool:
    """Whether a HEAD of a blob says that it is there; a store it redirects to knows only the size."""
    if expect(answer, 200, 404).status == 404:
        return False
    length = answer.headers.get("content-length")
    if is_html(answer.headers) or answer.headers.get(DIGEST_HEADER, digest) != digest or length != str(size):
        raise Refused(f"status 200, but not for the blob of {size} bytes that was asked for", 200)
    return True
