"""The artifact bundle: what one job built, for other jobs to install without compiling.

A plain tar archive: wheels inside are compressed already, and no version of a compressor can
change its bytes.  The first member is ``manifest.json``, which names every other with size and
SHA-256; whoever opens a bundle checks all of it before anything appears.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import ConfigError, ContractError
from ..world import files

SCHEMA = 1
MANIFEST = "manifest.json"
_MOST_MANIFEST = 64 << 20
_BLOCK = 1 << 20
_HINT = "fetch it again; if it stays so, build it again: nothing was unpacked"


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a bundle; of its mode only counts whether it can be executed."""

    path: str
    size: int
    sha256: str
    executable: bool = False

    @property
    def mode(self) -> int:
        """The permissions it is packed and unpacked with."""
        return 0o755 if self.executable else 0o644

    def row(self) -> dict[str, str | int]:
        """The file as a manifest names it."""
        row: dict[str, str | int] = {"path": self.path, "size": self.size, "sha256": self.sha256}
        return {**row, "executable": True} if self.executable else row


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle holds and where it comes from; ``base`` is the digest of the image below, or empty."""

    commit: str
    base: str
    archs: tuple[str, ...]
    versions: Mapping[str, str]
    members: tuple[Member, ...] = field(default=())

    def encode(self) -> bytes:
        """The one way to write it down."""
        document = {
            "schema": SCHEMA,
            "commit": self.commit,
            "base": self.base,
            "archs": list(self.archs),
            "versions": dict(sorted(self.versions.items())),
            "files": [each.row() for each in self.members],
        }
        return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes, where: str) -> Manifest:
        """Read what ``encode`` wrote; ``ContractError`` for anything else, a newer schema said as such."""
        try:
            document = json.loads(data)
            schema = document["schema"]
            if schema == SCHEMA:
                rows = tuple(
                    Member(str(row["path"]), int(row["size"]), str(row["sha256"]), bool(row.get("executable")))
                    for row in document["files"]
                )
                archs = tuple(map(str, document["archs"]))
                return cls(str(document["commit"]), str(document["base"]), archs, dict(document["versions"]), rows)
        except (ValueError, TypeError, KeyError):
            raise _broken(where, "its manifest cannot be read") from None
        hint = "use the version of this tool that made it"
        raise ContractError("newer-bundle", f"{where} is of schema {schema}; {SCHEMA} is understood", hint=hint)


def make(target: Path, paths: Mapping[str, Path], manifest: Manifest) -> Manifest:
    """Write the bundle ``target`` of ``paths`` (name in it to file), whole or not at all; gives its full manifest.

    The same files and facts give the same bytes, whoever made them, when and where.
    """
    for name in paths:
        if not _safe(name) or name == MANIFEST:
            raise ConfigError("bad-member", f"{name!r} cannot be a name in a bundle")
    members = tuple(_member(name, paths[name]) for name in sorted(paths))
    full = Manifest(manifest.commit, manifest.base, manifest.archs, manifest.versions, members)
    new = target.with_name(
        f".new-{target.name}"
    )  # one name: a killed run leaves at most this, and the next replaces it
    with files.disk_errors(f"cannot write {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(new, "w", format=tarfile.PAX_FORMAT) as archive:
                data = full.encode()
                archive.addfile(_header(MANIFEST, len(data), 0o644), io.BytesIO(data))
                for member in members:
                    with paths[member.path].open("rb") as stream:
                        archive.addfile(_header(member.path, member.size, member.mode), stream)
            _proven(new, full)
            new.replace(target)
        finally:
            new.unlink(missing_ok=True)
    return full


def verify(path: Path, *, commit: str = "", base: str = "") -> Manifest:
    """Check every byte of the bundle; with ``commit`` and ``base`` also where it comes from.

    Raises ``ContractError`` at the first thing that does not agree.
    """
    with _opened(path) as archive:
        return _checked(archive, path, commit, base, None)


def unpack(path: Path, into: Path, *, commit: str = "", base: str = "") -> Manifest:
    """Unpack the bundle into the new folder ``into``, which appears when everything in it was checked.

    Modes and times are the same whoever unpacks it, and when.
    """
    if into.exists():
        raise ConfigError("folder-exists", f"{into} is there already", hint="name a new folder, or remove it")
    staging = into.with_name(f".new-{into.name}")
    with files.disk_errors(f"cannot unpack into {into}"):
        files.remove(staging)
        staging.mkdir(parents=True)
        try:
            with _opened(path) as archive:
                manifest = _checked(archive, path, commit, base, staging)
            _settle(staging, manifest)
            staging.rename(into)
        finally:
            files.remove(staging)
    return manifest


def _settle(folder: Path, manifest: Manifest) -> None:
    for member in manifest.members:
        (folder / member.path).chmod(member.mode)
        files.settle(folder / member.path, member.sha256)
    for inner, _folders, _files in os.walk(folder, topdown=False):
        Path(inner).chmod(0o755)
        files.settle(Path(inner))


def digest(path: Path) -> str:
    """The SHA-256 of a bundle: what identifies it."""
    return _digest(path)


def _proven(path: Path, manifest: Manifest) -> None:
    """A file that changed while it was packed must not leave a bundle that nobody can open."""
    if verify(path) != manifest:
        raise _broken(str(path), "its files changed while it was written")


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except FileNotFoundError:
        raise ConfigError("no-file", f"there is no bundle {path}") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _broken(str(path), f"it is no tar archive: {error}") from None


def _checked(archive: tarfile.TarFile, path: Path, commit: str, base: str, into: Path | None) -> Manifest:
    where = str(path)
    try:
        members = iter(archive)
        first = next(members, None)
        if first is None or first.name != MANIFEST or not first.isreg() or first.size > _MOST_MANIFEST:
            raise _broken(where, f"its first member is not {MANIFEST}")
        manifest = Manifest.decode(_bytes(archive, first), where)
        _expected(where, manifest, commit, base)
        wanted = {member.path: member for member in manifest.members}
        if len(wanted) != len(manifest.members):
            raise _broken(where, "its manifest names a file twice")
        for item in members:
            member = wanted.pop(item.name, None)
            if member is None or not item.isreg() or not _safe(item.name):
                raise _broken(where, f"it has {item.name!r}, which its manifest does not name as a file")
            _compare(where, archive, item, member, into)
    except (tarfile.TarError, OSError, EOFError, UnicodeDecodeError) as error:
        raise _broken(where, f"it cannot be read to its end: {error}") from None
    if wanted:
        raise _broken(where, f"it lacks {min(wanted)} and {len(wanted) - 1} more that its manifest names")
    return manifest


def _expected(where: str, manifest: Manifest, commit: str, base: str) -> None:
    for what, wanted, found in (("commit", commit, manifest.commit), ("base image", base, manifest.base)):
        if wanted and wanted != found:
            hint = "take the bundle that was made for it, or build one"
            raise ContractError("other-bundle", f"{where} is of {what} {found or 'none'}, not {wanted}", hint=hint)


def _compare(where: str, archive: tarfile.TarFile, item: tarfile.TarInfo, member: Member, into: Path | None) -> None:
    """Hash one member, and write it below ``into``; sizes are compared first, so no more is written than was named."""
    if item.size != member.size:
        raise _broken(where, f"{item.name} has {item.size} bytes, its manifest says {member.size}")
    state = hashlib.sha256()
    with _sink(into, item.name) as sink:
        for block in _blocks(archive, item):
            state.update(block)
            sink.write(block)
    if state.hexdigest() != member.sha256:
        raise _broken(where, f"{item.name} is not what its manifest says: SHA-256 {state.hexdigest()}")


def _sink(into: Path | None, name: str) -> IO[bytes]:
    if into is None:
        return open(os.devnull, "wb")  # noqa: PTH123
    target = into / name
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.open("xb")


def _blocks(archive: tarfile.TarFile, item: tarfile.TarInfo) -> Iterator[bytes]:
    stream = archive.extractfile(item)
    if stream is not None:
        while block := stream.read(_BLOCK):
            yield block


def _bytes(archive: tarfile.TarFile, item: tarfile.TarInfo) -> bytes:
    return b"".join(_blocks(archive, item))


def _safe(name: str) -> bool:
    """A plain relative path: nothing that leaves the folder, no odd characters."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and not name.startswith("/")
        and not {"..", "."} & set(name.split("/"))
        and "/".join(parts) == name
        and name.isprintable()
        and "\\" not in name
    )


def _member(name: str, path: Path) -> Member:
    status = path.stat()
    return Member(name, status.st_size, _digest(path), bool(status.st_mode & stat.S_IXUSR))


def _header(name: str, size: int, mode: int) -> tarfile.TarInfo:
    """A header that says nothing about who packed it, or when."""
    header = tarfile.TarInfo(name)
    header.size, header.mode, header.mtime = size, mode, 0
    header.uid = header.gid = 0
    header.uname = header.gname = ""
    return header


def _digest(path: Path) -> str:
    state = hashlib.sha256()
    for block in files.blocks(path):
        state.update(block)
    return state.hexdigest()


def _broken(where: str, why: str) -> ContractError:
    return ContractError("broken-bundle", f"{where}: {why}", hint=_HINT)
