"""Every check of ``doctor`` in each of its states, over fakes; and that nothing that hangs can hold it up."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from ci.doctor import builders, surroundings, visit
from ci.doctor.findings import Case, Check, Finding, space
from ci.errors import ConfigError, DeadlineError, InfraError, Outcome
from ci.recipe import stack as stacks
from ci.settings import capture
from ci.world import dirty, host, probes
from ci.world.engine import DEFAULT_HOST, Endpoint, Engine, Image
from ci.world.fakes import FakeClock, FakeSend
from ci.world.gpus import Device
from ci.world.http import Headers, Response, Unreachable
from ci.world.leases import leased
from ci.world.ledger import Ledger
from ci.world.nics import Nics
from ci.world.process import Command, Finished
from ci.world.sysfs import Devices
from tests.nodes import eight

ROOT = Path(__file__).resolve().parents[2]
INFO = {
    "Driver": "overlayfs",
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
    "SystemTime": "2026-01-01T00:00:01.123456789Z",
    "DockerRootDir": "/",
}
KFD = Device("/dev/kfd", 109, "")
RENDER = Device("/dev/dri/renderD128", 109, "")


@dataclass
class FakeEngine:
    """Answers from a table."""

    at: Endpoint = field(default_factory=lambda: Endpoint(DEFAULT_HOST, "default"))
    said: Mapping[str, Any] = field(default_factory=lambda: {"Version": "28.5.2+dfsg4", "Os": "linux", "Arch": "amd64"})
    told: Mapping[str, Any] = field(default_factory=lambda: INFO)
    images: frozenset[str] = frozenset()

    def version(self) -> Mapping[str, Any]:
        return self.said

    def info(self) -> Mapping[str, Any]:
        return self.told

    def image(self, name: str) -> Image | None:
        root = name.partition(":")[2].partition("-")[0]
        return Image("sha256:1", (name,), (), {}, ("sha256:2",), 1) if root in self.images else None


class FakeRun:
    """Answers by the first words of the command."""

    def __init__(self, table: Mapping[tuple[str, ...], tuple[int, str, str] | BaseException]) -> None:
        self._table = table

    def __call__(self, command: Command, _on_line: object = None) -> Finished:
        words = tuple(word for word in command.argv if word in WORDS)
        said = self._table[words]
        if isinstance(said, BaseException):
            raise said
        return Finished(command, *said)


WORDS = frozenset({"git", "--version", "rev-parse", "status", "docker", "buildx", "version", "inspect", "amd-smi"})
GIT: Mapping[tuple[str, ...], tuple[int, str, str] | BaseException] = {
    ("git", "--version"): (0, "git version 2.39.5\n", ""),
    ("git", "rev-parse"): (0, "/src\nfalse\n", ""),
    ("git", "status"): (0, "", ""),
}


BUILDX: Mapping[tuple[str, ...], tuple[int, str, str] | BaseException] = {
    ("docker", "buildx", "version"): (0, "github.com/docker/buildx v0.29.1 x\n", ""),
    ("docker", "buildx", "inspect"): (0, "Name: default\nDriver: docker\n", ""),
}


def case(tmp_path: Path, **changes: Any) -> Case:
    """A healthy host below ``tmp_path``; ``environ`` and the fields of ``Case`` can be changed."""
    environ = {
        "HOME": str(tmp_path),
        "DOCKER_CONFIG": str(tmp_path),
        "ROCM_CI_STATE": str(tmp_path / "state"),
        "PIP_CONFIG_FILE": "/dev/null",
        **changes.pop("environ", {}),
    }
    engine = changes.pop("engine", FakeEngine())
    values: dict[str, Any] = {
        "settings": capture(changes.pop("flags", {}), environ),
        "stack": stacks.load("local"),
        "folder": tmp_path,
        "engine": lambda: cast("Engine", engine),
        "start": FakeRun({**GIT, **BUILDX}),
        "fetch": FakeRun({}),
        "send": FakeSend({}),
        "clock": FakeClock(),
        "gpus": lambda: Devices(None, ()),
        "nics": lambda: Nics((), (), (), ""),
        **changes,
    }
    return Case(**values)


def look(check: str, patient: Case) -> Finding:
    """The one finding of a shipped check."""
    chosen = [each for each in visit.CHECKS if each.name == check]
    return next(each for each in visit.examine(patient, chosen, 30) if each.check == check)


def docker_says(text: str, code: int = 0) -> FakeRun:
    return FakeRun({("docker", "buildx", "version"): (code, text, "")})


@pytest.mark.parametrize(
    ("version", "state"),
    [("28.0.0", "ok"), ("28.5.2+dfsg4", "ok"), ("29.0.0-rc.1", "ok"), ("27.5.1", "fail"), ("dev", "fail")],
)
def test_engine_version(tmp_path: Path, version: str, state: str) -> None:
    engine = FakeEngine(said={"Version": version, "Os": "linux", "Arch": "amd64"})
    found = look("engine", case(tmp_path, engine=engine))
    assert (found.state, version in found.message, DEFAULT_HOST in found.message) == (state, True, True)
    assert found.outcome == (Outcome.OK if state == "ok" else Outcome.INFRA)
    assert bool(found.remedy) == (state == "fail")


def test_engine_of_another_platform(tmp_path: Path) -> None:
    engine = FakeEngine(said={"Version": "28.5.2", "Os": "linux", "Arch": "arm64"})
    found = look("engine", case(tmp_path, engine=engine))
    assert (found.state, found.outcome) == ("warn", Outcome.OK)


def test_image_store(tmp_path: Path) -> None:
    assert look("image-store", case(tmp_path)).state == "ok"
    old = FakeEngine(told={**INFO, "Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]})
    found = look("image-store", case(tmp_path, engine=old))
    assert (found.state, found.outcome) == ("fail", Outcome.INFRA)
    assert "daemon.json" in found.remedy


def test_the_engines_clock(tmp_path: Path) -> None:
    assert look("clock", case(tmp_path)).state == "ok"
    patient = case(tmp_path, engine=FakeEngine(told={**INFO, "SystemTime": "2026-01-01T02:00:00Z"}))
    found = {each.check: each for each in visit.examine(patient, visit.CHECKS, 30)}["clock"]
    assert (found.state, found.message) == ("warn", "the engine is 7200 s ahead of this host")


def test_an_impossible_year(tmp_path: Path) -> None:
    found = look("clock", case(tmp_path, clock=FakeClock(datetime(1970, 1, 1, tzinfo=UTC))))
    assert (found.state, found.outcome) == ("fail", Outcome.INFRA)


@pytest.mark.parametrize(("version", "state"), [("v0.17.0", "ok"), ("0.29.1+ds1", "ok"), ("v0.13.1", "fail")])
def test_buildx_version(tmp_path: Path, version: str, state: str) -> None:
    found = look("buildx", case(tmp_path, start=docker_says(f"github.com/docker/buildx {version} abc\n")))
    assert found.state == state


def test_no_buildx(tmp_path: Path) -> None:
    found = look("buildx", case(tmp_path, start=docker_says("", 1)))
    assert (found.state, found.outcome) == ("fail", Outcome.INFRA)
    assert "install docker-buildx" in found.remedy


def test_a_program_that_hangs(tmp_path: Path) -> None:
    slow = DeadlineError("deadline", "docker did not answer within 2 s")
    found = look("buildx", case(tmp_path, start=FakeRun({("docker", "buildx", "version"): slow})))
    assert (found.state, found.outcome, "did not answer" in found.message) == ("fail", Outcome.INFRA, True)


def write(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def test_builder(tmp_path: Path) -> None:
    assert look("builder", case(tmp_path)).state == "ok"
    named = case(tmp_path, environ={"ROCM_CI_BUILDER": "fast"})
    found = look("builder", named)
    assert (found.state, found.outcome) == ("fail", Outcome.CONFIG)
    assert "docker buildx create --name fast --driver remote" in found.remedy
    (tmp_path / "buildx/instances").mkdir(parents=True)
    (tmp_path / "buildx/instances/fast").write_text("{")
    assert look("builder", named).state == "fail"


@pytest.mark.parametrize(
    ("sample", "state", "outcome", "words"),
    [
        ("container", "ok", Outcome.OK, "driver docker-container, BuildKit v0.25.1 for linux/amd64"),
        ("container-asleep", "warn", Outcome.OK, "not started"),
        ("remote-silent", "fail", Outcome.INFRA, "cannot be reached"),
        ("", "fail", Outcome.INFRA, "no such thing"),
    ],
)
def test_builder_of_another_driver(tmp_path: Path, sample: str, state: str, outcome: Outcome, words: str) -> None:
    text = (ROOT / f"tests/unit/samples/builders/{sample}.txt").read_text() if sample else ""
    said = (0, text, "") if sample else (1, "", "ERROR: no such thing\n")
    start = FakeRun({("docker", "buildx", "inspect"): said})
    write(tmp_path / "buildx/instances/fast", {"Driver": "docker-container", "Nodes": [{"Endpoint": "default"}]})
    found = look("builder", case(tmp_path, environ={"ROCM_CI_BUILDER": "fast"}, start=start))
    assert (found.state, found.outcome, words in found.message, "fast (environment)" in found.message) == (
        state, outcome, True, True,
    )  # fmt: skip
    assert bool(found.remedy) == (state != "ok")


@pytest.mark.parametrize(
    ("spares", "code", "state", "words"),
    [
        ("1B", 0, "ok", "kept while 1 B are free"),
        ("9999TiB", 0, "warn", "finished steps run again"),
        ("9999TiB", 1, "warn", "cannot tell what it keeps: ERROR: gone"),
    ],
)
def test_a_disk_on_which_the_builder_keeps_nothing(
    tmp_path: Path, spares: str, code: int, state: str, words: str
) -> None:
    text = (ROOT / "tests/unit/samples/builders/engine.txt").read_text().replace("47.5GiB", spares)
    start = FakeRun({("docker", "buildx", "inspect"): (code, "" if code else text, "ERROR: gone\n" if code else "")})
    engine = FakeEngine(told={**INFO, "DockerRootDir": str(tmp_path)})
    found = look("cache", case(tmp_path, engine=engine, start=start))
    assert (found.state, words in found.message, bool(found.remedy)) == (state, True, state == "warn"), found
    assert found.outcome == Outcome.OK


def test_a_builder_in_buildx_own_folder(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/instances/fast", {"Driver": "docker", "Nodes": [{"Endpoint": "default"}]})
    environ = {"ROCM_CI_BUILDER": "fast", "BUILDX_CONFIG": str(tmp_path / "elsewhere")}
    assert look("builder", case(tmp_path, environ=environ)).state == "ok"


def test_builder_of_another_engine(tmp_path: Path) -> None:
    """A builder named by hand does not follow a docker context: images would be built here and looked for there."""
    meta = {"Name": "far", "Endpoints": {"docker": {"Host": "tcp://10.0.0.9:2376"}}}
    write(tmp_path / "contexts/meta/abc/meta.json", meta)
    found = look("builder", case(tmp_path, environ={"DOCKER_CONTEXT": "far", "ROCM_CI_BUILDER": "default"}))
    assert (found.state, found.remedy) == ("fail", "set ROCM_CI_BUILDER=far")
    assert look("builder", case(tmp_path, environ={"DOCKER_CONTEXT": "far"})).state == "ok"


@pytest.mark.parametrize(("free", "state"), [(30e9, "ok"), (10e9, "warn"), (4e9, "fail")])
def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, state: str) -> None:
    monkeypatch.setattr(host, "free_disk", lambda _folder: int(free))
    found = look("disk", case(tmp_path))
    assert found.state == state
    assert "20 GB" in found.message
    assert found.outcome == (Outcome.INFRA if state == "fail" else Outcome.OK)
    assert space("disk", tmp_path, 0, "").state == "ok"


def test_disk_of_another_host(tmp_path: Path) -> None:
    far = FakeEngine(at=Endpoint("tcp://10.0.0.9:2376", "DOCKER_HOST"))
    assert "another host" in look("disk", case(tmp_path, engine=far)).message
    hidden = FakeEngine(told={**INFO, "DockerRootDir": str(tmp_path / "none")})
    assert "not on this host" in look("disk", case(tmp_path, engine=hidden)).message


@pytest.mark.parametrize(
    ("here", "means", "state"),
    [
        ({"bookworm", "forky"}, set(), "ok"),
        ({"bookworm"}, {"root", "debootstrap"}, "ok"),
        ({"bookworm"}, {"debootstrap"}, "warn"),
        (set(), {"root"}, "warn"),
    ],
)
def test_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: set[str], means: set[str], state: str) -> None:
    monkeypatch.setattr(host, "is_root", lambda: "root" in means)
    monkeypatch.setattr(probes, "installed", lambda program: program in means)
    assert look("roots", case(tmp_path, engine=FakeEngine(images=frozenset(here)))).state == state


def test_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "free_disk", lambda _folder: int(30e9))
    assert look("state", case(tmp_path)).state == "ok"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "state").write_text("")
    found = look("state", case(tmp_path))
    assert (found.state, found.outcome) == ("fail", Outcome.INFRA)


def test_abandoned_runs(tmp_path: Path) -> None:
    assert look("runs", case(tmp_path)).state == "ok"
    run = Ledger.begin(tmp_path / "state", "20260101T000000Z-00000000", "build-base")
    run.will_make("image", "x:y")
    assert look("runs", case(tmp_path)).state == "ok"
    write(run.folder / "owner.json", {"version": 1, "pid": 1, "started": 1, "boot": "another"})
    found = look("runs", case(tmp_path))
    assert (found.state, "inv reap" in found.remedy) == ("warn", True)
    write(run.folder / "owner.json", {"version": 99})
    assert look("runs", case(tmp_path)).state == "warn"


PING = ("GET", "http://localhost:5000/v2/")
START = ("POST", "http://localhost:5000/v2/team/rocm-ci/local/blobs/uploads/")
DATE = {"date": "Thu, 01 Jan 2026 00:00:02 GMT", "content-type": "application/json"}
API = {**DATE, "docker-distribution-api-version": "registry/2.0"}


def registry(tmp_path: Path, script: Any) -> Case:
    return case(tmp_path, flags={"--registry": "localhost:5000/team"}, send=FakeSend(script))


def test_registry_not_given(tmp_path: Path) -> None:
    assert look("registry", case(tmp_path)).state == "ok"


def test_registry_that_lets_us_push(tmp_path: Path) -> None:
    upload = "http://localhost:5000/v2/team/rocm-ci/local/blobs/uploads/1"
    patient = registry(
        tmp_path,
        {
            PING: Response(200, Headers(API)),
            START: Response(202, Headers({**API, "location": upload})),
            ("DELETE", upload): Response(204, Headers(API)),
        },
    )
    found = {each.check: each for each in visit.examine(patient, [_check("registry")], 30)}
    assert found["registry"].message == "localhost:5000/team/rocm-ci/local can be pushed to"
    assert found["clock"].state == "ok"


def test_registry_that_refuses(tmp_path: Path) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"no"}]}'
    script = {PING: Response(200, Headers(API)), START: Response(403, Headers(API), body)}
    found = look("registry", registry(tmp_path, script))
    assert (found.state, found.remedy) == ("warn", "docker login localhost:5000")


def test_registry_that_is_silent(tmp_path: Path) -> None:
    found = look("registry", registry(tmp_path, {PING: Unreachable("timeout", "no complete answer within 2 s")}))
    assert (found.state, found.outcome) == ("fail", Outcome.INFRA)


def test_registry_with_another_clock(tmp_path: Path) -> None:
    late = Headers({**API, "date": "Wed, 31 Dec 2025 23:00:00 GMT"})
    patient = registry(tmp_path, {PING: Response(200, late), START: Response(403, late, b"{}")})
    found = {each.check: each for each in visit.examine(patient, [_check("registry"), _check("clock")], 30)}
    assert found["clock"].message == "registry localhost:5000 is 3600 s behind this host"


def test_registry_with_a_bad_address(tmp_path: Path) -> None:
    found = look("registry", case(tmp_path, flags={"--registry": "no registry"}))
    assert (found.state, found.outcome) == ("fail", Outcome.CONFIG)


def test_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("x")
    monkeypatch.setattr(probes, "has_own_ca", lambda: True)
    environ = {"SSL_CERT_FILE": str(bundle), "PIP_INDEX_URL": "https://user:secret@mirror.example/simple"}
    found = look("network", case(tmp_path, environ={**environ, "HTTPS_PROXY": "http://user:secret@proxy.example"}))
    assert found.state == "ok"
    assert "secret" not in found.message
    assert all(word in found.message for word in (str(bundle), "index-url (environment)", "re-signed", "https_proxy"))


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_FIND_LINKS"])
def test_network_settings_that_lead_nowhere(tmp_path: Path, name: str) -> None:
    found = look("network", case(tmp_path, environ={name: str(tmp_path / "none")}))
    assert (found.state, "none" in found.message) == ("warn", True)


def test_pip_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("no section = 1\n")
    found = look("network", case(tmp_path, environ={"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}))
    assert found.state == "warn"


@pytest.mark.parametrize(
    ("answers", "state", "words"),
    [
        ({}, "ok", "clean"),
        ({("git", "status"): (0, " M file\n", "")}, "ok", "dirty"),
        ({("git", "rev-parse"): (0, "/src\ntrue\n", "")}, "warn", "shallow"),
        ({("git", "rev-parse"): (128, "", "fatal: not a git repository\n")}, "ok", "in no repository"),
        ({("git", "rev-parse"): (128, "", "fatal: dubious\ngit config safe.directory /x\n")}, "warn", "not read"),
        ({("git", "status"): DeadlineError("deadline", "git did not answer within 2 s")}, "warn", "did not answer"),
        ({("git", "--version"): InfraError("no-program", "git is not installed")}, "warn", "not installed"),
    ],
)
def test_git(tmp_path: Path, answers: Any, state: str, words: str) -> None:
    found = look("git", case(tmp_path, start=FakeRun({**GIT, **answers})))
    assert (found.state, words in found.message) == (state, True)


@pytest.mark.parametrize(
    ("seen", "state", "words"),
    [
        (Devices(None, ()), "ok", "no GPU: suites run on CPU"),
        (Devices(KFD, (RENDER, RENDER)), "ok", "2 render nodes, group 109"),
        (Devices(None, (RENDER,)), "warn", "no /dev/kfd"),
        (Devices(KFD, ()), "warn", "no render node"),
        (Devices(KFD, (Device("/dev/dri/renderD128", 109, "Permission denied"),)), "warn", "Permission denied"),
    ],
)
def test_gpus(tmp_path: Path, seen: Devices, state: str, words: str) -> None:
    found = look("gpus", case(tmp_path, gpus=lambda: seen))
    assert (found.state, words in found.message) == (state, True)
    assert found.state == "ok" or found.remedy


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ((0, '[{"gpu": 0}]', ""), "ok"),
        ((0, "[]", ""), "warn"),
        ((1, "", "ERROR: driver not loaded"), "warn"),
        ((0, "GPU: 0", ""), "warn"),
        (InfraError("no-program", "amd-smi is not installed"), ""),
        (DeadlineError("deadline", "amd-smi did not answer within 2 s"), "warn"),
    ],
)
def test_amd_smi(tmp_path: Path, said: Any, state: str) -> None:
    patient = case(tmp_path, start=FakeRun({("amd-smi",): said}), gpus=lambda: Devices(KFD, (RENDER,)))
    assert "".join(each.state for each in visit.examine(patient, [_check("amd-smi")], 30)) == state


def test_nobody_leases(tmp_path: Path) -> None:
    found = look("leases", case(tmp_path))
    assert (found.state, found.message) == ("ok", "no GPU is leased")
    assert list(tmp_path.iterdir()) == []


def test_leases(tmp_path: Path) -> None:
    state, late = tmp_path / "state", FakeClock()
    late.advance(601)
    with leased(
        state, eight(), 1, run="run-7", verb="test unit", lasts=600, patience=0, say=pytest.fail, clock=FakeClock()
    ):
        found = look("leases", case(tmp_path))
        assert (found.state, "run-7" in found.message, "0000:01:00.0" in found.message) == ("ok", True, True)
        found = look("leases", case(tmp_path, clock=late))
    assert (found.state, found.message.endswith("overdue"), bool(found.remedy)) == ("warn", True, True)


def test_dirty_gpus(tmp_path: Path) -> None:
    leak = dirty.Leak("0000:05:00.0", 283, 9000, ())
    dirty.mark(tmp_path / "state", leak, run="run-7", who="ann", clock=FakeClock())
    found = look("leases", case(tmp_path))
    assert (found.state, found.remedy) == ("warn", dirty.REMEDY)
    assert "0000:05:00.0 is dirty" in found.message


def test_settings_and_stack(tmp_path: Path) -> None:
    found = look("settings", case(tmp_path, environ={"ROCM_CI_STAK": "x"}))
    assert (found.state, found.outcome) == ("fail", Outcome.CONFIG)
    assert "ROCM_CI_STACK" in found.remedy
    assert look("settings", case(tmp_path)).state == "ok"
    stack, (about,) = surroundings.look_at_stack(capture({"--stack": "nope"}, {}))
    assert (stack, about.state, about.outcome) == (None, "fail", Outcome.CONFIG)


def test_without_a_stack_the_rest_goes_on(tmp_path: Path) -> None:
    found = visit.examine(case(tmp_path, stack=None, flags={}), visit.CHECKS, 30)
    assert Outcome.INTERNAL not in {each.outcome for each in found}
    assert {"engine", "disk", "git"} <= {each.check for each in found}


# --- what hangs, what breaks ------------------------------------------------------------------


def _check(name: str) -> Check:
    return next(each for each in visit.CHECKS if each.name == name)


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """An event that is set only when the test is over, so that its threads end as well."""
    event = threading.Event()
    yield event
    event.set()


def hangs(event: threading.Event) -> Callable[[Case], tuple[Finding, ...]]:
    def look(_case: Case) -> tuple[Finding, ...]:
        event.wait()
        return (Finding("late", "ok", "too late"),)

    return look


def test_a_check_that_never_answers_blocks_nobody(tmp_path: Path, never: threading.Event) -> None:
    checks = [Check("stuck", hangs(never), "do this", fatal=False), Check("dead", hangs(never), "do that")]
    stuck, dead = visit.examine(case(tmp_path), checks, 0.01)
    assert stuck == Finding("stuck", "warn", "did not answer within 0.01 s", "do this")
    assert dead == Finding("dead", "fail", "did not answer within 0.01 s", "do that", Outcome.INFRA)


def test_the_others_answer_beside_it(tmp_path: Path, never: threading.Event) -> None:
    quick = threading.Event()

    def after(_case: Case) -> tuple[Finding, ...]:
        quick.set()
        return (Finding("quick", "ok", "here"),)

    found = visit.examine(case(tmp_path), [Check("quick", after, ""), Check("stuck", hangs(never), "")], 5)
    assert [each.check for each in found if each.state == "ok"] == ["quick"]
    assert quick.is_set()


def test_an_engine_nobody_can_name_is_a_finding_too(tmp_path: Path) -> None:
    def nameless(_case: Case) -> Any:
        raise ConfigError("bad-docker-config", "cannot read config.json", hint="mend it")

    unknown = Check("engine", nameless, "start it", where=nameless)
    assert visit.examine(case(tmp_path), [unknown], 10) == (
        Finding("engine", "fail", "cannot read config.json", "mend it", Outcome.CONFIG),
    )


def test_an_engine_that_hangs_is_one_failure(tmp_path: Path, never: threading.Event) -> None:
    engine = Check("engine", hangs(never), "start it", where=builders.where)
    store = Check("image-store", hangs(never), "start it", needs_engine=True)
    first, second = visit.examine(case(tmp_path), [engine, store], 0.01)
    assert first.message == f"{DEFAULT_HOST} (default) did not answer within 0.01 s"
    assert (second.state, second.remedy) == ("warn", "see engine")


def raises(error: BaseException) -> Callable[[Case], tuple[Finding, ...]]:
    def look(_case: Case) -> tuple[Finding, ...]:
        raise error

    return look


@pytest.mark.parametrize(
    ("error", "outcome", "remedy"),
    [
        (InfraError("x", "gone", hint="run inv doctor"), Outcome.INFRA, "ours"),
        (InfraError("x", "gone", hint="plug it in"), Outcome.INFRA, "plug it in"),
        (ConfigError("x", "wrong"), Outcome.CONFIG, "ours"),
        (PermissionError(13, "Permission denied"), Outcome.INFRA, "ours"),
        (KeyError("x"), Outcome.INTERNAL, "this is a bug of ours: report this line"),
    ],
)
def test_a_check_that_breaks(tmp_path: Path, error: BaseException, outcome: Outcome, remedy: str) -> None:
    (found,) = visit.examine(case(tmp_path), [Check("x", raises(error), "ours")], 30)
    assert (found.state, found.outcome, found.remedy) == ("fail", outcome, remedy)


# --- how it reads -----------------------------------------------------------------------------


def test_text_and_document() -> None:
    found = (
        Finding("git", "ok", "2.39.5"),
        Finding("roots", "warn", "not here", "get them"),
        Finding("engine", "fail", "silent\x1b[31m\nvery", "wake it", Outcome.INFRA),
    )
    answer = visit.render(found)
    assert answer.outcome is Outcome.INFRA
    assert answer.text.splitlines() == [
        "fail  engine  silent very",
        "              → wake it",
        "warn  roots   not here",
        "              → get them",
        "ok    git     2.39.5",
        "1 problem, 1 warning",
    ]
    document = json.loads(json.dumps(answer.document))
    assert (document["schema"], document["outcome"]) == (1, "infra")
    assert document["findings"][0] == {
        "check": "engine",
        "subject": "",
        "state": "fail",
        "message": "silent\x1b[31m\nvery",
        "remedy": "wake it",
        "outcome": "infra",
    }


def test_a_login_is_in_no_finding(tmp_path: Path) -> None:
    at = Endpoint("tcp://me:hunter2@host:1", "DOCKER_HOST")
    environ = {"DOCKER_HOST": at.host, "ROCM_CI_REGISTRY": "me:hunter2@host/x"}
    patient = case(tmp_path, environ=environ, engine=FakeEngine(at, told={**INFO, "DockerRootDir": ""}))
    found = visit.examine(patient, [_check(name) for name in ("engine", "disk", "registry", "trust")])
    answer = visit.render(
        (*found, Finding("x", "warn", "", "docker login me:hunter2@host", subject="http://a:hunter2@b"))
    )
    assert answer.text.count("tcp://****@host:1") == 2, answer.text
    assert "hunter2" not in answer.text + json.dumps(answer.document)


def test_the_worst_finding_decides() -> None:
    fine, wrong = Finding("a", "ok", ""), Finding("b", "fail", "", "", Outcome.CONFIG)
    world = Finding("c", "fail", "", "", Outcome.INFRA)
    assert visit.render((fine,)).outcome is Outcome.OK
    assert visit.render((fine, Finding("d", "warn", ""))).outcome is Outcome.OK
    assert visit.render((world, fine, wrong)).outcome is Outcome.CONFIG
    assert visit.render((fine,)).text.endswith("\nready")


def test_bootstrap_names_the_same_minimum() -> None:
    loader = importlib.machinery.SourceFileLoader("bootstrap", str(ROOT / "ci" / "bootstrap"))
    spec = importlib.util.spec_from_loader("bootstrap", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # or ci/ gets a bootstrapc
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    assert (module.ENGINE_MINIMUM, module.BUILDX_MINIMUM) == (builders.ENGINE_MINIMUM, builders.BUILDX_MINIMUM)


def test_a_program_in_uninterruptible_sleep_is_given_up() -> None:
    """Whoever leaves the context of a child waits for its end, which does not come."""

    class Stuck:
        pid, returncode = 2**22 + 1, None

        def wait(self, timeout: float) -> int:
            raise subprocess.TimeoutExpired("amd-smi", timeout)

    child = Stuck()
    probes._end(cast("subprocess.Popen[bytes]", child))
    assert child.returncode is not None
