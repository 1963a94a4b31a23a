"""The package index of a folder: its pages, what it refuses, and that a stop anywhere leaves a good one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import pytest

from ci.errors import CiError, ConfigError, ContractError, EmptyError, InfraError
from ci.wheels import growth, index, install
from ci.wheels.index import Result
from ci.world.clock import Clock
from ci.world.store import Folder
from tests import wheels


class Later(Clock):
    """A clock an hour ahead: every file is old enough to be trusted."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(hours=1)

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        del seconds


def make(folder: Path, **options: Any) -> Result:
    return index.make(Folder(folder), print, clock=Later(), **options)


def page(folder: Path, path: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "simple" / path / "index.json").read_text())
    return document


def links(folder: Path, path: str) -> dict[str, str]:
    """Text to link target of an HTML page."""
    html = (folder / "simple" / path / "index.html").read_text()
    return {text: unescape(link) for link, text in re.findall(r'<a href="([^"]*)"[^>]*>([^<]*)</a>', html)}


def tree(folder: Path) -> dict[str, bytes]:
    """Every page that is served."""
    base = folder / "simple"
    return {str(path.relative_to(base)): path.read_bytes() for path in sorted(base.rglob("*.*")) if path.is_file()}


def assert_sound(folder: Path) -> None:
    """Every link leads to a file with the digest it names, every page is where a page says it is."""
    base = folder / "simple"
    for html in base.rglob("index.html"):
        at = f"/{html.parent.relative_to(folder)}/" if html.parent != base else "/simple/"
        for text, link in links(folder, str(html.parent.relative_to(base))).items():
            target, _, digest = urljoin(at, link).partition("#sha256=")
            if not digest:
                assert (folder / target.lstrip("/") / "index.html").is_file()
                continue
            file = folder / unquote(target).lstrip("/")
            assert file.name == text
            assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
            assert file.with_name(file.name + ".metadata").is_file()


def test_a_page_says_all_that_an_installer_wants(tmp_path: Path) -> None:
    wheel = wheels.write(tmp_path, requires_python=">=3.9,<4")
    (tmp_path / "index.yaml").write_text(f'schema: 1\nyanked:\n  {wheel.name}: "wrong & <bad>"\n')
    make(tmp_path)
    html = (tmp_path / "simple/rocm-probe/index.html").read_text()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    beside = wheel.with_name(wheel.name + ".metadata").read_bytes()
    assert "Version: 0.1.0+rocm.7.2" in beside.decode()
    said = hashlib.sha256(beside).hexdigest()
    assert f'href="../../rocm_probe-0.1.0%2Brocm.7.2-py3-none-any.whl#sha256={digest}"' in html
    assert 'data-requires-python="&gt;=3.9,&lt;4"' in html
    assert f'data-core-metadata="sha256={said}" data-dist-info-metadata="sha256={said}"' in html
    assert 'data-yanked="wrong &amp; &lt;bad&gt;"' in html
    assert '<meta name="pypi:repository-version" content="1.0">' in html
    assert page(tmp_path, "rocm-probe") == {
        "meta": {"api-version": "1.1"},
        "name": "rocm-probe",
        "versions": ["0.1.0+rocm.7.2"],
        "files": [
            {
                "filename": wheel.name,
                "url": "../../rocm_probe-0.1.0%2Brocm.7.2-py3-none-any.whl",
                "hashes": {"sha256": digest},
                "size": wheel.stat().st_size,
                "requires-python": ">=3.9,<4",
                "core-metadata": {"sha256": said},
                "yanked": "wrong & <bad>",
            }
        ],
    }


def test_names_are_normalised_and_folders_searched(tmp_path: Path) -> None:
    wheels.write(tmp_path / "a" / "b", "Triton_Kernels.Extra", "1.0")
    wheels.write(tmp_path / ".hidden", "secret", "1.0")
    make(tmp_path)
    assert links(tmp_path, "") == {"triton-kernels-extra": "triton-kernels-extra/"}
    assert_sound(tmp_path)


def test_variants_hold_their_own_wheels_and_those_that_fit_all(tmp_path: Path) -> None:
    wheels.write(tmp_path, version="1.0+rocm.7.2.1")
    wheels.write(tmp_path, version="1.0+rocm.10.0")
    wheels.write(tmp_path, "helper", "3.0")
    wheels.write(tmp_path, "torch", "2.9+cu129")
    result = make(tmp_path)
    assert result.variants == ("rocm10", "rocm7.2")
    assert page(tmp_path, "")["_variants"] == ["rocm10", "rocm7.2"]
    assert [item["name"] for item in page(tmp_path, "")["projects"]] == ["helper", "rocm-probe", "torch"]
    assert [item["name"] for item in page(tmp_path, "rocm7.2")["projects"]] == ["helper", "rocm-probe"]
    assert page(tmp_path, "rocm7.2/rocm-probe")["versions"] == ["1.0+rocm.7.2.1"]
    assert page(tmp_path, "rocm10/rocm-probe")["versions"] == ["1.0+rocm.10.0"]
    assert_sound(tmp_path)


