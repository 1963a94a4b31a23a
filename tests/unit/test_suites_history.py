"""What is remembered of tests: durations that do not jump, failures by image, and nothing lost between runs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ci.errors import ConfigError, Outcome
from ci.suites import history
from ci.suites.events import Events, Result
from ci.suites.history import History, Memory, learned, parse
from ci.suites.junit import Junit
from ci.suites.records import Records
from ci.suites.source import Source

IMAGE = "sha256:" + "1" * 64


def told(*results: Result, reruns: tuple[Result, ...] = ()) -> list[Records]:
    return [Records(Junit(Source()), Events(Source(), ended=results, reruns=reruns))]


def passed(test: str, seconds: float = 1.0) -> Result:
    return Result(test, "passed", seconds)


def failed(test: str, outcome: str = "failed") -> Result:
    return Result(test, outcome, 300.0)


def opened(state: Path, stack: str = "local") -> History:
    return History(state, stack, lambda _text: None)


def test_what_was_recorded_is_read_again(tmp_path: Path) -> None:
    opened(tmp_path).record("smoke", IMAGE, told(passed("a.py::t1", 2.5), failed("a.py::t2"), failed("b.py", "error")))
    again = opened(tmp_path)
    assert again.seconds("smoke") == {"a.py::t1": 2.5}
    assert again.failed_before("smoke", IMAGE) == {"a.py::t2", "b.py"}
    assert again.failed_before("smoke", "sha256:other") == frozenset()
    assert not again.seconds("other") and not opened(tmp_path, "vllm").seconds("smoke")  # noqa: PT018


def test_nothing_was_recorded(tmp_path: Path) -> None:
    assert opened(tmp_path).seconds("smoke") == {}
    assert opened(tmp_path).failed_before("smoke", IMAGE) == frozenset()


def test_a_test_that_failed_once_on_an_image_is_never_forgotten_for_passing() -> None:
    memory = learned(Memory(), IMAGE, told(failed("t")))
    memory = learned(memory, IMAGE, told(passed("t")))
    assert memory.failed == {IMAGE: ("t",)}
    assert learned(Memory(), IMAGE, told(passed("t"), reruns=(Result("t", "rerun", 1.0),))).failed == {}


def test_a_duration_moves_towards_the_newest() -> None:
    memory = learned(Memory({"t": 10.0}), IMAGE, told(passed("t", 20.0)))
    assert memory.seconds == {"t": 13.0}


@pytest.mark.parametrize("outcome", ["failed", "error", "skipped"])
def test_what_did_not_go_its_usual_way_has_no_usual_duration(outcome: str) -> None:
    assert learned(Memory({"t": 10.0}), IMAGE, told(Result("t", outcome, 300.0))).seconds == {"t": 10.0}


def test_without_an_image_only_durations_are_kept() -> None:
    assert learned(Memory(), "", told(passed("a"), failed("b"))) == Memory({"a": 1.0}, {})


def test_the_file_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TESTS", "IMAGES", "FAILED"):
        monkeypatch.setattr(history, name, 2)
    memory = learned(Memory({"old": 1.0, "kept": 1.0}), IMAGE, told(passed("new"), passed("x" * 1001)))
    assert list(memory.seconds) == ["kept", "new"]
    memory = Memory(failed={"one": ("t",), "two": ("t",)})
    memory = learned(memory, "one", told(failed("u")))  # seen again: no longer the oldest
    memory = learned(memory, "three", told(failed("a"), failed("b"), failed("c")))
    assert memory.failed == {"one": ("t", "u"), "three": ("b", "c")}


@pytest.mark.parametrize(
    "value",
    [
        None, [], {}, {"version": "1"}, {"version": 1}, {"version": 1, "seconds": [], "failed": {}},
        {"version": 1, "seconds": {"t": "1"}, "failed": {}}, {"version": 1, "seconds": {"t": -1}, "failed": {}},
        {"version": 1, "seconds": {"t": True}, "failed": {}},
        {"version": 1, "seconds": {"t": float("nan")}, "failed": {}},
        {"version": 1, "seconds": {}, "failed": {"i": "t"}}, {"version": 1, "seconds": {}, "failed": {"i": [1]}},
    ],
)  # fmt: skip
def test_what_we_did_not_write_is_no_memory(value: object) -> None:
    assert parse(value, Path("h.json")) == Memory()


def test_a_file_cut_short_is_no_memory_and_is_replaced(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    kept.record("smoke", IMAGE, told(passed("t")))
    path = kept.folder / "smoke.json"
    path.write_bytes(path.read_bytes()[:-5])
    assert kept.seconds("smoke") == {}
    kept.record("smoke", IMAGE, told(passed("u")))
    assert kept.seconds("smoke") == {"u": 1.0}


def test_a_newer_file_is_refused_and_not_written_over(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    path = kept.folder / "smoke.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"version": 2, "times": {}}')
    for ask in (lambda: kept.seconds("smoke"), lambda: kept.record("smoke", IMAGE, told(passed("t")))):
        with pytest.raises(ConfigError) as caught:
            ask()
        assert caught.value.problems[0].reference == "newer-history"
    assert path.read_text() == '{"version": 2, "times": {}}'


def test_runs_at_the_same_time_lose_nothing_of_each_other(tmp_path: Path) -> None:
    def run(number: int) -> None:
        for turn in range(10):
            opened(tmp_path).record(
                "smoke", IMAGE, told(passed(f"a.py::t[{number}-{turn}]"), failed(f"b[{number}-{turn}]"))
            )

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened(tmp_path).seconds("smoke")) == 40
    assert len(opened(tmp_path).failed_before("smoke", IMAGE)) == 40


def test_what_the_world_broke_says_nothing_of_tests() -> None:
    told_nothing = {Outcome.INFRA, Outcome.INTERRUPTED, Outcome.INTERNAL, Outcome.CONFIG}
    assert {outcome for outcome in Outcome if not History.remembers(outcome)} == told_nothing
