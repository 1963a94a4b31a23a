"""May this run write what trusted builds read, and if not, where may it write?

Two things decide.  What a host's policy says of the facts that its CI tells is settled before anything is
done, and printed.  What the registry's credentials allow is found out by asking it, before a run that pushes
builds anything.  The policy keeps honest runs apart; only the credentials keep dishonest ones out
(``docs/how-to/trust.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ConfigError, InfraError
from ..names import Place, scope_name
from ..providers.facts import Facts
from ..providers.here import facts_of
from ..providers.policy import HOST, Policy, policy_of
from ..recipe.stack import HOME, archs
from ..recipe.values import resolve_args
from ..settings import Settings, capture
from ..world import git, installed

if TYPE_CHECKING:
    from ..world.credentials import Lookup
    from .plan import Plan
    from .workspace import Workspace


class Trust(StrEnum):
    """Whether a run may write what trusted builds read."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"


@dataclass(frozen=True, slots=True)
class Scope:
    """How far a run is trusted.

    ``why`` is the fact or the line of the policy that decided.  ``bound``: a push that is asked for has to happen.
    ``name`` is the scope of an untrusted run, empty where it may write nowhere.  ``withheld`` says why a push that
    was asked for is left out.
    """

    trust: Trust
    why: str
    bound: bool = False
    name: str = ""
    withheld: str = ""

    def __str__(self) -> str:
        return f"{self.trust}: {self.why}"


class Reach(NamedTuple):
    """A scope, with the place that is read and the one that may be written, None for nowhere."""

    scope: Scope
    reads: Place | None
    writes: Place | None


_CREDENTIALS = "the registry's credentials decide"
ALONE = Scope(Trust.TRUSTED, f"no CI and no policy: {_CREDENTIALS}")
"""Somebody's own machine."""


def reach(settings: Settings, given: Place | None, trees: Callable[[], Iterable[Path]], host: Path = HOST) -> Reach:
    """How far this run is trusted, and its places; ``given`` is the registry of the call, ``host`` the host's policy.

    Raises ``ConfigError`` for a policy that cannot be followed.
    """
    facts, policy = facts_of(settings), policy_of(settings, trees, host)
    scope = judge(facts, policy, in_ci=settings.host("CI").lower() not in ("", "0", "false", "no"))
    if policy is None:
        return Reach(scope, given, given if scope.trust is Trust.TRUSTED else None)
    if given and given != policy.trusted:
        message = f"the registry {given} is not {policy.trusted}, the only one that {policy.file} lets builds read"
        hint = "leave --registry and ROCM_CI_REGISTRY out"
        raise ConfigError("other-registry", message, hint=hint)
    if scope.trust is Trust.TRUSTED:
        return Reach(scope, policy.trusted, policy.trusted)
    return Reach(scope, policy.trusted, policy.scratch.within(scope.name) if policy.scratch and scope.name else None)


def judge(facts: Facts | None, policy: Policy | None, *, in_ci: bool = False) -> Scope:
    """The scope of a job with these facts under this policy; None where there is none."""
    if facts is None:
        return _unknown(policy, in_ci=in_ci)
    if facts.unclear:
        return Scope(Trust.UNTRUSTED, f"{facts.provider}: {facts.unclear}")
    if policy is None:
        if facts.pull_request:
            return Scope(Trust.UNTRUSTED, str(facts))
        return Scope(Trust.TRUSTED, f"{facts}; no policy: {_CREDENTIALS}", bound=True)
    if found := policy.source(facts):
        return Scope(Trust.TRUSTED, f"{facts} ({found.place})", bound=True)
    said = "a pull request" if facts.pull_request else "no source matches"
    return Scope(Trust.UNTRUSTED, f"{facts} ({policy.file}: {said})", name=_name(facts))


def _unknown(policy: Policy | None, *, in_ci: bool) -> Scope:
    """The scope of a run that no CI tells of."""
    if policy:
        return Scope(Trust.UNTRUSTED, f"no CI says whose job this is ({policy.file})")
    if in_ci:
        return Scope(Trust.TRUSTED, f"a CI that is not known here, and no policy: {_CREDENTIALS}", bound=True)
    return ALONE


