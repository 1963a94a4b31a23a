"""The value of ``RUN --mount=...``: which type it is, and what it brings in from elsewhere."""

from __future__ import annotations

from typing import NamedTuple

TYPES = ("bind", "cache", "secret", "ssh", "tmpfs")
_KEYS = frozenset(
    {"type", "from", "source", "src", "target", "dst", "destination", "readonly", "ro", "readwrite", "rw"}
    | {"required", "size", "id", "sharing", "mode", "uid", "gid", "env"}
)
_FLAGS = frozenset({"readonly", "ro", "readwrite", "rw", "required"})
_SOURCE_KEYS = frozenset({"source", "src"})


class MountError(ValueError):
    """The mount cannot be modelled; ``word`` and ``known`` are for a suggestion."""

    def __init__(self, message: str, word: str = "", known: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.word = word
        self.known = known


class Mount(NamedTuple):
    """One mount; ``source`` is raw (variables unexpanded), empty means the whole of ``origin``."""

    kind: str
    origin: str = ""
    source: str = ""


def parse_mount(value: str) -> Mount:
    """Read one mount; raises ``MountError`` for what BuildKit or this model refuses."""
    if '"' in value:
        raise MountError(f"quotes inside a mount are not modelled: {value}")
    kind, origin, source = "bind", "", ""
    for field in value.split(","):
        key, equals, text = field.partition("=")
        key = key.lower()
        _check_key(field, key, bool(equals))
        if key == "type":
            kind = text.lower()
            if kind not in TYPES:
                raise MountError(f"unknown mount type {text}", text, TYPES)
        elif key == "from":
            origin = text
        elif key in _SOURCE_KEYS:
            source = text
    if origin:
        _check_origin(kind, origin)
    return Mount(kind, origin, source)


def _check_key(field: str, key: str, has_value: bool) -> None:
    if key not in _KEYS:
        raise MountError(f"unknown mount option {field}", key, tuple(sorted(_KEYS)))
    if not has_value and key not in _FLAGS:
        raise MountError(f"the mount option {field} needs a value")


def _check_origin(kind: str, origin: str) -> None:
    if "$" in origin:
        raise MountError("from= of a mount takes no variables; name a stage FROM it instead")
    if origin.isdecimal():
        raise MountError(f"from={origin}: a mount takes a stage by name only, BuildKit reads {origin} as an image")
    if kind not in {"bind", "cache"}:
        raise MountError(f"from= has no meaning in a {kind} mount")