def test_wheels_hosted_elsewhere(tmp_path: Path) -> None:
    wheels.write(tmp_path)
    digest = "a" * 64
    (tmp_path / "index.yaml").write_text(
        "schema: 1\nexternal:\n"
        "  - url: https://wheels.example/x/torch-2.9+rocm7.2.1-cp312-cp312-linux_x86_64.whl\n"
        f"    sha256: {digest}\n    requires-python: '>=3.12'\n"
    )
    make(tmp_path)
    (file,) = page(tmp_path, "rocm7.2/torch")["files"]
    assert file["url"] == "https://wheels.example/x/torch-2.9%2Brocm7.2.1-cp312-cp312-linux_x86_64.whl"
    assert file["hashes"] == {"sha256": digest}
    assert page(tmp_path, "torch")["meta"]["api-version"] == "1.0", "1.1 promises a size, which nobody told"


def test_nothing_is_read_twice_and_stale_entries_go(tmp_path: Path) -> None:
    old = wheels.write(tmp_path)
    wheels.write(tmp_path, version="0.2.0+rocm.7.2")
    assert make(tmp_path).read == 2
    again = make(tmp_path)
    assert (again.read, again.new, again.gone) == (0, (), ())
    old.unlink()
    result = make(tmp_path)
    assert (result.read, result.gone) == (0, (old.name,))
    assert make(tmp_path).gone == ()
    assert not old.with_name(old.name + ".metadata").exists()
    assert page(tmp_path, "rocm-probe")["versions"] == ["0.2.0+rocm.7.2"]
    assert_sound(tmp_path)


def test_a_wheel_too_young_to_trust_is_read_again(tmp_path: Path) -> None:
    wheels.write(tmp_path)
    store = Folder(tmp_path)
    assert [index.make(store, print).read for _ in range(2)] == [1, 1]


def test_metadata_that_was_touched_is_written_anew(tmp_path: Path) -> None:
    wheel = wheels.write(tmp_path)
    make(tmp_path)
    beside = wheel.with_name(wheel.name + ".metadata")
    good = beside.read_bytes()
    beside.write_bytes(good[::-1])
    assert make(tmp_path).read == 1
    assert beside.read_bytes() == good


@pytest.mark.parametrize("runs", [1, 2])
def test_a_page_that_was_damaged_or_removed_is_mended(tmp_path: Path, runs: int) -> None:
    wheel = wheels.write(tmp_path)
    make(tmp_path)
    before = tree(tmp_path)
    served = (tmp_path / "simple/rocm-probe").resolve()
    time.sleep(0.02)  # the file system's clock moves on
    (served / "index.html").write_text("x")
    (served / "index.json").unlink()
    for number in range(runs - 1):
        wheels.write(tmp_path, version=f"9.{number}")
        make(tmp_path)
        (tmp_path / f"rocm_probe-9.{number}-py3-none-any.whl").unlink()
    make(tmp_path)
    assert tree(tmp_path) == before
    assert wheel.is_file()


def test_other_bytes_under_an_indexed_name_are_noticed(tmp_path: Path) -> None:
    wheel = wheels.write(tmp_path)
    status = wheel.stat()
    make(tmp_path)
    before = tree(tmp_path)
    wheels.write(tmp_path, files={"more.py": ""})
    os.utime(wheel, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ContractError, match="is not the file that was indexed"):
        make(tmp_path)
    assert tree(tmp_path) == before
    assert make(tmp_path, replace=True).read == 1
    assert_sound(tmp_path)


def test_no_wheel_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(EmptyError):
        make(tmp_path)
    with pytest.raises(ConfigError, match="there is no folder"):
        Folder(tmp_path / "missing")


