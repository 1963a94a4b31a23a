"""Files: reading, writing whole or not at all, hashing, and the folder this host keeps for us."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from ..errors import ConfigError, InfraError, Place

DISK_REMEDY = "free space (docker system df; inv reap) or set ROCM_CI_STATE to a folder on another disk"
"""What to do about a disk that is full."""

_OURS = "if it is below the state folder, set ROCM_CI_STATE to another one"
_RIGHTS = f"give this user the right to do that; {_OURS}"
_PATH = f"check the path, every folder of it; {_OURS}"
_REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG), _PATH),
}

_FIRST = 315_532_800
"""1980-01-01, the oldest time that zip files can hold."""

_DAY = 86_400 * 10**9


def settle(path: Path, sha256: str = "") -> None:
    """Give ``path`` a time on the first day of 1980 that its content alone decides; folders have none (``sha256``).

    BuildKit asks only for what changed since it last saw a folder of that name, and takes a file of the same size and
    time for the same: with one time for all, an edit that keeps the size would never reach an image.
    """
    time = _FIRST * 10**9 + (int(sha256[:16], 16) % _DAY if sha256 else 0)
    os.utime(path, ns=(time, time), follow_symlinks=False)


def package_data(installed: str, checkout: str) -> Path:
    """A data folder of the package: ``installed`` inside the wheel, ``checkout`` beside ``ci`` in a clone."""
    package = Path(__file__).resolve().parent.parent
    inside = package / installed
    return inside if inside.is_dir() else package.parent / checkout


def read_text(path: Path) -> str:
    """The text of ``path``; a missing or unreadable file is the caller's mistake."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("no-file", f"there is no file {path}", hint="check the path") from None
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        place = Place(str(path), before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        message = f"cannot read {path}: the byte 0x{error.object[error.start]:02X} is no UTF-8"
        raise ConfigError("unreadable-file", message, hint="save the file as UTF-8", place=place) from None
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> ConfigError:
    """The error for a file that is there and that the system does not let us read."""
    hint = "name a file, not a folder" if error.errno == errno.EISDIR else "make it readable for this user"
    return ConfigError("unreadable-file", f"cannot read {path}: {error.strerror or error}", hint=hint)


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn a full disk or a refused write into the world's fault, with the remedy."""
    try:
        yield
    except OSError as error:
        hint = _REMEDIES.get(error.errno or 0, DISK_REMEDY)
        raise InfraError("disk", f"{doing}: {error.strerror or error}", hint=hint) from None


def check_folder(path: Path, option: str) -> None:
    """Refuse what no folder can be made of, before the work that would go there; raises ``ConfigError``."""
    hint = "name a folder; it is made where it is missing"
    for each in (path, *path.parents):
        try:
            if stat.S_ISDIR(each.stat().st_mode):
                return
        except (FileNotFoundError, NotADirectoryError):
            if not each.is_symlink():
                continue
        except OSError as error:
            raise ConfigError("not-a-folder", f"{option} {path}: {error.strerror}", hint=hint) from None
        raise ConfigError("not-a-folder", f"{option} {path}: {each} is no folder", hint=hint)


def write_whole(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """Write ``path`` so that a reader sees the old bytes or all the new ones; ``lasting``: even after a power cut."""
    with disk_errors(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".new-{os.getpid()}-{os.urandom(4).hex()}")
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                if lasting:
                    stream.flush()
                    os.fsync(stream.fileno())
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise


def copy_whole(source: Path, path: Path) -> None:
    """Copy a large file to ``path``, whole or not at all; the folder is made."""
    import shutil

    with disk_errors(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".new-{path.name}")  # one name: what a killed run leaves, the next one replaces
        shutil.copyfile(source, new)
        new.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, whole or not at all."""
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The JSON in ``path``, or None when it is missing or was cut short by a crash; ``InfraError`` otherwise."""
    with disk_errors(f"cannot read {path}"):
        try:
            return json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None


class Content(NamedTuple):
    """What a path holds: ``mode`` is 0644, 0755 or link; ``sha256`` is of the bytes, or of a link's target."""

    mode: str
    sha256: str
    data: bytes


def content(path: Path) -> Content:
    """Read one file or link as an identity sees it: bytes and the executable bit, nothing else."""
    import hashlib

    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        data = os.fsencode(path.readlink())
        return Content("link", hashlib.sha256(data).hexdigest(), data)
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError("not-a-file", f"{path} is neither a file nor a link", hint="remove it or ignore it")
    data = path.read_bytes()
    mode = "0755" if status.st_mode & stat.S_IXUSR else "0644"
    return Content(mode, hashlib.sha256(data).hexdigest(), data)


def mark(path: Path) -> tuple[int, ...]:
    """Size, times and inode of what ``path`` leads to: equal marks mean nobody wrote meanwhile; () where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def state(setting: str) -> Path:
    """The folder of this host, shared by all checkouts and users, made on first use."""
    path = Path(setting)
    with disk_errors(f"cannot make the state folder {path}"):
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o1777)
    return path


def walk(root: Path) -> tuple[str, ...]:
    """All files and links below ``root``, relative and sorted; for trees that git does not know."""
    found = []
    for folder, names, leaves in os.walk(root, onerror=_refuse):
        names[:] = [name for name in names if name not in {".git", "__pycache__"}]
        links = [name for name in names if (Path(folder) / name).is_symlink()]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in (*leaves, *links)]  # noqa: PTH118
    return tuple(sorted(found))


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed may hold an input: it must not read as empty."""
    raise ConfigError("unreadable-file", f"cannot list {error.filename}: {error.strerror}")


def remove(path: Path) -> None:
    """Remove a folder or file of ours; no error where it is gone."""
    if path.is_dir() and not path.is_symlink():
        import shutil

        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a large file, piece by piece."""
    with path.open("rb") as stream, disk_errors(f"cannot read {path}"):
        while block := stream.read(1 << 20):
            yield block


class LineLog:
    """A file that takes lines as they come. A full disk ends the log, never the run that it records."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("w", encoding="utf-8", buffering=1)  # whoever waits for a hang wants to see it
        self.lost = ""
        """Why lines are missing from it; empty where none are."""

    def add(self, line: str) -> None:
        """Append one line."""
        try:
            self._stream.write(line + "\n")
        except OSError as error:
            self.lost = error.strerror or str(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self._stream.close()
        except OSError as error:
            self.lost = error.strerror or str(error)
