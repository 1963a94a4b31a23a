"""The values of a stack's build arguments: one precedence, closed types, all problems at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..errors import Problem
from ..settings import Setting, Settings, emptied
from . import args as types
from . import pins
from .stack import ArgSpec, Stack

STANDARD = ("PYTORCH_ROCM_ARCH", "DEEPEP_ROCM_ARCH", "NIC_BACKEND", "AINIC_VERSION", "UBUNTU_CODENAME")
"""Arguments that ``settings`` knows by name, flags included; a stack that lacks one refuses it."""

Ask = Callable[[str, str], str]
"""``ask(repository, reference)``: the full commit a branch or tag of a remote repository stands at, or empty."""


class ArgValue(NamedTuple):
    """A build argument's value in canonical spelling, and where it came from."""

    name: str
    value: str
    source: str


class Resolved(NamedTuple):
    """All build arguments of a stack for this run, with notices for the person who gave them."""

    values: tuple[ArgValue, ...]
    notices: tuple[str, ...]
    problems: tuple[Problem, ...]

    def get(self, name: str) -> str:
        """The value of ``name``, empty when it has none."""
        return next((arg.value for arg in self.values if arg.name == name), "")


def resolve_args(stack: Stack, settings: Settings, table: Sequence[types.Arch]) -> Resolved:
    """Every argument of the stack by the one precedence, checked by its closed type.

    ``AINIC_VERSION`` and the like are arguments only under a backend that reads them: their defaults
    must not be inputs of an identity they cannot influence.
    """
    values: list[ArgValue] = []
    notices: list[str] = []
    problems: list[Problem] = []
    nic = _nic(stack, settings)
    for spec in stack.args:
        setting = _raw(spec, settings, stack)
        if spec.nic and nic not in spec.nic and not _given(setting.source):
            continue
        outer = next((arg.value for arg in values if arg.name == spec.within), "")
        if not setting.value and not outer:
            problems += _emptied(spec, setting)
            continue
        if spec.within:
            able = types.Able(table, spec.feature, spec.within, outer)
            checked = types.part_of(spec.name, setting.value, able, given=_given(setting.source))
        else:
            checked = by_type(spec, setting.value, stack, table, nic)
        values.append(ArgValue(spec.name, checked.value, setting.source or f"stack {spec.place}"))
        notices += checked.notices
        place = None if _given(setting.source) else spec.place
        context = f"given by {setting.source}"
        problems += [problem._replace(place=place, context=context) for problem in checked.problems]
    problems += _undeclared(stack, settings, nic)
    return Resolved(tuple(values), tuple(notices), tuple(problems))


def absent(stack: Stack, args: Resolved) -> Mapping[str, str]:
    """The components that this build leaves out, each with why: nothing it was to be built for is supported."""
    return {
        spec.feature: f"{spec.feature} supports nothing of {spec.within} ({args.get(spec.within)})"
        for spec in stack.args
        if spec.within and args.get(spec.name) == types.NO_ARCH
    }


def found_commits(stack: Stack, args: Resolved, ask: Ask) -> Resolved:
    """The same, each branch or tag that somebody gave for a commit replaced by the full commit it stands at now.

    One that could not be asked for stays as it is, marked as unresolved.
    """
    commits = {spec.name for spec in stack.args if spec.type == "git-commit"}
    values, notices = [], list(args.notices)
    for arg in args.values:
        wanted = arg.value.removeprefix(pins.MARK)
        if arg.name not in commits or wanted == arg.value or not _given(arg.source):
            values.append(arg)
            continue
        repository = args.get(arg.name.rpartition("_")[0] + "_REPO")
        commit = ask(repository, wanted)
        values.append(arg._replace(value=commit or arg.value))
        if commit:
            notices.append(f"{arg.name}: {wanted} of {repository} is {commit}")
    return args._replace(values=tuple(values), notices=tuple(notices))


def _given(source: str) -> bool:
    """Whether a person gave the value for this run; else it is the stack's own, or its pins'."""
    return bool(source) and not source.startswith(("stack", "pins"))


def _nic(stack: Stack, settings: Settings) -> str:
    default = next((spec.default for spec in stack.args if spec.name == "NIC_BACKEND"), "")
    return settings.get("NIC_BACKEND", default).value or "none"


def _raw(spec: ArgSpec, settings: Settings, stack: Stack) -> Setting:
    default = spec.default or stack.pins.get(spec.name, "")
    source = f"stack {spec.place}" if spec.default else "pins.json" if default else ""
    if spec.name in STANDARD:
        return settings.get(spec.name, default, source)
    if spec.environment and spec.name in settings.offered:
        return Setting(spec.name, settings.offered[spec.name].strip(), "environment")
    return Setting(spec.name, default, source)


def _emptied(spec: ArgSpec, setting: Setting) -> Iterator[Problem]:
    if _given(setting.source):
        yield emptied(f"environment variable {spec.name}")


def _undeclared(stack: Stack, settings: Settings, nic: str) -> Iterator[Problem]:
    """Standard arguments that somebody gave and this stack does not have."""
    declared = {spec.name for spec in stack.args}
    for name in STANDARD:
        setting = settings.get(name)
        if setting.source and name not in declared:
            message = f"{setting.source}: stack {stack.name} has no build argument {name}"
            unused = types.ainic_version(setting.value, nic).problems if name == "AINIC_VERSION" else ()
            yield from unused or [Problem("unused-arg", message, "do not set it, or choose another --stack")]


def by_type(spec: ArgSpec, value: str, stack: Stack, table: Sequence[types.Arch], nic: str) -> types.Checked:
    """A ``value`` of the argument, under a NIC backend, as its closed type has it."""
    if spec.type == "arch-list":
        return types.arch_list(spec.name, value, table, spec.feature)
    if spec.type == "nic-backend":
        return types.nic_backend(value, spec.allowed or types.NIC_BACKENDS, stack.name)
    if spec.type == "ainic-version":
        return types.ainic_version(value, nic)
    if spec.type == "ubuntu-codename":
        return types.ubuntu_codename(value, spec.allowed)
    if spec.type == "switch":
        return types.switch(spec.name, value, spec.allowed)
    simple: Mapping[str, Callable[[str, str], types.Checked]] = {
        "git-url": types.git_url,
        "git-commit": types.git_commit,
        "pep440-version": types.pep440_version,
    }
    return simple[spec.type](spec.name, value) if spec.type in simple else types.Checked(value)
