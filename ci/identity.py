"""What an image is made from, as one canonical list, and the SHA-256 of it.

Encoding, version 1: the line ``rocm-ci manifest 1``, then every input sorted by kind and
name, each as three netstrings (``<bytes>:<utf-8>,``) for kind, name and value.  Lengths
frame every field, so no bytes can move from one to the next unseen.  Test vectors are in
``docs/reference/identity.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

HEADER = b"rocm-ci manifest 1\n"


class Input(NamedTuple):
    """One thing that made the image, for example ``file recipe:scripts/venv.sh 0755 <sha256>``."""

    kind: str
    name: str
    value: str


@dataclass(frozen=True)
class Manifest:
    """All inputs of one tier, sorted; two manifests are equal exactly when their identities are."""

    inputs: tuple[Input, ...]

    @classmethod
    def of(cls, inputs: Iterable[Input]) -> Manifest:
        """The manifest of ``inputs`` in any order; the same input twice counts once."""
        return cls(tuple(sorted(dict.fromkeys(inputs))))

    def encode(self) -> bytes:
        """The canonical bytes that are hashed."""
        text = _framed(self.inputs, len)
        if not text.isascii():
            text = _framed(self.inputs, lambda part: len(part.encode()))
        return HEADER + text.encode()

    @cached_property
    def identity(self) -> str:
        """64 hex digits."""
        import hashlib

        return hashlib.sha256(self.encode()).hexdigest()

    def to_json(self) -> list[list[str]]:
        """The inputs as ``[kind, name, value]`` rows."""
        return [[item.kind, item.name, item.value] for item in self.inputs]

    @classmethod
    def from_json(cls, rows: Iterable[Iterable[str]]) -> Manifest:
        """Read back what ``to_json`` wrote."""
        return cls.of(Input(*row) for row in rows)


def _framed(inputs: Iterable[Input], size: Callable[[str], int]) -> str:
    return "".join([f"{size(a)}:{a},{size(b)}:{b},{size(c)}:{c}," for a, b, c in inputs])


class Change(NamedTuple):
    """One input that differs; ``old`` or ``new`` is None where it is missing on that side."""

    kind: str
    name: str
    old: str | None
    new: str | None


def diff(old: Manifest, new: Manifest) -> tuple[Change, ...]:
    """What differs, input by input; the instructions of a stage are compared as a sequence."""
    before, after = _keyed(old), _keyed(new)
    changes = tuple(
        Change(*key, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    )
    return (*changes, *_instruction_changes(old, new))


def _keyed(manifest: Manifest) -> Mapping[tuple[str, str], str]:
    return {(item.kind, item.name): item.value for item in manifest.inputs if item.kind != "instruction"}


def _instruction_changes(old: Manifest, new: Manifest) -> Iterable[Change]:
    from difflib import SequenceMatcher

    before, after = _by_stage(old), _by_stage(new)
    for stage in sorted(before.keys() | after.keys()):
        left, right = before.get(stage, []), after.get(stage, [])
        for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
            if tag == "equal":
                continue
            for step in range(max(b - a, d - c)):
                one = left[a + step] if a + step < b else None
                two = right[c + step] if c + step < d else None
                yield Change("instruction", stage, one, two)


def _by_stage(manifest: Manifest) -> dict[str, list[str]]:
    stages: dict[str, list[str]] = {}
    for item in manifest.inputs:
        if item.kind == "instruction":
            stages.setdefault(item.name.rpartition("/")[0], []).append(item.value)
    return stages
