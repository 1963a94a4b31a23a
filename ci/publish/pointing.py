"""``promote`` to a channel of images: its pointers move to what a commit's plan names; looked at, never built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..build import offline
from ..build import plan as planning
from ..build.lookup import in_registry, verify_remote
from ..build.perform import Performance, refuse_lacking
from ..build.plan import Plan, TierPlan
from ..build.scope import overrides
from ..build.workspace import Workspace
from ..errors import CiError, ConfigError, ContractError, InfraError, InternalError, Problem
from ..names import Place
from ..suites import job as suite_job
from ..suites.plan import Wish
from ..suites.request import Request as SuiteRequest
from ..world.history import commit_of, commits_between
from . import journal, pointers
from .changes import Log
from .decide import Part
from .decide import Path as Way
from .images import Origin
from .make import Candidate, image_size
from .manifest import ImageRow, Release, SuiteRow
from .order import Ancestry, ancestry, overtaken
from .places import Places
from .preflight import refuse, suite_errors
from .prove import read_back
from .release import Ground, Outlook, Result, listed, moves, result, same_inputs, scratch
from .stage import stage
from .suites import Proof
from .survey import placed
from .switch import switch
from .told import told
from .trees import folders, look, problems

if TYPE_CHECKING:
    from ..world.registry import Registry


class Asked(NamedTuple):
    """What is promoted: the images that ``work``, which is at ``commit``, plans.

    ``compare`` is the order of commits, ``log`` lists them.
    """

    work: Workspace
    places: Places
    commit: str
    compare: Ancestry
    log: Log

    @property
    def built(self) -> tuple[Registry, Place]:
        """Where the images were published when they were built."""
        if self.work.registry is None or self.work.place is None:
            raise InternalError("no-registry", "images were to be pointed to in no registry")
        return self.work.registry, self.work.place


@contextmanager
def asked(ground: Ground, wanted: str) -> Iterator[Asked]:
    """The commit ``wanted`` as it is to be promoted to the channel of ``ground``.

    Raises ``ConfigError`` where this clone has no such commit, and for whatever no commit describes: changes in a
    tree, arguments that were given.
    """
    target = ground.places
    pasts = look(folders(ground.work))
    found = list(problems(pasts)) or list(_overridden(ground.work))
    commit = commit_of(ground.folder, wanted) if wanted else ""
    if not commit:
        hint = "give HEAD, or a commit that is here; git fetch brings the others"
        found.append(Problem("no-commit", f"git in {ground.folder} has no commit {wanted!r}", hint))
    if found:
        raise ConfigError.of(found)
    here = nullcontext(ground.work) if commit == pasts[0].commit else offline.at_commit(ground.work, commit)
    with here as work:
        yield Asked(
            placed(work, target), target, commit, ancestry(ground.folder), partial(commits_between, ground.folder)
        )


def _overridden(work: Workspace) -> Iterator[Problem]:
    for why in overrides(work, Plan(work.stack, (), (), (), ())):  # what the plan lacks is told with its command
        yield Problem("overridden", f"this is not what the commit alone gives: {why}", "leave it out")


def outlook(asked: Asked) -> Outlook:
    """What ``promote`` would do; nothing is written."""
    places, channel = asked.places, asked.places.channel
    _in_order(asked)
    release = places.release(asked.commit)
    parts: tuple[Part, ...] = ()
    if release is None:
        tiers = _found(asked)
        release = _release(asked, _rows(asked, tiers), ())
        parts = tuple(_part(row, tiers[row.tier]) for row in release.images)
        there = False
    else:
        same_inputs(release, asked.work)
        there = True
    aim: Mapping[str, str | None] = pointers.wanted(places, release, listed(places, release))
    suites = {} if there else channel.suites
    return Outlook(channel.name, asked.commit, there, parts, suites, moves(places, aim, asked.commit))


def promote(asked: Asked, performance: Performance) -> Result:
    """Let the channel stand at the images of the commit, or find that it does.

    Raises ``ContractError`` for an image that is not published, ``SupersededError`` where the channel stands at a
    newer commit, and as ``stage`` and ``switch``; nothing was moved then.
    """
    places = asked.places
    _in_order(asked)
    with told(places, asked.commit), scratch(performance) as room:
        release = places.release(asked.commit)
        if release is None:
            rows = _rows(asked, _found(asked))
            registry, place = asked.built
            origin = Origin(registry, place.repository(asked.work.stack.repository).path, room)
            made = _release(asked, rows, _proven(asked, rows, performance))
            release = stage(places, Candidate(made), origin)
        else:
            same_inputs(release, asked.work)
        read_back(places, release)
        run = performance.ledger.folder.name
        done = switch(places, release, run, journal.PROMOTE, asked.compare)
    return result(places, release, done, asked.log)


def _in_order(asked: Asked) -> None:
    """Stop at once for a commit that comes too late: whether its images are there does not matter then."""
    standing = asked.places.standing()
    if standing and standing[0].commit != asked.commit:
        late = overtaken(standing[0], _release(asked, (), ()), asked.compare)
        if late:
            raise late


def _found(asked: Asked) -> dict[str, TierPlan]:
    """The plan of every tier, each published; raises for all that are not, and where nobody can tell."""
    work, (registry, place) = asked.work, asked.built
    tiers = tuple(dict.fromkeys(asked.places.channel.images.values()))
    plan = planning.make(
        work.stack,
        tiers,
        work.args,
        work.trees,
        roots=offline.roots(work)[0],
        lookup=lambda tag, _identity: in_registry(registry, place, tag),
        last=lambda _tier: None,
    )
    refuse_lacking(plan)
    found = {tier.name: tier for tier in plan.tiers}
    refuse([error for name in tiers if (error := _missing(found[name], place))])
    return found


def _missing(tier: TierPlan, place: Place) -> CiError | None:
    """Why a tier cannot be pointed to; None where it can."""
    build = f"inv build-{tier.name} --push"
    if not tier.identity:
        hint = f"{build} makes it known on this host, and builds nothing that is there"
        return InfraError("no-identity", f"{tier.name}: {'; '.join(tier.reasons)}", hint=hint)
    if tier.decision == "unknown":
        hint = "nothing was moved; run the same command again, or inv doctor"
        return InfraError("could-not-tell", f"{tier.name}: {'; '.join(tier.reasons)}", hint=hint)
    if tier.found is None:
        message = f"{place} has no {tier.tag}: a pointer moves only to what was built, tested and published"
        return ContractError("not-published", message, hint=f"{build} at that commit, then the same command again")
    return None


def _rows(asked: Asked, tiers: Mapping[str, TierPlan]) -> tuple[ImageRow, ...]:
    """The images by name, the label of each compared with its identity."""
    registry, place = asked.built
    repository = place.repository(asked.work.stack.repository).path
    rows = []
    for name, tier in asked.places.channel.images.items():
        plan = tiers[tier]
        digest = plan.found.digest if plan.found else ""
        verify_remote(registry, place, plan.tag, plan.identity, digest)
        rows.append(ImageRow(name, tier, plan.identity, digest, image_size(registry, repository, digest)))
    return tuple(rows)


def _part(row: ImageRow, tier: TierPlan) -> Part:
    return Part("image", row.name, row.identity, Way.THERE, f"{tier.tag} in the registry", row.digest)


def _proven(asked: Asked, rows: Sequence[ImageRow], performance: Performance) -> tuple[SuiteRow, ...]:
    """The evidence of the suites that the channel requires, run on these very images where there is none."""
    tiers = tuple(row.tier for row in rows)
    jobs = {name: suite_job.read(SuiteRequest(name, Wish()), asked.work) for name in asked.places.channel.suites}
    refuse([error for job in jobs.values() for error in suite_errors(job.plan, tiers)])
    place = asked.built[1].repository(asked.work.stack.repository)
    images = {row.tier: f"{place}@{row.digest}" for row in rows}
    return Proof(performance, asked.places, asked.commit, images).rows(jobs)


def _release(asked: Asked, rows: tuple[ImageRow, ...], suites: tuple[SuiteRow, ...]) -> Release:
    work, places = asked.work, asked.places
    return Release(
        stack=work.stack.name,
        channel=places.channel.name,
        commit=asked.commit,
        version="",
        date=f"{places.clock.now():%Y-%m-%d}",
        place=str(places.place.repository(places.channel.repository)) if places.place else "",
        images=rows,
        suites=suites,
        pins=work.stack.pins,
        args={arg.name: arg.value for arg in work.args.values},
    )
