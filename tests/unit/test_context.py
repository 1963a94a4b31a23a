"""The hermetic context: exactly the hashed bytes, or nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ci.build.context import materialise
from ci.errors import ConfigError, InfraError
from ci.recipe.tree import Entry
from ci.world import files


def entry(root: Path, name: str) -> Entry:
    found = files.content(root / name)
    return Entry(name, found.mode, found.sha256)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, text in {"a.txt": "a", "d/b.sh": "b", "d/e/c ü\n.txt": "c", "d/left-out": "x"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "d/b.sh").chmod(0o775)
    (root / "a.txt").chmod(0o600)
    (root / "link").symlink_to("d/b.sh")
    (root / "away").symlink_to("/etc/passwd")
    (root / "nowhere").symlink_to("not/here")
    return root


NAMES = ("a.txt", "away", "d/b.sh", "d/e/c ü\n.txt", "link", "nowhere")


def chosen(tree: Path, *names: str) -> dict[str, dict[str, Entry]]:
    return {"recipe": {name: entry(tree, name) for name in names}}


def test_exactly_the_selected_files_are_copied(tmp_path: Path, tree: Path) -> None:
    before = os.umask(0o077)
    try:
        materialise(tmp_path / "out", chosen(tree, *NAMES), {"recipe": tree})
    finally:
        os.umask(before)
    out = tmp_path / "out/recipe"
    assert files.walk(out) == NAMES
    assert {name: entry(out, name) for name in NAMES} == chosen(tree, *NAMES)["recipe"]
    for name in ("link", "away", "nowhere"):
        assert (out / name).readlink() == (tree / name).readlink()


def test_modes_are_fixed_and_times_follow_from_the_content(tmp_path: Path, tree: Path) -> None:
    before = os.umask(0o077)
    try:
        materialise(tmp_path / "out", chosen(tree, *NAMES), {"recipe": tree})
    finally:
        os.umask(before)
    out = tmp_path / "out/recipe"
    paths = [out, *out.rglob("*")]
    assert {int(path.lstat().st_mtime) // 86400 for path in paths} == {315532800 // 86400}
    assert {path.lstat().st_mtime for path in (out, out / "d")} == {315532800}
    modes = {str(path.relative_to(out)): stat.S_IMODE(path.stat().st_mode) for path in paths if not path.is_symlink()}
    assert modes == {".": 0o755, "d": 0o755, "d/e": 0o755, "a.txt": 0o644, "d/b.sh": 0o755, "d/e/c ü\n.txt": 0o644}


def test_an_edit_that_keeps_the_size_changes_the_time(tmp_path: Path, tree: Path) -> None:
    """BuildKit takes a file of the same size and time for the file it has."""

    def time(out: str) -> int:
        materialise(tmp_path / out, chosen(tree, "a.txt"), {"recipe": tree})
        return (tmp_path / out / "recipe/a.txt").stat().st_mtime_ns

    first, text = time("1"), (tree / "a.txt").read_text()
    assert time("2") == first
    (tree / "a.txt").write_text(text.swapcase())
    assert (tree / "a.txt").stat().st_size == len(text)
    assert time("3") != first


def test_the_source_is_left_as_it_is(tmp_path: Path, tree: Path) -> None:
    def look() -> dict[str, tuple[int, float]]:
        return {str(path): (path.lstat().st_mode, path.lstat().st_mtime) for path in tree.rglob("*")}

    before = look()
    materialise(tmp_path / "out", chosen(tree, *NAMES), {"recipe": tree})
    assert look() == before


def test_every_context_has_its_folder_even_an_empty_one(tmp_path: Path, tree: Path) -> None:
    selected = {"recipe": {}, "src": chosen(tree, "a.txt")["recipe"]}
    materialise(tmp_path / "out", selected, {"recipe": tree, "src": tree})
    assert files.walk(tmp_path / "out") == ("src/a.txt",)
    assert (tmp_path / "out/recipe").is_dir()


def _to_link(tree: Path, name: str, target: str) -> None:
    (tree / name).unlink()
    (tree / name).symlink_to(target)


def _from_link(tree: Path) -> None:
    (tree / "link").unlink()
    (tree / "link").write_text("d/b.sh")


CHANGES: dict[str, Callable[[Path], object]] = {
    "edited": lambda tree: (tree / "d/b.sh").write_text("B"),
    "gone": lambda tree: (tree / "d/b.sh").unlink(),
    "made executable": lambda tree: (tree / "a.txt").chmod(0o755),
    "made a link": lambda tree: _to_link(tree, "a.txt", "d/b.sh"),
    "link moved": lambda tree: _to_link(tree, "link", "a.txt"),
    "link made a file": _from_link,
    "truncated": lambda tree: (tree / "d/b.sh").write_text(""),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_edited_after_its_identity_stops_the_build(tmp_path: Path, tree: Path, name: str) -> None:
    selected = chosen(tree, *NAMES)
    CHANGES[name](tree)
    with pytest.raises(ConfigError) as caught:
        materialise(tmp_path / "out", selected, {"recipe": tree})
    assert caught.value.problems[0].reference == "changed-underneath"
    assert "nothing was built" in caught.value.problems[0].hint


def test_a_touched_file_does_not_stop_it(tmp_path: Path, tree: Path) -> None:
    selected = chosen(tree, *NAMES)
    os.utime(tree / "a.txt", (1, 1))
    (tree / "a.txt").chmod(0o640)
    materialise(tmp_path / "out", selected, {"recipe": tree})


def test_nothing_is_written_through_a_link(tmp_path: Path, tree: Path) -> None:
    """A link to a folder and a file below it: writing the file would leave the context."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("mine")
    (tmp_path / "outside/file").chmod(0o600)
    (tree / "folder").symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigError) as caught:
        materialise(tmp_path / "out", chosen(tree, "folder", "folder/file"), {"recipe": tree})
    assert caught.value.problems[0].reference == "link-in-path"
    assert stat.S_IMODE((tmp_path / "outside/file").stat().st_mode) == 0o600


def test_a_full_disk_is_the_worlds_fault(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    selected = chosen(tree, *NAMES)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InfraError, match="No space left"):
        materialise(tmp_path / "out", selected, {"recipe": tree})
