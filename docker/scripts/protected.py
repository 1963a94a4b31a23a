"""protected.py write|check FILE: fingerprints of the packages that everything else was compiled against.

The base image writes them, every later image checks them: an installer that swapped torch or its headers is found
in the build and not as a crash on a GPU.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

NAMES = ("torch", "triton", "torchvision", "torchaudio", "pybind11")


def fingerprint(name: str) -> dict[str, str] | None:
    """Version, and SHA-256 over Python files, headers and shared objects; None where it is not installed."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    digest = hashlib.sha256()
    for file in sorted(found.files or (), key=str):
        if file.suffix in {".py", ".h", ".hpp"} or ".so" in file.suffixes:
            path = Path(str(found.locate_file(file)))
            digest.update(f"{file}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return {"version": found.version, "sha256": digest.hexdigest()}


def main(arguments: list[str]) -> None:
    """Exit with a message where a package changed since the base, or an NVIDIA package came in."""
    command, file = arguments
    found = {name: seen for name in NAMES if (seen := fingerprint(name))}
    if command == "write":
        Path(file).write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
        return
    before = json.loads(Path(file).read_text())
    changed = [name for name in before if found.get(name) != before[name]]
    nvidia = sorted(
        str(each.metadata["Name"]) for each in distributions() if str(each.metadata["Name"]).startswith("nvidia-")
    )
    if changed or nvidia:
        raise SystemExit(f"protected.py: changed since the base: {', '.join(changed + nvidia)}")


if __name__ == "__main__":
    main(sys.argv[1:])
