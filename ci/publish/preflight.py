"""Everything that can keep a release from being made, looked at before anything is written; all of it at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from ..build.workspace import Workspace
from ..errors import CiError, ConfigError, EmptyError, InfraError, Interrupted, Problem, worst
from ..suites import job as suite_job
from ..suites.job import Job
from ..suites.plan import SuitePlan, Wish
from ..suites.request import Request as SuiteRequest
from ..wheels import job as wheel_job
from ..wheels.job import Request
from ..world.history import known_tags
from ..world.store import opened
from . import versions
from .channel import Channel, Channels
from .manifest import Release
from .order import ancestry, overtaken
from .places import Places
from .trees import Past, folders, look, problems

T = TypeVar("T")
_OF_TREES = frozenset({"no-commit", "shallow-clone", "dirty-tree"})
"""What a wheel's own check says of its tree: said here once for all trees."""


@dataclass(frozen=True)
class Ready:
    """What a release is made of: the commit, the wheel of each project (by its path in the channel file), suites."""

    commit: str
    wheels: Mapping[str, Request]
    suites: Mapping[str, Job]


def refuse(errors: Sequence[CiError]) -> None:
    """Raise all of ``errors`` as one, of the kind a mixed run ends with; nothing for none."""
    if not errors:
        return
    outcome = worst(error.outcome for error in errors)
    kind = type(next(error for error in errors if error.outcome is outcome))
    raise kind.of(problem for error in errors for problem in error.problems)


def check(work: Workspace, places: Places, channels: Channels, *, writes: bool = True) -> Ready:
    """What is to be released, all of it checked; ``writes`` off for ``--plan``, which asks for no right to write.

    Raises ``SupersededError`` alone for a commit that comes too late, everything else together.
    """
    return _Preflight(work, places, channels).check(writes=writes)


