"""Releases that are killed, really: at single writes of make, stage and switch, and run again to the same end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from ci.world.ledger import Ledger
from tests.release_scene import AFTER, BEFORE, LEASE, RIGHTS, Scene, alone, undisturbed

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
def scene(tmp_path_factory: pytest.TempPathFactory, sandbox_image: str) -> Iterator[Scene]:
    with undisturbed(tmp_path_factory.mktemp("kills"), sandbox_image, ("rocm-probe", "extra-a")) as made:
        yield made


def test_killed_all_along_the_stage(scene: Scene) -> None:
    """Each run goes on where the one before was killed; nobody sees anything of it until it is whole."""
    scene.begin(scene.before)
    for pattern, before in STAGE:
        scene.kill(pattern, before=before)
        scene.world.whole(scene.first)
    assert scene.world.release(scene.second).commit == scene.second
    assert scene.twice() == []
    kept = [write for write in scene.stand.writes() if write.startswith("store PUT nightly/COMMIT/suites/")]
    assert len(kept) == 1, "a suite ran twice on the same images"


def test_killed_before_anything_moved_and_while_it_is_repaired(scene: Scene) -> None:
    scene.begin(scene.staged)
    scene.kill(r"store PUT nightly/journal/")
    scene.world.whole(scene.first)
    alone(scene.kill(r"store PUT nightly/standing\.json"))
    scene.stands_at(scene.second)
    scene.kill(TAG)
    scene.kill(PAGE, before=BEFORE)
    scene.finish()
    stands = scene.world.standing

    scene.stand.forget()
    again = scene.stand.run()
    assert again.document["already"] is True
    assert scene.world.standing == stands
    assert [write for write in scene.stand.writes() if not re.search(f"{LEASE}|{RIGHTS}", write)] == []

    reaped = json.loads(scene.stand.run("reap").out)
    assert all(not row["problem"] for row in reaped["removed"])
    assert [path for path in (scene.stand.state / "runs").iterdir() if Ledger(path).open_things()] == []


def test_killed_between_two_pages_of_the_index(scene: Scene) -> None:
    scene.begin(scene.staged)
    scene.kill(PAGE)
    scene.stands_at(scene.second)
    assert scene.world.astray(scene.second) != [], "it was killed too late to tell anything"
    scene.finish()
