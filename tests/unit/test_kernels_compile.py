"""What is compiled, what is reused, and that nothing half-made is ever handed out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ci.errors import CiError, ContractError, EmptyError, FailedError, InfraError, Outcome
from ci.kernels import job
from ci.kernels.cache import LIMIT, Cache, Digests
from ci.kernels.job import Outside, Result
from ci.report import compiles
from ci.world import files
from ci.world.ledger import Ledger
from tests.unit.fake_compiler import Compiler, Screen, project, settings

BOTH = "gfx942;gfx950"


class Desk:
    """One user with one project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = project(folder)
        self.compiler = Compiler()
        self.screen = Screen()
        self.runs = 0

    def request(self, arch: str = BOTH, **more: str) -> job.Request:
        return job.read(settings(self.folder, **more), str(self.root), arch, str(self.folder / "out"))

    def outside(self) -> Outside:
        return Outside(self.compiler.run, self.compiler.run_all)

    def run(self, arch: str = BOTH, **more: str) -> Result:
        self.runs += 1
        self.compiler.compiled.clear()
        request = self.request(arch, **more)
        ledger = Ledger.begin(files.state(str(request.state)), f"run-{self.runs}", "hip-compile")
        screen: Any = self.screen
        try:
            return job.perform(request, ledger, screen, self.outside())
        finally:
            assert ledger.open_things() == ()
            assert not (ledger.folder / "objects").exists()

    def again(self, arch: str = BOTH, **more: str) -> list[tuple[str, str]]:
        """What the next run compiles."""
        self.run(arch, **more)
        return sorted(self.compiler.compiled)

    def edit(self, name: str, text: str) -> None:
        path = self.root / name
        path.write_text(path.read_text() + text if path.exists() else text)

    @property
    def out(self) -> dict[str, bytes]:
        found = sorted((self.folder / "out").rglob("*.hsaco"))
        return {str(path.relative_to(self.folder / "out")): path.read_bytes() for path in found}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


ALL = [("src/one.hip", "gfx942"), ("src/one.hip", "gfx950"), ("src/two.hip", "gfx942"), ("src/two.hip", "gfx950")]
TWO = ALL[2:]


def test_everything_once_and_then_nothing(desk: Desk) -> None:
    first = desk.run()
    assert sorted(desk.compiler.compiled) == ALL
    assert sorted(desk.out) == ["gfx942/one.hsaco", "gfx942/two.hsaco", "gfx950/one.hsaco", "gfx950/two.hsaco"]
    assert (first.written, [row.cached for row in first.rows]) == (4, [False] * 4)
    second = desk.run()
    assert desk.compiler.compiled == []
    assert (second.written, [row.cached for row in second.rows]) == (0, [True] * 4)
    assert [row.kernels for row in second.rows] == [row.kernels for row in first.rows]


def test_a_header_recompiles_what_includes_it_and_a_touch_nothing(desk: Desk) -> None:
    desk.run()
    os.utime(desk.root / "include/both.h", (1, 1))
    assert desk.again() == []
    desk.edit("include/second.h", "// more\n")
    assert desk.again() == TWO
    desk.edit("include/both.h", "// more\n")
    assert desk.again() == ALL


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_header_of_the_system_is_an_input_too(desk: Desk, tmp_path: Path, wrapped: bool) -> None:
    """The compiler includes one before every source, which ccache does not list."""
    if wrapped:
        with_ccache(desk)
    header = tmp_path / "hip_runtime.h"
    header.write_text("// 7.0\n")
    desk.compiler.system = str(header)
    desk.run()
    assert desk.again() == []
    header.write_text("// 7.1\n")
    assert sorted(set(desk.again()) & set(ALL)) == ALL


def test_the_largest_source_is_begun_first(desk: Desk) -> None:
    desk.edit("src/two.hip", "// " + "x" * 1000)
    desk.edit("src/big.hip", "// " + "x" * 5000)
    desk.run()
    assert [source for source, _ in desk.compiler.compiled[::2]] == ["src/big.hip", "src/two.hip", "src/one.hip"]
    assert [row.source for row in desk.run().rows[::2]] == ["src/big.hip", "src/one.hip", "src/two.hip"]


