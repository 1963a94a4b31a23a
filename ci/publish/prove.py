"""Prove a staged release before anything points to it: read it back, then install it as a user would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ContractError, InfraError, Problem
from ..settings import Settings
from ..world.process import Run
from . import installing, readback
from .manifest import Release
from .places import Places
from .readback import Inside


def prove(places: Places, release: Release, scratch: Path, run: Run, settings: Settings) -> None:
    """Prove that everything ``release`` names is in the world as it says, and can be installed.

    All that is wrong with what is stored comes in one ``ContractError``; only what reads back right is
    installed, and all that goes wrong then comes in another.  Where nobody could tell ``InfraError``.
    ``scratch`` is an empty folder for clean environments.
    """
    inside = read_back(places, release)
    with _Found().settled() as found, found.looking():
        for problem in installing.install(places, release, inside, installing.Bench(scratch, run, settings)):
            found.wrong.append(problem)


def read_back(places: Places, release: Release) -> dict[str, Inside]:
    """Compare everything that is stored with the manifest; what is written in the wheels, by digest."""
    inside: dict[str, Inside] = {}
    with _Found().settled() as found:
        for part in _looks(places, release, inside):
            with found.looking():
                for problem in part:
                    found.wrong.append(problem)
    return inside


def _looks(places: Places, release: Release, inside: dict[str, Inside]) -> Iterator[Iterator[Problem]]:
    yield readback.document(places, release)
    for row in release.wheels:
        places.say(f"reading {row.filename} back")
        yield readback.wheel(places.store, release.commit, row, inside)
    yield readback.together(release, inside)
    yield readback.pages(places.store, release)
    yield _images(places, release)
    yield readback.suites(release)


def _images(places: Places, release: Release) -> Iterator[Problem]:
    """One after the other: a registry that does not answer is not asked about the next image."""
    for row in release.images:
        yield from readback.image(places, release, row)


@dataclass
class _Found:
    """What is wrong, and what nobody could tell."""

    wrong: list[Problem] = field(default_factory=list)
    untold: list[Problem] = field(default_factory=list)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Note an error that ends one look, so that the others go on."""
        try:
            yield
        except ContractError as error:
            self.wrong += error.problems
        except InfraError as error:
            self.untold += error.problems

    @contextmanager
    def settled(self) -> Iterator[_Found]:
        """Raise all of it afterwards; what is known to be wrong weighs more than what is not known."""
        yield self
        if self.wrong:
            raise ContractError.of((*self.wrong, *self.untold))
        if self.untold:
            raise InfraError.of(self.untold)
