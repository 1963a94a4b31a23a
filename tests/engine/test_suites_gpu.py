"""``test`` on nodes with GPUs that are files: leases, devices and marks are real, and so are the containers.

What only hardware can prove is in docs/hardware-checklist.md.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci.build.perform import Performance
from ci.build.workspace import open_workspace
from ci.errors import Interrupted
from ci.settings import capture
from ci.suites import job, request
from ci.suites.results import StepResult
from ci.world import files, leases
from ci.world.fakes import FakeClock
from ci.world.gpus import inventory
from ci.world.ledger import Ledger
from ci.world.process import listen
from tests import plants
from tests.engine import gpu_node
from tests.engine.conftest import ROOT, Cli, Ran, docker
from tests.engine.gpu_node import KFD_GROUP, RENDER_GROUP, Stand, health, look, wait
from tests.engine.own import FAMILY
from tests.nodes import put

GUARD = 120
"""Seconds a test waits for what should happen by itself."""

IMAGE = f"{FAMILY}/gpu:1"
HOSTILE = ("ENV ROCR_VISIBLE_DEVICES=7", "ENV CUDA_VISIBLE_DEVICES=7")
IPC_LOCK = 14
FIRST = "0000:05:00.0"


@pytest.fixture(scope="session")
def node_image(python_image: str) -> Iterator[str]:
    """The local stack's test image, with masks of its own as a foreign image may have."""
    recipe = "\n".join((f"FROM {python_image}", *HOSTILE))
    docker("build", "--provenance=false", "--tag", IMAGE, "-", stdin=recipe.encode())
    yield IMAGE
    docker("rmi", "-f", IMAGE, check=False)


@pytest.fixture
def stand(cli: Cli, tmp_path: Path, node_image: str) -> Iterator[Callable[[str], Stand]]:
    """Make a stand with a sample's machine; afterwards nothing is leased and no container is left."""

    def maker(name: str) -> Stand:
        return Stand(cli, gpu_node.make(tmp_path / "node", name, node_image), tmp_path, node_image)

    (tmp_path / "node").mkdir()
    yield maker
    assert leases.held(cli.state) == ()
    runs = {path.name.lower() for path in (cli.state / "runs").glob("*")}
    names = docker("ps", "-a", "--format", "{{.Names}}").splitlines()
    assert [name for name in names if any(run in name for run in runs)] == []


def step(ran: Ran, name: str) -> dict[str, Any]:
    row: dict[str, Any] = next(each for each in ran.json["steps"] if each["name"] == name)
    return row


