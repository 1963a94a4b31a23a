"""An S3 bucket, or a prefix in one, that holds wheels and the pages of their index.

Credentials, region and endpoint come from the usual ``AWS_*`` variables.  A bucket cannot
switch many objects at once: wheels and metadata are there first, then projects' pages, then
the pages that name them, and only then is anything removed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import ConfigError, InfraError
from .store import METADATA, OURS, PAGES, WHEEL, Listing, Stored

if TYPE_CHECKING:
    from obstore.store import S3Store

_TURN = f"{OURS}/turn"
_HANDS = 16
"""Requests at a time."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/vnd.pypi.simple.v1+json",
    ".metadata": "text/plain; charset=utf-8",
    ".whl": "application/zip",
}


class Bucket:
    """A prefix of a bucket; see ``store.Store`` for what its methods mean."""

    def __init__(self, store: S3Store, url: str) -> None:
        self._store = store
        self._url = url

    @classmethod
    def at(cls, url: str) -> Bucket:
        """The place ``s3://bucket[/prefix]``; nothing is asked of it yet."""
        from obstore.store import S3Store

        name, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
        if not name:
            raise ConfigError("bad-bucket", f"{url!r} names no bucket", hint="give s3://BUCKET or s3://BUCKET/PREFIX")
        with _answers(url):
            return cls(S3Store(name, prefix=prefix or None), url)

    @property
    def name(self) -> str:
        """The URL as it was given."""
        return self._url

    @property
    def url(self) -> str:
        """The same: where clients find the bucket is only known to whoever put a web server before it."""
        return self._url

    def alone(self, say: Callable[[str], None]) -> nullcontext[None]:
        """Nobody can be kept out of a bucket; ``claim`` notices them."""
        del say
        return nullcontext()

    def turn(self) -> str:
        """Changes whenever somebody claims the index."""
        return self._tag(_TURN)

    def claim(self, turn: str) -> str:
        """Take the next turn after ``turn``; empty when somebody else did."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mark = os.urandom(16)
        with _answers(self._url):
            try:
                if turn:
                    done = obstore.put(self._store, _TURN, mark, mode={"e_tag": turn})
                else:
                    done = obstore.put(self._store, _TURN, mark, mode="create", use_multipart=False)
            except (PreconditionError, AlreadyExistsError):
                return ""
        return done["e_tag"] or ""

    def listing(self) -> Listing:
        """Every wheel below the prefix."""
        found = Listing({}, {})
        for stored in self._list(None):
            if stored.path.startswith((f"{PAGES}/", ".")) or "/." in stored.path:
                continue
            if stored.path.endswith(WHEEL):
                found.wheels[stored.path] = stored
            elif stored.path.endswith(METADATA):
                found.metadata[stored.path] = stored
        return found

    def names(self) -> set[str]:
        """The paths of all wheels."""
        return set(self.listing().wheels)

    def stored(self, path: str) -> Stored | None:
        """One object as a listing would show it, None when it is not there."""
        import obstore

        with _answers(self._url), suppress(FileNotFoundError):
            meta = obstore.head(self._store, path)
            return Stored(path, meta["size"], meta["e_tag"] or "")
        return None

    @contextmanager
    def opened(self, path: str) -> Iterator[IO[bytes]]:
        """The object, brought into a file that has no name."""
        import obstore

        with tempfile.TemporaryFile() as file:
            with _answers(self._url):
                for block in obstore.get(self._store, path).stream():
                    file.write(block)
            file.seek(0)
            yield file

    def read(self, path: str) -> bytes | None:
        """The bytes of a small object, None when it is not there."""
        import obstore

        with _answers(self._url), suppress(FileNotFoundError):
            return bytes(obstore.get(self._store, path).bytes())
        return None

    def write(self, path: str, data: bytes) -> None:
        """Write a small object."""
        self._put(path, data, {})

    def take(self, source: Path, path: str) -> None:
        """Copy a file of this machine in; a large one goes up in parts and appears when the last is there."""
        self._put(path, source, {})

    def remove(self, path: str) -> None:
        """Remove an object; no error where it is gone."""
        import obstore

        with _answers(self._url), suppress(FileNotFoundError):
            obstore.delete(self._store, path)

    def publish(self, pages: Mapping[str, bytes]) -> None:
        """Put every page that differs, projects first, then remove those that are no longer wanted."""
        there = {stored.path.removeprefix(f"{PAGES}/"): stored.mark.strip('"') for stored in self._list(PAGES)}
        different = {
            path: data
            for path, data in pages.items()
            if there.get(path) != hashlib.md5(data, usedforsecurity=False).hexdigest()
        }
        self.update(different)
        self._each(self.remove, (f"{PAGES}/{path}" for path in there.keys() - pages.keys()))

    def update(self, pages: Mapping[str, bytes]) -> None:
        """Put these pages, many at a time: the deeper ones, of projects, before those that name them."""
        for depth in sorted({path.count("/") for path in pages}, reverse=True):
            group = [path for path in pages if path.count("/") == depth]
            self._each(lambda path: self._put(f"{PAGES}/{path}", pages[path], {"Cache-Control": "max-age=60"}), group)

    def _each(self, act: Callable[[str], None], paths: Iterable[str]) -> None:
        with ThreadPoolExecutor(_HANDS) as hands:
            for _ in hands.map(act, paths):
                pass

    def _put(self, path: str, data: bytes | Path, more: Mapping[str, str]) -> None:
        import obstore

        kind = _TYPES.get(Path(path).suffix, "application/octet-stream")
        with _answers(self._url):
            obstore.put(self._store, path, data, attributes={"Content-Type": kind, **more})

    def _list(self, prefix: str | None) -> Iterator[Stored]:
        import obstore

        with _answers(self._url):
            for batch in obstore.list(self._store, prefix):
                for meta in batch:
                    yield Stored(meta["path"], meta["size"], meta["e_tag"] or "")

    def _tag(self, path: str) -> str:
        found = self.stored(path)
        return found.mark if found else ""


@contextmanager
def _answers(url: str) -> Iterator[None]:
    """Whatever the bucket answers that is neither yes nor "not there" is the world's fault."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        hint = "check AWS_REGION, AWS_ENDPOINT_URL, the credentials and the bucket's name; then run it again"
        lines = str(error).strip().splitlines()
        raise InfraError("store", f"{url} cannot be used: {lines[0] if lines else error}", hint=hint) from None
