"""Looking a content tag up: found, absent or could not tell, from the registry first, then the engine."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ci.build.lookup import (
    IDENTITY,
    REGISTRY,
    SCOPE,
    Absent,
    Found,
    Shelf,
    Unclear,
    finder,
    in_engine,
    in_registry,
)
from ci.errors import ContractError, InfraError
from ci.names import ContentTag, Place
from ci.world import registry as oci
from ci.world.fakes import FakeEngine, Unexpected, image

ID = "1" * 64
TAG = f"team/x:{ContentTag('base', ID)}"
LOCAL = "sha256:" + "a" * 64
REMOTE = "sha256:" + "b" * 64
PLACE = Place("localhost:5000", "space")
HERE = Found(f"{TAG}@{LOCAL}", LOCAL, "engine")
THERE = Found(f"localhost:5000/space/{TAG}@{REMOTE}", REMOTE, "registry")


class Registry:
    """A registry that gives one answer and remembers the questions."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def head(self, repository: str, reference: str) -> Any:
        self.asked.append((repository, reference))
        return self.answer

    @property
    def real(self) -> oci.Registry:
        return cast("oci.Registry", self)


def found() -> oci.Found:
    return oci.Found(REMOTE, "application/vnd.oci.image.index.v1+json", 1)


def engine(**labels: str) -> FakeEngine:
    return FakeEngine(images={TAG: image(LOCAL, labels={IDENTITY: ID} | labels)})


@pytest.mark.parametrize(
    ("remote", "local", "answer"),
    [
        (None, True, HERE),
        (None, False, Absent()),
        ("found", True, THERE),
        ("found", False, THERE),
        ("absent", True, HERE),
        ("absent", False, Absent()),
        ("unknown", True, Unclear("registry localhost:5000: status 500")),
        ("unknown", False, Unclear("registry localhost:5000: status 500")),
    ],
)
def test_the_table_of_answers(remote: str | None, local: bool, answer: object) -> None:
    answers = {"found": found(), "absent": oci.Absent(), "unknown": oci.Unknown("status 500", 500)}
    registry = Registry(answers[remote]).real if remote else None
    shelves = (Shelf(REGISTRY, PLACE, registry),) if registry else ()
    lookup = finder(engine() if local else FakeEngine(), shelves)
    assert lookup(TAG, ID) == answer


def test_a_registry_that_has_it_saves_the_question_to_the_engine() -> None:
    fake = engine()
    registry = Registry(found())
    finder(fake, (Shelf(REGISTRY, PLACE, registry.real),))(TAG, ID)
    assert fake.asked == []
    assert registry.asked == [("space/team/x", f"base-v1-{ID}")]


def test_a_registry_that_cannot_tell_is_never_absent_whatever_the_engine_has() -> None:
    fake = engine()
    shelf = Shelf(REGISTRY, PLACE, Registry(oci.Unknown("status 429", 429)).real)
    answer = finder(fake, (shelf,))(TAG, ID)
    assert isinstance(answer, Unclear)
    assert fake.asked == []


OWN = Place("localhost:5000", "scratch/pr-1")


@pytest.mark.parametrize(
    ("everybody", "own", "answer", "asked"),
    [
        ("found", "found", THERE, 1),
        ("absent", "found", Found(f"localhost:5000/scratch/pr-1/{TAG}@{REMOTE}", REMOTE, "scope"), 2),
        ("absent", "absent", HERE, 2),
        ("absent", "unknown", Unclear("registry localhost:5000: status 500"), 2),
        ("unknown", "found", Unclear("registry localhost:5000: status 500"), 1),
    ],
)
def test_a_scope_is_asked_after_what_everybody_reads_and_told_as_a_scope(
    everybody: str, own: str, answer: object, asked: int
) -> None:
    answers = {"found": found(), "absent": oci.Absent(), "unknown": oci.Unknown("status 500", 500)}
    first, second = Registry(answers[everybody]), Registry(answers[own])
    shelves = (Shelf(REGISTRY, PLACE, first.real), Shelf(SCOPE, OWN, second.real))
    assert finder(engine(), shelves)(TAG, ID) == answer
    assert len(first.asked) + len(second.asked) == asked


def test_a_shelf_that_was_silent_once_is_not_asked_about_the_next_tier() -> None:
    first, second = Registry(oci.Absent()), Registry(oci.Unknown("no answer", None))
    lookup = finder(engine(), (Shelf(REGISTRY, PLACE, first.real), Shelf(SCOPE, OWN, second.real)))
    for _ in range(2):
        assert isinstance(lookup(TAG, ID), Unclear)
    assert (len(first.asked), len(second.asked)) == (2, 1)


def test_an_engine_that_fails_is_never_absent() -> None:
    fake = FakeEngine(broken={TAG: InfraError("no-engine", "no engine answers")})
    with pytest.raises(InfraError):
        in_engine(fake, TAG, ID)


@pytest.mark.parametrize("label", ["", "2" * 64, ID.upper() + " "])
def test_a_tag_that_somebody_moved_is_refused(label: str) -> None:
    fake = FakeEngine(images={TAG: image(LOCAL, labels={IDENTITY: label} if label else {})})
    with pytest.raises(ContractError) as caught:
        in_engine(fake, TAG, ID)
    problem = caught.value.problems[0]
    assert (problem.reference, TAG in problem.hint) == ("moved-tag", True)


def test_the_registry_is_asked_in_its_own_place() -> None:
    registry = Registry(oci.Absent())
    assert in_registry(registry.real, Place("localhost:5000", ""), TAG) == Absent()
    assert registry.asked == [("team/x", f"base-v1-{ID}")]


def test_the_fake_engine_refuses_what_it_does_not_imitate() -> None:
    with pytest.raises(Unexpected):
        FakeEngine().gateway()
    with pytest.raises(Unexpected):
        FakeEngine().pull("a:b", "linux/amd64")
