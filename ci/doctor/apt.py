"""An apt repository elsewhere, over HTTP: which packages of which versions it has for one release."""

from __future__ import annotations

import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..world.http import Send, address
from ..world.probes import Told
from . import pages

_MOST = 32 * 1024 * 1024
"""Bytes of a list of packages; a maker's repository has some hundred kilobytes."""

_OPENED: Mapping[str, Callable[[bytes], bytes]] = {
    "Packages.gz": gzip.decompress,
    "Packages.xz": lzma.decompress,
    "Packages": bytes,
}


class Repository(NamedTuple):
    """The main component of one release, for one architecture."""

    url: str
    codename: str
    arch: str

    def __str__(self) -> str:
        return f"{address(self.url)} for {self.codename}"


def look(repository: Repository, wanted: Mapping[str, str], send: Send) -> Told:
    """Whether the repository has the packages ``wanted``: name → version, empty for any."""
    place = f"{repository.url}/dists/{repository.codename}"
    release = pages.read(f"{place}/InRelease", send, _MOST)
    if isinstance(release, Told) and release.there is False:
        release = pages.read(f"{place}/Release", send, _MOST)
    if isinstance(release, Told):
        return release
    listed = re.findall(rf"\s(main/binary-{repository.arch}/(Packages\S*))\s", release.decode(errors="replace"))
    known = [(_OPENED[name], path) for name in _OPENED for path, kind in listed if kind == name]
    if not known:
        return Told(False, f"{repository} has no packages of main on {repository.arch}")
    if not wanted:
        return Told(True)
    opened, path = known[0]
    packed = pages.read(f"{place}/{path}", send, _MOST)
    return packed if isinstance(packed, Told) else _compared(repository, opened, packed, wanted)


def _compared(
    repository: Repository, opened: Callable[[bytes], bytes], packed: bytes, wanted: Mapping[str, str]
) -> Told:
    try:
        text = opened(packed).decode(errors="replace")
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        return Told(None, f"{address(repository.url)}: its list of packages cannot be read: {error}")
    found: dict[str, set[str]] = {}
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version): *(\S+)", paragraph, re.MULTILINE))
        found.setdefault(fields.get("Package", ""), set()).add(fields.get("Version", ""))
    lacks = tuple(_lacking(found, wanted))
    return Told(not lacks, f"{repository} lacks {', '.join(lacks)}" if lacks else "")


def _lacking(found: Mapping[str, set[str]], wanted: Mapping[str, str]) -> tuple[str, ...]:
    none = [name for name in wanted if name not in found]
    other = [
        f"{name}={version} (it has {', '.join(sorted(found[name]))})"
        for name, version in wanted.items()
        if version and name in found and version not in found[name]
    ]
    return (*none, *other)
