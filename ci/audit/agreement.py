"""Whether a wheel's names agree: file name, dist-info folder, METADATA, WHEEL, and the folder it lies in.

The audit asks one rule for each of them, the package index all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from email.message import Message
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from ..names import variant

if TYPE_CHECKING:
    from packaging.tags import Tag

_RENAMED = "a wheel must not be renamed: build it with that name, or use `wheel tags`, which changes all places"
_VARIANT = re.compile(r"rocm\d+(\.\d+)*", re.ASCII)


class Disagreement(NamedTuple):
    """``subject`` is the file or name that is wrong."""

    subject: str
    message: str
    hint: str


def names(filename: str, dist_info: str, metadata: Message) -> Iterator[Disagreement]:
    """File name and dist-info folder give METADATA's name and version; METADATA's own fields can be read."""
    from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
    from packaging.version import InvalidVersion, Version

    name, version = str(metadata["Name"] or ""), str(metadata["Version"] or "")
    try:
        plain, real = canonicalize_name(name), Version(version)
        shown = f"{name} {version}"
    except InvalidVersion:
        yield Disagreement("METADATA", f"it has no usable version: {version!r}", "PEP 440 says what one looks like")
        return
    try:
        file_name, file_version, _, _ = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        yield Disagreement(filename, str(error), "a wheel is called NAME-VERSION-PYTHON-ABI-PLATFORM.whl")
    else:
        if (file_name, file_version) != (plain, real):
            message = f"the file name says {file_name} {file_version}, METADATA {shown}"
            yield Disagreement(filename, message, _RENAMED)
    folder, _, label = dist_info.removesuffix(".dist-info").partition("-")
    try:
        agrees = (canonicalize_name(folder), Version(label)) == (plain, real)
    except InvalidVersion:
        agrees = False
    if not agrees:
        yield Disagreement(dist_info, f"the folder's name does not say {shown}, as METADATA does", _RENAMED)
    yield from _pythons(str(metadata["Requires-Python"] or "").strip())


def _pythons(requires: str) -> Iterator[Disagreement]:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        SpecifierSet(requires)
    except InvalidSpecifier:
        hint = "write a version range, for example >=3.11"
        yield Disagreement("METADATA", f"its Requires-Python {requires!r} is no version range", hint)


def tags(filename: str, wheel: Message) -> Iterator[Disagreement]:
    """The file name and WHEEL give the same tags."""
    from packaging.tags import Tag

    said = of_file(filename)
    written: set[Tag] = set()
    for line in wheel.get_all("Tag", []):
        parts = str(line).strip().split("-")
        if len(parts) == 3:
            written |= {Tag(*triple) for triple in _expanded(parts)}
    if said and written != said:
        here, there = (", ".join(sorted(map(str, each))) or "nothing" for each in (said, written))
        yield Disagreement("WHEEL", f"the file name says {here}, WHEEL {there}", _RENAMED)


def _expanded(parts: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    pythons, abis, platforms = (part.split(".") for part in parts)
    yield from ((python, abi, platform) for python in pythons for abi in abis for platform in platforms)


def of_file(filename: str) -> frozenset[Tag]:
    """The tags of a file name; empty when it is no wheel's."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        return parse_wheel_filename(filename)[3]
    except InvalidWheelFilename:
        return frozenset()


def place(path: str, version: str) -> Iterator[Disagreement]:
    """A folder called like a variant of an index (``rocm7.2``) holds wheels of that ROCm, or without a label."""
    *folders, filename = PurePosixPath(path).parts
    label = version.partition("+")[2]
    own = variant(label)
    for folder in folders:
        if label and _VARIANT.fullmatch(folder) and variant(folder) != own:
            message = f"it lies in the folder {folder}, but its version {version} is for {own or 'no ROCm'}"
            hint = "move it to the folder of its ROCm, or build it with that one"
            yield Disagreement(filename, message, hint)
