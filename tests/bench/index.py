"""The package index: 10,000 wheels against dumb-pypi, and one more wheel however many there are."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from tests import wheels

from .goals import Measured
from .measure import Process, environment, in_turn
from .scenes import TOP, Bench

WHEELS = 10_000
FEW = 100
EACH = 20
"""Wheels of one project; a project's page is what one more wheel rewrites."""

ROUNDS = 5


def index(bench: Bench) -> dict[str, Measured]:
    """A whole index with every wheel known, dumb-pypi told every digest; the first one; and one wheel added."""
    many, few, new = (bench.folder / name for name in ("many", "few", "new"))
    fill(many, WHEELS)
    fill(few, FEW)
    ours = Process(bench.ours("index", str(many)), TOP, bench.env)
    first = Process(ours.argv, TOP, bench.env, lambda: forget(many))
    found = in_turn({"first": first}, 1, warm_ups=0)
    for folder in (many, few):
        Process(bench.ours("index", str(folder)), TOP, bench.env).seconds()
    found |= in_turn({"ours": ours, "dumb": dumb_pypi(many, bench.folder / "dumb")}, ROUNDS, warm_ups=1)
    adds = {"many": adding(bench, many, new), "few": adding(bench, few, new)}
    found |= in_turn(adds, ROUNDS, warm_ups=1)
    return {
        "index-whole": Measured(found["ours"], found["dumb"]),
        "index-first": Measured(found["first"]),
        "index-add": Measured(found["many"], found["few"]),
    }


def fill(folder: Path, count: int) -> None:
    """``count`` tiny wheels, so that pages are what takes the time; old enough for their marks to be trusted."""
    for number in range(count):
        wheels.write(folder, f"project-{number // EACH}", f"1.{number % EACH}", requires_python=">=3.9")


def forget(folder: Path) -> None:
    """As if no index had ever been made."""
    shutil.rmtree(folder / ".index", ignore_errors=True)
    (folder / "simple").unlink(missing_ok=True)
    for path in folder.glob("*.metadata"):
        path.unlink()


def dumb_pypi(folder: Path, out: Path) -> Process:
    """dumb-pypi with the same features: digests, requires-python, metadata files, HTML and JSON.

    It is told all digests, as our notes tell us; what it makes beside (pages per release) is off.
    """
    rows = []
    for page in sorted((folder / "simple").glob("*/index.json")):
        for file in json.loads(page.read_text())["files"]:
            row = {
                "filename": file["filename"],
                "hash": f"sha256={file['hashes']['sha256']}",
                "requires_python": file["requires-python"],
                "core_metadata": f"sha256={file['core-metadata']['sha256']}",
            }
            rows.append(json.dumps(row))
    listed = out.with_name("packages.jsonl")
    listed.write_text("\n".join(rows) + "\n")
    program = str(Path(sys.executable).with_name("dumb-pypi"))
    argv = (
        program, "--package-list-json", str(listed), "--packages-url", "../../", "--output-dir", str(out),
        "--no-per-release-json", "--no-generate-timestamp",
    )  # fmt: skip
    return Process(argv, TOP, environment())


def adding(bench: Bench, folder: Path, new: Path) -> Process:
    """Add a wheel that was never there before; the one before goes away, untimed."""
    numbers = iter(range(10_000))
    name = f"{folder.name}.whl"
    link = new / name

    def fresh() -> None:
        made = wheels.write(new / folder.name, "project-3", f"2.{next(numbers)}")
        link.unlink(missing_ok=True)
        for old in folder.glob("project_3-2.*"):
            old.unlink()
        target = made.with_name("project_3-9.9-py3-none-any.whl")
        del target
        shutil.copy(made, link)

    return Process(bench.ours("index", str(folder), "--add", str(link)), TOP, bench.env, fresh)