def test_going_back_is_free(desk: Desk) -> None:
    desk.run()
    before = desk.out
    text = (desk.root / "include/second.h").read_text()
    desk.edit("include/second.h", "// more\n")
    assert desk.again() == TWO
    (desk.root / "include/second.h").write_text(text)
    assert desk.again() == []
    assert desk.out == before


@pytest.mark.parametrize(
    "change",
    [
        lambda desk: desk.edit("src/one.hip", "// more\n"),
        lambda desk: desk.edit("pyproject.toml", "# a comment\n"),
        lambda desk: setattr(desk.compiler, "version", "2"),
        lambda desk: desk.edit("include/new.h", ""),
    ],
    ids=["source", "nothing", "compiler", "a header that could be found first"],
)
def test_inputs(desk: Desk, change: Any, request: pytest.FixtureRequest) -> None:
    desk.run()
    change(desk)
    case = request.node.callspec.id
    wanted = {"source": ALL[:2], "nothing": []}.get(case, ALL)
    assert desk.again() == wanted


def test_a_new_source_is_all_that_is_compiled(desk: Desk) -> None:
    desk.run()
    desk.edit("src/three.hip", "__global__ void three() {}\n")
    assert desk.again() == [("src/three.hip", "gfx942"), ("src/three.hip", "gfx950")]


def test_flags_and_archs_are_inputs(desk: Desk) -> None:
    desk.run("gfx942")
    assert desk.again(BOTH) == [ALL[1], ALL[3]]
    text = (desk.root / "pyproject.toml").read_text()
    (desk.root / "pyproject.toml").write_text(text.replace("-O2", "-O3"))
    assert desk.again() == ALL


def test_jobs_and_place_are_no_inputs(desk: Desk) -> None:
    desk.run()
    desk.root = desk.root.rename(desk.folder / "moved")
    assert desk.again(MAX_JOBS="1") == []


def test_an_object_of_a_source_that_is_gone_goes_too(desk: Desk) -> None:
    desk.run()
    (desk.folder / "out/gfx942/mine.hsaco").write_bytes(b"somebody else's")
    (desk.root / "src/two.hip").unlink()
    desk.run("gfx942")
    assert sorted(desk.out) == ["gfx942/mine.hsaco", "gfx942/one.hsaco"]


def test_a_truncated_object_is_compiled_again(desk: Desk) -> None:
    desk.run()
    before = desk.out
    kept = sorted((desk.folder / "state").rglob("objects/*/*.hsaco"))
    assert len(kept) == 4
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    kept[1].unlink()
    assert len(desk.again()) == 2
    assert desk.out == before
    for path in (desk.folder / "state").rglob("units/*/*.json"):
        path.write_bytes(path.read_bytes()[:50])
    assert desk.again() == ALL


def test_an_error_is_told_once_per_file_and_the_rest_is_kept(desk: Desk) -> None:
    said = "src/two.hip:2:5: error: expected ';'\n    2 | x\n1 error generated when compiling for {}.\n"
    for arch in ("gfx942", "gfx950"):
        desk.compiler.ends["src/two.hip", arch] = (1, said.format(arch))
    with pytest.raises(FailedError) as caught:
        desk.run()
    (problem,) = caught.value.problems
    assert problem.message == "src/two.hip does not compile for gfx942, gfx950"
    assert problem.context.count("expected ';'") == 1
    assert (str(problem.place), caught.value.outcome) == ("src/two.hip:2:5", Outcome.FAILED)
    assert desk.out == {}, "all or nothing"
    desk.compiler.ends.clear()
    assert desk.again() == TWO


def test_errors_that_differ_by_arch_are_all_told(desk: Desk) -> None:
    desk.compiler.ends["src/one.hip", "gfx942"] = (1, "src/one.hip:1:1: error: no such builtin\n")
    desk.compiler.ends["src/one.hip", "gfx950"] = (1, "src/one.hip:2:1: error: too much LDS\n")
    with pytest.raises(FailedError) as caught:
        desk.run()
    context = caught.value.problems[0].context
    assert all(each in context for each in ("for gfx942:", "no such builtin", "for gfx950:", "too much LDS"))


