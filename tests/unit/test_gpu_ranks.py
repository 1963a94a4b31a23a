"""Who is to blame for a group of ranks, over planted ends; and the exchange in NumPy against itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.gpu_suite import module

ranks, routing, example, family_log = module("ranks"), module("routing"), module("example"), module("family_log")


def end(rank: int, code: int | None = 0, order: int = 0, phases: tuple[str, ...] = ("start", "end")) -> Any:
    return ranks.End(rank, code, order, phases, "its last words")


def judge(*ends: Any) -> tuple[str, ...]:
    found: tuple[str, ...] = ranks.judge(ranks.Group(ends, 1.0), 300)
    return found


def test_all_well() -> None:
    assert judge(end(0), end(1)) == ()


def test_the_first_death_is_blamed_and_the_others_are_shown() -> None:
    wrong = judge(end(0, 1, 1, ("start",)), end(1, -9, 0, ("start",)), end(2, None, 0, ("start", "x")))
    assert wrong == (
        "rank 1 died of signal 9, it got to 'start': its last words",
        "  rank 0: ended with exit status 1, got to 'start'",
        "  rank 2: ended by us, got to 'x'",
    )


def test_of_two_found_dead_at_once_the_signal_came_first() -> None:
    assert judge(end(0, 1, 0, ("start",)), end(1, -9, 0, ("start",)))[0].startswith("rank 1 died of signal 9")


def test_leaving_early_with_0_is_a_death() -> None:
    wrong = judge(end(0, 1, 1, ("start",)), end(1, 0, 0, ("start",)))
    assert wrong[0].startswith("rank 1 died with exit status 0, it got to 'start'")


def test_the_one_that_got_least_far_is_hung() -> None:
    wrong = judge(end(0, None, 0, ("start", "dispatch")), end(1, None, 0, ("start",)))
    assert wrong[0] == "rank 1 hung: the group's 300 s were over, and it got to 'start'"


def test_a_silent_rank_is_hung() -> None:
    assert "said nothing of how far it got" in judge(end(0, None, 0, ()), end(1, None, 0, ("start",)))[0]


def test_a_wrong_answer_goes_before_the_deaths_it_causes() -> None:
    wrong = judge(end(0, -6, 0, ("start",)), end(1, ranks.WRONG, 1))
    assert wrong == ("rank 1 got a wrong answer: its last words",)


def test_a_log_gives_phases_and_last_words(tmp_path: Path) -> None:
    log = tmp_path / "rank-0.log"
    log.write_bytes(b"at start\nwarning\nat even: dispatch\nRuntimeError: \xff\n\n")
    assert ranks.read_log(log) == (("start", "even: dispatch"), "RuntimeError: \ufffd")
    assert ranks.read_log(tmp_path / "none") == ((), "no words")


# --- the exchange -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", routing.CASES)
@pytest.mark.parametrize("count", [2, 4])
def test_what_is_sent_and_combined_is_the_answer(case: str, count: int) -> None:
    for share in routing.draw(case, count, seed=3):
        plan = routing.dispatch(share, count)
        assert plan.counts.sum() == len(plan.rows) == len(share.tokens) * routing.CHOICES
        assert (np.diff(plan.experts // routing.EXPERTS) >= 0).all()
        combined = routing.combine(share, plan, routing.results(share, plan))
        assert routing.worst(combined, routing.answer(share)) < 1e-5


def test_the_cases_have_ranks_that_get_nothing() -> None:
    starved = [routing.dispatch(share, 4).counts for share in routing.draw("starved", 4, seed=1)]
    assert starved[0].sum() == 0
    assert sum(counts[3] for counts in starved) == 0
    crowded = [routing.dispatch(share, 4).counts for share in routing.draw("crowded", 4, seed=1)]
    assert all(counts[:3].sum() == 0 and counts[3] for counts in crowded)
    sizes = [len(share.tokens) for share in routing.draw("uneven", 4, seed=1)]
    assert len(set(sizes)) == 4


def test_wrong_rows_are_traced_to_the_rank_that_made_them() -> None:
    share = routing.draw("uneven", 4, seed=1)[3]
    plan = routing.dispatch(share, 4)
    right = routing.results(share, plan)
    found = right.copy()
    found[np.flatnonzero(plan.experts // routing.EXPERTS == 2)[-1]] += 1
    assert routing.makers_of_wrong_rows(right, right, plan, 1e-5) == ()
    assert routing.makers_of_wrong_rows(found, right, plan, 1e-5) == (2,)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_number_is_right_by_being_none(value: float) -> None:
    assert routing.worst(np.array([value]), np.array([1.0])) == float("inf")
    assert routing.worst(np.array([1.0, 1.0]), np.array([1.0])) == float("inf")


# --- an example script ------------------------------------------------------------------------

LINES = """{"event": "born", "pid": 9, "parent": 8, "ticks": 50, "kind": "program"}
{"event": "born", "pid": 10, "parent": 9, "ticks": 60, "kind": "tracker"}
{"event": "born", "pid": 12, "parent": 9, "ticks": 71, "kind": "spawn"}
{"event": "born", "pid": 2, "parent": 9, "ticks": 72, "kind": "fork"}
{"event": "born", "pid": 11, "parent": 9, "ticks": 71, "kind": "fork"}
{"event": "born", "pid": 13, "parent": 11, "ticks": 80, "kind": "spawn"}
{"event": "ended", "pid": 13, "parent": 11, "code": -15}
{"event": "ended", "pid": 11, "parent": 9, "code": 0}
{"event": "ended", "pid": 12, "par"""


def test_the_ranks_are_the_first_process_own_workers_in_order(tmp_path: Path) -> None:
    log = tmp_path / "children.jsonl"
    log.write_text(LINES)
    members = family_log.read(log, 9)
    eleven, twelve = family_log.Member(11, "fork", 0), family_log.Member(12, "spawn", None)
    started_last = family_log.Member(2, "fork", None)
    assert family_log.ranks(members) == (eleven, twelve, started_last), "pids begin anew at their limit"
    assert family_log.read(tmp_path / "none", 9) == ()


def finished(**change: Any) -> Any:
    members = (family_log.Member(11, "spawn", 0), family_log.Member(12, "spawn", 0))
    return example.Finished(0, 1.0, members, (), "Using X manager")._replace(**change)


def test_an_example_that_did_everything() -> None:
    assert example.judge(finished(), 60, ranks=2, proof="Using X") == ()


UNPROVEN = "the output has no line like 'Using X': the backend asked for is not known to be in use"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": 5}, ("the script ended with 5",)),
        ({"output": "Using Y manager"}, (UNPROVEN,)),
        ({"survivors": ("77 (S) x",)}, ("processes outlived the script: 77 (S) x",)),
        ({"ranks": ()}, ("the script started 0 ranks, 2 were asked for",)),
    ],
)  # fmt: skip
def test_what_an_exit_status_of_0_does_not_tell(change: dict[str, Any], said: tuple[str, ...]) -> None:
    assert example.judge(finished(**change), 60, ranks=2, proof="Using X") == said


@pytest.mark.parametrize(
    ("code", "said"), [(7, "died: exit status 7"), (-9, "died: signal 9"), (None, "was never seen to end")]
)
def test_every_rank_must_have_ended_well(code: int | None, said: str) -> None:
    members = (family_log.Member(11, "spawn", 0), family_log.Member(12, "spawn", code))
    assert example.judge(finished(ranks=members), 60, 2, None) == (f"rank 1 (pid 12) {said}",)


def test_a_hung_group_names_those_that_still_ran() -> None:
    members = (family_log.Member(11, "spawn", 0), family_log.Member(12, "spawn", None))
    assert example.judge(finished(code=None, ranks=members), 60, 2, "Using X") == (
        "the group hung: it had not ended after 60 s",
        "rank 1 (pid 12) was still running",
    )


def test_a_moved_script_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    (tmp_path / "features/data_parallel_offline.py").touch()
    text = example.moved_text(tmp_path / "offline_inference/data_parallel.py")
    assert "it has moved; there is " in text
    assert "features/data_parallel_offline.py" in text
