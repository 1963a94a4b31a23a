"""A stack whose one suite is made of planted steps: children that behave as badly as a test says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STACK = """\
schema: 1
name: plant
summary: planted children
repository: rocm-ci-test/plant
platform: linux/amd64
suites: plant-suites.yaml
roots:
  busy: {image: rocm-ci-test/busy:1}
tiers:
  test: {dockerfile: Dockerfile.plant, target: t, parents: {ROOT: busy}}
"""


def write(folder: Path, steps: Mapping[str, Mapping[str, Any]], suite: str = "all", **more: Any) -> Path:
    """Write the stack to ``folder``; gives its file. Its one suite has every step, in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {name: {"summary": name, "limits": {"minutes": 2}, **step} for name, step in steps.items()}
    suites = {"schema": 1, "runtime": "cpu", "steps": whole, **more}
    suites["suites"] = {suite: {"summary": "everything", "steps": list(steps)}}
    (folder / "plant.yaml").write_text(STACK)
    (folder / "plant-suites.yaml").write_text(json.dumps(suites))
    (folder / "Dockerfile.plant").write_text("ARG ROOT=x\nFROM ${ROOT} AS t\n")
    return folder / "plant.yaml"


def python(code: str) -> dict[str, Any]:
    """A command that is a Python program."""
    return {"run": ["python3", "-c", code]}


def pytest_of(code: str, *options: str) -> list[dict[str, Any]]:
    """Two commands: one writes the test file, the other runs it."""
    path = "{cache}/test_planted.py"
    make = f"import os; os.makedirs(os.path.dirname({path!r}), exist_ok=True); open({path!r}, 'w').write({code!r})"
    return [python(make), {"pytest": ["-v", path, *options]}]
