"""Wheels no index may list: each is refused with its name and a remedy, and the index that was there stays."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ci.errors import ConfigError, ContractError
from tests import wheels
from tests.unit.test_wheels_index import make, tree


def not_a_zip(folder: Path) -> None:
    (folder / "bad-1.0-py3-none-any.whl").write_text("<html>404</html>")


def empty(folder: Path) -> None:
    (folder / "bad-1.0-py3-none-any.whl").touch()


def cut_short(folder: Path) -> None:
    wheel = wheels.write(folder, "bad", "1.0")
    wheel.write_bytes(wheel.read_bytes()[:-40])


def flipped(folder: Path) -> None:
    wheel = wheels.write(folder, "bad", "1.0")
    wheel.write_bytes(wheel.read_bytes().replace(b"Metadata-Version", b"Metadata+Version"))


def no_metadata(folder: Path) -> None:
    with zipfile.ZipFile(folder / "bad-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("bad.py", "")


def other_name(folder: Path) -> None:
    wheels.write(folder, "bad", "1.0", metadata="Name: good\nVersion: 1.0\n")


def other_version(folder: Path) -> None:
    wheels.write(folder, "bad", "1.0", metadata="Name: bad\nVersion: 1.0+rocm722\n")


def other_folder(folder: Path) -> None:
    """METADATA and file name agree; the folder pip looks for does not."""
    rewritten(folder, lambda name: name.replace("bad-1.0.dist-info", "good-2.0.dist-info"))


def no_record(folder: Path) -> None:
    rewritten(folder, lambda name: "" if name.endswith("/RECORD") else name)


def path_that_leaves(folder: Path) -> None:
    rewritten(folder, lambda name: "../../etc/bad.py" if name == "bad.py" else name)


def rewritten(folder: Path, rename: Callable[[str], str]) -> None:
    """A wheel whose members have other names; an empty one is left out."""
    wheel = wheels.write(folder, "bad", "1.0")
    with zipfile.ZipFile(wheel) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in members.items():
            if rename(name):
                archive.writestr(rename(name), data)


def other_rocm(folder: Path) -> None:
    wheels.write(folder / "rocm10", "bad", "1.0+rocm.7.2")


def cuda_among_rocm(folder: Path) -> None:
    wheels.write(folder / "rocm7.2" / "sub", "bad", "1.0+cu129")


def renamed(folder: Path) -> None:
    wheels.write(folder, "bad", "1.0", "cp312-cp312-manylinux_2_28_x86_64", tags=("cp312-cp312-linux_x86_64",))


def bad_range(folder: Path) -> None:
    wheels.write(folder, "bad", "1.0", requires_python="python 3")


def no_wheel_name(folder: Path) -> None:
    (folder / "notes.whl").write_text("x")


def bomb(folder: Path) -> None:
    wheel = wheels.write(folder, "bad", "1.0")
    with zipfile.ZipFile(wheel, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(80 << 20))


def metadata_bomb(folder: Path) -> None:
    with zipfile.ZipFile(folder / "bad-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bad-1.0.dist-info/METADATA", bytes(17 << 20))
        archive.writestr("bad-1.0.dist-info/WHEEL", "")
        archive.writestr("bad-1.0.dist-info/RECORD", "")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "bad-1.0-py3-none-any.whl")


def folder_called_so(folder: Path) -> None:
    (folder / "bad-1.0-py3-none-any.whl").mkdir()


def same_twice(folder: Path) -> None:
    wheels.write(folder / "x", "My.Pkg", "1.0")
    wheels.write(folder, "my-pkg", "1.0")


def overlapping(folder: Path) -> None:
    wheels.write(folder, "bad", "1.0", "py2.py3-none-any")
    wheels.write(folder, "bad", "1.0", "py3-none-any")


def clash(folder: Path) -> None:
    wheels.write(folder, "rocm10", "1.0")
    wheels.write(folder, "bad", "1.0+rocm.10.0")


def yanks_nothing(folder: Path) -> None:
    (folder / "index.yaml").write_text("schema: 1\nyanked: {gone-1.0-py3-none-any.whl: broken}\n")


CONTRACT: dict[Callable[[Path], None], str] = {
    not_a_zip: "not-a-zip",
    empty: "empty-wheel",
    cut_short: "not-a-zip",
    flipped: "broken-wheel",
    no_metadata: "no-dist-info",
    no_record: "no-record",
    bomb: "wheel-bomb",
    metadata_bomb: "wheel-bomb",
    path_that_leaves: "unsafe-path",
    other_name: "wheel-disagrees",
    other_version: "wheel-disagrees",
    other_folder: "wheel-disagrees",
    other_rocm: "wheel-disagrees",
    cuda_among_rocm: "wheel-disagrees",
    renamed: "wheel-disagrees",
    bad_range: "wheel-disagrees",
    no_wheel_name: "wheel-name",
    pipe: "wheel-unreadable",
    folder_called_so: "wheel-unreadable",
    same_twice: "wheel-twice",
    overlapping: "wheel-twice",
    clash: "name-clash",
    yanks_nothing: "nothing-to-yank",
}
OF_THE_PLACE = {"wheel-twice", "name-clash", "nothing-to-yank", "wheel-name"}
"""Problems of more than one file, or of a name alone."""


@pytest.mark.parametrize("spoil", CONTRACT, ids=lambda spoil: spoil.__name__)
def test_one_bad_wheel_and_the_old_index_stays(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    wheels.write(tmp_path)
    make(tmp_path)
    before = tree(tmp_path)
    wheels.write(tmp_path, "fine", "1.0")
    spoil(tmp_path)
    with pytest.raises(ContractError) as caught:
        make(tmp_path)
    assert {problem.reference for problem in caught.value.problems} == {CONTRACT[spoil]}
    assert all(problem.hint for problem in caught.value.problems)
    if CONTRACT[spoil] not in OF_THE_PLACE:
        assert {(tmp_path / str(problem.place)).exists() for problem in caught.value.problems} == {True}
        assert all("move it elsewhere" in problem.hint for problem in caught.value.problems)
    assert tree(tmp_path) == before
    assert not list(tmp_path.rglob("bad-*.metadata"))


def test_two_builds_of_one_version_are_two_files(tmp_path: Path) -> None:
    for build in ("1", "2"):
        wheels.write(tmp_path, "one", "1.0", f"{build}-py3-none-any", tags=("py3-none-any",))
    assert make(tmp_path).entries == 2


def test_a_folder_of_its_own_rocm_and_a_wheel_without_a_label_agree(tmp_path: Path) -> None:
    wheels.write(tmp_path / "rocm7.2.1", "one", "1.0+rocm.7.2.3")
    wheels.write(tmp_path / "rocm7.2", "helper", "1.0")
    wheels.write(tmp_path / "rocm-wheels", "two", "1.0+rocm.10.0")
    assert make(tmp_path).entries == 3


def test_a_wheel_hosted_elsewhere_must_agree_with_its_folder_too(tmp_path: Path) -> None:
    wheels.write(tmp_path)
    url = "https://wheels.example/rocm10/torch-2.9+rocm7.2.1-cp312-cp312-linux_x86_64.whl"
    (tmp_path / "index.yaml").write_text(f"schema: 1\nexternal: [{{url: '{url}', sha256: {'a' * 64}}}]\n")
    with pytest.raises(ConfigError, match="it lies in the folder rocm10") as caught:
        make(tmp_path)
    assert caught.value.problems[0].place


def test_all_bad_wheels_are_named_at_once(tmp_path: Path) -> None:
    for spoil in (not_a_zip, no_wheel_name):
        spoil(tmp_path)
    with pytest.raises(ContractError) as caught:
        make(tmp_path)
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "simple").exists()
