"""A place that holds wheels and the pages of their index: a folder here, an S3 bucket in ``bucket.py``.

Paths are relative to the place, with ``/``.  Pages live below ``simple/``, what we note for
ourselves below ``.index/``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from ..errors import ConfigError
from . import arrivals, files
from .drafts import Drafts, fill, settle
from .generations import Generations
from .locks import exclusive

PAGES = "simple"
OURS = ".index"
WHEEL = ".whl"
METADATA = ".whl.metadata"


class Stored(NamedTuple):
    """A file as a listing shows it; ``mark`` is another one whenever the bytes may be others."""

    path: str
    size: int
    mark: str


class Listing(NamedTuple):
    """The wheels and the metadata files beside them, by path."""

    wheels: dict[str, Stored]
    metadata: dict[str, Stored]


class Store(Protocol):
    """What a folder and a bucket have in common."""

    @property
    def name(self) -> str:
        """As a person gave it."""

    @property
    def url(self) -> str:
        """Where clients reach it when nobody says otherwise."""

    def alone(self, say: Callable[[str], None]) -> AbstractContextManager[object]:
        """Keep other runs out meanwhile, as far as the place can."""

    def turn(self) -> str:
        """Changes whenever somebody claims the index."""

    def claim(self, turn: str) -> str:
        """Take the turn after ``turn``, before anything that others see is written; empty when somebody else did."""

    def listing(self) -> Listing:
        """Everything that could be indexed."""

    def names(self) -> set[str]:
        """The paths of all wheels, without a look at each."""

    def opened(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """A file to read and to seek in; ``OSError`` where that cannot be done."""

    def stored(self, path: str) -> Stored | None:
        """One file as a listing would show it, None when it is not there."""

    def read(self, path: str) -> bytes | None:
        """The bytes of a small file, None when it is not there."""

    def write(self, path: str, data: bytes) -> None:
        """Write a small file, whole or not at all."""

    def take(self, source: Path, path: str) -> None:
        """Copy a file of this machine in, whole or not at all."""

    def take_all(self, items: Sequence[tuple[Path, str]], say: Callable[[str], None]) -> None:
        """Take many; ``say`` hears how far it is, an ``InfraError`` names the file that failed. What is there stays."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file that is not there yet; False when somebody else's is.

        ``data`` must be bytes that no other run writes, its id among them: the answer to a write
        can get lost, and then the very same bytes mean that it was us.
        """

    def fetch(self, path: str) -> tuple[bytes, str] | None:
        """The bytes of a small file and the mark to ``swap`` it by, None when it is not there."""

    def swap(self, path: str, data: bytes, mark: str) -> bool:
        """Replace a small file if it is still the one of ``mark``; False when somebody wrote or removed it meanwhile.

        For ``data`` the same holds as in ``create``.
        """

    def copy(self, source: str, path: str) -> None:
        """Copy a file inside the place, whole or not at all."""

    def below(self, prefix: str) -> Iterator[Stored]:
        """Every file whose path is below the folder ``prefix``, hidden ones left out; all for "". In no order."""

    def within(self, prefix: str) -> Store:
        """The place below the folder ``prefix``, there or not yet."""

    def remove(self, path: str) -> None:
        """Remove a file; no error where it is gone."""

    def discard(self, prefix: str) -> None:
        """Remove the folder ``prefix`` with everything below it; no error where it is gone."""

    def publish(self, pages: Mapping[str, bytes]) -> None:
        """Make ``pages``, by path below ``simple/``, all that is there."""

    def update(self, pages: Mapping[str, bytes]) -> None:
        """Replace or add these pages, in this order, each whole or not at all."""


def opened(text: str, *, anonymous: bool = False) -> Store:
    """The store called ``text``: ``s3://bucket/prefix`` or a folder; ``ConfigError`` for anything else.

    ``anonymous``: a bucket is read as nobody, whatever credentials are there.
    """
    if text.startswith("s3://"):
        from .bucket import Bucket

        return Bucket.at(text, anonymous=anonymous)
    if "://" in text:
        hint = "give a folder, or s3://BUCKET/PREFIX"
        raise ConfigError("unknown-place", f"{text!r} is neither a folder nor a bucket", hint=hint)
    return Folder(Path(text))


class Folder:
    """A folder of this machine, ready to stand behind any web server that follows symbolic links."""

    def __init__(self, root: Path, *, there: bool = True) -> None:
        if there and not root.is_dir():
            raise ConfigError("no-folder", f"there is no folder {root}", hint="name the folder that holds the wheels")
        pages = root / PAGES
        if pages.exists() and not pages.is_symlink():
            hint = "move it away: an index is a link there, so that a new one can take its place in one step"
            raise ConfigError("foreign-index", f"{pages} was not made by this tool", hint=hint)
        self._root = root
        self._drafts = Drafts(root / OURS)
        self._generations = Generations(pages, root / OURS)

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._root)

    @property
    def url(self) -> str:
        """A ``file:`` URL, which pip and uv read as well."""
        return self._root.resolve().as_uri()

    def alone(self, say: Callable[[str], None]) -> AbstractContextManager[object]:
        """One indexing run per folder and host; it vanishes with the process."""
        return exclusive(self._root / OURS, "index", say)

    def turn(self) -> str:
        """Always the same: the lock keeps others out."""
        return "locked"

    def claim(self, turn: str) -> str:
        """Ours already."""
        return turn

    def listing(self) -> Listing:
        """All wheels at any depth; hidden files and folders are left out, our pages among them."""
        found = Listing({}, {})
        with files.disk_errors(f"cannot list {self._root}"):
            for path, entry in self._entries():
                kind = found.wheels if path.endswith(WHEEL) else found.metadata
                try:  # noqa: SIM105 - tens of thousands
                    kind[path] = _stored(path, entry.stat())
                except FileNotFoundError:  # a link to nowhere, or gone meanwhile
                    pass
        return found

    def names(self) -> set[str]:
        """The paths of all wheels, without a look at each."""
        with files.disk_errors(f"cannot list {self._root}"):
            return {
                path
                for path, entry in self._entries()
                if path.endswith(WHEEL) and (not entry.is_symlink() or Path(entry.path).exists())
            }

    def _entries(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        pending = [(str(self._root), "")]
        while pending:
            folder, prefix = pending.pop()
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name.endswith((WHEEL, METADATA)) and not name.startswith("."):
                        yield prefix + name, entry
                    elif entry.is_dir(follow_symlinks=False) and not name.startswith("."):
                        pending.append((entry.path, f"{prefix}{name}/"))

    def stored(self, path: str) -> Stored | None:
        """One file as a listing would show it, None when it is not there."""
        with files.disk_errors(f"cannot look at {self._root / path}"):
            try:
                status = (self._root / path).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return None if stat.S_ISDIR(status.st_mode) else _stored(path, status)

    @contextmanager
    def opened(self, path: str) -> Iterator[IO[bytes]]:
        """A file to read and to seek in; ``OSError`` where that cannot be done."""
        file = self._root / path
        if not stat.S_ISREG(file.stat().st_mode):  # a pipe would wait for ever
            raise OSError(0, "not a regular file")
        with file.open("rb") as stream:
            yield stream

    def read(self, path: str) -> bytes | None:
        """The bytes of a small file, None when it is not there."""
        with files.disk_errors(f"cannot read {self._root / path}"):
            try:
                return (self._root / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def write(self, path: str, data: bytes) -> None:
        """Write a small file, whole or not at all, for everybody to read."""
        with self._written(path) as (draft, target):
            fill(str(draft), data)
            settle(draft)
            draft.replace(target)

    def take(self, source: Path, path: str) -> None:
        """Copy a file of this machine in, whole or not at all."""
        with self._written(path) as (draft, target):
            if target.exists() and target.samefile(source):
                return
            shutil.copyfile(source, draft)
            settle(draft)
            draft.replace(target)

    def take_all(self, items: Sequence[tuple[Path, str]], say: Callable[[str], None]) -> None:
        """Copy files of this machine in, one after the other: a disk is no faster with several."""
        arrivals.one_by_one(self.take, items, say)

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file that is not there yet; False when somebody else's is."""
        with self._written(path) as (draft, target):
            fill(str(draft), data)
            settle(draft)
            try:
                target.hardlink_to(draft)  # fails where the name is taken, unlike a rename
            except FileExistsError:
                return target.read_bytes() == data
        return True

    @contextmanager
    def _written(self, path: str) -> Iterator[tuple[Path, Path]]:
        """Names for a draft of ``path`` and for the file itself, whose folder is there."""
        target = self._root / path
        with files.disk_errors(f"cannot write {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._drafts.new() as draft:
                yield draft, target

    def fetch(self, path: str) -> tuple[bytes, str] | None:
        """The bytes of a small file and their digest, None when it is not there."""
        data = self.read(path)
        return None if data is None else (data, hashlib.sha256(data).hexdigest())

    def swap(self, path: str, data: bytes, mark: str) -> bool:
        """Replace a small file if its bytes are still those of ``mark``."""
        with exclusive(self._root / OURS, "swap", lambda _text: None):
            found = self.fetch(path)
            if found is None or found[1] != mark:
                return found is not None and found[0] == data
            self.write(path, data)
        return True

    def copy(self, source: str, path: str) -> None:
        """Copy a file inside the place, whole or not at all."""
        self.take(self._root / source, path)

    def below(self, prefix: str) -> Iterator[Stored]:
        """Every file whose path is below the folder ``prefix``, pages too, hidden ones left out; all for ""."""
        pending = [prefix.strip("/")]
        while pending:
            folder = pending.pop()
            for entry in self._children(folder):
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=entry.name == PAGES):
                    pending.append(path)
                elif found := self.stored(path):
                    yield found

    def _children(self, folder: str) -> list[os.DirEntry[str]]:
        with files.disk_errors(f"cannot list {self._root / folder}"):
            try:
                with os.scandir(self._root / folder) as entries:
                    return [entry for entry in entries if not entry.name.startswith(".")]
            except (FileNotFoundError, NotADirectoryError):
                return []

    def within(self, prefix: str) -> Folder:
        """The place below the folder ``prefix``, there or not yet."""
        return Folder(self._root / prefix, there=False)

    def remove(self, path: str) -> None:
        """Remove a file; no error where it is gone."""
        with files.disk_errors(f"cannot remove {self._root / path}"), suppress(NotADirectoryError):
            (self._root / path).unlink(missing_ok=True)

    def discard(self, prefix: str) -> None:
        """Take a folder away in one rename, then remove it; what a kill leaves is swept as a draft is."""
        with files.disk_errors(f"cannot remove {self._root / prefix}"), self._drafts.new() as away:
            with suppress(FileNotFoundError):
                (self._root / prefix).rename(away)
            files.remove(away)

    def publish(self, pages: Mapping[str, bytes]) -> None:
        """Make ``pages``, by path below ``simple/``, all that is there, in one rename."""
        self._generations.publish(pages)

    def update(self, pages: Mapping[str, bytes]) -> None:
        """Replace or add these pages, in this order, each whole or not at all."""
        self._generations.update(pages)


def _stored(path: str, status: os.stat_result) -> Stored:
    """The mark holds the change time, which no copy or ``touch`` can set back."""
    mark = f"{status.st_size}.{status.st_ino}.{status.st_mtime_ns}.{status.st_ctime_ns}"
    return Stored(path, status.st_size, mark)
