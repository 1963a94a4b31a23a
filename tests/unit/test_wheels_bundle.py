"""The artifact bundle: the same bytes from the same inputs, and nothing unpacked that was not checked."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.errors import ConfigError, ContractError
from ci.wheels import bundle
from ci.wheels.bundle import Manifest, Member

FACTS = Manifest("c" * 40, "sha256:" + "b" * 64, ("gfx90a", "gfx942"), {"torch": "none", "rocm": "7.2"})


def inputs(folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "b.whl").write_bytes(b"wheel" * 1000)
    (folder / "a").write_bytes(b"")
    return {"wheels/b.whl": folder / "b.whl", "tests/deep/a": folder / "a"}


def made(folder: Path) -> Path:
    target = folder / "x.tar"
    bundle.make(target, inputs(folder / "in"), FACTS)
    return target


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    one = made(tmp_path / "one")
    before = os.umask(0o077)
    other = inputs(tmp_path / "two" / "in")
    for path in other.values():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    bundle.make(tmp_path / "two" / "x.tar", dict(reversed(other.items())), FACTS)
    os.umask(before)
    assert one.read_bytes() == (tmp_path / "two" / "x.tar").read_bytes()


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    target = made(tmp_path)
    manifest = bundle.verify(target, commit=FACTS.commit, base=FACTS.base)
    assert [member.path for member in manifest.members] == ["tests/deep/a", "wheels/b.whl"]
    assert manifest.versions == {"rocm": "7.2", "torch": "none"}
    out = tmp_path / "out"
    assert bundle.unpack(target, out) == manifest
    assert (out / "wheels/b.whl").read_bytes() == b"wheel" * 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "x.tar"]
    with pytest.raises(ConfigError, match="is there already"):
        bundle.unpack(target, out)


def test_what_can_be_executed_stays_so_and_nothing_else_of_modes_and_times(tmp_path: Path) -> None:
    paths = inputs(tmp_path / "in")
    paths["tests/deep/a"].chmod(0o775)
    before = os.umask(0o077)
    try:
        bundle.make(tmp_path / "x.tar", paths, FACTS)
        manifest = bundle.unpack(tmp_path / "x.tar", tmp_path / "out")
    finally:
        os.umask(before)
    assert [member.executable for member in manifest.members] == [True, False]
    modes = {path.relative_to(tmp_path).as_posix(): path.stat() for path in (tmp_path / "out").rglob("*")}
    assert {name: status.st_mode & 0o7777 for name, status in modes.items()} == {
        "out/tests": 0o755, "out/tests/deep": 0o755, "out/tests/deep/a": 0o755,
        "out/wheels": 0o755, "out/wheels/b.whl": 0o644,
    }  # fmt: skip
    assert (tmp_path / "out").stat().st_mode & 0o7777 == 0o755
    assert {int(status.st_mtime) // 86400 for status in modes.values()} == {315532800 // 86400}


@given(st.lists(st.tuples(st.text(max_size=20), st.integers(0), st.text(max_size=8), st.booleans()), max_size=5))
def test_a_manifest_round_trips(rows: list[tuple[str, int, str, bool]]) -> None:
    manifest = Manifest("c", "", ("gfx942",), {"rocm": "7.2"}, tuple(Member(*row) for row in rows))
    assert Manifest.decode(manifest.encode(), "here") == manifest


def rewritten(
    path: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], Iterable[tuple[tarfile.TarInfo, bytes]]]
) -> None:
    """Take the archive apart and write it again, changed."""
    with tarfile.open(path) as archive:
        members = [(item, (archive.extractfile(item) or io.BytesIO()).read()) for item in archive]
    with tarfile.open(path, "w") as archive:
        for item, data in change(members):
            item.size = len(data) if item.isreg() else 0
            archive.addfile(item, io.BytesIO(data) if item.isreg() else None)


def header(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    item = tarfile.TarInfo(name)
    item.type, item.linkname = kind, link
    return item


def flip(path: Path) -> None:
    rewritten(path, lambda found: [*found[:-1], (found[-1][0], b"X" + found[-1][1][1:])])


def lengthen(path: Path) -> None:
    rewritten(path, lambda found: [*found[:-1], (found[-1][0], found[-1][1] + b"X")])


def drop(path: Path) -> None:
    rewritten(path, lambda found: found[:-1])


def smuggle(path: Path) -> None:
    rewritten(path, lambda found: [*found, (header("extra"), b"x")])


def repeat(path: Path) -> None:
    rewritten(path, lambda found: [*found, found[-1]])


def link(path: Path) -> None:
    rewritten(path, lambda found: [*found[:-1], (header(found[-1][0].name, tarfile.SYMTYPE, "/etc/passwd"), b"")])


def leave(path: Path) -> None:
    rename(path, "../../escaped")


def absolute(path: Path) -> None:
    rename(path, "/tmp/escaped")


def rename(path: Path, name: str) -> None:
    def change(found: list[tuple[tarfile.TarInfo, bytes]]) -> Iterable[tuple[tarfile.TarInfo, bytes]]:
        document = json.loads(found[0][1])
        document["files"][-1]["path"] = name
        return [(found[0][0], json.dumps(document).encode()), *found[1:-1], (header(name), found[-1][1])]

    rewritten(path, change)


def no_manifest(path: Path) -> None:
    rewritten(path, lambda found: found[1:])


def bad_manifest(path: Path) -> None:
    rewritten(path, lambda found: [(found[0][0], b"{}"), *found[1:]])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4000])


def no_archive(path: Path) -> None:
    path.write_text("<html>404</html>")


def nothing(path: Path) -> None:
    path.write_bytes(b"")


SPOILERS = (
    flip, lengthen, drop, smuggle, repeat, link, leave, absolute, no_manifest, bad_manifest, cut, no_archive, nothing,
)  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)
def test_anything_that_does_not_agree_stops_and_leaves_nothing(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    target = made(tmp_path)
    spoil(target)
    with pytest.raises(ContractError) as verified:
        bundle.verify(target)
    with pytest.raises(ContractError) as unpacked:
        bundle.unpack(target, tmp_path / "out")
    for caught in (verified, unpacked):
        assert caught.value.problems[0].reference == "broken-bundle"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "x.tar"]


def test_a_bundle_of_something_else_is_refused(tmp_path: Path) -> None:
    target = made(tmp_path)
    with pytest.raises(ContractError, match=r"is of commit c+, not d"):
        bundle.verify(target, commit="d" * 40)
    with pytest.raises(ContractError, match="is of base image"):
        bundle.unpack(target, tmp_path / "out", base="sha256:" + "e" * 64)


def test_a_newer_schema_is_said_as_such(tmp_path: Path) -> None:
    target = made(tmp_path)
    rewritten(target, lambda found: [(found[0][0], b'{"schema": 2}'), *found[1:]])
    with pytest.raises(ContractError, match="schema 2"):
        bundle.verify(target)


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no bundle"):
        bundle.verify(tmp_path / "x.tar")


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "a/../b", "./a", "", "a\nb", "a\\b", "manifest.json", "a/."])
def test_names_that_cannot_be_in_a_bundle(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError):
        bundle.make(tmp_path / "x.tar", {name: tmp_path / "file"}, FACTS)
    assert not (tmp_path / "x.tar").exists()


def test_what_a_killed_run_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".new-x.tar").write_text("half")
    (tmp_path / ".new-out").mkdir()
    bundle.unpack(made(tmp_path), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "x.tar"]
