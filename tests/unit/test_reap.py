"""Reaping: exactly what the ledgers of dead runs name, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ci import reap
from ci.answer import Answer
from ci.errors import ConfigError, InfraError, Outcome
from ci.settings import capture
from ci.world import files
from ci.world.fakes import FakeClock, FakeEngine, FakeRun, image
from ci.world.ledger import VERSION, Ledger
from ci.world.slurm import Slurm

DEAD = {"version": VERSION, "pid": 1, "started": 1, "boot": "another boot"}


class Host:
    """A state folder and an engine."""

    def __init__(self, state: Path, engine: FakeEngine) -> None:
        self.state, self.engine = state, engine

    def run(self, name: str, *, dead: bool = True) -> Ledger:
        ledger = Ledger.begin(self.state, name, "build-base")
        if dead:
            files.write_json(ledger.folder / "owner.json", DEAD)
        return ledger

    def reap(self, *, dry: bool = False) -> Answer:
        return reap.answer(capture({}, {"ROCM_CI_STATE": str(self.state)}), FakeClock(), dry=dry)

    def snapshot(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.state.rglob("*") if path.is_file()}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    engine = FakeEngine(images={name: image("sha256:1") for name in ("a:1", "a:2", "mine:1")}, containers={"c", "mine"})
    monkeypatch.setattr(reap, "Engine", lambda _endpoint: engine)
    monkeypatch.setattr(reap, "endpoint", lambda _settings: engine.at)
    return Host(tmp_path / "state", engine)


def crash(host: Host) -> Ledger:
    """A dead run with one of everything, one thing of it removed in order."""
    ledger = host.run("dead")
    (ledger.folder / "context/deep").mkdir(parents=True)
    (ledger.folder / "context/deep/file").write_text("x")
    (ledger.folder / "root.tar").write_text("x")
    (ledger.folder / "bake.json").write_text("kept: nobody listed it")
    gone = ledger.will_make("image", "mine:1")
    ledger.will_make("image", "a:1")
    ledger.will_make("container", "c")
    ledger.will_make("folder", str(ledger.folder / "context"))
    ledger.will_make("file", str(ledger.folder / "root.tar"))
    ledger.will_make("image", "never-made:1")
    ledger.gone(gone)
    return ledger


def test_exactly_what_is_listed_goes(host: Host) -> None:
    ledger = crash(host)
    answer = host.reap()
    assert answer.outcome is Outcome.OK
    assert set(host.engine.images) == {"a:2", "mine:1"}
    assert host.engine.containers == {"mine"}
    assert sorted(path.name for path in ledger.folder.iterdir()) == ["bake.json", "ledger.jsonl"]
    assert [(row["kind"], row["problem"]) for row in answer.document["removed"]] == [
        ("image", ""), ("container", ""), ("folder", ""), ("file", ""), ("image", ""),
    ]  # fmt: skip
    assert ledger.open_things() == ()


def test_the_second_time_there_is_nothing(host: Host) -> None:
    crash(host)
    host.reap()
    host.engine.asked.clear()
    answer = host.reap()
    assert answer.text == "nothing was left behind"
    assert (answer.document["removed"], host.engine.asked) == ([], [])


def test_dry_writes_nothing_and_asks_nobody(host: Host) -> None:
    crash(host)
    before, images = host.snapshot(), dict(host.engine.images)
    answer = host.reap(dry=True)
    assert (host.snapshot(), host.engine.images, host.engine.asked) == (before, images, [])
    assert len(answer.document["removed"]) == 5
    assert answer.document["plan"] is True
    assert all(line.startswith("would remove") for line in answer.text.splitlines())


def test_a_run_that_works_is_left_alone(host: Host) -> None:
    host.run("alive", dead=False).will_make("image", "a:1")
    crash(host)
    host.run("alive too", dead=False).will_make("container", "mine")
    host.reap()
    assert host.engine.containers == {"mine"}
    assert [row["run"] for row in host.reap().document["removed"]] == []


def test_a_run_of_another_container_is_left_alone(host: Host) -> None:
    """It shares the state folder and not our process numbers: its lock tells that it works."""
    ledger = host.run("elsewhere", dead=False)
    ledger.will_make("container", "mine")
    owner = ledger.folder / "owner.json"
    owner.write_text(owner.read_text().replace('"boot"', '"was"').replace('"pid"', '"boot": "b", "pid": 1, "old"'))
    assert host.reap().document["removed"] == []
    assert "mine" in host.engine.containers


def test_nothing_at_all(host: Host) -> None:
    assert host.reap().outcome is Outcome.OK
    assert not host.state.exists()


def test_what_cannot_be_removed_stays_listed(host: Host) -> None:
    ledger = crash(host)
    host.engine.broken["a:1"] = InfraError("engine", "image is in use")
    answer = host.reap()
    assert answer.outcome is Outcome.INFRA
    assert "cannot remove image a:1 of run dead: image is in use" in answer.text
    assert [thing.name for thing in ledger.open_things()] == ["a:1"]
    assert (ledger.folder / "owner.json").exists()
    del host.engine.broken["a:1"]
    assert host.reap().outcome is Outcome.OK
    assert "a:1" not in host.engine.images


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("folder", "{outside}"),
        ("folder", "{run}/.."),
        ("folder", "{run}/../other"),
        ("folder", "{run}/link/kept"),
        ("file", "{outside}/kept"),
        ("folder", "relative"),
        ("volume", "{run}/context"),
        ("volume", "kept"),
    ],
)
def test_a_ledger_cannot_name_what_is_not_the_tools(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    """Anybody may write a ledger; root may reap it."""
    monkeypatch.chdir(tmp_path)
    ledger = host.run("dead")
    for folder in (tmp_path / "outside", tmp_path / "relative", host.state / "runs/other", ledger.folder / "context"):
        folder.mkdir(parents=True)
        (folder / "kept").write_text("x")
    (ledger.folder / "link").symlink_to(tmp_path / "outside")
    before = host.snapshot()
    thing = ledger.will_make(kind, name.format(outside=tmp_path / "outside", run=ledger.folder))
    answer = host.reap()
    assert answer.outcome is Outcome.INFRA
    assert answer.document["removed"][0]["problem"]
    after = host.snapshot()
    assert {path: data for path, data in after.items() if not path.endswith("ledger.jsonl")} == before
    assert (tmp_path / "outside/kept").exists()
    assert (tmp_path / "relative/kept").exists()
    assert ledger.open_things() == (thing,)


def test_a_link_of_the_run_goes_and_its_target_stays(host: Host, tmp_path: Path) -> None:
    ledger = host.run("dead")
    (tmp_path / "kept").mkdir()
    (ledger.folder / "link").symlink_to(tmp_path / "kept")
    ledger.will_make("folder", str(ledger.folder / "link"))
    assert host.reap().outcome is Outcome.OK
    assert (tmp_path / "kept").is_dir()
    assert not (ledger.folder / "link").is_symlink()


def test_a_newer_ledger_stops_before_anything_is_removed(host: Host) -> None:
    crash(host)
    newer = host.run("newer")
    newer.will_make("image", "a:2")
    files.write_json(newer.folder / "owner.json", DEAD | {"version": VERSION + 1})
    before, images = host.snapshot(), dict(host.engine.images)
    with pytest.raises(ConfigError) as caught:
        host.reap()
    assert caught.value.problems[0].reference == "newer-ledger"
    assert (host.snapshot(), host.engine.images) == (before, images)


def test_records_of_runs_long_ended_go_and_those_that_are_not_over_stay(host: Host) -> None:
    now = FakeClock().now()
    names = {age: f"{now - timedelta(days=age):%Y%m%dT%H%M%SZ}-00000000" for age in (1, 15, 20, 30)}
    for age in (1, 15):
        host.run(names[age], dead=False).end()
    host.run(names[20], dead=False)  # its process is this one: it still works
    host.run("not-a-run-of-ours", dead=False).end()
    before = host.snapshot()
    assert "would remove the records of 1 run" in host.reap(dry=True).text
    assert host.snapshot() == before
    assert host.reap().document["records"] == 1
    left = {path.name for path in (host.state / "runs").iterdir()}
    assert left == {names[1], names[20], "not-a-run-of-ours"}


def test_a_job_in_the_queue_goes_by_its_name(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """But only one that this run can have made: whoever may write a ledger could name another's."""
    run = FakeRun({("scancel", "--name=rocm-ci-dead-step"): (0, "", "")})
    monkeypatch.setattr(reap, "Slurm", lambda environ: Slurm(environ, run))
    ledger = host.run("dead")
    for name in ("rocm-ci-dead-step", "rocm-ci-alive-step", "training", "rocm-ci-dead-step,training"):
        ledger.will_make("slurm-job", name)
    rows = host.reap().document["removed"]
    assert [row["name"] for row in rows if not row["problem"]] == ["rocm-ci-dead-step"]
    assert [command.argv for command in run.commands] == [("scancel", "--name=rocm-ci-dead-step")]
    assert len(ledger.open_things()) == 3
