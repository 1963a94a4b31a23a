"""Rules about what the dynamic linker will find: the C library a tag promises, and every library needed."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from . import naming
from .facts import Case, Finding, Skip
from .inspect import HostElf, Inspection
from .libraries import matches
from .wheel import Wheel

_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_PROMISE = re.compile(r"manylinux_(\d+)_(\d+)_")
_ORIGIN = re.compile(r"\$ORIGIN|\$\{ORIGIN\}")
_SYMBOL = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
_RELR = (2, 36)
"""``GLIBC_ABI_DT_RELR`` has no number of its own; it came with this release."""


def glibc(case: Case) -> Sequence[Finding] | Skip:
    """No ELF needs a newer C library than the platform tag promises."""
    wheel = case.facts.wheel
    if wheel is None:
        return Skip("not a wheel")
    hosts = [file for file in case.facts.files if file.host and _newest(file)]
    if not hosts:
        return Skip("no ELF in it uses the C library")
    promised = [promise for tag in naming.platforms(wheel) if (promise := _promise(tag))]
    if not promised:
        return Skip(f"its platform tag promises no C library: {', '.join(naming.platforms(wheel)) or 'none'}")
    least = min(promised)
    hint = "build it on an older distribution, or let auditwheel give it the tag it deserves"
    return [
        Finding(str(file.path), f"it needs GLIBC_{_dotted(newest)}; its tag promises {_dotted(least)}", hint)
        for file in hosts
        if (newest := _newest(file)) > least
    ]


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _promise(tag: str) -> tuple[int, int] | None:
    found = _PROMISE.match(tag)
    if found:
        return int(found[1]), int(found[2])
    return next((version for name, version in _LEGACY.items() if tag.startswith(name + "_")), None)


def _newest(file: Inspection) -> tuple[int, ...]:
    needs = file.host.needs if file.host else ()
    found: list[tuple[int, ...]] = [
        (int(match[1]), int(match[2])) for _, version in needs if (match := _SYMBOL.fullmatch(version))
    ]
    if any(version == "GLIBC_ABI_DT_RELR" for _, version in needs):
        found.append(_RELR)
    return max(found, default=())


def resolves(case: Case) -> Sequence[Finding] | Skip:
    """Every library an ELF needs is the system's, ROCm's, a requirement's, or in the wheel where its path leads."""
    wheel = case.facts.wheel
    if wheel is None:
        return Skip("not a wheel")
    files = [_File(str(file.path), file.host, wheel) for file in case.facts.files if file.host]
    if not any(file.host.needed for file in files):
        return Skip("no ELF in it needs a library")
    outside = tuple(_outside(case, wheel))
    return [
        finding
        for file in files
        for name in file.host.needed
        if not matches(name, outside) and (finding := _unresolved(file, name, files))
    ]


def _outside(case: Case, wheel: Wheel) -> Iterator[str]:
    yield from case.libraries.system
    yield from case.libraries.rocm
    required = {requirement.name for requirement in naming.requirements(wheel)}
    for preload in case.libraries.preloads:
        if preload.distribution in required:
            yield from preload.libraries


class _File:
    """A host ELF of the wheel: where it is once installed, relative to site-packages, and where it looks."""

    def __init__(self, member: str, host: HostElf, wheel: Wheel) -> None:
        self.member = member
        self.host = host
        installed = member
        for scheme in ("purelib/", "platlib/"):
            installed = installed.removeprefix(wheel.dist_info.removesuffix(".dist-info") + ".data/" + scheme)
        folder, self.name = posixpath.split(installed)
        self.folder = folder or "."
        self.searched = {posixpath.normpath(_ORIGIN.sub(lambda _: self.folder, path)) for path in host.paths}

    def leads_to(self, places: Sequence[_File]) -> bool:
        """Whether one of its paths is the folder of one of ``places``."""
        return any(place.folder in self.searched for place in places)


def _unresolved(file: _File, name: str, files: Sequence[_File]) -> Finding | None:
    allow = "--allow resolves:PATTERN=REASON makes an exception for what is loaded before it"
    places = [each for each in files if each.name == name and each.host.kind == "shared"]
    if not places:
        message = f"it needs {name}, which is neither in the wheel, nor the system's, ROCm's or a requirement's"
        return Finding(file.member, message, f"repair the wheel with auditwheel, or require who has it; {allow}")
    if file.leads_to(places) or any(
        (user.host.inherited or name in user.host.needed) and user.leads_to(places) for user in _users(file, files)
    ):
        return None
    message = f"it needs {name}, which is in the wheel as {places[0].member}, but no path of it leads there"
    return Finding(file.member, message, f"link it with a RUNPATH of $ORIGIN/...; {allow}")


def _users(file: _File, files: Sequence[_File]) -> list[_File]:
    """Every file that loads this one, directly or not: what one of them finds or has loaded serves this one too."""
    found: list[_File] = []
    names = {file.name}
    while True:
        more = [each for each in files if each not in found and names.intersection(each.host.needed)]
        if not more:
            return found
        found += more
        names = {each.name for each in more}