def test_a_folder_called_simple_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "simple").mkdir()
    with pytest.raises(ConfigError, match="was not made by this tool"):
        Folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema: 2\n", "must be 1"),
        ("schema: 1\nyank: {}\n", "has no key 'yank'"),
        ("schema: 1\nexternal: [{url: 'ftp://x/y.whl', sha256: z}]\n", "cannot be"),
        (f"schema: 1\nexternal: [{{url: 'https://x.example/y.whl', sha256: {'a' * 64}}}]\n", "not a wheel's name"),
    ],
)
def test_mistakes_in_index_yaml_have_a_place(tmp_path: Path, text: str, message: str) -> None:
    wheels.write(tmp_path)
    (tmp_path / "index.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        make(tmp_path)
    assert any(message in problem.message for problem in caught.value.problems)
    assert all(problem.place and problem.place.line for problem in caught.value.problems)


def test_notes_of_a_newer_tool_are_refused_broken_ones_made_anew(tmp_path: Path) -> None:
    wheels.write(tmp_path)
    make(tmp_path)
    notes = tmp_path / ".index" / "seen.json"
    notes.write_text(notes.read_text()[:-20])
    assert make(tmp_path).read == 1
    notes.write_text('{"schema": 2}')
    with pytest.raises(ConfigError, match="newer version"):
        make(tmp_path)
    assert notes.read_text() == '{"schema": 2}'


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    wheels.write(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = make(tmp_path, plan=True)
    assert (result.entries, len(result.new)) == (1, 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_adding_gives_the_index_that_making_gives(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    made = [
        wheels.write(two, version="1.0+rocm.7.2"),
        wheels.write(two, "helper", "1.0"),
        wheels.write(two, version="1.1+rocm.7.2"),
        wheels.write(two, version="1.1+rocm.10.0"),
    ]
    make(two)
    one.mkdir()
    for wheel in made:
        growth.add(Folder(one), [wheel], print)
        assert_sound(one)
    assert tree(one) == tree(two)
    before = tree(one)
    growth.add(Folder(one), [made[0]], print)
    assert tree(one) == before
    assert make(one).new == ()


def test_adding_checks_before_it_copies(tmp_path: Path) -> None:
    index_folder, new = tmp_path / "index", tmp_path / "new"
    wheels.write(index_folder)
    make(index_folder)
    before = sorted(index_folder.iterdir()), tree(index_folder)
    good = wheels.write(new, version="0.2.0+rocm.7.2")
    other = wheels.write(new, files={"x.py": ""})
    bad = wheels.write(new, "bad", "1.0", metadata="Name: x\nVersion: 1\n")
    for wrong, reference in ((other, "wheel-changed"), (bad, "wheel-disagrees"), (new / "none.whl", "no-file")):
        with pytest.raises(CiError) as caught:
            growth.add(Folder(index_folder), [good, wrong], print)
        assert caught.value.problems[0].reference == reference
        assert (sorted(index_folder.iterdir()), tree(index_folder)) == before
    growth.add(Folder(index_folder), [good, other], print, replace=True)
    assert_sound(index_folder)


def test_adding_what_lies_in_a_subfolder_keeps_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    inside = wheels.write(folder / "sub")
    make(folder)
    growth.add(Folder(folder), [wheels.write(tmp_path / "same")], print)
    assert sorted(folder.rglob("*.whl")) == [inside]
    assert make(folder).new == ()


def test_adding_never_overwrites_what_no_page_lists_yet(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    there = wheels.write(folder)
    before = there.read_bytes()
    other = wheels.write(tmp_path / "new", files={"x.py": ""})
    with pytest.raises(ContractError, match="is not the file that was indexed"):
        growth.add(Folder(folder), [other], print)
    assert there.read_bytes() == before


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"projects": []}'])
def test_adding_to_a_damaged_index_makes_it_anew(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "index"
    wheels.write(folder)
    make(folder)
    (folder / "simple/index.json").write_text(damage)
    growth.add(Folder(folder), [wheels.write(tmp_path / "new", version="0.2.0+rocm.7.2")], print)
    assert page(folder, "rocm-probe")["versions"] == ["0.1.0+rocm.7.2", "0.2.0+rocm.7.2"]
    assert page(folder, "")["_variants"] == ["rocm7.2"]
    assert_sound(folder)


@pytest.mark.parametrize("name", ["helper-1.0-py3-none-any.whl", "rocm_probe-0.1.0.tar.gz"])
def test_a_page_with_what_does_not_belong_on_it_is_made_anew(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "index"
    old = wheels.write(folder)
    wheels.write(folder, "helper", "1.0")
    make(folder)
    served = folder / "simple/rocm-probe/index.json"
    served.write_text(served.read_text().replace(old.name, name))
    growth.add(Folder(folder), [wheels.write(tmp_path / "new", version="0.2.0+rocm.7.2")], print)
    assert page(folder, "rocm-probe")["versions"] == ["0.1.0+rocm.7.2", "0.2.0+rocm.7.2"]
    assert [row["filename"] for row in page(folder, "helper")["files"]] == ["helper-1.0-py3-none-any.whl"]
    assert_sound(folder)


def test_adding_a_file_that_is_hosted_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    wheels.write(folder, version="0.1.0+rocm.7.2")
    new = wheels.write(tmp_path / "new", version="0.2.0+rocm.7.2")
    url = f"https://wheels.example/{new.name}"
    (folder / "index.yaml").write_text(f"schema: 1\nexternal: [{{url: '{url}', sha256: {'a' * 64}}}]\n")
    make(folder)
    with pytest.raises(ContractError) as caught:
        growth.add(Folder(folder), [new], print)
    assert "wheel-twice" in {problem.reference for problem in caught.value.problems}


def test_a_listed_wheel_that_vanished_drops_out_when_one_is_added(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    gone = wheels.write(folder)
    make(folder)
    gone.unlink()
    growth.add(Folder(folder), [wheels.write(tmp_path / "new", version="0.2.0+rocm.7.2")], print)
    assert page(folder, "rocm-probe")["versions"] == ["0.2.0+rocm.7.2"]


class Stopped(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("call", range(12))
def test_stopped_at_any_write_and_run_again_gives_the_same(
    tmp_path: Path, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, twin = tmp_path / "x", tmp_path / "twin"
    for place in (folder, twin):
        wheels.write(place)
        make(place)
        wheels.write(place, version="0.2.0+rocm.7.2")
        wheels.write(place, "helper", "1.0")
    make(twin)
    before, after = tree(folder), tree(twin)
    real, count = os.open, 0

    def stopping(path: str, flags: int, mode: int = 0o777) -> int:
        nonlocal count
        if flags & os.O_CREAT:
            count += 1
            if count > call:
                raise Stopped
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", stopping)
    with pytest.raises(Stopped):
        make(folder)
    monkeypatch.undo()
    assert tree(folder) == before, "the old index stays until the new one is whole"
    assert_sound(folder)
    make(folder)
    assert tree(folder) == after
    assert_sound(folder)
    assert not list((folder / ".index").glob("new-*"))


def test_killed_while_a_wheel_is_copied_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "index"
    wheels.write(folder)
    make(folder)
    new = wheels.write(tmp_path / "new", version="0.2.0+rocm.7.2")

    def half(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:50])
        os.link(target, folder / ".index" / "new-left")  # the file a kill would leave
        raise Stopped

    monkeypatch.setattr("shutil.copyfile", half)
    with pytest.raises(Stopped):
        growth.add(Folder(folder), [new], print)
    monkeypatch.undo()
    os.utime(folder / ".index" / "new-left", (0, 0))  # long ago: a younger one may be somebody's who is at work
    growth.add(Folder(folder), [new], print)
    assert page(folder, "rocm-probe")["versions"] == ["0.1.0+rocm.7.2", "0.2.0+rocm.7.2"]
    make(folder)
    assert not list((folder / ".index").glob("new-*"))
    assert_sound(folder)


def test_a_folder_that_never_rests_is_the_worlds_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels.write(tmp_path)
    count = iter(range(100))
    real = Folder.write

    def busy(self: Folder, path: str, data: bytes) -> None:
        real(self, path, data)
        wheels.write(tmp_path, "new", f"{next(count)}.0")

    monkeypatch.setattr(Folder, "write", busy)
    with pytest.raises(InfraError, match="come and go"):
        make(tmp_path)


def test_old_and_new_labels_side_by_side_are_mentioned(tmp_path: Path) -> None:
    wheels.write(tmp_path, version="1.0+rocm722")
    wheels.write(tmp_path, version="1.0+rocm.7.14")
    (notice,) = make(tmp_path).notices
    assert "takes the undotted one" in notice


def test_no_line_installs_a_yanked_wheel(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    good = wheels.write(folder, version="1.0+rocm.7.2")
    bad = [wheels.write(place, version="1.1+rocm.7.2") for place in (folder, tmp_path / "new")]
    (folder / "index.yaml").write_text(f"schema: 1\nyanked: {{{bad[0].name}: wrong}}\n")
    result = make(folder)
    assert {entry.filename for entry in result.new} == {good.name, bad[0].name}
    assert [line.requirement for line in install.lines(result.new, "https://x.example")] == ["rocm-probe==1.0+rocm.7.2"]
    added = growth.add(Folder(folder), [bad[1]], print)
    assert install.lines(added.new, "https://x.example") == []


def test_install_lines_pin_the_newest_of_each_variant(tmp_path: Path) -> None:
    for version in ("1.9+rocm.7.2", "1.10+rocm.7.2", "1.11.dev1+rocm.10.0"):
        wheels.write(tmp_path, version=version)
    made = install.lines(make(tmp_path).new, "https://wheels.example/rocm/")
    assert [line.requirement for line in made] == ["rocm-probe==1.11.dev1+rocm.10.0", "rocm-probe==1.10+rocm.7.2"]
    assert made[1].pip == (
        "pip install --extra-index-url https://wheels.example/rocm/simple/rocm7.2/ 'rocm-probe==1.10+rocm.7.2'"
    )
    assert made[1].uv.startswith("uv pip install --index https://wheels.example/rocm/simple/rocm7.2/ ")
