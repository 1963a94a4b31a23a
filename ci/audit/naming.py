"""Rules about what a wheel says of itself: file name, METADATA, WHEEL and requirements agree with each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..names import WheelVersion
from .facts import Case, Finding, Skip
from .libraries import matches
from .wheel import Wheel

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.tags import Tag

_RENAMED = "a wheel must not be renamed: build it with that name, or use `wheel tags`, which changes all places"
_MACHINES = {"x86_64": 62, "i686": 3, "aarch64": 183, "armv7l": 40, "ppc64le": 21, "s390x": 22, "riscv64": 243}


def names(case: Case) -> Sequence[Finding] | Skip:
    """The file name, the dist-info folder and METADATA give the same name and version."""
    wheel = case.facts.wheel
    return Skip("not a wheel") if wheel is None else list(_names(wheel))


def _names(wheel: Wheel) -> Iterator[Finding]:
    from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
    from packaging.version import InvalidVersion, Version

    name, version = str(wheel.metadata["Name"] or ""), str(wheel.metadata["Version"] or "")
    try:
        plain, real = canonicalize_name(name), Version(version)
        shown = f"{name} {version}"
    except InvalidVersion:
        yield Finding("METADATA", f"it has no usable version: {version!r}", "PEP 440 says what one looks like")
        return
    try:
        file_name, file_version, _, _ = parse_wheel_filename(wheel.path.name)
    except InvalidWheelFilename as error:
        yield Finding(wheel.path.name, str(error), "a wheel is called NAME-VERSION-PYTHON-ABI-PLATFORM.whl")
    else:
        if (file_name, file_version) != (plain, real):
            yield Finding(wheel.path.name, f"the file name says {file_name} {file_version}, METADATA {shown}", _RENAMED)
    folder, _, label = wheel.dist_info.removesuffix(".dist-info").partition("-")
    try:
        agrees = (canonicalize_name(folder), Version(label)) == (plain, real)
    except InvalidVersion:
        agrees = False
    if not agrees:
        yield Finding(wheel.dist_info, f"the folder's name does not say {shown}, as METADATA does", _RENAMED)
    for line in wheel.metadata.get_all("Requires-Dist", []):
        if _requirement(str(line)) is None:
            yield Finding("METADATA", f"a requirement nobody can read: {line}", "PEP 508 says what one looks like")


def tags(case: Case) -> Sequence[Finding] | Skip:
    """The file name and WHEEL give the same tags, and the tags fit the ELF files inside."""
    wheel = case.facts.wheel
    return Skip("not a wheel") if wheel is None else list(_tags(case, wheel))


def _tags(case: Case, wheel: Wheel) -> Iterator[Finding]:
    from packaging.tags import Tag

    said = file_tags(wheel)
    written: set[Tag] = set()
    for line in wheel.tags.get_all("Tag", []):
        parts = str(line).strip().split("-")
        if len(parts) == 3:
            written |= {Tag(*triple) for triple in _expanded(parts)}
    if said and written != said:
        here, there = (", ".join(sorted(map(str, each))) or "nothing" for each in (said, written))
        yield Finding("WHEEL", f"the file name says {here}, WHEEL {there}", _RENAMED)
    hosts = [file for file in case.facts.files if file.host is not None and file.host.kind != "object"]
    for platform in sorted({tag.platform for tag in said}) if hosts else ():
        machine = next((number for name, number in _MACHINES.items() if platform.endswith("_" + name)), None)
        if machine is None:
            message = f"{len(hosts)} host ELF files in it, {hosts[0].path} for one, but its platform is {platform}"
            yield Finding(wheel.path.name, message, "build it with the platform's tag")
            continue
        for file in hosts:
            if file.host and file.host.machine != machine:
                yield Finding(str(file.path), f"it is for another processor than {platform}", "build it for that one")


def _expanded(parts: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    pythons, abis, platforms = (part.split(".") for part in parts)
    yield from ((python, abi, platform) for python in pythons for abi in abis for platform in platforms)


def built_with(case: Case) -> Sequence[Finding] | Skip:
    """A library whose interface changes with every release is recorded with the release it was built with."""
    wheel = case.facts.wheel
    if wheel is None:
        return Skip("not a wheel")
    from packaging.utils import canonicalize_name

    found, applies = [], False
    for preload in case.libraries.preloads:
        users = [str(file.path) for file in case.facts.files if file.host and _uses(file.host.needed, preload.recorded)]
        itself = canonicalize_name(str(wheel.metadata["Name"])) == preload.distribution
        if itself or not users:
            continue
        applies = True
        label = WheelVersion.parse(str(wheel.metadata["Version"]))
        pinned = any(_exact(each) for each in requirements(wheel) if each.name == preload.distribution)
        if not pinned and not (label and preload.distribution == "torch" and label.torch):
            message = f"{users[0]} links {preload.distribution}, and nothing says which release it was built with"
            hint = f"pin it in the requirements ({preload.distribution}==X), or put it into the version's label"
            found.append(Finding(preload.distribution, message, hint))
    return found if applies else Skip("nothing in it links a library that must be recorded")


def _uses(needed: Sequence[str], patterns: Sequence[str]) -> bool:
    return any(matches(name, patterns) for name in needed)


def _exact(requirement: Requirement) -> bool:
    return any(each.operator in {"==", "==="} and "*" not in each.version for each in requirement.specifier)


def requirements(wheel: Wheel) -> tuple[Requirement, ...]:
    """The requirements in METADATA that can be read, names in canonical spelling."""
    lines = wheel.metadata.get_all("Requires-Dist", [])
    return tuple(found for line in lines if (found := _requirement(str(line))) is not None)


def _requirement(line: str) -> Requirement | None:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        found = Requirement(line)
    except InvalidRequirement:
        return None
    found.name = canonicalize_name(found.name)
    return found


def file_tags(wheel: Wheel) -> frozenset[Tag]:
    """The tags of the file name; empty when the name is no wheel's."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        return parse_wheel_filename(wheel.path.name)[3]
    except InvalidWheelFilename:
        return frozenset()


def platforms(wheel: Wheel) -> tuple[str, ...]:
    """The platform tags of the file name; empty when the name is no wheel's."""
    return tuple(sorted({tag.platform for tag in file_tags(wheel)}))
