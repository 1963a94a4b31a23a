"""Whether an image that another job handed on is the one that stack, arguments and commit of this job make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from ..errors import ContractError, InfraError
from ..identity import Manifest, diff
from ..providers.handing import Image
from ..recipe.pins import MARK
from ..recipe.stack import archs
from ..recipe.values import Resolved, resolve_args
from ..settings import Setting
from . import plan as planning
from . import travel
from .definition import LABEL
from .lookup import Absent
from .plan import TierPlan
from .roots import Made
from .workspace import Workspace

_ROOT = "root "
_SHOWN = 5


def arguments(work: Workspace) -> Mapping[str, str]:
    """The build arguments, as a person may see them."""
    return {arg.name: Setting(arg.name, arg.value, "").shown for arg in work.args.values}


def found(work: Workspace) -> Mapping[str, str]:
    """What this host found where others may find something else: layers of roots, commits of branches."""
    roots = {f"{_ROOT}{name}": made.layers for name, made in work.roots().items()}
    return roots | {f"{name} {branch}": work.args.get(name) for name, branch in _branches(work)}


def compare(work: Workspace, tier: str, image: Image) -> str:
    """Why nobody can tell whether ``image`` is the tier's, empty where it is; asks no registry.

    Raises ``ContractError`` where it is of another identity, with what differs.
    """
    chain = _planned(work, tier, image.found)
    mine = chain[tier]
    if not mine.inputs.manifest:
        return "; ".join(next(each.reasons for each in chain.values() if not each.identity))
    if mine.identity == image.identity:
        return ""
    message = (
        f"{tier}: the image that was handed on, {image.reference}, has identity {image.identity[:12] or '(none)'}; "
        f"stack, arguments and commit of this job make {mine.identity[:12]}"
    )
    before, command = _manifest(work, tier, image)
    differ = list(_differences(work, image, before, mine.inputs.manifest))
    context = "\n".join(differ) or "what differs cannot be told: the manifest of that image is not here"
    hint = (
        "most likely the agent that built it had other build arguments, another commit or files of its own; "
        f"give both jobs the same and build again, or compare: {command}"
    )
    raise ContractError("other-handoff", message, context=context, hint=hint)


def _planned(work: Workspace, tier: str, there: Mapping[str, str]) -> Mapping[str, TierPlan]:
    """The tier and, before it, what it descends from, on what the builder's host had found.

    A root of another day and a branch that moved between two jobs are no other build.
    """
    layers = {name.removeprefix(_ROOT): value for name, value in there.items() if name.startswith(_ROOT)}
    plan = planning.make(
        work.stack,
        (tier,),
        _args(work, there),
        work.trees,
        roots={name: Made("", value, "handed on") for name, value in layers.items()},
        lookup=lambda _tag, _identity: Absent(),
        last=lambda _tier: None,
    )
    return {each.name: each for each in plan.tiers}


def _args(work: Workspace, there: Mapping[str, str]) -> Resolved:
    commits = {name: there.get(f"{name} {branch}") for name, branch in _branches(work)}
    values = tuple(arg._replace(value=commits.get(arg.name) or arg.value) for arg in work.args.values)
    return work.args._replace(values=values)


def _branches(work: Workspace) -> Iterator[tuple[str, str]]:
    """Arguments that want a commit, and the branch or tag that somebody gave for it."""
    for arg in resolve_args(work.stack, work.settings, archs()).values:
        if arg.value.startswith(MARK):
            yield arg.name, arg.value.removeprefix(MARK)


def _manifest(work: Workspace, tier: str, image: Image) -> tuple[Manifest | None, str]:
    """What the image was made of, where this host knows it; and the command that compares."""
    if known := work.records.manifest(image.identity):
        return known, f"inv explain {tier} --against {image.identity[:12]}{work.stack.option}"
    command = f"inv explain {tier} --against {image.reference}{work.stack.option}"
    with suppress(InfraError):  # an engine that does not answer tells no more than one without the image
        if here := work.engine.image(image.reference):
            return travel.from_label(here.labels.get(LABEL + "manifest", "")), command
    return None, f"docker pull {image.reference}; {command}"


def _differences(work: Workspace, image: Image, before: Manifest | None, now: Manifest) -> Iterator[str]:
    mine = arguments(work)
    differ = [name for name in sorted(mine.keys() | image.args.keys()) if mine.get(name) != image.args.get(name)]
    for name in differ:
        yield f"{name}: {image.args.get(name, '(not set)')} there, {mine.get(name, '(not set)')} here"
    changes = diff(before, now) if before else ()
    shown = list(dict.fromkeys(f"{each.kind} {each.name}".rstrip() for each in changes if each.name not in differ))
    yield from (f"{each} differs" for each in shown[:_SHOWN])
    if len(shown) > _SHOWN:
        yield f"and {len(shown) - _SHOWN} more"