def _name(facts: Facts) -> str:
    """One scope for each pull request, branch or tag of each repository it comes from."""
    kind, value = (
        ("pr", facts.pull_request)
        if facts.pull_request
        else ("tag", facts.tag)
        if facts.tag
        else ("branch", facts.branch)
    )
    shown = facts.source.partition("/")[2] if facts.pull_request else value
    front = f"pr-{value}" if facts.pull_request else kind
    return scope_name(front, shown, (facts.provider, facts.repository, facts.source, kind, value))


def demand_trusted(scope: Scope, what: str) -> None:
    """Raise ``ConfigError`` unless the run may write what trusted builds read; ``what`` is what it wants to do."""
    if scope.trust is not Trust.TRUSTED:
        hint = "run it in a job of a trusted branch; docs/how-to/trust.md says who decides that"
        raise ConfigError("untrusted", f"{what} is for trusted runs, and this one is {scope}", hint=hint)


def settled(work: Workspace, warn: Callable[[str], None], credentials: Lookup | None = None) -> Workspace:
    """The workspace of a run that was asked to push, after asking the registry whether it may.

    An untrusted run, or one outside of any CI, that has no credentials at all goes on and publishes nothing, which
    is said.  Raises ``InfraError`` where the registry cannot be asked, where credentials are there and not good
    enough, and for a trusted job of a CI without any.
    """
    from ..world import registry as oci

    if work.writes is None or work.target is None:
        return _withheld(work, f"{work.scope}, and it has no scope to write to", warn)
    where = work.writes.repository(work.stack.repository)
    may = work.target.can_push(where.path)
    if isinstance(may, oci.Granted):
        return work
    if isinstance(may, oci.Unknown):
        hint = "run the same command again, or inv doctor"
        raise InfraError("could-not-tell", f"whether {where} takes a push: {may.reason}", hint=hint)
    if not work.scope.bound and not _has_login(work.writes.host, credentials):
        return _withheld(work, f"there are no credentials for {work.writes.host}", warn)
    hint = f"log in with an account that may push: docker login {work.writes.host}"
    raise InfraError(
        "registry-push-denied",
        f"nothing can be pushed to {where}: {may.reason}",
        hint=hint,
        context=f"this run is {work.scope}",
    )


def watch(work: Workspace, warn: Callable[[str], None], *, push: bool) -> None:
    """Note an untrusted run on its host, and warn a trusted one that publishes from such a host.

    An engine, its build cache and the state folder are as trusted as the least trusted run that uses them.
    """
    if work.scope.trust is Trust.TRUSTED and not (push and work.scope.bound):
        return
    from ..world import guests

    if work.scope.trust is Trust.UNTRUSTED:
        guests.note(work.state, f"{work.clock.now():%Y-%m-%d %H:%M}Z {work.scope}")
    elif seen := guests.noted(work.state):
        warn(shared(seen))


def shared(mark: str) -> str:
    """What a host means where untrusted runs left ``mark``."""
    return (
        "untrusted runs build in this engine too, and could change what trusted ones read here: "
        f"give each an engine of its own; on a host that was emptied remove {mark}"
    )


def _withheld(work: Workspace, why: str, warn: Callable[[str], None]) -> Workspace:
    warn(f"nothing will be published: {why}; images are reused, or built in this engine only")
    return replace(work, writes=None, target=None, scope=replace(work.scope, withheld=why))


def _has_login(host: str, credentials: Lookup | None) -> bool:
    """Whether a login is configured; ``InfraError`` for one that cannot be used."""
    from ..world.credentials import docker_credentials

    said: list[str] = []
    found = (credentials or docker_credentials(said.append))(host)
    if found is None and said:
        hint = "repair docker's config.json or its credential helper, then run the same command again"
        raise InfraError("credentials-unusable", said[0], hint=hint)
    return found is not None