def found(row: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(Path(row["commands"][0]["folder"], "found.json").read_text())
    return facts


# --- what a step is given -------------------------------------------------------------------------


def test_a_step_has_exactly_its_devices(stand: Callable[[str], Stand]) -> None:
    """Also in an image that brings masks of its own."""
    on = stand("mi300x")
    steps = {"two": look(2), "none": look(0), "fabric": look(1, rdma=True)}
    ran = on.run(on.stack(steps), check=0)
    two, none, fabric = (found(step(ran, name)) for name in steps)
    groups = {KFD_GROUP, RENDER_GROUP}
    assert (two["render"], two["kfd"], two["rdma"]) == (["renderD128", "renderD130"], True, []), "129 is held"
    assert (groups & {*two["groups"]}, two["masks"]) == (groups, {"HIP_VISIBLE_DEVICES": "0,1"})
    assert (none["render"], none["kfd"], none["masks"]) == ([], False, {"HIP_VISIBLE_DEVICES": "-1"})
    assert not groups & {*none["groups"]}
    assert (fabric["render"], fabric["rdma"]) == (["renderD128"], ["uverbs0", "uverbs1"])
    locks = [bool(each["capabilities"] >> IPC_LOCK & 1) for each in (two, none, fabric)]
    assert locks == [False, False, True]
    assert [(row["where"], row["gpus"]) for row in ran.json["steps"]] == [
        ("gpu", ["0000:05:00.0", "0000:46:00.0"]), ("cpu", []), ("gpu", ["0000:05:00.0"]),
    ]  # fmt: skip
    assert on.marks() == {}


def test_a_step_gets_the_arch_it_needs(stand: Callable[[str], Stand]) -> None:
    """One GPU of the node is of another kind, and it is the last one."""
    on = stand("mi300x")
    (properties,) = [
        path
        for path in (on.machine.root / "sys/class/kfd/kfd/topology/nodes").glob("*/properties")
        if "drm_render_minor 135\n" in path.read_text()
    ]
    properties.write_text(properties.read_text().replace("90402", "90500"))
    on.machine.change("static", 7, lambda row: row["asic"].update(target_graphics_version="gfx950"))
    steps = {
        "new": look(1, archs=["gfx950"]),
        "many": look(2, archs=["gfx950"]),
        "other": look(1, archs=["gfx90a"]),
    }
    ran = on.run(on.stack(steps), check=0)
    assert found(step(ran, "new"))["render"] == ["renderD135"]
    has = "this node has 8 GPUs (gfx942 or gfx950)"
    assert step(ran, "many")["reasons"] == [f"needs 2 GPUs (gfx950): {has}"]
    assert step(ran, "other")["reasons"] == [f"needs 1 GPU (gfx90a): {has}"]
    red = on.run(on.stack(steps), "--require-gpu", check=6)
    assert any("a GPU was required, and many did not run" in each for each in red.json["reasons"])


def test_native_uses_the_gpus_the_caller_was_given(stand: Callable[[str], Stand]) -> None:
    on = stand("mi300x")
    environ = {"PATH": f"{Path(sys.executable).parent}:{on.machine.path}", "ROCR_VISIBLE_DEVICES": "5,2"}
    steps = {"one": look(1), "two": look(2), "none": look(0), "three": look(3)}
    ran = on.run(on.stack(steps), "--runtime", "native", check=0, given=False, environ=environ)
    masks = {name: found(step(ran, name))["masks"] for name in ("one", "two", "none")}
    assert masks == {
        name: {"HIP_VISIBLE_DEVICES": mask} for name, mask in (("one", "2"), ("two", "2,5"), ("none", "-1"))
    }
    assert step(ran, "three")["reasons"] == ["needs 3 GPUs: this node has 2 GPUs (gfx942)"]
    assert not (on.state / "leases").exists()


# --- before anything starts -----------------------------------------------------------------------


def test_masks_that_contradict_each_other_are_refused(stand: Callable[[str], Stand]) -> None:
    on = stand("mi300x")
    masks = {"ROCR_VISIBLE_DEVICES": "0,1", "HIP_VISIBLE_DEVICES": "0"}
    ran = on.run(on.stack({"one": look()}), check=2, environ=masks)
    assert "ROCR_VISIBLE_DEVICES and HIP_VISIBLE_DEVICES name different GPUs" in ran.stderr
    assert not (on.state / "runs").exists()
    ran = on.run(on.stack({"one": look()}), check=0, environ=dict.fromkeys(masks, "3"))
    assert found(step(ran, "one"))["render"] == ["renderD131"]


def test_an_image_without_code_for_the_node_is_refused(stand: Callable[[str], Stand]) -> None:
    on = stand("mi355x")
    stack = on.stack({"one": look()})
    stack.write_text(stack.read_text() + "args:\n  PYTORCH_ROCM_ARCH: {type: arch-list, default: gfx90a;gfx942}\n")
    (stack.parent / "Dockerfile.plant").write_text("ARG ROOT=x\nFROM ${ROOT} AS t\nARG PYTORCH_ROCM_ARCH\n")
    ran = on.run(stack, check=2, given=False)
    assert "the image is built for gfx90a gfx942, this node has gfx950" in ran.stderr
    assert '--arch "gfx90a;gfx942;gfx950"' in ran.stderr
    assert not (on.state / "runs").exists()


# --- leases ---------------------------------------------------------------------------------------


class Started:
    """A run in the background, what it says on stderr kept in a file."""

    def __init__(self, on: Stand, stack: Path, *options: str) -> None:
        self.log = on.folder / f"stderr-{time.monotonic_ns()}"
        self.out = self.log.with_suffix(".out")
        with self.log.open("w") as log, self.out.open("w") as out:
            argv = on.argv(stack, "--image", on.image, *options)
            self.child = subprocess.Popen(argv, cwd=ROOT, env=on.environ(), stdout=out, stderr=log)

    def said(self) -> str:
        return self.log.read_text()

    def ended(self) -> int:
        return self.child.wait(GUARD)


@contextmanager
def crowd() -> Iterator[Callable[..., Started]]:
    """Runs that are gone afterwards, whatever happens."""
    with ExitStack() as stack:

        def start(on: Stand, *words: Any) -> Started:
            one = Started(on, *words)
            stack.callback(one.child.wait)
            stack.callback(one.child.terminate)
            return one

        yield start


def soon(what: Callable[[], object], *runs: Started) -> None:
    end = time.monotonic() + GUARD
    while not what():
        if time.monotonic() > end:
            pytest.fail("it did not happen\n" + "\n".join(run.said() for run in runs))
        time.sleep(0.1)


def test_three_runs_share_a_node(stand: Callable[[str], Stand]) -> None:
    """Two of four GPUs each run at once; the third waits, and says for whom."""
    on = stand("mi325x")
    stack = on.stack({"four": wait(4)})
    with crowd() as start:
        runs = [start(on, stack) for _ in range(2)]
        soon(lambda: len(on.places("here")) == 2, *runs)
        runs.append(start(on, stack))
        soon(lambda: "waiting for 4 of 8 GPUs" in runs[2].said(), *runs)
        held = [lease for lease in leases.held(on.state) if lease.gpus]
        assert [len({*lease.gpus}) for lease in held] == [4, 4]
        assert not {*held[0].gpus} & {*held[1].gpus}
        (line,) = [line for line in runs[2].said().splitlines() if "waiting for" in line]
        assert all(f"test all four (run {lease.run}, process {lease.pid}) holds" in line for lease in held)
        first, _ = places = on.places("here")
        (first / "go").touch()
        soon(lambda: len(on.places("here")) == 3, *runs)
        for place in {*places, *on.places("here")}:
            (place / "go").touch()
        assert [run.ended() for run in runs] == [0, 0, 0]


def test_jobs_auto_fills_the_node(stand: Callable[[str], Stand]) -> None:
    on = stand("mi325x")
    names = ("a", "b", "c", "d", "e")
    stack = on.stack({name: wait(2) for name in names})
    with crowd() as start:
        run = start(on, stack, "--jobs", "auto")
        soon(lambda: len(on.places("here")) == 4, run)
        held = [{*lease.gpus} for lease in leases.held(on.state)]
        assert ([len(each) for each in held], len(set().union(*held))) == ([2] * 4, 8)
        for place in on.places("here"):
            (place / "go").touch()
        soon(lambda: len(on.places("here")) == 5, run)
        for place in on.places("here"):
            (place / "go").touch()
        assert run.ended() == 0
    head, *rows = run.out.read_text().splitlines()
    assert head.split()[:2] == ["step", "outcome"]
    assert [row.split()[:2] for row in rows[:5]] == [[name, "ok"] for name in names]
    assert rows[-1].startswith("all (plant): ok")


# --- health ---------------------------------------------------------------------------------------

BAD = "test ! -e /dev/dri/renderD128 || { echo 3 sums are wrong; exit 1; }"


def test_a_gpu_that_fails_its_health_program_is_left_out(stand: Callable[[str], Stand]) -> None:
    on = stand("mi325x")
    stack = on.stack({"one": look()}, **health(BAD))
    ran = on.run(stack, check=0)
    (tried,) = step(ran, "one")["tries"]
    assert f"{FIRST}: its health program failed: 3 sums are wrong, before the step" in tried
    assert found(step(ran, "one"))["render"] == ["renderD130"]
    assert (on.marks()[FIRST].lasting, "3 sums are wrong" in on.marks()[FIRST].reason) == (True, True)
    again = on.run(stack, check=0)
    assert (step(again, "one")["tries"], found(step(again, "one"))["render"]) == ([], ["renderD130"])


def test_too_few_healthy_gpus_are_the_worlds_fault(stand: Callable[[str], Stand]) -> None:
    on = stand("mi325x")
    ran = on.run(on.stack({"all": look(8)}, **health(BAD)), check=4)
    row = step(ran, "all")
    assert (row["outcome"], row["commands"], len(row["tries"])) == ("infra", [], 1)
    assert "8 GPUs are asked for and 7 are clean" in row["reasons"][0]
    assert [*on.marks()] == [FIRST]
    assert on.places("found.json") == []


def test_a_health_program_that_hangs_has_a_deadline(stand: Callable[[str], Stand]) -> None:
    on = stand("mi325x")
    ran = on.run(on.stack({"one": look()}, **health(BAD.replace("exit 1", "exec sleep 600"), 15)), check=0)
    assert "gave no answer within 15 s: it hangs" in step(ran, "one")["tries"][0], ran.stderr
    assert [(mark.gpu, mark.lasting) for mark in on.marks().values()] == [(FIRST, True)]
    assert "it hangs" in on.marks()[FIRST].reason


@pytest.mark.parametrize("script", ["python3 -m no_such_probe", "no-such-program"])
def test_a_health_program_that_cannot_tell_makes_no_gpu_dirty(stand: Callable[[str], Stand], script: str) -> None:
    on = stand("mi325x")
    ran = on.run(on.stack({"one": look()}, health={"run": script.split(), "seconds": 30}), check=4)
    assert f"the health program says of {FIRST} what it says with every GPU hidden" in step(ran, "one")["reasons"][0]
    assert (on.marks(), on.places("found.json")) == ({}, [])


def test_after_a_kill_the_gpus_are_proven_well_all_the_same(stand: Callable[[str], Stand]) -> None:
    """The container went with the last rung of the ladder; another one asks."""
    on = stand("mi325x")
    deaf = "import signal, time\nfor each in (2, 15): signal.signal(each, signal.SIG_IGN)\ntime.sleep(600)"
    deaf_step = {
        "needs": {"gpus": 1},
        "limits": {"minutes": 0.25, "grace_seconds": 0.5},
        "commands": [plants.python(deaf)],
    }
    ran = on.run(on.stack({"deaf": deaf_step}, **health("echo well >> /rocm-ci/results/asked")), check=124)
    row = step(ran, "deaf")
    assert row["commands"][0]["ended"]["rungs"][-1] == "SIGKILL"
    assert (row["outcome"], len(row["reasons"]), on.marks()) == ("timeout", 1, {})
    asked = Path(row["commands"][0]["folder"]).parent / "asked"
    assert asked.read_text().split() == ["well", "well"], "before and after"


def test_the_nics_of_a_node_are_seen_before_anything_is_started(stand: Callable[[str], Stand]) -> None:
    on = stand("mi300x")
    for name, text in (("vendor", "0x14e4"), ("device", "0x1760"), ("class", "0x020000")):
        put(on.machine.root / f"sys/bus/pci/devices/0000:09:00.0/{name}", f"{text}\n")
    stack = on.stack({"has": look(nic="bnxt"), "lacks": look(nic="ainic")})
    planned = {each["step"]: each["skip"] for each in on.run(stack, "--plan", check=0).json["steps"]}
    assert planned == {"has": None, "lacks": "needs the ainic NIC: this node has bnxt"}


# --- video memory ---------------------------------------------------------------------------------


class Recorder:
    """A screen that hears every line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.hears: Callable[[str], object] = lambda _line: None

    def say(self, text: str) -> None:
        self.lines.append(text)
        self.hears(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def build(self, tier: str, progress: Any) -> Any:
        raise AssertionError(tier, progress)


def in_process(on: Stand, stack: Path, screen: Recorder, run: str, **options: str) -> StepResult:
    """The first step of a run in this process, on a clock that nobody waits for."""
    settings = capture({"--stack": str(stack)}, {"ROCM_CI_STATE": str(on.state), "PATH": on.machine.path})
    work = replace(open_workspace(settings, {}, (), screen.say), clock=FakeClock())
    asked = request.read("all", {"image": on.image, **options}, "docker")
    ledger = Ledger.begin(files.state(str(on.state)), run, "test")
    try:
        performance = Performance(work, ledger, screen, push=False, on_unknown="stop")
        performed = job.read(asked, work, on.machine.root).perform(performance, 0.0).perform()
    finally:
        ledger.end()
    return performed.steps[0]


def test_memory_that_does_not_come_back_makes_a_gpu_dirty(
    stand: Callable[[str], Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests passed; the next run gets another GPU, until the memory is back."""
    on = stand("mi325x")
    monkeypatch.setenv("PATH", on.machine.path)
    code = "def test_takes_memory(): print('memory is taken')\n"
    stack = on.stack({"one": {"needs": {"gpus": 1}, "commands": plants.pytest_of(code, "-s")}})
    screen = Recorder()

    def hears(line: str) -> None:
        if "memory is taken" in line:
            on.machine.uses(0, 90000)

    screen.hears = hears
    leaky = in_process(on, stack, screen, "20260101T000000Z-leaky")
    assert (leaky.outcome, leaky.counts.passed, leaky.gpus) == ("infra", 1, (FIRST,))
    assert f"step one left 1 GPU(s) dirty: {FIRST} uses 90000 MiB" in leaky.reasons[0]
    mark = on.marks()[FIRST]
    assert (mark.run, mark.who, mark.after_mb, mark.lasting) == ("20260101T000000Z-leaky", "step one", 90000, False)
    assert any(f"{FIRST} is dirty since" in each for each in screen.warnings)
    other = in_process(on, stack, Recorder(), "20260101T000000Z-other")
    assert (other.outcome, FIRST in other.gpus) == ("ok", False)
    on.machine.uses(0, 283)
    screen = Recorder()
    assert in_process(on, stack, screen, "20260101T000000Z-clean").gpus == (FIRST,)
    assert any(f"{FIRST} is clean again" in each for each in screen.lines)


def test_nobody_waits_for_gpus_past_the_deadline_of_the_run(
    stand: Callable[[str], Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    on = stand("mi325x")
    monkeypatch.setenv("PATH", on.machine.path)
    stack = on.stack({"one": {**look(), "limits": {"minutes": 1}}})
    run, clock = "20260101T000000Z-late", FakeClock()
    gpus = inventory(capture({}, {}), on.machine.root).gpus
    with leases.leased(on.state, gpus, 8, run="x", verb="test", lasts=1, patience=1, say=pytest.fail, clock=clock):
        late = in_process(on, stack, Recorder(), run, deadline="10")
    assert (late.outcome, late.commands) == ("timeout", ())
    assert "no turn within 540 s: waiting for 1 of 8 GPUs" in late.tries[0]


def test_a_leak_does_not_hide_what_ended_the_step(
    stand: Callable[[str], Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    on = stand("mi325x")
    monkeypatch.setenv("PATH", on.machine.path)
    stack = on.stack({"one": {**look(8), "commands": [plants.python("print('taken'); import time; time.sleep(600)")]}})
    screen = Recorder()

    def hears(line: str) -> None:
        if line == "taken":
            on.machine.uses(0, 90000)
            signal.raise_signal(signal.SIGINT)

    screen.hears = hears
    with listen(), pytest.raises(Interrupted):
        in_process(on, stack, screen, "20260101T000000Z-stop")
    assert [*on.marks()] == [FIRST]


def test_a_stranger_is_shown_and_left_alone(stand: Callable[[str], Stand]) -> None:
    on = stand("mi300x")
    ran = on.run(on.stack({"all": look(8)}), check=0)
    assert "process 420157 python3, which is not ours, holds 1792 MiB of 0000:26:00.0; it is left alone" in ran.stderr
    assert on.marks() == {}


@pytest.mark.parametrize(("machine", "key"), [("mi325x-dpx", FIRST), ("mi300x-cpx", FIRST)])
def test_a_partition_whose_memory_nobody_tells_is_not_dirty(
    stand: Callable[[str], Stand], machine: str, key: str
) -> None:
    on = stand(machine)
    ran = on.run(on.stack({"two": look(2)}), check=0)
    assert step(ran, "two")["gpus"] == [key, f"{key}+1"]
    assert ran.stderr.count("nobody says how much memory of") == 2
    assert on.marks() == {}
