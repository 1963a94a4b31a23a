"""Rules about what a wheel says of itself: file name, METADATA, WHEEL and requirements agree with each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..names import WheelVersion
from . import agreement
from .facts import Case, Finding, Skip
from .libraries import matches
from .wheel import Wheel

if TYPE_CHECKING:
    from packaging.requirements import Requirement

MADE = "rocm-ci.json"
"""In a wheel's dist-info: what it was made of."""

_REMADE = "it was changed after it was made: build it again"
_MACHINES = {"x86_64": 62, "i686": 3, "aarch64": 183, "armv7l": 40, "ppc64le": 21, "s390x": 22, "riscv64": 243}


def names(case: Case) -> Sequence[Finding] | Skip:
    """File name, dist-info folder, METADATA and the record of its making give the same name and version."""
    wheel = case.facts.wheel
    return Skip("not a wheel") if wheel is None else list(_names(wheel))


def _names(wheel: Wheel) -> Iterator[Finding]:
    for each in agreement.names(wheel.path.name, wheel.dist_info, wheel.metadata):
        yield Finding(*each)
    for line in wheel.metadata.get_all("Requires-Dist", []):
        if _requirement(str(line)) is None:
            yield Finding("METADATA", f"a requirement nobody can read: {line}", "PEP 508 says what one looks like")
    version = str(wheel.metadata["Version"])
    if MADE in wheel.files and (told := _told(wheel.files[MADE])) != version:
        yield Finding(MADE, f"it was written for version {told or 'nothing'}, METADATA says {version}", _REMADE)


def _told(data: bytes) -> str:
    """The version in a record of making; empty where it has none."""
    try:
        document = json.loads(data)
    except ValueError:
        return ""
    return str(document.get("version", "")) if isinstance(document, dict) else ""


def place(case: Case) -> Sequence[Finding] | Skip:
    """A folder called like a variant of an index holds wheels of that ROCm."""
    wheel = case.facts.wheel
    if wheel is None:
        return Skip("not a wheel")
    return [Finding(*each) for each in agreement.place(str(wheel.path), str(wheel.metadata["Version"]))]


def tags(case: Case) -> Sequence[Finding] | Skip:
    """The file name and WHEEL give the same tags, and the tags fit the ELF files inside."""
    wheel = case.facts.wheel
    return Skip("not a wheel") if wheel is None else list(_tags(case, wheel))


def _tags(case: Case, wheel: Wheel) -> Iterator[Finding]:
    for each in agreement.tags(wheel.path.name, wheel.tags):
        yield Finding(*each)
    hosts = [file for file in case.facts.files if file.host is not None and file.host.kind != "object"]
    for platform in platforms(wheel) if hosts else ():
        machine = next((number for name, number in _MACHINES.items() if platform.endswith("_" + name)), None)
        if machine is None:
            message = f"{len(hosts)} host ELF files in it, {hosts[0].path} for one, but its platform is {platform}"
            yield Finding(wheel.path.name, message, "build it with the platform's tag")
            continue
        for file in hosts:
            if file.host and file.host.machine != machine:
                yield Finding(str(file.path), f"it is for another processor than {platform}", "build it for that one")


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


def platforms(wheel: Wheel) -> tuple[str, ...]:
    """The platform tags of the file name; empty when the name is no wheel's."""
    return tuple(sorted({tag.platform for tag in agreement.of_file(wheel.path.name)}))