@dataclass
class _Preflight:
    work: Workspace
    places: Places
    channels: Channels
    errors: list[CiError] = field(default_factory=list)

    def check(self, *, writes: bool) -> Ready:
        pasts = look(self._folders())
        commit = pasts[0].commit
        if found := list(problems(pasts)):
            self.errors.append(ConfigError.of(found))
        else:
            self._in_order(pasts[0])
        if self.places.channel.promoted:
            hint = f"release to another channel, then: inv promote COMMIT --to {self.places.channel.name}"
            message = f"channel {self.places.channel.name} takes only what was released before"
            self.errors.append(ConfigError("only-promoted", message, hint=hint))
        if self.places.channel.images:
            hint = f"inv promote HEAD --to {self.places.channel.name} moves its pointers"
            message = f"channel {self.places.channel.name} has only images that were built before"
            self.errors.append(ConfigError("only-promoted", message, hint=hint))
        wheels = self._wheels()
        if commit:
            self._try(lambda: self._versions(pasts, wheels))
        suites = {name: job for name in self.places.channel.suites if (job := self._suite(name))}
        if writes:
            self._try(self._rights)
        refuse(self.errors)
        return Ready(commit, wheels, suites)

    def _try(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except Interrupted:
            raise
        except CiError as error:
            self.errors.append(error)
            return None

    def _folders(self) -> dict[str, Path]:
        """Every tree by what it is, the one whose commit is released first."""
        projects = {f"project {each.project}": self._project(each.project) for each in self.channels.wheels}
        return {**folders(self.work), **{name: root for name, root in projects.items() if root}}

    def _project(self, project: str) -> Path | None:
        return (self.work.stack.recipe / project).resolve() if project else None

    def _in_order(self, past: Past) -> None:
        """Stop at once for a commit that comes too late: nothing else about it matters then."""
        standing = self._try(self.places.standing)
        if standing is None:
            return
        ours = Release(self.work.stack.name, self.places.channel.name, past.commit, "", "", "")
        late = self._try(lambda: overtaken(standing[0], ours, ancestry(past.folder)))
        if late:
            raise late

    def _wheels(self) -> dict[str, Request]:
        found = {}
        for each in self.channels.wheels:
            if each.project:
                try:
                    found[each.project] = self._wheel(each.project)
                except ConfigError as error:
                    others = [one for one in error.problems if one.reference not in _OF_TREES]
                    self.errors += [ConfigError.of(others)] if others else []
        return found

    def _wheel(self, project: str) -> Request:
        options = wheel_job.Options(project=str(self._project(project)))
        return replace(wheel_job.read(self.work.settings, options), bundle=False)

    def _versions(self, pasts: Sequence[Past], wheels: Mapping[str, Request]) -> None:
        """The version the release is named after, where a project says it; an exported one is compared once it is."""
        named = {versions.normal(each.source.name): each for each in wheels.values()}
        request = named.get(versions.normal(self.channels.named_after))
        if request is None and len(wheels) == len(self.channels.wheels):  # every name is known, and it is none of them
            versions.refuse_unnamed(self.channels)
        folder = request.source.root if request else pasts[0].folder
        found: list[Problem] = []
        released = list(self._promoted())
        tags = known_tags(folder) if released else frozenset()
        for channel, release in released:
            tag = channel.git_tag.replace("{version}", release.public_version)
            if tag not in tags:
                message = f"channel {channel.name} has {release.version}, and this clone lacks its tag {tag}"
                found.append(Problem("missing-tag", message, "git fetch --tags, then run the same command again"))
        if request:
            version = str(request.version(request.options.rocm or "0"))
            found += versions.problems(version, pasts[0].commit, self._standing(), [each for _, each in released])
        if found:
            raise ConfigError.of(found)

    def _standing(self) -> Release | None:
        found = self.places.standing()
        return self.places.released(found[0].commit) if found else None

    def _promoted(self) -> Iterator[tuple[Channel, Release]]:
        """What stands in the channels that are promoted to, as far as this call knows where they are."""
        for channel in self.channels.channels.values():
            named = channel.store or self.work.settings.get("ROCM_CI_STORE").value
            if channel.promoted and named:
                there = replace(self.places, channel=channel, store=opened(named).within(channel.name))
                found = there.standing()
                if found:
                    yield channel, there.released(found[0].commit)

    def _suite(self, name: str) -> Job | None:
        job = self._try(lambda: suite_job.read(SuiteRequest(name, Wish()), self.work))
        if job:
            self._try(lambda: refuse(list(suite_errors(job.plan, tuple(self.channels.images.values())))))
        return job

    def _rights(self) -> None:
        refuse([*self._registry_errors(), *_store_errors(self.places.whole.name)])

    def _registry_errors(self) -> Iterator[CiError]:
        from ..world import registry as oci

        if self.places.registry is None or not self.channels.images:
            return
        may = self.places.registry.can_push(self.places.repository)
        where = f"{self.places.registry.host}/{self.places.repository}"
        if isinstance(may, oci.Denied):
            hint = f"log in with an account that may push: docker login {self.places.registry.host}"
            yield InfraError("registry-push-denied", f"nothing can be pushed to {where}: {may.reason}", hint=hint)
        elif isinstance(may, oci.Unknown):
            hint = "run the same command again, or inv doctor"
            yield InfraError("could-not-tell", f"whether {where} takes a push: {may.reason}", hint=hint)


def suite_errors(plan: SuitePlan, tiers: Sequence[str]) -> Iterator[CiError]:
    """Why a suite could prove nothing of a release with the images ``tiers``."""
    runs = [each for each in plan.steps if not each.skip]
    if not runs:
        why = "\n".join(f"{each.name}: {each.skip}" for each in plan.steps)
        hint = "release from a node that can run it, or do not require it in the channel"
        yield EmptyError("suite-empty", f"suite {plan.suite}: none of its steps can run here", hint=hint, context=why)
    other = sorted({each.step.tier for each in runs} - set(tiers))
    if other:
        message = f"suite {plan.suite} runs in {', '.join(other)}, which the release has no image of"
        yield ConfigError("suite-elsewhere", message, hint="list the tier under `images:`, or require another suite")


def _store_errors(name: str) -> Iterator[CiError]:
    """A folder tells whether it can be written to; a bucket only by a write."""
    if "://" in name:
        return
    folder = next(each for each in (Path(name), *Path(name).parents) if each.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        yield InfraError("store-read-only", f"{name} cannot be written to", hint="make it writable, or give --store")
