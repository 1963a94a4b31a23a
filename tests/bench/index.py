"""The package index: 10,000 wheels against dumb-pypi, and one more wheel however many there are.

dumb-pypi makes the same pages: HTML and JSON with digests, requires-python and metadata files.
It reads no wheel but is told all digests; what it makes beside (pages per release) is off.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from tests import wheels

from .goals import Measured
from .measure import Process, environment, in_turn
from .scenes import TOP, Bench

RIVAL = "`dumb-pypi --no-per-release-json --no-generate-timestamp`: reads no wheel, is told every digest"
WHEELS = 10_000
FEW = 100
EACH = 20
"""Wheels of one project: its pages are what one more wheel rewrites."""

ROUNDS = 7


def index(bench: Bench) -> dict[str, Measured]:
    """Whole runs after one wheel came, first runs, the very first, and single wheels added."""
    many, few, rival = (bench.folder / name for name in ("many", "few", "rival"))
    fill(many, WHEELS)
    fill(few, FEW)
    words = bench.ours("index", str(many))
    cold = in_turn({"cold": Process(words, TOP, bench.env)}, 1, warm_ups=0)
    Process(words, TOP, bench.env).seconds()  # by now every file is old enough for its marks to be trusted
    Process(bench.ours("index", str(few)), TOP, bench.env).seconds()
    dumb = dumb_pypi(many, rival)
    again = {
        "ours": Process(words, TOP, bench.env, newcomer(many)),
        "dumb": Process(dumb, TOP, environment()),
    }
    first = {
        "ours": Process(words, TOP, bench.env, aside(bench.folder / "old-ours", many / "simple", many / ".index")),
        "dumb": Process(dumb, TOP, environment(), aside(bench.folder / "old-dumb", rival)),
    }
    one = {"many": adding(bench, many), "few": adding(bench, few)}
    steady, fresh, single = (in_turn(cases, ROUNDS, warm_ups=1) for cases in (again, first, one))
    return {
        "index-again": Measured(steady["ours"], steady["dumb"]),
        "index-first": Measured(fresh["ours"], fresh["dumb"]),
        "index-cold": Measured(cold["cold"]),
        "index-add": Measured(single["many"], single["few"]),
    }


def fill(folder: Path, count: int) -> None:
    """``count`` tiny wheels, so that pages are what takes the time."""
    for number in range(count):
        wheels.write(folder, f"project-{number // EACH}", f"1.{number % EACH}", requires_python=">=3.9")


def newcomer(folder: Path) -> Callable[[], None]:
    """Puts a wheel there that was never there before, in place of the one it put there last."""
    versions = iter(range(1000))

    def come() -> None:
        for old in folder.glob("project_3-3.*"):
            old.unlink()
        wheels.write(folder, "project-3", f"3.{next(versions)}", requires_python=">=3.9")

    return come


def aside(store: Path, pages: Path, notes: Path | None = None) -> Callable[[], None]:
    """As if no page had been written yet; what is known of the wheels (``notes``) stays.

    Moved, not removed: ext4 steps over each inode that was freed in the last minutes whenever it
    looks for a new one, so thousands of them would slow down whoever comes next.
    """
    store.mkdir()
    numbers = iter(range(1000))

    def move() -> None:
        left = [pages, *(notes.glob("pages-*") if notes else ())]
        for path in left:
            if path.is_symlink() or path.exists():
                path.rename(store / str(next(numbers)))

    return move


def dumb_pypi(folder: Path, out: Path) -> tuple[str, ...]:
    """The rival's command line, and the list it is told, from our own pages."""
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
    return (
        program, "--package-list-json", str(listed), "--packages-url", "../../", "--output-dir", str(out),
        "--no-per-release-json", "--no-generate-timestamp",
    )  # fmt: skip


def adding(bench: Bench, folder: Path) -> Process:
    """Add a wheel that was never there before; the one added last is taken away, untimed."""
    versions = iter(range(1000))
    made = bench.folder / f"new-{folder.name}"
    words = ["sh", "-c", 'exec "$@" "$(cat "$0")"', str(made / "path"), *bench.ours("index", str(folder), "--add")]

    def fresh() -> None:
        for old in (*folder.glob("project_4-4.*"), *made.glob("*.whl")):
            old.unlink()
        wheel = wheels.write(made, "project-4", f"4.{next(versions)}", requires_python=">=3.9")
        (made / "path").write_text(str(wheel))

    return Process(tuple(words), TOP, bench.env, fresh)
