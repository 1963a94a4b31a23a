"""Does every program and library of an image find what it needs inside of it?  As the dynamic linker would look.

The linker's cache is derived from the folders it was made of, so those are asked instead.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .elf import HostElf
from .facts import Finding
from .libraries import Libraries, matches
from .tree import Node, Tree

MACHINES: Mapping[str, int] = {"amd64": 62, "arm64": 183, "386": 3}
"""``e_machine`` of the architectures an image's config names."""

_TRIPLETS = {62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu", 3: "i386-linux-gnu"}
_PLACES = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)\b)")
_MUSL = re.compile(r"libc\.(so|musl-.*)")
_INCLUDE = re.compile(r"\s*include\s+(\S+)")


class Linker(NamedTuple):
    """Where a dynamic linker looks after a file's own paths."""

    glibc: tuple[str, ...]
    musl: tuple[str, ...]
    environment: tuple[str, ...]


class _File(NamedTuple):
    node: Node
    host: HostElf

    @property
    def path(self) -> str:
        return self.node.entry.path


class Closure:
    """The libraries of one image; ``machine`` is the ``e_machine`` it runs on."""

    def __init__(self, tree: Tree, config: Mapping[str, Any], libraries: Libraries) -> None:
        self._tree = tree
        self._libraries = libraries
        self.machine = MACHINES.get(str(config.get("architecture", "")), 0)
        self._linker = _linker(tree, config, self.machine)
        self._files = [file for file in _linked(tree) if file.host.machine == self.machine]
        self._users: dict[str, list[_File]] = {}
        self._places: dict[str, list[str]] = {}
        for file in self._files:
            for name in file.host.needed:
                self._users.setdefault(name, []).append(file)
            for name in {posixpath.basename(file.path), file.host.soname} - {""}:
                self._places.setdefault(name, []).append(file.path)

    def __len__(self) -> int:
        return len(self._files)

    def findings(self) -> Iterator[Finding]:
        """Every need of every file that leads nowhere."""
        for file in sorted(self._files, key=lambda file: file.path):
            if file.host.interpreter and self._tree.at(file.host.interpreter) is None:
                yield self._finding(file, file.host.interpreter, "its dynamic linker")
            for name in file.host.needed:
                if not (self._finds(file, name) or self._preloaded(file, name) or self._served(file, name)):
                    yield self._finding(file, name, "a library")

    def _finding(self, file: _File, name: str, what: str) -> Finding:
        places = [f"/{path}" for path in self._places.get(posixpath.basename(name), ())]
        allow = "or allow it in the contract, with the reason"
        if places:
            message = f"it needs {name}, {what} that is there as {places[0]}, but no path of it leads there"
            hint = f"link it with a RUNPATH, or put a file with that folder in /etc/ld.so.conf.d; {allow}"
        else:
            message = f"it needs {name}, {what} that is not in the image"
            hint = f"copy it from the stage that made it, or install the package that has it; {allow}"
        return Finding(f"/{file.path}:{name}", message, hint)

    def _finds(self, file: _File, name: str, inherited: Sequence[str] = ()) -> bool:
        if "/" in name:
            return self._fits(_placed(name, file), file.host)
        own = [_placed(path, file) for path in file.host.paths]
        folders = (*own, *inherited, *self._linker.environment, *self._folders(file))
        if any(self._fits(f"{folder}/{name}", file.host) for folder in folders if folder.startswith("/")):
            return True
        return bool(_is_musl(file.host) and _MUSL.fullmatch(name))  # musl's linker is the library itself

    def _folders(self, file: _File) -> tuple[str, ...]:
        return self._linker.musl if _is_musl(file.host) else self._linker.glibc

    def _fits(self, path: str, host: HostElf) -> bool:
        """Whether there is a library of the same kind at a path; the linker passes over others."""
        node = self._tree.at(path)
        found = node.kept.host if node else None
        return found is not None and (found.machine, found.wide) == (host.machine, host.wide)

    def _preloaded(self, file: _File, name: str) -> bool:
        """Whether a distribution that has it loads it first, from a folder of its own beside this file."""
        for preload in self._libraries.preloads:
            if preload.folder and matches(name, preload.libraries):
                for path in self._places.get(name, ()):
                    site, slash, _ = path.rpartition(f"/{preload.folder}/")
                    if slash and file.path.startswith(f"{site}/"):
                        return True
        return False

    def _served(self, file: _File, name: str) -> bool:
        """Whether somebody who loads this file, directly or not, has loaded that by then or hands its paths down."""
        seen = {file.path}
        waiting = [file]
        while waiting:
            loaded = waiting.pop()
            for called in {posixpath.basename(loaded.path), loaded.host.soname} - {""}:
                for user in self._users.get(called, ()):
                    if user.path in seen:
                        continue
                    seen.add(user.path)
                    waiting.append(user)
                    paths = [_placed(path, user) for path in user.host.paths] if user.host.inherited else []
                    if (name in user.host.needed and self._finds(user, name)) or self._finds(file, name, paths):
                        return True
        return False


def _linked(tree: Tree) -> Iterator[_File]:
    for node in tree.files():
        host = node.kept.host
        if host is not None and (host.needed or host.interpreter or host.kind == "shared"):
            yield _File(node, host)


def _is_musl(host: HostElf) -> bool:
    return "ld-musl" in host.interpreter or any(_MUSL.fullmatch(name) for name in host.needed)


def _placed(path: str, file: _File) -> str:
    """A path as written in a file, its ``$ORIGIN`` and the like filled in."""
    values = {
        "ORIGIN": "/" + posixpath.dirname(file.path),
        "LIB": f"lib/{_TRIPLETS.get(file.host.machine, '')}",
        "PLATFORM": _TRIPLETS.get(file.host.machine, "").partition("-")[0],
    }
    return _PLACES.sub(lambda match: values[match[1] or match[2]], path)


def _linker(tree: Tree, config: Mapping[str, Any], machine: int) -> Linker:
    triplet = _TRIPLETS.get(machine, "")
    usual = [f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib64", "/usr/lib64", "/lib", "/usr/lib"]
    musl = [
        line
        for name in tree.names("etc")
        if re.fullmatch(r"ld-musl-.*\.path", name)
        for line in re.split(r"[:\n]", _text(tree, f"etc/{name}"))
        if line
    ]
    variables = (config.get("config") or {}).get("Env") or ()
    given = [line.partition("=")[2] for line in variables if line.startswith("LD_LIBRARY_PATH=")]
    environment = [folder for value in given for folder in re.split(r"[:;]", value) if folder]
    glibc = (*_configured(tree, "etc/ld.so.conf", set()), *usual)
    return Linker(glibc, tuple(musl) or ("/lib", "/usr/local/lib", "/usr/lib"), tuple(environment))


def _configured(tree: Tree, path: str, seen: set[str]) -> Iterator[str]:
    """The folders named by ``ld.so.conf`` and what it includes."""
    if path in seen:
        return
    seen.add(path)
    for line in _text(tree, path).splitlines():
        bare = line.partition("#")[0].strip()
        if include := _INCLUDE.fullmatch(bare):
            folder, _, pattern = posixpath.join("/etc", include[1]).rpartition("/")
            for name in tree.names(folder):
                if matches(name, [pattern]):
                    yield from _configured(tree, f"{folder}/{name}", seen)
        elif bare:
            yield re.split(r"[\s:,=]+", bare)[0]


def _text(tree: Tree, path: str) -> str:
    node = tree.at(path)
    return node.kept.text.decode("utf-8", "replace") if node else ""
