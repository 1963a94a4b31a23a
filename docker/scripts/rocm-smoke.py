"""rocm-smoke.py MODULE...: what an image must have, seen without a GPU and without a network.

A module before a ``?`` is left out where its component is absent from this build (see ABSENT of wheels-install.sh).
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

ROCSHMEM = Path("/opt/rocshmem")


def main(modules: list[str]) -> None:
    """Exit with a message at the first thing that is not there."""
    for word in modules:
        name = word.rstrip("?")
        if word != name and (ROCSHMEM / "ABSENT").exists():
            sys.stdout.write(f"{name}: absent from this build\n")
            continue
        if find_spec(name) is None:
            raise SystemExit(f"rocm-smoke.py: there is no module {name}")
        module = import_module(name)
        sys.stdout.write(f"{name} {getattr(module, '__version__', '')}: ok\n")
    torch = sys.modules.get("torch")
    if torch is not None and torch.version.hip is None:
        raise SystemExit(f"rocm-smoke.py: torch {torch.__version__} is no build for ROCm")


if __name__ == "__main__":
    main(sys.argv[1:])
