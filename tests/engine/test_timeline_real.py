"""The timeline of real runs: what was measured, and that it is there however a run ends."""

from __future__ import annotations

import signal
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from ci.report.timeline import FILE
from ci.world import spans
from ci.world.spans import Span
from tests import plants
from tests.engine.conftest import Cli, Ran
from tests.engine.suite_runs import CI, Play, Starter, at_work
from tests.release_scene import undisturbed


def told(ran: Ran) -> Path:
    """The page that a run names at its end."""
    return Path(ran.stderr.rpartition("timeline: ")[2].splitlines()[0])


def seen(folder: Path) -> dict[tuple[str, str], Span]:
    """The spans in a run's folder by kind and name; those of one name are the last's."""
    return {(each.kind, each.name): each for each in spans.read(folder)[1]}


def test_a_build_tells_what_was_built_and_what_was_cached(cli: Cli, stack: Path) -> None:
    options = ("--stack", str(stack), "--source", f"src={stack.parents[1] / 'src'}")
    built = told(cli("build-ci-base", *options))
    found = seen(built.parent)
    assert not found["tier", "ci-base"].cached
    stages = [each for (kind, _), each in found.items() if kind == "stage"]
    assert {each.name for each in stages} >= {"base", "ci_base"}
    tiers = {each.number: each for (kind, _), each in found.items() if kind == "tier"}
    for each in stages:
        tier = tiers[each.parent]
        assert tier.start - 0.5 <= each.start <= each.end <= tier.end + 0.5, "by our clock, not the builder's"
    instructions = [each for (kind, _), each in found.items() if kind == "instruction"]
    assert {each.parent for each in instructions} <= {each.number for each in stages}
    assert "<td>instruction</td>" in built.read_text()

    again = told(cli("build-ci-base", *options))
    assert again != built
    assert seen(again.parent)["tier", "ci-base"].cached
    assert not [kind for kind, _ in seen(again.parent) if kind == "stage"]


def test_a_build_that_fails_has_its_timeline(cli: Cli, stack: Path) -> None:
    dockerfile = next(path for path in stack.parents[1].rglob("Dockerfile*") if "AS ci_base" in path.read_text())
    text = dockerfile.read_text()
    dockerfile.write_text(text.replace(" AS ci_base\n", " AS ci_base\nRUN echo broken && exit 7\n"))
    ran = cli("build-ci-base", "--stack", str(stack), "--source", f"src={stack.parents[1] / 'src'}", check=1)
    found = seen(told(ran).parent)
    failed = [each for each in found.values() if each.outcome == "failed" and each.kind == "instruction"]
    assert ["exit 7" in each.name for each in failed] == [True]
    page = unescape(told(ran).read_text())
    assert "build-ci-base: failed in" in page
    assert "<strong>failed</strong> ci_base" in page


STEPS: dict[str, dict[str, Any]] = {
    "well": {"commands": [plants.python("pass"), plants.python("print(1)")]},
    "wrong": {"commands": [plants.python("raise SystemExit(3)")]},
}


def test_a_suite_tells_its_steps_and_their_commands(play: Play) -> None:
    ran = play(STEPS, runtime="native", check=1)
    found = spans.read(told(ran).parent)[1]
    steps = {each.name: each for each in found if each.kind == "step"}
    assert {name: each.outcome for name, each in steps.items()} == {"well": "ok", "wrong": "failed"}
    commands = [each for each in found if each.kind == "command"]
    assert [each.outcome for each in commands] == ["ok", "ok", "failed"]
    assert all(Path(each.log).is_file() for each in commands)
    assert "test all: failed in" in told(ran).read_text()


def test_steps_beside_each_other_are_told_in_one_timeline(play: Play) -> None:
    nap = {"commands": [plants.python("import time; time.sleep(1)")]}
    ran = play({"one": nap, "two": nap}, "--jobs", "2", check=0)
    found = spans.read(Path(ran.json["run_folder"]))[1]
    steps = {each.name: each for each in found if each.kind == "step"}
    assert set(steps) == {"one", "two"}, "each once, although each was a call that told it as well"
    assert steps["one"].start < steps["two"].end
    assert steps["two"].start < steps["one"].end
    for each in steps.values():
        (command,) = [part for part in found if part.kind == "command" and part.parent == each.number]
        assert each.start <= command.start < command.end <= each.end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_run_that_is_stopped_has_its_timeline(start: Starter, number: int) -> None:
    started = start(CI, {"long": {"commands": [at_work()]}}, runtime="native")
    started.child.send_signal(number)
    started.end()
    started.until_gone()
    page = started.run / FILE
    assert f"timeline: {page}" in started.said.read_text()
    assert "test all: interrupted in" in page.read_text()
    found = seen(started.run)
    assert {each.outcome for (kind, _), each in found.items() if kind in {"step", "command"}} == {"interrupted"}


def test_a_folder_that_takes_no_timeline_changes_nothing(play: Play, cli: Cli) -> None:
    """The page's place is taken while the step runs: the outcome stays, and that is said."""
    take = f"import pathlib; [p.joinpath('{FILE}').mkdir() for p in pathlib.Path('{cli.state}').glob('runs/*')]"
    ran = play({"takes": {"commands": [plants.python(take)]}}, runtime="native", check=0)
    assert ran.json["outcome"] == "ok"
    assert "there is no timeline of this run: " in ran.stderr


def test_a_release_tells_its_phases_and_the_suites_it_ran(tmp_path: Path, sandbox_image: str) -> None:
    with undisturbed(tmp_path, sandbox_image, ("rocm-probe", "extra-a")) as scene:
        pages = sorted((scene.stand.state / "runs").glob(f"*/{FILE}"))
        (page,) = [each for each in pages[-2:] if ("phase", "stage") in seen(each.parent)][-1:]
        found = seen(page.parent)
    phases = [name for kind, name in found if kind == "phase"]
    assert phases == ["preflight", "make", "stage", "prove", "switch"]
    (suite,) = [each for (kind, _), each in found.items() if kind == "suite"]
    assert suite.parent == found["phase", "make"].number
    steps = [each for (kind, _), each in found.items() if kind == "step"]
    assert steps
    assert {each.parent for each in steps} == {suite.number}, "the suite ran as a run of its own"
    assert all(suite.start <= each.start <= each.end <= suite.end for each in steps)
