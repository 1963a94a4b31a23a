"""Files: whole or not at all, the errors of a disk told as such, and what counts of a file."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ci.errors import ConfigError, InfraError
from ci.world import files


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep/er/file"
    files.write_whole(path, b"one")
    files.write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    files.write_whole(path, b"old")

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", full) if step == "fsync" else (Path, "replace", full)))
    with pytest.raises(InfraError, match="No space left") as caught:
        files.write_whole(path, b"new")
    monkeypatch.undo()
    assert "ROCM_CI_STATE" in caught.value.problems[0].hint
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        files.write_whole(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_json_reads_back_and_half_of_it_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {"ä": [1, None, "x\ny"]}
    files.write_json(path, value)
    assert files.read_json(path) == value
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert files.read_json(path) is None
    assert files.read_json(tmp_path / "none.json") is None


def test_text_that_cannot_be_read_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file") as missing:
        files.read_text(tmp_path / "none")
    assert missing.value.problems[0].hint == "check the path"
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory$") as folder:
        files.read_text(tmp_path)
    assert folder.value.problems[0].hint == "name a file, not a folder"
    (tmp_path / "latin").write_bytes(b"\xe4")
    with pytest.raises(ConfigError, match="cannot read"):
        files.read_text(tmp_path / "latin")


@pytest.mark.parametrize(
    ("number", "word"),
    [(28, "free space"), (13, "the right"), (30, "the right"), (20, "check the path"), (17, "check the path")],
)
def test_the_remedy_is_that_of_the_error(number: int, word: str) -> None:
    with pytest.raises(InfraError) as caught, files.disk_errors("cannot write it"):
        raise OSError(number, os.strerror(number))
    assert word in caught.value.problems[0].hint
    assert "ROCM_CI_STATE" in caught.value.problems[0].hint


def test_json_below_a_file_is_not_there_and_a_folder_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert files.read_json(tmp_path / "file/a.json") is None
    with pytest.raises(InfraError, match="cannot read"):
        files.read_json(tmp_path)


def test_where_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").symlink_to("none")
    files.check_folder(tmp_path, "--out")
    files.check_folder(tmp_path / "new/er", "--out")
    for name in ("file", "file/below", "nowhere"):
        with pytest.raises(ConfigError, match="is no folder"):
            files.check_folder(tmp_path / name, "--out")
    with pytest.raises(ConfigError, match="File name too long"):  # as where nobody may look into a folder above it
        files.check_folder(tmp_path / ("x" * 300), "--out")


@pytest.mark.parametrize(
    ("mode", "seen"), [(0o644, "0644"), (0o600, "0644"), (0o755, "0755"), (0o700, "0755"), (0o655, "0644")]
)
def test_only_the_owners_executable_bit_counts(tmp_path: Path, mode: int, seen: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "file").chmod(mode)
    found = files.content(tmp_path / "file")
    assert (found.mode, found.sha256, found.data) == (seen, hashlib.sha256(b"x").hexdigest(), b"x")


@pytest.mark.parametrize("target", ["file", "nowhere", "../.."])
def test_a_link_is_its_target(tmp_path: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(target)
    found = files.content(tmp_path / "link")
    assert (found.mode, found.data) == ("link", target.encode())


def test_a_link_whose_target_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(os.fsdecode(b"\xff"))
    assert files.content(tmp_path / "link").data == b"\xff"


def test_what_is_neither_file_nor_link_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(ConfigError, match="neither a file nor a link"):
            files.content(tmp_path / name)


def test_a_walk_sees_files_and_links_and_no_repository(tmp_path: Path) -> None:
    for name in ("a", "d/b", "d/.hidden", ".git/config", "d/__pycache__/x.pyc", "é f"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "to-folder").symlink_to("d")
    (tmp_path / "to-nowhere").symlink_to("nowhere")
    assert files.walk(tmp_path) == ("a", "d/.hidden", "d/b", "to-folder", "to-nowhere", "é f")


def test_a_folder_that_cannot_be_listed_is_no_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ConfigError, match="cannot list"):
        files.walk(tmp_path)


def test_the_state_folder_is_for_everybody(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        folder = files.state(str(tmp_path / "state"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    assert files.state(str(folder)) == folder


def test_a_state_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfraError, match="state folder"):
        files.state(str(tmp_path / "file/state"))


def test_removing_files_folders_links_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder/deep").mkdir(parents=True)
    (tmp_path / "folder/deep/file").write_text("")
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    for name in ("folder", "link", "nothing"):
        files.remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_blocks_are_the_bytes(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 5)
    (tmp_path / "big").write_bytes(data)
    assert b"".join(files.blocks(tmp_path / "big")) == data


def test_a_full_disk_ends_the_log_and_not_the_run() -> None:
    with files.LineLog(Path("/dev/full")) as log:
        for _ in range(3):
            log.add("x" * 10_000)


def test_a_log_keeps_its_lines(tmp_path: Path) -> None:
    with files.LineLog(tmp_path / "log") as log:
        log.add("one")
        log.add("zwei ü")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "one\nzwei ü\n"
