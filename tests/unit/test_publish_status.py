"""What a person is told of a channel: each pointer, how old and how proven it is, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ci.errors import Outcome
from ci.publish import lease
from ci.publish.manifest import STANDING, SuiteRow
from ci.publish.rollback import rollback
from ci.publish.status import Status, status, statuses
from ci.report import statuses as reports
from ci.world import store_lease
from ci.world.http import Headers, Request, Response
from tests.shelves import HOST, NIGHTLY, RELEASE, REPOSITORY, World, channel, commit

MAIN, BASE = (f"image:{HOST}/{REPOSITORY}:{tag}" for tag in ("nightly", "base-nightly"))


def made(folder: Path, **more: object) -> World:
    world = World(folder, replace(NIGHTLY, **more), RELEASE)  # type: ignore[arg-type]
    for number in (1, 2):
        world.release("nightly", number, wheel=f"wheels {number}")
    return world


def references(found: Status) -> list[str]:
    return [each.problem.reference for each in found.findings]


def text(*found: Status) -> str:
    return reports.answer("release-status", found).text


def test_a_channel_that_is_well(tmp_path: Path) -> None:
    world = made(tmp_path)
    suite = SuiteRow("rocm-tests", "ok", 5, 0, 1, "cpu", (f"sha256:{'0' * 64}",))
    world.switch("nightly", world.stage("nightly", 3, {"main": world.image("main 3", "test")}, suites=(suite,)))
    world.later(0.5)
    writes = len(world.memory.writes)
    found = status(world.places())
    assert (found.outcome, found.findings, found.age) == (Outcome.OK, (), 12 * 3600)
    digest = world.image("main 3", "test").digest
    assert [(row.name, row.wanted, row.seen) for row in found.pointers] == [(MAIN, digest, digest)]
    shown = reports.answer("release-status", (found,))
    assert shown.outcome.exit_code == 0
    assert f"nightly  1.3+rocm.7  {commit(3)}\n" in shown.text
    assert f"= {MAIN}  {digest}" in shown.text
    assert "12 h 00 min ago" in shown.text
    assert "suite rocm-tests: ok, 5 tests run, 0 failed, 1 skipped, on cpu, for 1 digest" in shown.text
    assert "RED" not in shown.text
    row = shown.document["channels"][0]
    assert (row["commit"], row["version"], row["age_seconds"]) == (commit(3), "1.3+rocm.7", 43200)
    assert row["suites"][0]["run"] == 5
    assert [each["sequence"] for each in row["journal"]] == [3, 2, 1]
    assert len(world.memory.writes) == writes


def test_a_release_without_a_suite_says_so(tmp_path: Path) -> None:
    assert "no suite is behind it" in text(status(made(tmp_path).places()))


@pytest.mark.parametrize(("hours", "policy", "outcome"), [(48, 48, "ok"), (49, 48, "failed"), (9000, 0, "ok")])
def test_older_than_its_policy_is_red(tmp_path: Path, hours: float, policy: int, outcome: str) -> None:
    world = made(tmp_path, fresh_hours=policy)
    world.clock.advance(timedelta(hours=hours).total_seconds())
    found = status(world.places())
    assert found.outcome == outcome
    if outcome == "failed":
        shown = reports.answer("release-status", (found,))
        assert shown.outcome.exit_code == 1
        assert "channel nightly is 49 hours old, its policy allows 48" in shown.text
        assert "next: inv release-nightly --channel nightly" in shown.text
        assert "RED (failed)" in shown.text


def test_a_time_to_come_is_shown_as_one(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.clock.start -= timedelta(hours=8)
    found = status(world.places())
    assert (found.age, found.outcome) == (-8 * 3600, Outcome.OK)
    assert "8 h 00 min from now, so one of the two clocks is off" in text(found)


def test_a_channel_that_does_not_say_when_is_red_where_that_counts(tmp_path: Path) -> None:
    world = made(tmp_path)
    standing = world.places().standing()
    assert standing
    world.places().store.write(STANDING, replace(standing[0], at="soon").encode())
    world.places().store.discard("journal")
    found = status(world.places())
    assert (found.age, references(found), found.outcome) == (None, ["no-time"], Outcome.CONTRACT)
    assert "at a time nobody can tell" in text(found)


def test_going_back_and_switches_that_failed_make_nothing_newer(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.later(3)
    rollback(world.places(), commit(1), world.run())
    assert status(world.places()).age == 4 * 86400, "a day lies between any two releases of this world"
    standing = world.places().standing()
    assert standing
    undone = replace(standing[0], kind="undone", at=f"{world.places().clock.now():%Y-%m-%dT%H:%M:%SZ}")
    world.places().store.write(STANDING, undone.encode())
    assert status(world.places()).age == 4 * 86400, "a day lies between any two releases of this world"


# --- pointers


def test_a_late_write_of_an_older_release_is_found(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.release("nightly", 3)
    world.memory.tags[REPOSITORY]["nightly"] = world.image("main 1", "test").digest
    found = status(world.places())
    assert (found.outcome, found.outcome.exit_code) == (Outcome.CONTRACT, 3)
    assert references(found) == ["mixed-pointer"]
    shown = text(found)
    assert f"{MAIN} shows release {commit(1)[:12]}: somebody wrote it after the switch" in shown
    assert f"next: inv rollback --channel nightly --to {commit(3)[:12]}" in shown
    assert f"! {MAIN}  {world.image('main 1', 'test').digest}" in shown
    assert f"= {BASE}" in shown


def test_the_command_it_names_repairs_it(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.memory.tags[REPOSITORY]["nightly"] = world.image("main 1", "test").digest
    assert status(world.places()).outcome is Outcome.CONTRACT
    rollback(world.places(), commit(2), world.run())
    assert status(world.places()).outcome is Outcome.OK


def test_what_it_was_before_the_switch_is_called_that(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.memory.tags[REPOSITORY]["nightly"] = world.image("main 1", "test").digest
    assert f"shows release {commit(1)[:12]}, as before the last switch: that was cut off, or written over late" in text(
        status(world.places())
    )


def test_what_nobody_released_is_called_that(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.memory.image(REPOSITORY, "nightly", {}, b"theirs")
    assert "shows what no release of this channel had: somebody wrote it after the switch" in text(
        status(world.places())
    )


def test_a_pointer_that_is_gone_is_mixed(tmp_path: Path) -> None:
    world = made(tmp_path)
    del world.memory.tags[REPOSITORY]["base-nightly"]
    found = status(world.places())
    assert found.outcome is Outcome.CONTRACT
    assert f"{BASE} is not there: somebody removed it" in text(found)
    assert f"! {BASE}  nothing" in text(found)


def test_a_pointer_that_should_not_be_there_is_mixed(tmp_path: Path) -> None:
    """The third release has no base image; its pointer went with the switch, and then came back."""
    world = made(tmp_path)
    world.switch("nightly", world.stage("nightly", 3, {"main": world.image("main 3", "test")}))
    world.memory.tags[REPOSITORY]["base-nightly"] = world.image("base", "base").digest
    found = status(world.places())
    assert [(row.name, row.wanted) for row in found.pointers if row.wrong] == [(BASE, None)]


def test_an_index_that_differs_is_mixed(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.places().store.publish({"index.html": b"theirs"})
    found = status(world.places())
    assert [row.name for row in found.pointers if row.wrong] == ["index:nightly"]
    assert found.outcome is Outcome.CONTRACT


def broken(what: str) -> Callable[[Request], Response | None]:
    return lambda request: Response(500, Headers({}), b"") if what in request.url else None


def test_a_pointer_that_cannot_be_read_is_no_answer_and_hides_no_other(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.memory.hook = broken("manifests/nightly")
    found = status(world.places())
    assert (found.outcome, found.outcome.exit_code) == (Outcome.INFRA, 4)
    rows = {row.name: row for row in found.pointers}
    assert rows[MAIN].unread
    assert rows[BASE].seen == rows[BASE].wanted
    assert f"? {MAIN}  unknown" in text(found)
    assert "next: run the same command again, or inv doctor" in text(found)


def test_mixed_is_worse_than_unreadable_and_both_are_told(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.memory.hook = broken("manifests/nightly")
    del world.memory.tags[REPOSITORY]["base-nightly"]
    found = status(world.places())
    assert sorted(references(found)) == ["mixed-pointer", "unread-pointer"]
    assert found.outcome is Outcome.CONTRACT


def test_a_switch_while_we_look_is_no_fault(tmp_path: Path) -> None:
    world = made(tmp_path)
    third = world.stage("nightly", 3, {"main": world.image("main 3", "test")})
    done: list[str] = []

    def meanwhile(request: Request) -> None:
        if "manifests/nightly" in request.url and not done:
            done.append("")
            world.switch("nightly", third)

    world.memory.hook = meanwhile
    found = status(world.places())
    assert found.standing
    assert (found.standing.commit, found.findings) == (commit(3), ())


# --- documents


@pytest.mark.parametrize(
    ("path", "data", "outcome"),
    [
        (STANDING, b"half a docu", Outcome.CONTRACT),
        (STANDING, b'{"schema": 99}', Outcome.CONFIG),
        (f"{commit(2)}/release.json", b"half", Outcome.CONTRACT),
    ],
)
def test_documents_that_cannot_be_read_are_findings(tmp_path: Path, path: str, data: bytes, outcome: Outcome) -> None:
    world = made(tmp_path)
    world.places().store.write(path, data)
    found = status(world.places())
    assert (found.outcome, found.pointers) == (outcome, ())
    assert "next: " in text(found)


def test_a_release_that_is_gone_is_a_finding(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.places().store.remove(f"{commit(2)}/release.json")
    assert references(status(world.places())) == ["no-release"]


def test_a_channel_that_never_had_a_release_is_empty(tmp_path: Path) -> None:
    world = made(tmp_path)
    found = status(world.places("release"))
    assert (found.outcome, found.outcome.exit_code) == (Outcome.EMPTY, 6)
    assert "nothing was ever released in channel release" in text(found)
    promoted = World(tmp_path, channel("release", promoted=True))
    assert "next: inv promote NIGHTLY --to release" in text(status(promoted.places("release")))


def test_only_channels_that_ever_had_a_release_are_told_of_unless_none_had(tmp_path: Path) -> None:
    world = made(tmp_path)
    both = [world.places("nightly"), world.places("release")]
    assert [each.channel for each in statuses(both)] == ["nightly"]
    empty = statuses([world.places("release")])
    assert [each.channel for each in empty] == ["release"]
    assert reports.answer("release-status", empty).outcome is Outcome.EMPTY
    world.places("release").store.write(STANDING, b"half")
    assert [each.channel for each in statuses(both)] == ["nightly", "release"]
    assert reports.answer("release-status", statuses(both)).outcome is Outcome.CONTRACT


# --- what happened last


def test_what_was_taken_back_is_shown(tmp_path: Path) -> None:
    world = made(tmp_path)
    rollback(world.places(), commit(1), world.run())
    found = status(world.places())
    assert found.outcome is Outcome.OK
    assert f"withdrawn: {commit(2)[:12]}" in text(found)
    assert reports.answer("release-status", (found,)).document["channels"][0]["withdrawn"] == [commit(2)]
    assert "rollback by run" in text(found)


def test_the_last_five_entries_newest_first(tmp_path: Path) -> None:
    world = made(tmp_path)
    for number in range(3, 8):
        world.release("nightly", number)
    assert [entry.sequence for entry in status(world.places()).entries] == [7, 6, 5, 4, 3]


def test_a_run_at_work_is_named_one_that_ended_is_not(tmp_path: Path) -> None:
    world = made(tmp_path)
    assert status(world.places()).run == ""
    with lease.held(world.places(), "20260101T000000Z-0000000f"):
        found = status(world.places())
        assert "run 20260101T000000Z-0000000f is at work on it now" in text(found)
    dead = replace(store_lease.Holder.me("20260101T000000Z-0000000f"), started=1)
    world.places().store.write(store_lease.LEASE, dead.encode())
    assert status(world.places()).run == ""
