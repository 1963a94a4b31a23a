"""A place that holds wheels and the pages of their index: a folder here, an S3 bucket in ``bucket.py``.

Paths are relative to the place, with ``/``.  Pages live below ``simple/``, what we note for
ourselves below ``.index/``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from ..errors import ConfigError
from . import files
from .locks import exclusive

PAGES = "simple"
OURS = ".index"
WHEEL = ".whl"
METADATA = ".whl.metadata"
GENERATIONS = ("pages-a", "pages-b")


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

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file that is not there yet; False when it is, whoever wrote it."""

    def fetch(self, path: str) -> tuple[bytes, str] | None:
        """The bytes of a small file and the mark to ``swap`` it by, None when it is not there."""

    def swap(self, path: str, data: bytes, mark: str) -> bool:
        """Replace a small file if it is still the one of ``mark``; False when somebody wrote it meanwhile."""

    def copy(self, source: str, path: str) -> None:
        """Copy a file inside the place, whole or not at all."""

    def below(self, prefix: str) -> Iterator[Stored]:
        """Every file whose path is below the folder ``prefix``; empty for all."""

    def within(self, prefix: str) -> Store:
        """The place below the folder ``prefix``, there or not yet."""

    def remove(self, path: str) -> None:
        """Remove a file; no error where it is gone."""

    def publish(self, pages: Mapping[str, bytes]) -> None:
        """Make ``pages``, by path below ``simple/``, all that is there."""

    def update(self, pages: Mapping[str, bytes]) -> None:
        """Replace or add these pages, in this order, each whole or not at all."""


