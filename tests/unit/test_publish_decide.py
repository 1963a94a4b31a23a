"""The decision per part, as a table: every answer of every lookup, images and wheels."""

from __future__ import annotations

import json
from itertools import product

import pytest

from ci.errors import InfraError
from ci.publish.decide import Asked, Facts, Part, Path, Seen, decide, refuse_unknown, whole

YES, NO, UNKNOWN = (Asked(seen, f"said {seen}") for seen in Seen)
ANSWERS = (YES, NO, UNKNOWN)


def expected(*answers: tuple[Path, Asked]) -> Path:
    """The rule in one sentence: the first place that does not say no decides."""
    first = next((pair for pair in answers if pair[1] is not NO), None)
    if first is None:
        return Path.BUILD
    return first[0] if first[1] is YES else Path.UNKNOWN


@pytest.mark.parametrize(("here", "elsewhere"), list(product(ANSWERS, ANSWERS)))
def test_an_image(here: Asked, elsewhere: Asked) -> None:
    part = decide(Facts("image", "main", "i" * 64, here, elsewhere))
    assert part.path == expected((Path.THERE, here), (Path.COPY, elsewhere))
    assert (part.kind, part.name, part.identity) == ("image", "main", "i" * 64)


@pytest.mark.parametrize(("here", "cache", "holder"), list(product(ANSWERS, ANSWERS, ANSWERS)))
def test_the_wheels_of_a_tier(here: Asked, cache: Asked, holder: Asked) -> None:
    part = decide(Facts("wheels", "wheels", "k", here, cache, holder))
    assert part.path == expected((Path.THERE, here), (Path.COPY, cache), (Path.EXPORT, holder))


@pytest.mark.parametrize(("here", "cache"), list(product(ANSWERS, ANSWERS)))
def test_the_wheels_of_a_project(here: Asked, cache: Asked) -> None:
    part = decide(Facts("wheels", "tool", "k", here, cache))
    assert part.path == expected((Path.THERE, here), (Path.COPY, cache))


@pytest.mark.parametrize(
    ("image", "kept", "paths", "most"),
    [
        (YES, YES, ("there", "copy"), "copy"),
        (YES, NO, ("there", "export"), "export"),
        (NO, YES, ("build", "copy"), "build"),
        (NO, NO, ("build", "build"), "build"),
        (UNKNOWN, YES, ("unknown", "copy"), "unknown"),
        (YES, UNKNOWN, ("there", "unknown"), "unknown"),
    ],
)
def test_image_and_wheels_are_decided_alone(image: Asked, kept: Asked, paths: tuple[str, str], most: str) -> None:
    """The four ways, and what a lookup without an answer makes of them; the wheels' tier goes with the image here."""
    parts = (
        decide(Facts("image", "main", "i", image)),
        decide(Facts("wheels", "wheels", "k", NO, kept, image if image is not UNKNOWN else YES)),
    )
    assert tuple(part.path for part in parts) == paths
    assert whole(parts) == most


def test_the_whole_is_its_dearest_part() -> None:
    order = list(Path)
    for one, other in product(order, order):
        parts = [Part("image", "a", "", one, ""), Part("image", "b", "", other, "")]
        assert order.index(whole(parts)) == max(order.index(one), order.index(other))
    assert whole(()) is Path.THERE


def test_what_is_known_goes_into_the_part() -> None:
    part = decide(Facts("image", "main", "i", NO, Asked(Seen.YES, "in the engine", "sha256:1")))
    assert (part.why, part.digest) == ("in the engine", "sha256:1")
    assert json.loads(json.dumps(part.to_json())) == {
        "kind": "image",
        "name": "main",
        "identity": "i",
        "path": "copy",
        "why": "in the engine",
        "digest": "sha256:1",
    }
    assert "no registry" in decide(Facts("image", "main", "i", NO)).why
    assert "no set" in decide(Facts("wheels", "w", "i", NO)).why


def test_every_unknown_part_is_told_of() -> None:
    parts = [Part("image", name, "", Path.UNKNOWN, f"no answer about {name}") for name in ("main", "base")]
    refuse_unknown([Part("image", "x", "", Path.BUILD, "")])
    with pytest.raises(InfraError) as caught:
        refuse_unknown([*parts, Part("wheels", "w", "", Path.THERE, "")])
    assert [each.reference for each in caught.value.problems] == ["could-not-tell"] * 2
    assert "no answer about base" in caught.value.problems[1].message
    assert caught.value.exit_code == 4
