"""rocm-smoke.py MODULE...: what an image must have, seen without a GPU and without a network.

``MODULE?KEY`` is left out where the build record says ``none`` for KEY, a component's list of gfx targets: the
component is absent from this build.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

RECORD = Path("/app/versions.json")


def main(modules: list[str]) -> None:
    """Exit with a message at the first thing that is not there."""
    facts = json.loads(RECORD.read_text())
    for word in modules:
        name, _, key = word.partition("?")
        if key and facts.get(key) == "none":
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
