"""`audit` from the command line to the exit code: text, document, and every way it can be asked wrongly."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from ci import command_line
from ci.world import process
from ci.world.ledger import Ledger
from ci.world.process import Command, Finished
from tests.unit import audit_makers as make


def ran(*words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = command_line.run(["audit", *words], out, err)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def library(tmp_path: Path) -> str:
    path = tmp_path / "lib.so"
    path.write_bytes(make.sample("two-sources.so"))
    return str(path)


def test_the_text_names_files_targets_and_kernels(library: str) -> None:
    code, out, _ = ran(library, "--arch", "gfx90a;gfx942;gfx950")
    assert code == 0
    assert "gfx90a gfx942 gfx950" in out
    assert "(6 code objects, compressed)" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["kernel", "target", "VGPR", "AGPR", "SGPR", "LDS", "scratch", "spills"] in rows
    assert any(row[:2] == ["lds", "gfx942"] and row[5] == "256" for row in rows if len(row) > 5)
    assert "kept   archs" in out
    assert out.splitlines()[-1].startswith("ok: ")


def test_a_missing_target_is_exit_3(library: str) -> None:
    code, out, _ = ran(library, "--arch", "gfx942,MI355X,gfx1100")
    assert code == 3
    assert "BROKEN archs: lib.so: no device code for gfx1100" in out
    assert out.splitlines()[-1].startswith("BROKEN: 1 finding")


def test_the_document_has_everything(library: str) -> None:
    code, out, err = ran(library, "--arch", "gfx942;gfx1100", "--json", "--allow", "archs:lib.so=later")
    document: dict[str, Any] = json.loads(out)
    assert (code, document["outcome"], err) == (0, "ok", "")
    (part,) = document["parts"]
    assert part["files"][0]["targets"] == ["gfx90a", "gfx942", "gfx950"]
    assert len(part["files"][0]["objects"]) == 6
    assert {"name", "vgprs", "lds", "vgpr_spills"} <= set(part["files"][0]["objects"][0]["kernels"][0])
    archs = next(rule for rule in part["rules"] if rule["rule"] == "archs")
    assert (archs["state"], archs["allowed"][0]["reason"]) == ("kept", "later")


def test_an_exception_is_shown_with_its_reason(library: str) -> None:
    code, out, _ = ran(library, "--arch", "gfx1100", "--allow", "archs:lib.so=not yet", "--allow", "tags:x=stale")
    assert code == 0
    assert "allowed, not yet: lib.so: no device code" in out
    assert "exception that covers nothing: tags:x" in out


def test_names_in_a_file_cannot_play_with_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "x.hsaco"
    path.write_bytes(make.sample("gfx942.hsaco").replace(b"\xa5.name\xa3lds", b"\xa5.name\xa3\x1b[A"))
    code, out, _ = ran(str(path))
    assert code == 0
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("name", "data", "words", "code", "reference"),
    [
        ("none.so", None, (), 2, "no-file"),
        ("notes.txt", b"hello", (), 2, "cannot-audit"),
        ("a.hsaco", b"", (), 3, "not-a-binary"),
        ("a.hsaco", make.sample("gfx942.hsaco")[:1000], (), 3, "broken-binary"),
        ("a.whl", b"", (), 3, "empty-wheel"),
        ("a.whl", b"hello", (), 3, "not-a-zip"),
        ("a.hsaco", make.sample("gfx942.hsaco"), ("--arch", "gfx94a"), 2, "unknown-arch"),
        ("a.hsaco", make.sample("gfx942.hsaco"), ("--arch", ""), 2, "empty-value"),
        ("a.hsaco", make.sample("gfx942.hsaco"), ("--budget-mb", "many"), 2, "wrong-value"),
        ("a.hsaco", make.sample("gfx942.hsaco"), ("--budget-mb", "0"), 2, "wrong-value"),
        ("a.hsaco", make.sample("gfx942.hsaco"), ("--import", "a-b"), 2, "bad-module"),
        ("a.hsaco", make.sample("gfx942.hsaco"), ("--allow", "nothing"), 2, "bad-pair"),
        ("a.hsaco", make.sample("gfx942.hsaco"), ("--allow", "arch:x=why"), 2, "unknown-rule"),
    ],
)
def test_bad_input(
    tmp_path: Path, *, name: str, data: bytes | None, words: tuple[str, ...], code: int, reference: str
) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    ended, out, err = ran(str(path), *words)
    assert (ended, out) == (code, "")
    assert f"[{reference}]" in err
    assert "Traceback" not in err


def test_the_environment_of_an_import_stands_in_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    monkeypatch.setenv("ROCM_CI_STATE", str(state))
    seen = []

    def run(command: Command) -> Finished:
        (ledger,) = (Ledger(folder) for folder in (state / "runs").iterdir())
        seen.append([thing.kind for thing in ledger.open_things()])
        assert command.cwd == ledger.folder / "environment"
        assert command.cwd.is_dir()
        return Finished(command, 0, "", "")

    monkeypatch.setattr(process, "run", run)
    code, out, _ = ran(str(make.wheel(tmp_path)), "--import", "probe")
    assert (code, seen) == (0, [["folder"]] * 4)
    assert "kept   imports" in out
    (folder,) = (state / "runs").iterdir()
    assert Ledger(folder).open_things() == ()
    assert sorted(path.name for path in folder.iterdir()) == ["ledger.jsonl", "result.json"]
