"""Build arguments have closed types, checked before anything happens.

A wrong gfx target is otherwise seen as "invalid device function" on the GPU, hours
later.  Each type has one canonical spelling; other spellings normalise with a notice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..documents import suggest
from ..errors import Problem
from .pins import MARK

NIC_BACKENDS = ("none", "ainic", "bnxt", "all")
NEEDS_AINIC = ("ainic", "all")
NO_ARCH = "none"
"""The list of targets of a component that is absent."""

_CODENAMES = ("jammy", "noble")


class Arch(NamedTuple):
    """One gfx target of ``docker/archs.yaml``."""

    name: str
    aliases: tuple[str, ...]
    mach: int
    supports: frozenset[str]


class Checked(NamedTuple):
    """A value in canonical spelling, notices about what was normalised, and what is wrong with it."""

    value: str
    notices: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def arch_list(name: str, text: str, archs: Sequence[Arch], feature: str = "") -> Checked:
    """``gfx942, MI355X`` → ``gfx942;gfx950``: closed, without repeats, in the order given.

    ``feature`` (``deepep``) narrows what is allowed to targets that support it.
    """
    by_name = {arch.name: arch for arch in archs}
    by_alias = {alias.lower(): arch.name for arch in archs for alias in arch.aliases}
    words = [word for word in re.split(r"[\s,;]+", text.strip()) if word]
    notices: list[str] = []
    problems: list[Problem] = []
    chosen: list[str] = []
    for word in words:
        target = by_alias.get(word.lower(), word)
        if target != word:
            notices.append(f"{name}: {word} is {target}")
        problem = _arch_problem(name, target, by_name, feature)
        if problem:
            problems.append(problem)
        elif target in chosen:
            notices.append(f"{name}: {target} is named twice")
        else:
            chosen.append(target)
    if not words:
        problems.append(Problem("empty-value", f"{name} names no target", suggest("", list(by_name))))
    value = ";".join(chosen)
    if not problems and not notices and value != text:
        notices.append(f"{name}: {text!r} is read as {value!r}")
    return Checked(value, tuple(notices), tuple(problems))


def _arch_problem(name: str, word: str, by_name: Mapping[str, Arch], feature: str) -> Problem | None:
    if word == "native":
        hint = "a build has no GPU to ask; name the targets, for example gfx942;gfx950"
        return Problem("native-arch", f"{name} cannot be 'native'", hint)
    base, _, suffix = word.partition(":")
    if suffix:
        hint = f"images are built for every mode of a target; write {base}"
        return Problem("arch-feature", f"{name}: feature suffix {':' + suffix!r} on {base} is not supported", hint)
    able = [arch for arch in by_name.values() if not feature or feature in arch.supports]
    if word not in by_name:
        near = suggest(word, [arch.name for arch in able])
        return Problem("unknown-arch", f"{name}: {word!r} is not a known gfx target", near)
    if by_name[word] not in able:
        allowed = ", ".join(arch.name for arch in able)
        return Problem("unsupported-arch", f"{name}: {feature} does not support {word}", f"allowed: {allowed}")
    return None


def nic_backend(text: str, allowed: Sequence[str], stack: str) -> Checked:
    """One of ``NIC_BACKENDS``, and one that this stack has userspace for."""
    if text not in NIC_BACKENDS:
        problem = Problem("unknown-nic", f"NIC_BACKEND cannot be {text!r}", suggest(text, NIC_BACKENDS))
        return Checked(text, problems=(problem,))
    if text not in allowed:
        hint = f"allowed here: {', '.join(allowed)}; another stack may have it (--stack)"
        problem = Problem("unsupported-nic", f"stack {stack} has no userspace for NIC backend {text}", hint)
        return Checked(text, problems=(problem,))
    return Checked(text)


def ainic_version(text: str, nic: str) -> Checked:
    """A package version such as ``1.117.5-a-77``; refused where the NIC backend never reads it."""
    problems = []
    if nic not in NEEDS_AINIC:
        hint = "choose --nic-backend ainic or all, or do not set AINIC_VERSION"
        problems.append(Problem("unused-ainic", f"AINIC_VERSION has no meaning with NIC backend {nic}", hint))
    if not re.fullmatch(r"\d+(\.\d+)+(-[0-9A-Za-z]+)*", text):
        hint = "expected a version such as 1.117.5-a-77"
        problems.append(Problem("wrong-value", f"AINIC_VERSION cannot be {text!r}", hint))
    return Checked(text, problems=tuple(problems))


def ubuntu_codename(text: str, allowed: Sequence[str] = ()) -> Checked:
    """An Ubuntu release that AMD's repositories carry packages for; ``allowed`` is what the base image is."""
    if text in (allowed or _CODENAMES):
        return Checked(text)
    hint = f"the base image of this stack is {', '.join(allowed)}" if text in _CODENAMES else suggest(text, _CODENAMES)
    problem = Problem("wrong-value", f"UBUNTU_CODENAME cannot be {text!r}", hint)
    return Checked(text, problems=(problem,))


