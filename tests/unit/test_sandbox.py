"""What a sandbox is told and tells, without an engine: counters of memory, docker's own words, paths, patience."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci.errors import ContractError, InfraError
from ci.world.attending import Fallen
from ci.world.container import Container, _engine_failed, _harm
from ci.world.containers import Mount
from ci.world.engine_containers import ContainerState
from ci.world.fakes import FakeClock, FakeEngine, image
from ci.world.memory import kills, own_kills
from ci.world.sandbox import Limits, Spec

DIGEST = "sha256:" + "a" * 64
RUNS = ContainerState(running=True, code=0, out_of_memory=False, pid=7, began="now", execs=())
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
V2 = "low 0\nhigh 9\nmax 5\noom 3\noom_kill 3\noom_group_kill 0\n"


def container(engine: FakeEngine, **options: object) -> Container:
    spec = Spec("step", f"test@{DIGEST}", **options)  # type: ignore[arg-type]
    return Container(spec, engine, {}, lambda _text: None)


@pytest.mark.parametrize(("text", "count"), [(V1, 2), (V2, 3), (V2 + V1, 3), ("", None), ("oom_kill x\n", None)])
def test_the_counter_of_both_versions(text: str, count: int | None) -> None:
    assert kills(text) == count


@pytest.mark.parametrize(
    ("groups", "file", "text", "count"),
    [
        ("0::/pod/x\n", "pod/x/memory.events", V2, 3),
        ("0::/pod/x\n", "memory.events", V2, 3),
        ("5:devices:/\n4:memory:/pod\n", "memory/pod/memory.oom_control", V1, 2),
        ("4:memory:/outside/of/our/view\n0::/\n", "memory/memory.oom_control", V1, 2),
        ("5:devices:/\n", "memory.events", V2, None),
        ("0::/\n", "cpu.stat", V2, None),
    ],
)
def test_the_counter_of_our_own_group(tmp_path: Path, groups: str, file: str, text: str, count: int | None) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    path = tmp_path / "sys/fs/cgroup" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert own_kills(tmp_path) == count


def test_a_host_without_groups_counts_nothing(tmp_path: Path) -> None:
    assert own_kills(tmp_path) is None


NOT_THERE = 'OCI runtime exec failed: exec failed: exec: "x": executable file not found in $PATH: unknown'


@pytest.mark.parametrize(
    ("code", "stderr", "failed"),
    [
        (1, "assert 1 == 2\n", False),
        (1, "Error response from daemon: No such exec instance: 1\n", True),
        (1, "Error response from daemon: boom\nFAILED test_of_docker.py\n", False),
        (0, "Error response from daemon: boom\n", False),
        (127, NOT_THERE, False),
        (126, "OCI runtime exec failed: exec failed: permission denied: unknown", False),
        (126, "OCI runtime exec failed: exec failed: resource temporarily unavailable", True),
        (1, "error during connect: Get: EOF", True),
        (1, "", False),
    ],
)
def test_whose_fault_an_exit_code_is(code: int, stderr: str, failed: bool) -> None:
    assert bool(_engine_failed(code, stderr)) == failed


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (RUNS, ""),
        (None, "removed"),
        (RUNS._replace(running=False, code=137), "stopped or killed"),
        (RUNS._replace(pid=8), "stopped or killed"),
        (RUNS._replace(began="later"), "stopped or killed"),
        (RUNS._replace(running=False, out_of_memory=True), ""),
    ],
)
def test_what_was_done_to_a_container(after: ContainerState | None, words: str) -> None:
    harm = _harm(after, RUNS)
    assert bool(harm) == bool(words)
    assert words in harm


def test_an_answer_of_the_engine() -> None:
    state = {"Running": False, "ExitCode": 137, "OOMKilled": True, "Pid": 0, "StartedAt": "t"}
    found = ContainerState.of({"State": state, "ExecIDs": ["a"]})
    assert found == (False, 137, True, 0, "t", ("a",))
    assert ContainerState.of({"State": state, "ExecIDs": None}).execs == ()


def test_begin_and_end_of_a_container() -> None:
    engine = FakeEngine(images={"test": image(DIGEST)})
    made = container(engine)
    made.begin()
    assert engine.containers == {"step"}
    assert made.end(7) == ()
    assert engine.containers == set()
    assert ("stop 7", "step") in engine.asked


class Ending(FakeEngine):
    """Its containers end with this code."""

    code = 0

    def container(self, name: str) -> ContainerState | None:
        found = super().container(name)
        stopped = any(what.startswith("stop") for what, _ in self.asked)
        return found._replace(running=False, code=self.code) if found and stopped else found


def enter(made: Container, how: str) -> None:
    """Run something inside, as far as a unit test can."""
    if how == "probe":
        made.probe(("true",), 1)
    else:
        made.attend(("true",), env={}, cwd="", limits=Limits(1), on_line=print, on_limit=print)


@pytest.mark.parametrize(
    ("code", "before", "rungs"),
    [
        (0, "attend", ()),
        (3, "attend", ("SIGTERM",)),
        (137, "attend", ("SIGTERM", "SIGKILL")),
        (140, "attend", ("SIGTERM", "SIGKILL")),  # its shell could not hear the end yet, and all else died with it
        (137, "probe", ("SIGTERM", "SIGKILL")),
        (3, "", ("SIGTERM",)),
        (137, "", ()),
        (140, "", ()),
    ],
)
def test_what_the_end_of_a_container_tells(code: int, before: str, rungs: tuple[str, ...]) -> None:
    said: list[str] = []
    engine = Ending(images={"test": image(DIGEST)})
    engine.code = code
    made = Container(Spec("step", f"test@{DIGEST}"), engine, {}, said.append)
    made.begin()
    if before:
        with pytest.raises(AssertionError, match="tried to start a process"):
            enter(made, before)
    assert made.end() == rungs
    assert len(said) == bool(rungs)
    assert any("SIGKILL" in line for line in said) == ("SIGKILL" in rungs)


def test_an_image_that_is_not_in_the_engine() -> None:
    with pytest.raises(InfraError, match="not in the engine"):
        container(FakeEngine()).begin()


@pytest.mark.parametrize(("code", "kind"), [(127, ContractError), (4, ContractError), (137, InfraError)])
def test_a_container_that_does_not_stay_up(code: int, kind: type[BaseException]) -> None:
    class Falling(FakeEngine):
        def container(self, name: str) -> ContainerState | None:
            found = super().container(name)
            return found and found._replace(running=False, code=code)

    with pytest.raises(kind):
        container(Falling(images={"test": image(DIGEST)})).begin()


def test_paths_inside_are_those_of_the_deepest_mount() -> None:
    mounts = (Mount(Path("/a"), "/outer"), Mount(Path("/a/b"), "/inner"))
    made = container(FakeEngine(), mounts=mounts)
    assert [made.inside(Path(path)) for path in ("/a/x", "/a/b", "/a/b/c")] == ["/outer/x", "/inner", "/inner/c"]


def test_what_a_teardown_may_take() -> None:
    limits = Limits(100, grace_seconds=60, evidence_seconds=30)
    assert limits.teardown_seconds == 30 + 2 * (10 + 60 + 10)
    assert "hush" not in repr(Spec("x", secrets={"TOKEN": "hush"}))


class LateEngine(FakeEngine):
    """Says for a while after a kill that the container runs: the command's end is heard of first."""

    looks = 3

    def container(self, name: str) -> ContainerState | None:
        del name
        self.looks -= 1
        return RUNS if self.looks > 0 else RUNS._replace(running=False, code=137)


@pytest.mark.parametrize("code", [137, 143, 130])
def test_a_kill_of_the_whole_container_is_not_the_commands_own_end(code: int) -> None:
    made = Container(Spec("step", f"test@{DIGEST}"), LateEngine(), {}, lambda _text: None, clock=FakeClock())
    ended = made._judged(Fallen("", (), 1.0, ""), code, RUNS)
    assert (ended.code, ended.lost) == (None, "the container was stopped or killed from outside")
