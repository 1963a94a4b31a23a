"""Secrets, GPU memory and processes as the files inside images read them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.unit.gpu_suite import module

masking, vram, processes = module("masking"), module("vram"), module("processes")


@pytest.mark.parametrize(
    "text",
    [
        "serve --api-key SECRET1234 --port 1", "serve --api-key=SECRET1234", "HF_TOKEN=SECRET1234 x",
        "--token SECRET1234", "AWS_SECRET_ACCESS_KEY=SECRET1234", "curl -H 'Authorization: Bearer SECRET1234'",
        "https://me:SECRET1234@host/x", "x hf_SECRET1234abc y", "AKIASECRET1234SECRET",
        "cifs //h/x username=a,password=SECRET1234,uid=0", "PASSWD: SECRET1234",
    ],
)  # fmt: skip
def test_secrets_are_hidden(text: str) -> None:
    assert "SECRET1234" not in masking.mask(text)
    assert masking.HIDDEN in masking.mask(text)


@pytest.mark.parametrize(
    "text", ["vllm serve /tmp/tiny --port=8000", "python -m pytest a.py::test_x", "pid=12 rss_mb=3"]
)
def test_other_text_is_left_alone(text: str) -> None:
    assert masking.mask(text) == text


def test_masking_reaches_inside() -> None:
    assert masking.mask_all({"a": [{"b": "--token x1"}], "n": 3, "none": None}) == {
        "a": [{"b": "--token ***"}],
        "n": 3,
        "none": None,
    }


ROW = {"gpu": 0, "mem_usage": {"used_vram": {"value": 285, "unit": "MB"}}}


@pytest.mark.parametrize(
    "text", [json.dumps([ROW]), json.dumps({"gpu_data": [ROW]}), "WARNING: old\n" + json.dumps([ROW], indent=1)]
)
def test_vram_of_either_form(text: str) -> None:
    assert vram.parse(text) == {0: 285.0}


def test_units_are_read() -> None:
    assert vram.megabytes({"value": 2, "unit": "GB"}) == 2048


@pytest.mark.parametrize("text", ["", "no gpus", "[{}]", '{"gpu_data": 3}', '[{"gpu": 0, "mem_usage": "N/A"}]'])
def test_unreadable_vram_is_unknown_and_not_nothing(text: str) -> None:
    with pytest.raises(vram.Unknown):
        vram.parse(text)


def test_vram_must_come_back() -> None:
    assert vram.held({0: 100.0, 1: 100.0}, {0: 150.0, 1: 90.0}) == ()
    assert vram.held({0: 100.0}, {0: 5000.0}) == ("GPU 0 holds 5000 MB, 100 MB before",)
    assert vram.held({0: 100.0}, {}) == ("GPU 0 is no longer listed",)


def plant(proc: Path, pid: int, name: str, parent: int, session: int, *, start: int = 5, state: str = "S") -> None:
    folder = proc / str(pid)
    folder.mkdir()
    fields = [state, parent, pid, session, *[0] * 15, start, 0, 3]
    (folder / "stat").write_text(f"{pid} ({name}) {' '.join(map(str, fields))}\n")
    (folder / "cmdline").write_bytes(name.encode() + b"\0--x\0")
    (folder / "environ").write_bytes(b"A=1\0WATCH=/x" if pid == 50 else b"A=1")
    (folder / "status").write_text(
        f"Name:\t{name}\nSigCgt:\t{'0000000000000200' if pid == 10 else '0000000000000100'}\n"
    )


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    plant(tmp_path, 10, "leader", 1, 10)
    plant(tmp_path, 11, "child) of (x", 10, 10)
    plant(tmp_path, 12, "moved", 11, 12)
    plant(tmp_path, 13, "orphan", 1, 10, state="Z")
    plant(tmp_path, 40, "stranger", 1, 40)
    plant(tmp_path, 50, "daemon", 1, 50, start=77)
    (tmp_path / "self").mkdir()
    return tmp_path


def test_a_process_is_read_even_with_a_wild_name(proc: Path) -> None:
    found = processes.read(11, proc)
    assert (found.parent, found.session, found.state, found.command) == (10, 10, "S", "child) of (x --x")
    assert processes.read(99, proc) is None


def test_a_family_is_session_children_and_the_known(proc: Path) -> None:
    seen = processes.table(proc)
    assert [each.pid for each in processes.family(seen, 10)] == [10, 11, 12, 13]
    known = processes.marked(seen, "WATCH=/x", proc)
    assert known == [processes.Name(50, 77)]
    assert [each.pid for each in processes.family(seen, 10, known)] == [10, 11, 12, 13, 50]
    assert [each.pid for each in processes.family(seen, 10, [processes.Name(40, 6)])] == [10, 11, 12, 13]
    assert [each.pid for each in processes.alive(processes.family(seen, 10))] == [10, 11, 12]


def test_only_who_hears_is_asked(proc: Path) -> None:
    assert processes.hears(10, 10, proc)
    assert not processes.hears(11, 10, proc)
    assert not processes.hears(99, 10, proc)


def test_nothing_inside_images_needs_the_task_runner() -> None:
    home = Path(__file__).resolve().parents[1] / "gpu"
    ours = re.compile(r"^\s*(?:from|import) (?:ci|tests)\b", re.MULTILINE)
    files = sorted(home.rglob("*.py"))
    assert files
    assert [path.name for path in files if ours.search(path.read_text())] == []
