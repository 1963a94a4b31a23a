"""A pipeline as every CI understands it: jobs in order, each one command; what emitters turn into a CI's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import Outcome

RETRIED = (Outcome.INFRA,)
"""Outcomes that are tried once more, beside a lost agent: the world's, never the product's."""

SOFT = (Outcome.SUPERSEDED,)
"""Outcomes that fail nothing: somebody newer did it already."""

ABSENT = f"exit {Outcome.EMPTY.exit_code}"
"""What a test that nobody can run ends with: nothing was run, which is never success."""

ABSENT_MINUTES = 5
"""For an agent to say so."""


class Pool(NamedTuple):
    """The nodes a job runs on: tags of Buildkite's agents, labels of GitHub's runners; a pool may lack either."""

    name: str
    buildkite: Mapping[str, str]
    github: tuple[str, ...]


class Job(NamedTuple):
    """One job: ``key`` is unique, lower case letters, digits and dashes; ``label`` any text.

    ``command`` are the words of one program and its arguments, the hand-off left out: a job that ``makes`` or
    ``takes`` images gets its provider's. ``after`` are keys of jobs before it. ``minutes`` is when the CI ends it,
    later than the command ends itself. ``soft`` says why its failure fails nothing, empty where it does.
    ``why`` is the reason it is there.
    """

    key: str
    label: str
    command: tuple[str, ...]
    pool: Pool
    minutes: int
    after: tuple[str, ...] = ()
    env: Mapping[str, str] | None = None
    makes: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    soft: str = ""
    priority: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Absent:
    """A test that was asked for and that nobody can run, and ``why``: it has the ``key`` its job would have.

    ``pool`` is where a job says so by failing; None where its absence fails nothing, and is shown all the same.
    """

    key: str
    label: str
    why: str
    pool: Pool | None = None


class Pipeline(NamedTuple):
    """Jobs, those another needs before it; ``checkout`` is GitHub's action, by commit, that brings the source."""

    name: str
    jobs: tuple[Job, ...]
    checkout: str = ""
    absent: tuple[Absent, ...] = ()