@pytest.mark.parametrize(
    "end",
    [(137, ""), (-9, ""), (1, "clang++: error: unable to execute command: Killed\n")],
    ids=["docker", "signal", "driver"],
)
def test_a_killed_compiler_is_probably_memory(desk: Desk, end: tuple[int, str]) -> None:
    desk.compiler.ends["src/one.hip", "gfx950"] = end
    with pytest.raises(InfraError) as caught:
        desk.run()
    (problem,) = caught.value.problems
    assert problem.message == "src/one.hip: the compiler was killed, probably memory, for gfx950"
    assert "MAX_JOBS" in problem.hint
    desk.edit("src/two.hip", "// more\n")
    desk.compiler.ends["src/two.hip", "gfx950"] = (1, "src/two.hip:1:1: error: x\n")
    with pytest.raises(FailedError) as both:
        desk.run()
    assert [each.reference for each in both.value.problems] == ["compile-failed", "killed"]


def test_an_object_for_another_arch_never_enters_the_cache(desk: Desk) -> None:
    desk.compiler.other["gfx950"] = "gfx90a"
    with pytest.raises(ContractError, match="is a code-object for gfx90a") as caught:
        desk.run()
    assert len(caught.value.problems) == 2
    desk.compiler.other.clear()
    assert desk.again() == [ALL[1], ALL[3]]


def test_an_edit_between_plan_and_compile_is_never_cached(desk: Desk) -> None:
    said = desk.screen.say

    def say(text: str) -> None:
        if text.startswith("compiling"):
            desk.edit("src/one.hip", "// x\n")
        said(text)

    desk.screen.say = say  # type: ignore[method-assign]
    with pytest.raises(InfraError, match=r"src/one\.hip was edited while"):
        desk.run("gfx942")
    desk.screen.say = said  # type: ignore[method-assign]
    assert ("src/one.hip", "gfx942") in desk.again("gfx942")


@pytest.mark.parametrize("name", ["src/one.hip", "include/both.h"])
def test_an_edit_in_mid_compile_is_never_cached(desk: Desk, name: str) -> None:
    desk.compiler.before = lambda source: desk.edit(name, "// x\n") if source == "src/one.hip" else None
    with pytest.raises(InfraError, match="was edited while"):
        desk.run("gfx942")
    desk.compiler.before = lambda _source: None
    compiled = desk.again("gfx942")
    assert ("src/one.hip", "gfx942") in compiled
    (desk.folder / "fresh").mkdir()
    fresh = Desk(desk.folder / "fresh")
    (fresh.root / name).write_text((desk.root / name).read_text())
    fresh.run("gfx942")
    assert fresh.out == desk.out


def with_ccache(desk: Desk) -> None:
    settings(desk.folder)
    ccache = desk.folder / "bin" / "ccache"
    ccache.write_text("#!/bin/sh\n")
    ccache.chmod(0o755)


def test_a_compiler_cache_changes_nothing_but_who_is_asked(desk: Desk) -> None:
    desk.run()
    before = desk.out
    with_ccache(desk)
    assert desk.again() == [], "objects are known by the compiler, not by what stands in front of it"
    desk.edit("include/second.h", "// more\n")
    result = desk.run()
    assert sorted(set(desk.compiler.compiled) & set(ALL)) == TWO
    assert result.wrapper is not None
    assert result.wrapper.name == "ccache"
    assert desk.compiler.env
    assert desk.compiler.env["CCACHE_COMPILERCHECK"] == f"string:{result.compiler.identity}", "hipcc only wraps it"
    assert desk.again() == []
    desk.edit("include/second.h", "// and more\n")
    assert sorted(set(desk.again()) & set(ALL)) == TWO
    assert desk.out.keys() == before.keys()


