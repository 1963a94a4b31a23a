"""What the tests of a switch share: releases A and B that differ in images and wheels, and runs that release them."""

from __future__ import annotations

from ci.publish.manifest import Release
from ci.publish.switch import Switched, switch
from tests.publishing import HOST, PROJECTS, REPOSITORY, Hasty, Recorder, World, by_letter, run_id

MAIN, BASE, INDEX = f"image:{HOST}/{REPOSITORY}:nightly", f"image:{HOST}/{REPOSITORY}:base-nightly", "index:nightly"


def released(world: World, release: Release, number: int, recorder: Recorder | None = None) -> Switched:
    """One run that releases ``release``."""
    return switch(world.places(recorder, Hasty()), release, run_id(number), "release", by_letter)


def before(world: World, letters: str) -> None:
    """Release these, undisturbed."""
    for number, letter in enumerate(letters, 90):
        released(world, staged(world, letter), number)


def staged(world: World, letter: str) -> Release:
    """Release A has other images and wheels than B: a switch adds pointers and pages, and drops some."""
    if letter == "b":
        return world.staged(letter, ("main", "tools"), ("torch",) if world.paged else ("rocm-probe", "torch"))
    return world.staged(letter, projects=("rocm-probe",) if world.paged else PROJECTS)
