"""An S3 bucket, or a prefix in one, that holds wheels and the pages of their index.

Credentials, region and endpoint come from the usual ``AWS_*`` variables.  A bucket cannot
switch many objects at once: wheels and metadata are there first, then projects' pages, then
the pages that name them, and only then is anything removed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from ..errors import ConfigError, InfraError
from . import arrivals, files
from .bucket_access import QUESTION, TRANSFER, answers, nothing_there, s3
from .store import METADATA, OURS, PAGES, WHEEL, Listing, Stored

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode
    from obstore.store import S3Store

T = TypeVar("T")
_TURN = f"{OURS}/turn"
_HANDS = 16
"""Requests at a time."""
_FILES = 4
"""Files that go up at a time, ..."""
_PARTS = 4
"""... parts of each, ..."""
_PART = 8 << 20
"""... and bytes of a part: 128 MB of memory at most. S3 takes 10,000 parts: files up to 80 GB."""
_TRIES = 5
"""How often a conditional write is repeated that failed although its condition held."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/vnd.pypi.simple.v1+json",
    ".metadata": "text/plain; charset=utf-8",
    ".whl": "application/zip",
}


class Bucket:
    """A prefix of a bucket; see ``store.Store`` for what its methods mean."""

    def __init__(self, small: S3Store, large: S3Store, url: str, *, anonymous: bool = False) -> None:
        self._store = small
        self._large = large
        self._url = url
        self._anonymous = anonymous

    @classmethod
    def at(cls, url: str, *, anonymous: bool = False) -> Bucket:
        """The place ``s3://bucket[/prefix]``; nothing is asked of it yet. ``anonymous``: requests are not signed."""
        name, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
        if not name:
            raise ConfigError("bad-bucket", f"{url!r} names no bucket", hint="give s3://BUCKET or s3://BUCKET/PREFIX")
        with answers(url):
            small, large = (s3(name, prefix, patience, anonymous=anonymous) for patience in (QUESTION, TRANSFER))
        return cls(small, large, url, anonymous=anonymous)

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
        return self._put_if(_TURN, os.urandom(16), turn)

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

        with self._answers(), suppress(FileNotFoundError):
            return _listed(obstore.head(self._store, path))
        # an answer to HEAD does not tell whether the object is missing or the bucket; one to GET does
        return self._found(lambda: _listed(obstore.get(self._store, path).meta))

    @contextmanager
    def opened(self, path: str) -> Iterator[IO[bytes]]:
        """The object, brought into a file that has no name; ``FileNotFoundError`` where it is not there."""
        with tempfile.TemporaryFile() as file:
            for block in self._blocks(path):
                file.write(block)
            file.seek(0)
            yield file

    def _blocks(self, path: str) -> Iterator[bytes]:
        """The bytes of one and the same object: a request for each part, so that none takes long."""
        import obstore

        first = self._found(lambda: obstore.get(self._large, path))
        if first is None:
            raise FileNotFoundError(2, "not in the bucket", f"{self._url}/{path}")
        size, mark = first.meta["size"], first.meta["e_tag"]
        with self._answers():
            if size <= _PART:
                yield bytes(first.bytes())
                return
            del first
            for start in range(0, size, _PART):
                part = (start, min(start + _PART, size))
                yield bytes(obstore.get(self._large, path, options={"range": part, "if_match": mark}).bytes())

    def read(self, path: str) -> bytes | None:
        """The bytes of a small object, None when it is not there."""
        found = self.fetch(path)
        return found[0] if found else None

    def write(self, path: str, data: bytes) -> None:
        """Write a small object."""
        self._put(path, data, {})

    def take(self, source: Path, path: str) -> None:
        """Copy a file of this machine in, as one of ``take_all``."""
        self.take_all([(source, path)], lambda _text: None)

    def take_all(self, items: Sequence[tuple[Path, str]], say: Callable[[str], None]) -> None:
        """Copy files of this machine in, several at a time, large ones in parts; each appears with its last part.

        What of a large one was cut off by a kill stays in the bucket, seen by nobody, until a rule of
        the bucket removes such parts ("abort incomplete multipart uploads").
        """
        if items:
            self.stored(items[0][1])  # a bucket that does not answer shows here, without the patience of an upload
        arrivals.together(self._upload, items, say, _FILES)

    def _upload(self, source: Path, path: str) -> None:
        import obstore

        with files.disk_errors(f"cannot read {source}"):
            size = source.stat().st_size
        with self._answers():
            obstore.put(
                self._large, path, source, attributes=_attributes(path), chunk_size=_PART, max_concurrency=_PARTS
            )
        seen = self.stored(path)
        if seen is None or seen.size != size:
            there = f"has {seen.size} bytes" if seen else "is not"
            message = f"{self._url}/{path} was written and {there} there; {source} has {size}"
            raise InfraError("store", message, hint="run the same command again")

    def create(self, path: str, data: bytes) -> bool:
        """Write a small object that is not there yet; False when somebody else's is."""
        return bool(self._put_if(path, data, ""))

    def fetch(self, path: str) -> tuple[bytes, str] | None:
        """The bytes of a small object and its ETag, None when it is not there."""
        import obstore

        def ask() -> tuple[bytes, str]:
            answer = obstore.get(self._store, path)
            return bytes(answer.bytes()), answer.meta["e_tag"] or ""

        return self._found(ask)

    def swap(self, path: str, data: bytes, mark: str) -> bool:
        """Replace a small object if its ETag is still ``mark``."""
        return bool(self._put_if(path, data, mark))

    def _put_if(self, path: str, data: bytes, mark: str) -> str:
        """Write if the ETag is still ``mark``, empty: nothing is there; the new ETag, empty where it was not.

        A client whose answer was lost asks again, and then the condition fails on its own write; or it
        gives up and does not know.  So the bytes that are there decide: nobody else writes the same.
        """
        for _ in range(_TRIES):
            failure = None
            try:
                done = self._try_put(path, data, mark)
            except InfraError as error:
                done, failure = "", error
            if done:
                return done
            try:
                held, now = self.fetch(path) or (None, "")
            except InfraError as error:
                raise failure or error from None
            if held == data:
                return now
            if failure:
                raise failure
            if now != mark:
                return ""
        message = f"{self._url}/{path} could not be written: the bucket says that others write it, and nobody did"
        raise InfraError("store", message, hint="run the same command again")

    def _try_put(self, path: str, data: bytes, mark: str) -> str:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: PutMode = {"e_tag": mark} if mark else "create"
        with self._answers():
            try:
                done = obstore.put(
                    self._store, path, data, attributes=_attributes(path), mode=mode, use_multipart=False
                )
            except (AlreadyExistsError, PreconditionError):
                return ""
        return done["e_tag"] or ""

    def copy(self, source: str, path: str) -> None:
        """Let the bucket copy an object."""
        import obstore

        with self._answers():
            obstore.copy(self._large, source, path)

    def below(self, prefix: str) -> Iterator[Stored]:
        """Every object below the folder ``prefix``, hidden ones left out; all for ""."""
        top = prefix.strip("/")
        for found in self._list(top or None):
            if "/." not in f"/{found.path.removeprefix(top)}":
                yield found

    def within(self, prefix: str) -> Bucket:
        """The place below ``prefix``."""
        return Bucket.at(f"{self._url.rstrip('/')}/{prefix}", anonymous=self._anonymous)

    def remove(self, path: str) -> None:
        """Remove an object; no error where it is gone."""
        import obstore

        with self._answers():
            obstore.delete(self._store, path)

    def discard(self, prefix: str) -> None:
        """Remove every object below the folder ``prefix``; no error where there is none."""
        import obstore

        gone = [found.path for found in self._list(prefix.strip("/"))]
        with self._answers():
            obstore.delete(self._store, gone)

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

    def _put(self, path: str, data: bytes, more: Mapping[str, str]) -> None:
        import obstore

        with self._answers():
            obstore.put(self._store, path, data, attributes={**_attributes(path), **more})

    def _list(self, prefix: str | None) -> Iterator[Stored]:
        import obstore

        with self._answers():
            for batch in obstore.list(self._store, prefix):
                yield from map(_listed, batch)

    def _found(self, ask: Callable[[], T]) -> T | None:
        """What ``ask`` gives, None where the bucket says that there is no such object."""
        with self._answers():
            try:
                return ask()
            except FileNotFoundError as error:
                if nothing_there(error):
                    return None
                raise

    def _answers(self) -> AbstractContextManager[None]:
        return answers(self._url, anonymous=self._anonymous)

    def _tag(self, path: str) -> str:
        found = self.stored(path)
        return found.mark if found else ""


def _listed(meta: ObjectMeta) -> Stored:
    return Stored(meta["path"], meta["size"], meta["e_tag"] or "")


def _attributes(path: str) -> dict[str, str]:
    return {"Content-Type": _TYPES.get(Path(path).suffix, "application/octet-stream")}
