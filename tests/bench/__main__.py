"""``python -m tests.bench``: measure everything and write the page; ``--check`` exits with 1 past a goal."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import index, kernels, pipelines, python_only, recipes, runner, shards
from .goals import Measured, past
from .measure import BenchError
from .page import facts, page
from .scenes import SCENES as IMAGES
from .scenes import TOP, prepare

SCENES = {
    **IMAGES,
    "python-only": python_only.python_only,
    "kernels": kernels.measure,
    "index": index.index,
    "shards": shards.shards,
    "pipelines": pipelines.pipelines,
    "runner": runner.runner,
}


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 1 past a goal under ``--check``, or 4 where something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 past a goal; writes no page unless told to")
    parser.add_argument("--write", metavar="PAGE", help="the page to write; default docs/benchmarks.md")
    parser.add_argument("--scene", action="append", choices=SCENES, help="only this scene; writes no page")
    given = parser.parse_args(argv)
    try:
        found, stack = measure(given.scene or list(SCENES))
        text = page(found, facts(stack))
    except BenchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 4
    sys.stdout.write(text)
    if given.write or not (given.check or given.scene):
        (TOP / (given.write or "docs/benchmarks.md")).write_text(text)
    missed = past(found) if given.check and not given.scene else ()
    if missed:
        sys.stderr.write(f"past the goal: {', '.join(missed)}\n")
    return 1 if missed else 0


def measure(names: Sequence[str]) -> tuple[dict[str, Measured], str]:
    """Everything the scenes found, and the stack they looked at."""
    found: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="rocm-ci-bench-") as folder:
        try:
            bench = prepare(Path(folder))
            for name in names:
                sys.stderr.write(f"measuring: {name}\n")
                found |= SCENES[name](bench)
        finally:
            recipes.remove_images()
    return found, "local" if bench.stack == "local" else "a small one"


if __name__ == "__main__":
    sys.exit(main())