def test_the_plan_writes_nothing(desk: Desk) -> None:
    seen = job.outlook(desk.request(), desk.screen.say, desk.outside())
    assert [unit.hit for unit in seen.units] == [None] * 4
    assert not (desk.folder / "state").exists()
    assert not (desk.folder / "out").exists()
    assert "would compile 4 of 4 objects" in compiles.planned(seen).text
    desk.run()
    desk.edit("include/second.h", "// more\n")
    seen = job.outlook(desk.request(), desk.screen.say, desk.outside())
    assert [bool(unit.hit) for unit in seen.units] == [True, True, False, False]
    decisions = [row["decision"] for row in compiles.planned(seen).document["objects"]]
    assert decisions == ["cached", "cached", "compile", "compile"]


def test_the_report_has_a_line_per_kernel(desk: Desk) -> None:
    answer = compiles.answer(desk.run())
    assert [row["object"] for row in answer.document["objects"]] == [
        "gfx942/one.hsaco",
        "gfx950/one.hsaco",
        "gfx942/two.hsaco",
        "gfx950/two.hsaco",
    ]
    kernels = answer.document["objects"][0]["kernels"]
    assert kernels
    assert all(kernel["name"] in answer.text for kernel in kernels)
    assert answer.text.splitlines()[0].split()[:4] == ["file", "arch", "time", "size"]
    again = compiles.answer(desk.run())
    assert all(row["cached"] and row["seconds"] == 0 < row["saved_seconds"] for row in again.document["objects"])


def test_warnings_are_shown(desk: Desk) -> None:
    desk.compiler.warning = "src/one.hip:1:1: warning: unused\n"
    desk.run()
    shown = [line for line in desk.screen.lines if line.startswith("warnings for src/one.hip, gfx942, gfx950:")]
    assert len(shown) == 1
    assert "warning: unused" in shown[0]


def refused(desk: Desk, arch: str = BOTH) -> dict[str, str]:
    with pytest.raises(CiError) as caught:
        desk.run(arch)
    return {problem.reference: f"{problem.message} {problem.hint}" for problem in caught.value.problems}


def test_bad_input_stops_before_anything_is_asked(desk: Desk) -> None:
    assert "did you mean gfx942 or gfx90a?" in refused(desk, "gfx94a")["unknown-arch"]
    assert "native-arch" in refused(desk, "native")
    (desk.root / "pyproject.toml").write_text("[tool.rocm-ci.kernels]\ninclud = []\n")
    (desk.root / "src/with space.hip").write_text("")
    (desk.root / "one.hip").write_text("")
    found = refused(desk, "gfx94a")
    assert found.keys() == {"unknown-key", "unknown-arch"}
    (desk.root / "pyproject.toml").write_text('[tool.rocm-ci.kernels]\ninclude = [".."]\nflags = ["-oelsewhere"]\n')
    assert refused(desk).keys() == {"odd-name", "name-clash", "no-include", "owned-flag"}
    assert not (desk.folder / "state").exists()


def test_no_source_is_no_success(desk: Desk) -> None:
    for path in desk.root.rglob("*.hip"):
        path.unlink()
    with pytest.raises(EmptyError):
        desk.run()


def test_somebody_elses_cache_is_not_trusted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.run()
    assert desk.request().folder.stat().st_mode & 0o777 == 0o700, "nobody else may write there"
    monkeypatch.setattr("ci.kernels.cache.os.geteuid", lambda: 12345)
    assert "foreign-cache" in refused(desk)


def test_the_cache_does_not_grow_without_end(desk: Desk) -> None:
    desk.run()
    kept = sorted((desk.folder / "state").rglob("objects/*/*.hsaco"))
    os.utime(kept[2], (1, 1))
    size = sum(path.stat().st_size for path in kept)
    cache = Cache(kept[0].parents[2], Digests(desk.root))
    assert cache.prune(size - 1) == 1
    assert not kept[2].exists()
    large = kept[0].with_name("f" * 64 + ".hsaco")
    large.touch()
    os.truncate(large, LIMIT + 1)
    os.utime(large, (1, 1))
    assert len(desk.again()) == 1
    assert not large.exists(), "a run that compiles something tidies up"