class Able(NamedTuple):
    """What a component can be built for: a feature of the table's targets, inside of the list ``within``."""

    archs: Sequence[Arch]
    feature: str
    within: str
    outer: str


def part_of(name: str, text: str, able: Able, *, given: bool) -> Checked:
    """The targets a component is built for: what it supports of the outer list, narrowed to a ``text`` if there is one.

    A target that a person asked for (``given``) and that the outer list lacks is a problem.  Nothing in common is
    ``NO_ARCH``: the component is absent.
    """
    feature, outer, outer_name = able.feature, able.outer, able.within
    supported = ";".join(arch.name for arch in able.archs if feature in arch.supports)
    checked = arch_list(name, text, able.archs, feature) if text else Checked(supported)
    whole = outer.split(";")
    asked = checked.value.split(";") if checked.value else []
    outside = [arch for arch in asked if arch not in whole]
    if given and outside:
        hint = f"leave it out, or add it to {outer_name} ({outer})"
        problem = Problem("arch-outside", f"{name}: {', '.join(outside)} is not in {outer_name}", hint)
        return checked._replace(problems=(*checked.problems, problem))
    value = ";".join(arch for arch in whole if arch in asked) or NO_ARCH
    said = () if value == outer or given else (f"{name}: {_narrowed(value, feature, outer_name)}",)
    return Checked(value, (*checked.notices, *said), checked.problems)


def _narrowed(value: str, feature: str, outer_name: str) -> str:
    if value == NO_ARCH:
        return f"{feature} supports nothing of {outer_name}; it is left out of the images"
    return f"{value}, what {feature} supports of {outer_name}"


def switch(name: str, text: str, allowed: Sequence[str] = ()) -> Checked:
    """Off or on in the words ``allowed``, by default ``0`` and ``1``."""
    words = allowed or ("0", "1")
    if text in words:
        return Checked(text)
    hint = f"allowed: {', '.join(words)}"
    return Checked(text, problems=(Problem("wrong-value", f"{name} cannot be {text!r}", hint),))


def pep440_version(name: str, text: str) -> Checked:
    """A version as a wheel's file name has it: every program that reads it back finds the same characters."""
    from packaging.version import InvalidVersion, Version

    hint = "expected a version such as 0.12.0rc1, 0.12.1.dev5+g0123456789ab or 0.0.0+rocm (PEP 440)"
    try:
        canonical = str(Version(text))
    except InvalidVersion:
        canonical = ""
    if text and canonical == text:
        return Checked(text)
    hint = f"expected {canonical}, its canonical spelling (PEP 440)" if canonical else hint
    return Checked(text, problems=(Problem("wrong-value", f"{name} cannot be {text!r}", hint),))


def git_url(name: str, text: str) -> Checked:
    """A repository by https, or by git from a mirror; the path ends in ``.git``, else BuildKit takes it for a file."""
    if re.fullmatch(r"(https|git)://[^\s#?@]+\.git", text):
        return Checked(text)
    hint = "expected a URL such as https://host/owner/name.git, without credentials"
    return Checked(text, problems=(Problem("wrong-value", f"{name} cannot be {text!r}", hint),))


def git_commit(name: str, text: str) -> Checked:
    """A full commit; a branch or tag is marked as unresolved until somebody has asked the repository for it."""
    if re.fullmatch(r"[0-9a-f]{40}", text) or text.startswith(MARK):
        return Checked(text)
    if re.fullmatch(r"[0-9A-Za-z][\w./+-]*", text):
        return Checked(MARK + text)
    hint = "expected a full commit, or the name of a branch or tag"
    return Checked(text, problems=(Problem("wrong-value", f"{name} cannot be {text!r}", hint),))
