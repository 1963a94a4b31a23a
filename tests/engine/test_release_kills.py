"""Releases that are killed, really: at single writes of make, stage and switch, and run again to the same end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from ci.world.ledger import Ledger
from tests.release_scene import AFTER, BEFORE, LEASE, RIGHTS, Scene, alone, scene

WHEEL = r"[^ ]*\.whl$"
TAG = r"registry PUT manifests/nightly$"
PAGE = r"store PUT nightly/simple/"
STAGE = (
    (r"registry PUT manifests/test-v1-SHA", AFTER),
    (rf"store PUT cache/{WHEEL}", AFTER),
    (r"store PUT cache/SHA/manifest\.json", AFTER),
    (rf"store PUT COPY nightly/COMMIT/{WHEEL}", AFTER),
    (r"registry PUT manifests/nightly-COMMIT", BEFORE),
    (r"store PUT nightly/COMMIT/simple/", AFTER),
    (r"store PUT nightly/COMMIT/release\.json", AFTER),
)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, sandbox_image: str) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("kills"), sandbox_image, ("rocm-probe", "extra-a")) as made:
        yield made


def test_killed_all_along_the_stage(second: Scene) -> None:
    """Each run goes on where the one before was killed; nobody sees anything of it until it is whole."""
    second.begin(second.before)
    for pattern, before in STAGE:
        second.kill(pattern, before=before)
        second.world.whole(second.first)
    assert second.world.release(second.second).commit == second.second
    assert second.twice() == []
    kept = [write for write in second.stand.writes() if write.startswith("store PUT nightly/COMMIT/suites/")]
    assert len(kept) == 1, "a suite ran twice on the same images"


def test_killed_before_anything_moved_and_while_it_is_repaired(second: Scene) -> None:
    second.begin(second.staged)
    second.kill(r"store PUT nightly/journal/")
    second.world.whole(second.first)
    alone(second.kill(r"store PUT nightly/standing\.json"))
    second.stands_at(second.second)
    second.kill(TAG)
    second.kill(PAGE)
    second.finish()
    stands = second.world.standing

    second.stand.forget()
    again = second.stand.run()
    assert again.document["already"] is True
    assert second.world.standing == stands
    assert [write for write in second.stand.writes() if not re.search(f"{LEASE}|{RIGHTS}", write)] == []

    reaped = json.loads(second.stand.run("reap").out)
    assert all(not row["problem"] for row in reaped["removed"])
    assert [path for path in (second.stand.state / "runs").iterdir() if Ledger(path).open_things()] == []


@pytest.mark.parametrize(("pattern", "before"), [(TAG, AFTER), (PAGE, BEFORE)], ids=["tag", "page"])
def test_killed_while_pointers_move(second: Scene, pattern: str, before: bool) -> None:
    second.begin(second.staged)
    second.kill(pattern, before=before)
    second.stands_at(second.second)
    assert second.world.astray(second.second) != [], "it was killed too late to tell anything"
    second.finish()
