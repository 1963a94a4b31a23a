"""The credentials of a release: used where they have to be, and nowhere to be found afterwards, or meanwhile."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.stand import Ended, soon
from tests.images import listed
from tests.release_doors import Asked
from tests.release_stand import Stand, standing
from tests.unit.registry_replies import API, JSON, Reply, errors

USER, PASSWORD = "ada", "canary-password-7d1e"
SECRET, SESSION = "canary-secret-key-42c9", "canary-session-token-9f0b"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
CANARIES = (PASSWORD, SECRET, SESSION, BASIC, base64.b64encode(PASSWORD.encode()).decode())
LOGIN = Reply(401, {**API, **JSON, "WWW-Authenticate": 'Basic realm="stand"'}, errors("UNAUTHORIZED"))


def found_in(data: bytes | str) -> list[str]:
    text = data if isinstance(data, bytes) else data.encode()
    return [canary for canary in CANARIES if canary.encode() in text]


def logged_in(asked: Asked, perform: Callable[[], Reply]) -> Reply:
    """A registry that wants the password."""
    if asked.where == "registry" and asked.headers.get("authorization") != f"Basic {BASIC}":
        return LOGIN
    return perform()


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


def everywhere(stand: Stand, ended: Ended) -> dict[str, bytes]:
    """What the runs wrote and left, by where it is; the file that the user logged in with is his own."""
    found = {"stdout": ended.out.encode(), "stderr": ended.err.encode()}
    found |= {str(path): path.read_bytes() for path in stand.state.rglob("*") if path.is_file()}
    found |= {f"store {path}": data for path, data in stand.world.objects().items()}
    for image in (name for name in listed("--format", "{{.Repository}}:{{.Tag}}") if stand.name in name):
        found[f"inspect {image}"] = docker("image", "inspect", image).encode()
        found[f"history {image}"] = docker("history", "--no-trunc", image).encode()
    data = stand.world.data
    found |= {str(path): path.read_bytes() for path in data.rglob("*") if path.is_file()}
    return found


@pytest.fixture
def guarded(tmp_path: Path, busy: str) -> Iterator[Stand]:
    with standing(tmp_path, busy, ("rocm-probe",)) as stand:
        config = tmp_path / "docker"
        config.mkdir()
        (config / "config.json").write_text(json.dumps({"auths": {stand.registry.host: {"auth": BASIC}}}))
        stand.env |= {
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": SESSION,
            "DOCKER_CONFIG": str(config),
        }
        stand.around(logged_in)
        yield stand


def test_credentials_are_used_and_left_nowhere(guarded: Stand) -> None:
    stand = guarded
    stand.suite("echo the suite begins; sleep 4; cat /proc/1/environ /opt/marker")
    stand.git("commit", "-qam", "look around")
    running = stand.start()
    running.until("the suite begins")
    names: list[str] = []

    def at_work() -> list[str]:
        listed = docker("ps", "--format", "{{.Names}} {{.Image}}").splitlines()
        runs = [path.name.lower() for path in (stand.state / "runs").iterdir()]
        names[:] = [line.split()[0] for line in listed if stand.name in line or any(run in line for run in runs)]
        return names

    soon(at_work, "there is no container")
    inspected = docker("inspect", *names)
    ended = running.end()
    assert ended.code == 0, ended.err
    stand.world.whole(stand.head)

    assert any(asked.headers.get("authorization") == f"Basic {BASIC}" for asked, _ in stand.registry.done)
    assert any(asked.headers.get("x-amz-security-token") == SESSION for asked, _ in stand.store.done)
    assert found_in(inspected) == []
    held = everywhere(stand, ended)
    assert any("release.json" in name for name in held)
    assert any(name.startswith("history ") for name in held)
    assert {name: canaries for name, data in held.items() if (canaries := found_in(data))} == {}


@pytest.mark.parametrize("where", ["registry", "store"])
def test_a_refusal_does_not_tell_them(guarded: Stand, where: str) -> None:
    """Servers may repeat what they were sent."""
    echo = f"you sent {PASSWORD} {BASIC}" if where == "registry" else f"you sent {SECRET} {SESSION}"

    def around(asked: Asked, perform: Callable[[], Reply]) -> Reply:
        answer = logged_in(asked, perform)
        if asked.where != where or asked.method == "GET" or answer is LOGIN:
            return answer
        if where == "registry":
            return Reply(403, {**API, **JSON}, errors("DENIED", echo))
        body = f"<?xml version='1.0'?><Error><Code>InvalidToken</Code><Message>no</Message><T>{echo}</T></Error>"
        return Reply(400, {"Content-Type": "application/xml"}, body.encode())

    guarded.around(around)
    ended = guarded.run(check=4)
    held = everywhere(guarded, ended)
    assert {name: canaries for name, data in held.items() if (canaries := found_in(data))} == {}
