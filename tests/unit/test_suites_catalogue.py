"""The test catalogue: read, checked, resolved for a kind of node."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from ci.errors import CiError, ConfigError
from ci.recipe import stack
from ci.suites import catalogue, words
from ci.suites.catalogue import Bounds, Command, Limits

GOOD = """\
schema: 1
runtime: rocm
bounds:
  big: {shm_mb: 16384, memory_mb: 1024, pids: 100}
health: {run: [probe, it], seconds: 5}
steps:
  one:
    summary: a step
    bounds: big
    needs: {gpus: 2, archs: [gfx942]}
    limits: {minutes: 10, silent_minutes: 4, grace_seconds: 30}
    env: {A: "1", B: "2"}
    commands:
      - pytest: [-v, test_a.py]
      - {run: [python3, x.py], allow_empty: true}
    cpu:
      env: {B: "3"}
      commands: [{pytest: [test_cpu.py]}]
    archs:
      gfx950: {limits: {minutes: 20}, needs: {gpus: 4}}
    skips: [{test: test_a.py, reason: broken there, until: "2027-01-31", link: https://example.org/1}]
  two:
    summary: needs a GPU
    needs: {gpus: 1}
    limits: {minutes: 1}
    commands: [{run: ["true"]}]
suites:
  all: {summary: everything, steps: [one, two]}
quarantine: [{test: "a.py::t", reason: flaky, owner: kim, until: "2026-12-01"}]
"""


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], catalogue.Catalogue]:
    def reader(text: str) -> catalogue.Catalogue:
        path = tmp_path / "suites" / "x.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return catalogue.read(path, ("base", "test"))

    return reader


def test_a_step_is_resolved_for_its_node(read: Callable[[str], catalogue.Catalogue]) -> None:
    found = read(GOOD)
    gpu = found.step("one", "gfx942")
    assert gpu.commands == (
        Command("pytest", ("-v", "test_a.py")),
        Command("run", ("python3", "x.py"), allow_empty=True),
    )
    assert (gpu.needs.gpus, gpu.needs.archs) == (2, ("gfx942",))
    assert gpu.limits == Limits(600, 240, 30)
    assert gpu.bounds == Bounds(16384, 1024, 100, "private")
    assert dict(gpu.env) == {"A": "1", "B": "2"}
    other = found.step("one", "gfx950")
    assert (other.needs.gpus, other.limits) == (4, Limits(1200, 1200, 60))
    assert other.commands == gpu.commands
    cpu = found.step("one")
    assert (cpu.needs.gpus, cpu.needs.archs) == (0, ())
    assert dict(cpu.env) == {"A": "1", "B": "3"}
    assert cpu.commands == (Command("pytest", ("test_cpu.py",)),)
    assert (found.runs_on_cpu("one"), found.runs_on_cpu("two")) == (True, False)
    assert found.health == catalogue.Health(("probe", "it"), 5.0)


def test_exemptions_end(read: Callable[[str], catalogue.Catalogue]) -> None:
    skip = read(GOOD).step("one", "gfx942").skips[0]
    assert skip.holds(date(2027, 1, 31))
    assert not skip.holds(date(2027, 2, 1))
    assert str(skip) == "broken there (until 2027-01-31, https://example.org/1)"


@pytest.mark.parametrize(
    ("old", "new", "reference"),
    [
        ("steps: [one, two]", "steps: [one, tow]", "unknown-step"),
        ("steps: [one, two]", "steps: [one, two, two]", "step-twice"),
        ("steps: [one, two]", "steps: [one]", "unused-step"),
        ("bounds: big", "bounds: bog", "unknown-bounds"),
        ("archs: [gfx942]", "archs: [gfx94a]", "unknown-arch"),
        ("gfx950: {limits", "gfx95f: {limits", "unknown-arch"),
        ("- pytest: [-v, test_a.py]", "- {pytest: [a], run: [b]}", "which-command"),
        ("- pytest: [-v, test_a.py]", "- {allow_empty: true}", "which-command"),
        ('until: "2026-12-01"', 'until: "2026-13-01"', "wrong-value"),
        ('until: "2027-01-31"', 'until: "2027-02-30"', "wrong-value"),
        ("summary: a step", "summary: a step\n    tier: tset", "unknown-tier"),
        ("{minutes: 1}", "{minutes: 0}", "wrong-value"),
        ("{minutes: 1}", "{minutes: 10080.5}", "wrong-value"),
        ("{minutes: 1}", "{minutes: 1, silent_minutes: 10081}", "wrong-value"),
        ("{minutes: 1}", "{minutes: 1, grace_seconds: 3601}", "wrong-value"),
        ("{minutes: 1}", f"{{minutes: 1{'0' * 400}.0}}", "ambiguous-value"),
        ("summary: a step", "summary: a step\n    shards: 0", "wrong-value"),
        ("summary: a step", "summary: a step\n    shards: 1001", "wrong-value"),
        ("summary: a step", f"summary: a step\n    shards: {'9' * 5000}", "ambiguous-value"),
        ("gpus: 1}", "gups: 1}", "unknown-key"),
        ("gpus: 1}", "gpus: 1, components: [deepep]}", "unknown-component"),
        ("owner: kim, ", "", "missing-key"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    read: Callable[[str], catalogue.Catalogue], old: str, new: str, reference: str
) -> None:
    line = GOOD[: GOOD.index(old)].count("\n") + 1 + new.count("\n")
    if reference == "unused-step":  # shown where the step is
        line = GOOD[: GOOD.index("two:")].count("\n") + 1
    with pytest.raises(ConfigError) as caught:
        read(GOOD.replace(old, new))
    assert (reference, line) in [(each.reference, each.place and each.place.line) for each in caught.value.problems]


def test_a_whole_number_of_shards_may_have_a_point(read: Callable[[str], catalogue.Catalogue]) -> None:
    """2.0 is an integer to JSON Schema, and so to editors."""
    shards = read(GOOD.replace("summary: a step", "summary: a step\n    shards: 2.0")).step("one").shards
    assert list(range(shards)) == [0, 1]


def test_the_shipped_suite_files_are_right() -> None:
    for path in sorted((stack.HOME / "suites").glob("*.yaml")):
        found = catalogue.read(path, ("test",), ("deepep",))
        for name in ("rocm-tests", "rocm-distributed-tests", "shutdown-timeout", "deepep-data-parallel"):
            assert found.suite(name).steps, path
        shipped = Path(__file__).resolve().parents[1] / "gpu"
        for name in found.data:
            step = found.step(name)
            for command in step.commands if step.workdir == "{suite}" else ():
                for word in command.words:
                    assert word.startswith("-") or not word.endswith(".py") or (shipped / word).is_file(), (path, word)


def test_a_stack_without_suites_says_where_to_name_them() -> None:
    found = stack.load("local")
    assert "shutdown-timeout" in catalogue.load(found).suites
    with pytest.raises(CiError, match="has no suite 'shutdown-timout'") as caught:
        catalogue.load(found).suite("shutdown-timout")
    assert "shutdown-timeout" in caught.value.problems[0].hint


def test_a_command_may_have_an_environment_of_its_own(read: Callable[[str], catalogue.Catalogue]) -> None:
    text = GOOD.replace("- pytest: [-v, test_a.py]", '- {pytest: [a.py], env: {PYTHONPATH: "{suite}/x", B: "9"}}')
    command = read(text).step("one", "gfx942").commands[0]
    assert command == Command("pytest", ("a.py",), env=(("PYTHONPATH", "{suite}/x"), ("B", "9")))
    assert words.filled(dict(command.env), words.Folders("/s", "/r", "/c")) == {
        "PYTHONPATH": "/s/plugin:/s/site:/s/x",
        "B": "9",
    }


def test_ranks_have_no_environment_of_their_own(read: Callable[[str], catalogue.Catalogue]) -> None:
    text = GOOD.replace("needs: {gpus: 1}", "needs: {gpus: 1, nodes: 2}")
    text = text.replace('[{run: ["true"]}]', "[{ranks: [[a], [b]], env: {A: x}}]")
    with pytest.raises(ConfigError, match="ranks have no env of their own"):
        read(text)
