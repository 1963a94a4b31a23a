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

    def __init__(self, store: S3Store, url: str, *, anonymous: bool = False) -> None:
        self._store = store
        self._url = url
        self._anonymous = anonymous

    @classmethod
    def at(cls, url: str, *, anonymous: bool = False) -> Bucket:
        """The place ``s3://bucket[/prefix]``; nothing is asked of it yet. ``anonymous``: requests are not signed."""
        from obstore.store import S3Store

        name, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
        if not name:
            raise ConfigError("bad-bucket", f"{url!r} names no bucket", hint="give s3://BUCKET or s3://BUCKET/PREFIX")
        with _answers(url):
            return cls(S3Store(name, prefix=prefix or None, skip_signature=anonymous), url, anonymous=anonymous)

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

    def create(self, path: str, data: bytes) -> bool:
        """Write a small object that is not there yet; False when it is, whoever wrote it."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with _answers(self._url):
            try:
                obstore.put(self._store, path, data, attributes=_attributes(path), mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def fetch(self, path: str) -> tuple[bytes, str] | None:
        """The bytes of a small object and its ETag, None when it is not there."""
        import obstore

        with _answers(self._url), suppress(FileNotFoundError):
            answer = obstore.get(self._store, path)
            return bytes(answer.bytes()), answer.meta["e_tag"] or ""
        return None

    def swap(self, path: str, data: bytes, mark: str) -> bool:
        """Replace a small object if its ETag is still ``mark``."""
        import obstore
        from obstore.exceptions import PreconditionError

        with _answers(self._url):
            try:
                obstore.put(self._store, path, data, attributes=_attributes(path), mode={"e_tag": mark})
            except (PreconditionError, FileNotFoundError):
                return False
        return True

    def copy(self, source: str, path: str) -> None:
        """Let the bucket copy an object."""
        import obstore

        with _answers(self._url):
            obstore.copy(self._store, source, path)

    def below(self, prefix: str) -> Iterator[Stored]:
        """Every object below the folder ``prefix``; empty for all."""
        return self._list(prefix or None)

    def within(self, prefix: str) -> Bucket:
        """The place below ``prefix``."""
        return Bucket.at(f"{self._url.rstrip('/')}/{prefix}", anonymous=self._anonymous)

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

        with _answers(self._url):
            obstore.put(self._store, path, data, attributes={**_attributes(path), **more})

    def _list(self, prefix: str | None) -> Iterator[Stored]:
        import obstore

        with _answers(self._url):
            for batch in obstore.list(self._store, prefix):
                for meta in batch:
                    yield Stored(meta["path"], meta["size"], meta["e_tag"] or "")

    def _tag(self, path: str) -> str:
        found = self.stored(path)
        return found.mark if found else ""


def _attributes(path: str) -> dict[str, str]:
    return {"Content-Type": _TYPES.get(Path(path).suffix, "application/octet-stream")}


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