class Folder:
    """A folder of this machine, ready to stand behind any web server that follows symbolic links.

    ``simple`` is a link to one of two generations below ``.index``: the other one is brought up to
    date, page by page that differs, and takes its place in one rename.
    """

    def __init__(self, root: Path, *, there: bool = True) -> None:
        if there and not root.is_dir():
            raise ConfigError("no-folder", f"there is no folder {root}", hint="name the folder that holds the wheels")
        pages = root / PAGES
        if pages.exists() and not pages.is_symlink():
            hint = "move it away: an index is a link there, so that a new one can take its place in one step"
            raise ConfigError("foreign-index", f"{pages} was not made by this tool", hint=hint)
        self._root = root

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
        try:
            return _stored(path, (self._root / path).stat())
        except FileNotFoundError:
            return None

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
            except FileNotFoundError:
                return None

    def write(self, path: str, data: bytes) -> None:
        """Write a small file, whole or not at all, for everybody to read."""
        target = self._root / path
        with files.disk_errors(f"cannot write {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            new = self._new()
            _fill(str(new), data)
            new.replace(target)

    def take(self, source: Path, path: str) -> None:
        """Copy a file of this machine in, whole or not at all."""
        target = self._root / path
        if target.exists() and target.samefile(source):
            return
        with files.disk_errors(f"cannot copy {source} to {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            new = self._new()
            try:
                shutil.copyfile(source, new)
                new.replace(target)
            finally:
                new.unlink(missing_ok=True)

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file that is not there yet; False when it is, whoever wrote it."""
        target = self._root / path
        with files.disk_errors(f"cannot write {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            new = self._new()
            try:
                _fill(str(new), data)
                target.hardlink_to(new)  # fails where the name is taken, unlike a rename
            except FileExistsError:
                return False
            finally:
                new.unlink(missing_ok=True)
        return True

    def fetch(self, path: str) -> tuple[bytes, str] | None:
        """The bytes of a small file and their digest, None when it is not there."""
        data = self.read(path)
        return None if data is None else (data, hashlib.sha256(data).hexdigest())

    def swap(self, path: str, data: bytes, mark: str) -> bool:
        """Replace a small file if its bytes are still those of ``mark``."""
        with exclusive(self._root / OURS, "swap", lambda _text: None):
            found = self.fetch(path)
            if found is None or found[1] != mark:
                return False
            self.write(path, data)
        return True

    def copy(self, source: str, path: str) -> None:
        """Copy a file inside the place, whole or not at all."""
        self.take(self._root / source, path)

    def below(self, prefix: str) -> Iterator[Stored]:
        """Every file whose path is below the folder ``prefix``, hidden ones left out; empty for all."""
        top = self._root / prefix
        with files.disk_errors(f"cannot list {top}"):
            for folder, names, leaves in os.walk(top):
                names[:] = sorted(name for name in names if not name.startswith("."))
                for leaf in sorted(leaves):
                    found = self.stored((Path(folder) / leaf).relative_to(self._root).as_posix())
                    if found:
                        yield found

    def within(self, prefix: str) -> Folder:
        """The place below the folder ``prefix``, there or not yet."""
        return Folder(self._root / prefix, there=False)

    def remove(self, path: str) -> None:
        """Remove a file; no error where it is gone."""
        with files.disk_errors(f"cannot remove {self._root / path}"):
            (self._root / path).unlink(missing_ok=True)

    def publish(self, pages: Mapping[str, bytes]) -> None:
        """Bring the generation that is not served up to date, then let it take the other's place in one rename."""
        digests = {path: hashlib.sha256(data).hexdigest() for path, data in pages.items()}
        current = self._current()
        self._sweep()
        if current and self._holds(current) == digests:
            return
        name = next(each for each in GENERATIONS if each != current)
        ours = self._root / OURS
        with files.disk_errors(f"cannot write the pages below {ours}"):
            held = self._holds(name)
            self._forget(name)
            if held is None:
                files.remove(ours / name)
            else:
                _prune(ours / name, held.keys() - pages.keys())
            held = held or {}
            _fill_all(ours / name, {path: data for path, data in pages.items() if held.get(path) != digests[path]})
            self.write(f"{OURS}/{name}.json", json.dumps(digests).encode())
            self._switch(name)

    def update(self, pages: Mapping[str, bytes]) -> None:
        """Replace or add these pages, in this order, each whole or not at all."""
        current = self._current()
        self._forget(current)
        for path, data in pages.items():
            self.write(f"{OURS}/{current}/{path}", data)

    def _current(self) -> str:
        """The name of the generation that is served; empty before the first."""
        try:
            return (self._root / PAGES).readlink().name
        except FileNotFoundError:
            return ""

    def _switch(self, name: str) -> None:
        link = self._new()
        link.symlink_to(f"{OURS}/{name}")
        link.replace(self._root / PAGES)

    def _holds(self, name: str) -> dict[str, str] | None:
        """The digests of a generation's pages.

        None when a run stopped while it wrote there, or a page changed after the list was written.
        """
        path = self._root / OURS / f"{name}.json"
        document = files.read_json(path)
        if not isinstance(document, dict):
            return None
        written = path.stat().st_ctime_ns
        base = f"{self._root}/{OURS}/{name}/"
        return document if all(_changed(base + page) <= written for page in document) else None

    def _forget(self, name: str) -> None:
        """From here on nobody vouches for what a generation holds."""
        (self._root / OURS / f"{name}.json").unlink(missing_ok=True)

    def _new(self) -> Path:
        """A name beside nothing that is served, for a file that is not whole yet."""
        ours = self._root / OURS
        ours.mkdir(parents=True, exist_ok=True)
        return ours / f"new-{os.urandom(8).hex()}"

    def _sweep(self) -> None:
        """Remove what killed runs left."""
        for left in (self._root / OURS).glob("new-*"):
            files.remove(left)


def _changed(path: str) -> float:
    """When a file's bytes or name last changed, in nanoseconds; never for one that is gone."""
    try:
        return os.stat(path).st_ctime_ns  # noqa: PTH116 - tens of thousands
    except OSError:
        return float("inf")


def _stored(path: str, status: os.stat_result) -> Stored:
    """The mark holds the change time, which no copy or ``touch`` can set back."""
    mark = f"{status.st_size}.{status.st_ino}.{status.st_mtime_ns}.{status.st_ctime_ns}"
    return Stored(path, status.st_size, mark)


def _prune(folder: Path, paths: Iterable[str]) -> None:
    """Remove pages that are no longer wanted, and the folders they leave empty."""
    for path in paths:
        (folder / path).unlink(missing_ok=True)
        with suppress(OSError):
            (folder / path).parent.rmdir()


def _fill_all(folder: Path, pages: Mapping[str, bytes]) -> None:
    """Write files below a folder nobody reads yet; plain calls, since there may be tens of thousands."""
    base = f"{folder}/"
    os.makedirs(base, exist_ok=True)  # noqa: PTH103
    made = {""}
    for path, data in pages.items():
        parent = path.rpartition("/")[0]
        if parent not in made:
            os.makedirs(base + parent, exist_ok=True)  # noqa: PTH103
            made.add(parent)
        _fill(base + path, data)


def _fill(path: str, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)
