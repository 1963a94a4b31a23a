"""pin-requirements.py WHEELS SOURCE: make a project ask for exactly the wheels that are released with it.

Writes a line ``name==version`` for each wheel of WHEELS to the top of SOURCE/requirements/rocm.txt and drops what the
list said of those names. A requirement that points at a repository or a file is refused: no index can serve it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path


def pins(folder: Path) -> dict[str, str]:
    """Name to version of the wheels in a folder; none of them, or one twice, ends the build."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.whl")):
        name, version, *_ = path.name.split("-")
        if canonical(name) in found:
            raise SystemExit(f"pin-requirements.py: there are two wheels of {canonical(name)}")
        found[canonical(name)] = version
    if not found:
        raise SystemExit("pin-requirements.py: there is no wheel to pin to; a release needs the base set of wheels")
    return found


def canonical(name: str) -> str:
    """A project's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lines(path: Path) -> Iterator[tuple[Path, str]]:
    """Every line of a list and of the lists that it includes."""
    for line in path.read_text().splitlines():
        if included := re.match(r"\s*(?:-r|--requirement)[\s=]+(\S+)", line):
            yield from lines(path.parent / included[1])
        yield path, line.strip()


def direct(path: Path) -> list[str]:
    """What a list asks for by a repository or a file."""
    return [f"{each.name}: {line}" for each, line in lines(path) if re.match(r"[^#]*(git\+|\s@\s)", line)]


def named(line: str) -> str:
    """The project a line asks for; empty for comments and options."""
    found = re.match(r"\s*([A-Za-z0-9][\w.-]*)", line)
    return canonical(found[1]) if found else ""


def main(arguments: list[str]) -> None:
    """Exit with a message, and 1, at what a release cannot ask for."""
    wheels, source = map(Path, arguments)
    wanted = source / "requirements/rocm.txt"
    if refused := direct(wanted):
        raise SystemExit("pin-requirements.py: no index can serve these:\n" + "\n".join(refused))
    found = pins(wheels)
    kept = [line for line in wanted.read_text().splitlines() if named(line) not in found]
    text = "\n".join([*(f"{name}=={version}" for name, version in found.items()), *kept])
    wanted.write_text(text + "\n")
    sys.stdout.write("".join(f"pinned {name} to {version}\n" for name, version in found.items()))


if __name__ == "__main__":
    main(sys.argv[1:])