@dataclass(frozen=True)
class Told:
    """What is said of a plan beside what it does: how far it is trusted, and why it cannot be promoted."""

    reach: Reach
    against: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        """As the plan's JSON document has it."""
        verdict = {"promotable": not self.against, "not_promotable_because": list(self.against)}
        return {"trust": document(self.reach), **verdict}

    @property
    def lines(self) -> tuple[str, ...]:
        """As a person reads it."""
        verdict = f"no, because {'; '.join(self.against)}" if self.against else "yes"
        return (*lines(self.reach), f"promotable: {verdict}")


def lines(found: Reach) -> tuple[str, ...]:
    """Trust and places as a person reads them."""
    if found.reads is None and found.writes is None:
        return (str(found.scope),)
    return (str(found.scope), f"reads {found.reads}, writes {found.writes or 'nowhere'}")


def document(found: Reach) -> dict[str, Any]:
    """Trust and places as documents have them."""
    scope = found.scope
    return {
        "trust": scope.trust,
        "because": scope.why,
        "scope": scope.name or None,
        "reads": str(found.reads) if found.reads else None,
        "writes": str(found.writes) if found.writes else None,
        "withheld": scope.withheld or None,
    }


def told(work: Workspace, plan: Plan) -> Told:
    """What there is to say of a plan."""
    against = overrides(work, plan)
    if work.scope.trust is not Trust.TRUSTED:
        against = (f"this run is {work.scope}", *against)
    return Told(work.reach, against)


def overrides(work: Workspace, plan: Plan, home: Path = HOME) -> tuple[str, ...]:
    """Whatever makes a plan another than the one its commit gives by itself; empty for one that may be promoted.

    An argument of this call, a folder in the place of a pinned source, a tree with changes or without a
    commit, the recipe of an installed tool (``home``) that is not as its wheel brought it, a pin that nobody resolved.
    """
    lacking = [item.why for item in plan.lacking]
    return (*_arguments(work), *_trees(work, home), *_strangers(work, plan), *([_some(lacking)] if lacking else ()))


def _arguments(work: Workspace) -> Iterator[str]:
    plain = resolve_args(work.stack, capture({}, {}), archs())
    for arg in work.args.values:
        if not arg.source.startswith(("stack", "pins")) and arg.value != plain.get(arg.name):
            yield f"{arg.name} is {arg.value} ({arg.source})"


def _trees(work: Workspace, home: Path) -> Iterator[str]:
    for name, tree in work.trees.items():
        if name in work.stack.fetched and not work.stack.fetched[name].remote:
            yield f"source {name} is the folder {tree.root} instead of its pinned commit"
            continue
        if tree.root == home and not tree.listed:
            yield from _installed(home)
            continue
        changes = git.uncommitted(tree.root)
        if changes is None:
            yield f"{name} at {tree.root} is in no git repository with a commit"
            continue
        if not changes and not tree.listed:
            yield f"{name} at {tree.root} is ignored by git: no commit has it"
        hidden = sorted(tree.listed.changed) if tree.listed else []  # git status says nothing of some of them
        if changes or hidden:
            yield f"{name} has changes that no commit describes: {_some(changes or hidden)}"


def _installed(home: Path) -> Iterator[str]:
    """Why the recipe of an installed tool is not that of its version, which stands for a commit of it."""
    changed = installed.altered(home)
    if changed is None:
        yield f"nobody can tell whether the tool's recipe at {home} is that of its version: no RECORD tells of it"
    elif changed:
        yield f"the recipe of the installed tool was changed: {_some(changed)}"


def _strangers(work: Workspace, plan: Plan) -> Iterator[str]:
    """Files that a Dockerfile takes by name and git does not track, those it is told to ignore too."""
    for name, tree in work.trees.items():
        used = {path for tier in plan.tiers for path in tier.inputs.selected.get(name, ())}
        if tree.listed and (unknown := sorted(used - tree.listed.blobs.keys())):
            yield f"{name} is built with files that no commit has: {_some(unknown)}"


def _some(paths: Sequence[str]) -> str:
    return paths[0] + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
