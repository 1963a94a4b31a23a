"""The order of commits, asked of a real git: whole, cut short, and without one of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ci.errors import InfraError
from ci.publish.order import ancestry

pytestmark = pytest.mark.without_engine


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ("git", "-C", folder, *who, *words), check=True, capture_output=True, text=True
    ).stdout.strip()


def grown(folder: Path) -> tuple[str, str, str, str]:
    """A line of three commits, and one beside the third."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    line = []
    for word in ("one", "two", "three"):
        git(folder, "commit", "-q", "--allow-empty", "-m", word)
        line.append(git(folder, "rev-parse", "HEAD"))
    git(folder, "checkout", "-q", "-b", "side", line[1])
    git(folder, "commit", "-q", "--allow-empty", "-m", "beside")
    return line[0], line[1], line[2], git(folder, "rev-parse", "HEAD")


def test_a_whole_clone_knows_every_order(tmp_path: Path) -> None:
    one, two, three, side = grown(tmp_path / "whole")
    compare = ancestry(tmp_path / "whole")
    assert [compare(three, one), compare(one, three), compare(two, two)] == ["newer", "older", "same"]
    assert compare(side, three) == "diverged"
    with pytest.raises(InfraError) as raised:
        compare(three, "0" * 40)
    assert raised.value.problems[0].reference == "unknown-ancestry"


def test_a_shallow_clone_tells_what_it_sees_and_denies_nothing(tmp_path: Path) -> None:
    one, two, three, side = grown(tmp_path / "whole")
    clone = tmp_path / "shallow"
    source = (tmp_path / "whole").as_uri()
    git(tmp_path, "clone", "-q", "--depth=2", "--branch=main", source, str(clone))
    git(clone, "fetch", "-q", "--depth=1", "origin", side)
    compare = ancestry(clone)
    assert [compare(three, two), compare(two, three)] == ["newer", "older"]
    for other in (one, side):
        with pytest.raises(InfraError) as raised:
            compare(three, other)
        assert raised.value.exit_code == 4
    git(clone, "fetch", "-q", "--unshallow", "origin", "main", side)
    assert [compare(three, one), compare(three, side)] == ["newer", "diverged"]


def test_a_replaced_commit_changes_nothing(tmp_path: Path) -> None:
    one, two, three, _ = grown(tmp_path / "whole")
    orphan = git(tmp_path / "whole", "commit-tree", "-m", "forged", f"{two}^{{tree}}")
    git(tmp_path / "whole", "replace", two, orphan)
    assert ancestry(tmp_path / "whole")(three, one) == "newer"
