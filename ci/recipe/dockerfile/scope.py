"""Which variables have which value, at the top of the file and inside a stage.

Global ARGs are visible to FROM only; inside a stage ARG and ENV add up line by line,
and a stage built FROM another one inherits both.  What the base image itself sets is
not in the Dockerfile: such a variable is *unknown*, never silently empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ...errors import ConfigError, Place
from .expand import ExpandError, Lookup, UnknownVariable, expand
from .model import Arg, Dockerfile

SCRATCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What BuildKit sets where an image has no PATH."""

# Settings of the builder that are declared like arguments but never become variables.
_NOT_VARIABLES = frozenset({"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"})


def platform_args(platform: str, target: str) -> dict[str, str]:
    """The arguments BuildKit defines by itself, for a build of ``os/arch[/variant]``."""
    system, _, rest = platform.partition("/")
    arch, _, variant = rest.partition("/")
    if (arch, variant) in {("arm64", "v8"), ("amd64", "v1")}:
        variant = ""
    if arch == "arm" and not variant:
        variant = "v7"
    full = "/".join(part for part in (system, arch, variant) if part)
    values = {"PLATFORM": full, "OS": system, "OSVERSION": "", "ARCH": arch, "VARIANT": variant}
    args = {f"{side}{key}": value for side in ("BUILD", "TARGET") for key, value in values.items()}
    return args | {"TARGETSTAGE": target}


class Declared(NamedTuple):
    """One ARG with the value it has in this build; ``known`` is false where only its text is."""

    name: str
    value: str | None
    known: bool = True


class GlobalScope:
    """The values FROM lines see, and which declared arguments each of them came from.

    Made by evaluating the ARGs before the first FROM; raises ``ConfigError`` for one
    that cannot be expanded.
    """

    def __init__(self, dockerfile: Dockerfile, passed: Mapping[str, str], builtin: Mapping[str, str]) -> None:
        self.escape = dockerfile.escape
        self.passed = passed
        self.values = {name: passed.get(name, value) for name, value in builtin.items()}
        self.declared: dict[str, str | None] = {}
        self.uses: dict[str, frozenset[str]] = {}
        for arg in dockerfile.global_args:
            try:
                self._declare(arg)
            except ExpandError as error:
                place = Place(dockerfile.file, arg.line)
                raise ConfigError("dockerfile-expansion", f"ARG {arg.name}: {error}", place=place) from None

    def _declare(self, arg: Arg) -> None:
        used: set[str] = set()
        value = self.passed.get(arg.name)
        if value is None and arg.default is not None:
            value, used = self.expand(arg.default)
        if value is not None:
            self.values[arg.name] = value
        self.declared[arg.name] = self.values.get(arg.name)
        earlier = self.uses.get(arg.name, frozenset()) if arg.name in used else frozenset()
        self.uses[arg.name] = frozenset(used - {arg.name}) | earlier

    def expand(self, word: str) -> tuple[str, set[str]]:
        """The expanded word and the global ARGs it looked at; raises ``ExpandError``."""
        used: set[str] = set()

        def lookup(name: str) -> str | None:
            used.add(name)
            return self.values.get(name)

        value = expand(word, lookup, self.escape)
        return value, used & self.declared.keys()

    def closure(self, names: set[str]) -> set[str]:
        """``names`` and every global ARG their values were made from."""
        found: set[str] = set()
        queue = [name for name in names if name in self.declared]
        while queue:
            name = queue.pop()
            if name not in found:
                found.add(name)
                queue.extend(self.uses[name])
        return found


class StageScope:
    """The variables of a stage so far; a value of ``None`` is set but cannot be known.

    ``complete`` says that nothing outside the Dockerfile can set more (FROM scratch).
    """

    def __init__(self, outer: GlobalScope, values: dict[str, str | None] | None = None, complete: bool = False) -> None:
        self.outer = outer
        self.values = values or {}
        self.complete = complete
        self.env: dict[str, str | None] = {}

    @classmethod
    def scratch(cls, outer: GlobalScope) -> StageScope:
        """The scope of a stage that starts from nothing."""
        return cls(outer, {"PATH": SCRATCH_PATH}, True)

    def child(self) -> StageScope:
        """The scope a stage FROM this one begins with: there every ENV stands above an ARG of its name."""
        child = StageScope(self.outer, self.values | self.env, self.complete)
        child.env = dict(self.env)
        return child

    def lookup(self, name: str) -> str | None:
        """The value of a variable; raises ``UnknownVariable``."""
        if name in self.values:
            value = self.values[name]
            if value is None:
                raise UnknownVariable(name)
            return value
        if self.complete:
            return None
        raise UnknownVariable(name)

    def expand(self, word: str) -> str:
        """Raises ``UnknownVariable`` or ``ExpandError``."""
        return expand(word, self.lookup, self.outer.escape)

    def declare(self, arg: Arg) -> Declared:
        """Run one ``ARG``: a passed value, else its default, else the global value; raises ``ExpandError``."""
        value: str | None = self.outer.passed.get(arg.name)
        if value is None and arg.default is not None:
            try:
                value = self.expand(arg.default)
            except UnknownVariable:
                self.values[arg.name] = None
                return Declared(arg.name, arg.default, known=False)
        if value is None:
            value = self.outer.values.get(arg.name)
        if value is not None and arg.name not in _NOT_VARIABLES:
            self.values[arg.name] = value
        return Declared(arg.name, value)

    def environment(self, pairs: tuple[str, ...]) -> None:
        """Run one ``ENV``: all its values see what was set before it; raises as ``expand`` does for names."""
        lookup: Lookup = self.lookup
        new: dict[str, str | None] = {}
        for name, raw in zip(pairs[::2], pairs[1::2], strict=True):
            key = expand(name, lookup, self.outer.escape)
            try:
                new[key] = self.expand(raw)
            except UnknownVariable:
                new[key] = None
        self.values.update(new)
        self.env.update(new)
