"""What a registry may say, or not say, and what the command line makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import pytest

from tests.engine.fault_server import FaultServer, fault_server
from tests.faults.front import front
from tests.faults.stand import Stand
from tests.unit.registry_replies import (
    BARE_404,
    BROKEN,
    BUSY,
    GOOD,
    MISSING,
    NO_RIGHT,
    NO_WAY,
    PAGE_200,
    PAGE_404,
    PONG,
    STARTED,
    Reply,
)

UNSIZED = {**GOOD.headers, "Content-Length": ""}
WAITING = replace(BUSY, headers={**BUSY.headers, "Retry-After": "1"})
TOO_LONG = replace(BUSY, headers={**BUSY.headers, "Retry-After": "3600"})


class Anything(dict[tuple[str, str], tuple[Reply, ...]]):
    """A script for every path: replies to HEAD and GET of a manifest, a registry's greeting, and the right to push."""

    def __init__(self, head: tuple[Reply, ...], get: tuple[Reply, ...] = ()) -> None:
        super().__init__()
        self._replies = {"HEAD": head, "GET": get or head, "POST": (STARTED,), "DELETE": (Reply(204),)}

    def get(self, key: tuple[str, str], default: object = None) -> tuple[Reply, ...]:
        del default
        method, path = key
        return (PONG,) if path == "/v2/" else self._replies[method]


@dataclass(frozen=True)
class Case:
    """One way in which a registry gives no answer; ``word`` is in the reason."""

    name: str
    head: tuple[Reply, ...]
    word: str
    get: tuple[Reply, ...] = ()


UNCLEAR = (
    Case("login asked without a way", (NO_WAY,), "unauthorized"),
    Case("no right", (NO_RIGHT,), "unauthorized"),
    Case("web page not found", (PAGE_404,), "404"),
    Case("too many requests for an hour", (TOO_LONG,), "429"),
    Case("server error", (BROKEN,), "500"),
    Case("cut body", (Reply(200, UNSIZED),), "cut off", (replace(GOOD, fault="cut"),)),
    Case("web page", (PAGE_200,), "text/html"),
    Case("hangs up", (Reply(fault="close"),), "connection"),
)


def address(server: FaultServer) -> str:
    return urlsplit(server.url).netloc


def looked_up(server: FaultServer) -> set[str]:
    """The manifests that were asked for."""
    return {asked.path for asked in server.asked if "/manifests/" in asked.path and "/cache/" not in asked.path}


@pytest.mark.parametrize("case", UNCLEAR, ids=lambda case: case.name)
def test_an_answer_that_is_none_stops_the_build(stand: Stand, case: Case) -> None:
    with fault_server(Anything(case.head, case.get)) as server:
        ended = stand.json("build-base", "--registry", address(server))
        assert ended.code == 4, ended.err
        assert ended.references == ["could-not-tell"]
        assert case.word in ended.document["problems"][0]["message"]
        assert "--on-unknown build" in ended.document["problems"][0]["hint"]
        assert stand.tags() == []
        assert looked_up(server)


def test_a_plan_says_that_it_could_not_tell(stand: Stand) -> None:
    assert stand.run("build-base").code == 0
    with fault_server(Anything((NO_WAY,))) as server:
        ended = stand.json("plan", "--registry", address(server))
    assert ended.code == 4
    assert set(ended.decisions.values()) == {"unknown"}
    assert "unauthorized" in ended.document["tiers"][0]["reasons"][0]


@pytest.mark.slow
def test_a_registry_that_hangs_is_waited_for_once(stand: Stand) -> None:
    """Its patience is half a minute, and the tiers of a build are looked up one after the other."""
    assert stand.run("build-base").code == 0
    with fault_server(Anything((Reply(fault="hang"),))) as server:
        ended = stand.json("build-test", "--registry", address(server))
        assert len(looked_up(server)) == 1
    assert (ended.code, ended.references) == (4, ["could-not-tell"])
    assert len(stand.tags()) == 1


@pytest.mark.parametrize("absent", [MISSING, BARE_404], ids=["said by a registry", "said without words"])
def test_absence_builds(stand: Stand, absent: Reply) -> None:
    with fault_server(Anything((absent,))) as server:
        ended = stand.json("build-base", "--registry", address(server))
    assert ended.code == 0, ended.err
    assert ended.decisions == {"base": "build"}


def test_a_registry_that_asks_to_wait_is_asked_again(stand: Stand) -> None:
    assert stand.run("build-base").code == 0
    with fault_server(Anything((WAITING, MISSING))) as server:
        ended = stand.json("build-base", "--registry", address(server))
    assert ended.code == 0, ended.err
    assert ended.decisions == {"base": "reuse"}, "absent there, but here"


def test_building_without_knowing_is_said_loudly(stand: Stand) -> None:
    """Even where BuildKit could ask the silent registry for a cache: it would wait for it without end."""
    with front(0, lambda _method, _path: Reply(fault="close")) as door:
        ended = stand.json("build-ci-base", "--registry", f"127.0.0.1:{door.port}", "--on-unknown", "build")
        asked_for_cache = [path for _, path in door.asked if "/cache/" in path]
    assert ended.code == 0, ended.err
    assert ended.decisions == {"base": "build", "ci-base": "build"}
    assert "warning: base: registry 127.0.0.1" in ended.err
    assert "building, as --on-unknown build says" in ended.err
    assert asked_for_cache == []


def test_nothing_is_published_where_nobody_could_tell(stand: Stand) -> None:
    with fault_server(Anything((NO_RIGHT,))) as server:
        ended = stand.json("build-base", "--push", "--on-unknown", "build", "--registry", address(server))
        asked = {each.method for each in server.asked}
    assert (ended.code, ended.references) == (4, ["could-not-tell"])
    assert stand.tag("base"), "it was built"
    assert not any("127.0.0.1" in tag for tag in stand.tags())
    assert asked == {"POST", "DELETE", "HEAD"}, "whether we may push was asked, and no content sent"


def test_an_unknown_answer_is_no_value_of_on_unknown(stand: Stand) -> None:
    ended = stand.json("build-base", "--on-unknown", "bild")
    assert (ended.code, ended.references) == (2, ["wrong-value"])
    assert not stand.state.exists()
