"""A compiler for tests: it reads sources and what they include, and writes objects the audit takes for real ones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ci.recipe.stack import archs
from ci.settings import Settings
from ci.world.crew import Done
from ci.world.process import Command, Finished
from tests.unit.audit_makers import sample


def code_object(arch: str, mark: bytes = b"") -> bytes:
    """A real code object, made one for ``arch``; ``mark`` makes its bytes differ."""
    data = bytearray(sample("gfx942.hsaco").replace(b"--gfx942", b"--" + arch.encode()))
    data[48] = next(each.mach for each in archs() if each.name == arch)
    return bytes(data) + mark


@dataclass
class Compiler:
    """Stands for ``run`` and ``run_all``; ``compiled`` lists (source, arch), ``env`` is what the last one saw.

    ``before`` is called before each compile's end; ``ends`` maps (source, arch) to how it ends instead;
    ``other`` maps an arch to the one the object is made for by mistake; ``warning`` is said every time;
    ``system`` is a header outside of the project that every source includes.
    """

    version: str = "1"
    compiled: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[str], None] = lambda _source: None
    ends: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)
    warning: str = ""
    system: str = "/usr/include/fake_system.h"
    env: Mapping[str, str] | None = None

    def run(self, command: Command, *_more: object) -> Finished:
        """The questions a toolchain is asked."""
        words = command.argv[1:]
        if words == ("--version",):
            where = Path(command.argv[0]).parent
            text = f"HIP version: {self.version}\nclang version {self.version}\nInstalledDir: {where}\n"
            return Finished(command, 0, text, "")
        assert words[0] == "-###" or command.argv[0] == "ldd", command
        return Finished(command, 0, "", f' "{command.argv[0]}" "-cc1" "/nowhere/ocml.bc"\n')

    def run_all(self, commands: Sequence[Command], jobs: int, done: Done, _heard: object = None) -> None:
        """Compile one after the other."""
        assert jobs >= 1
        for place, command in enumerate(commands):
            done(place, self._compile(command), 0.5)

    def _compile(self, command: Command) -> Finished:
        words = command.argv
        assert command.cwd is not None
        self.env = command.env
        source = next(word for word in words if word.endswith(".hip"))
        arch = next(word for word in words if word.startswith("--offload-arch=")).partition("=")[2]
        read = self._read(command.cwd, source, [word[2:] for word in words if word.startswith("-I")])
        self.compiled.append((source, arch))
        self.before(source)
        code, said = self.ends.get((source, arch), (0, ""))
        if code:
            return Finished(command, code, "", said)
        mark = hashlib.sha256(b"".join((command.cwd / name).read_bytes() for name in read)).digest()
        Path(words[words.index("-o") + 1]).write_bytes(code_object(self.other.get(arch, arch), mark))
        if "-dependency-file" in words:
            listed = words[words.index("-dependency-file") + 2]
            Path(listed).write_text("object: " + " \\\n  ".join([*read, self.system]) + "\n")
        else:
            said = "".join(f"{'.' * depth} {name}\n" for depth, name in enumerate(read) if depth)
        return Finished(command, 0, "", said + self.warning)

    def _read(self, root: Path, source: str, include: list[str]) -> list[str]:
        """The source and what it includes, in order."""
        found = [source]
        for name in re.findall(r'#include "([^"]+)"', (root / source).read_text()):
            path = next(f"{folder}/{name}" for folder in include if (root / folder / name).is_file())
            found += [each for each in self._read(root, path, include) if each not in found]
        return found


class Screen:
    """Remembers what a run said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")

    def build(self, tier: str, progress: object) -> object:
        raise AssertionError(f"no build of {tier} was expected: {progress}")


def project(folder: Path) -> Path:
    """A small project: two sources, one header for both, one for the second."""
    files = {
        "pyproject.toml": '[tool.rocm-ci.kernels]\ninclude = ["include"]\nflags = ["-O2"]\n',
        "src/one.hip": '#include "both.h"\n__global__ void one() {}\n',
        "src/two.hip": '#include "both.h"\n#include "second.h"\n__global__ void two() {}\n',
        "include/both.h": "#pragma once\n",
        "include/second.h": "#pragma once\n",
    }
    for name, text in files.items():
        path = folder / "kernels" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "kernels"


def settings(folder: Path, **more: str) -> Settings:
    """An environment with a hipcc on PATH and a state folder of its own."""
    hipcc = folder / "bin" / "hipcc"
    hipcc.parent.mkdir(exist_ok=True)
    hipcc.write_text("#!/bin/sh\n")
    hipcc.chmod(0o755)
    environ = {"PATH": str(hipcc.parent), "ROCM_CI_STATE": str(folder / "state"), "MAX_JOBS": "2", **more}
    return Settings(environ, {})
