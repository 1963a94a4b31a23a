"""The pipeline of a change: its steps selected, placed and wired. Reads files and git, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import NamedTuple

from .. import settings as settings_room
from ..documents import refuse, suggest
from ..errors import ConfigError, EmptyError
from ..providers.emit import buildkite, committed, github
from ..providers.here import facts_of
from ..providers.jobs import Job
from ..recipe.stack import archs as arch_table
from ..recipe.stack import load as load_stack
from ..recipe.stack import shipped
from ..recipe.values import Resolved, resolve_args
from ..settings import Setting, Settings
from ..suites import catalogue as catalogues
from ..suites.catalogue import PROFILES
from ..world import diffs, files, git
from ..world.ahead import ahead
from ..world.process import Run, run
from . import changes, pools, triggers
from .placing import Placed, builder, built_for, place
from .request import BUILDKITE, DOCUMENT, GITHUB, Request
from .select import WHOLE, Selection, Wish, choose
from .wiring import Chosen, Terms, Wired, on_pool, wire


class Given(NamedTuple):
    """What a pipeline is made from, beside the change.

    Jobs run at ``top``, that of the ``repository`` if there is one. ``away`` are pools that were said to be.
    ``change`` waits for what git says of the change that ``wish`` is about, ``counted`` is how it is counted.
    """

    terms: Terms
    args: Resolved
    repository: Path | None
    top: Path
    away: tuple[str, ...]
    wish: Wish
    change: Callable[[], diffs.Diff]
    counted: tuple[str, ...] = ()


class Made(NamedTuple):
    """A pipeline and where it came from; ``placed`` are the places of each step that was asked for."""

    given: Given
    diff: diffs.Diff
    selection: Selection
    placed: Mapping[str, tuple[Placed, ...]]
    wired: Wired

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should hear, each once."""
        terms = self.given.terms
        overdue = pools.overdue(terms.pools, terms.today)
        read = (*self.given.args.notices, *terms.catalogue.notices, *overdue)
        return tuple(dict.fromkeys((*read, *self.given.counted, *self.selection.notices, *self.wired.notices)))

    @property
    def empty(self) -> bool:
        """Whether steps were selected and none of them can be run anywhere."""
        return bool(self.wired.unplaced) and not any(job.key.startswith("test-") for job in self.wired.pipeline.jobs)


def given(settings: Settings, asked: Request, today: date, start: Run = run) -> Given:
    """Everything that was written down; raises ``ConfigError`` for what cannot be meant.

    Git answers while the catalogue is read, which takes as long.
    """
    refuse(settings_room.problems(settings))
    where = ahead(partial(git.toplevel, Path.cwd(), start))
    name = settings.get("ROCM_CI_STACK").value
    stack = load_stack(name)
    args = resolve_args(stack, settings, arch_table())
    refuse(args.problems)
    nodes = pools.load(stack)
    _refuse_unknown(asked.labels, nodes)
    facts = facts_of(settings)
    wish = Wish(asked.profile, asked.only, (*asked.labels, *(facts.labels if facts else ())))
    repository = where()
    if asked.deepen and repository:
        diffs.deepen(repository, asked.deepen, start)
    ask = partial(changes.changed, repository, wish, nodes, base=asked.base, facts=facts, start=start)
    change = diffs.Diff if asked.committed else ahead(ask)
    catalogue = catalogues.load(stack, asked.catalogue)
    top = repository or Path.cwd()
    file = _from_top(asked.catalogue, top) if asked.catalogue else ""
    named = name if name in shipped() else _from_top(name, top)
    terms = Terms(stack, catalogue, nodes, builder(nodes, asked.away), named, file, _environment(args), today)
    counted = changes.told(wish, nodes, base=asked.base, facts=facts) if repository and not asked.committed else ()
    return Given(terms, args, repository, top, asked.away, wish, change, counted)


def make(found: Given, asked: Request) -> Made:
    """The pipeline that is asked for."""
    return decide(found, found.wish, found.change(), everywhere=asked.explain)


def _refuse_unknown(labels: Iterable[str], known: pools.Pools) -> None:
    """A label that somebody typed means something; those a pull request has need not."""
    for label in labels:
        if label not in known.labels:
            hint = suggest(label, list(known.labels)) if known.labels else "the file has no labels"
            raise ConfigError("unknown-label", f"--label: {known.file} has no label {label!r}", hint=hint)


def decide(found: Given, wish: Wish, diff: diffs.Diff, *, everywhere: bool = False) -> Made:
    """The pipeline of a change that is known; ``everywhere``: with the places of steps that do not run as well."""
    terms = found.terms
    why = triggers.run_all(
        terms.stack,
        found.args,
        terms.catalogue,
        terms.pools,
        top=found.repository,
        changed=diff.files,
        links=diff.links,
    )
    selection = choose(terms.catalogue, diff, why, wish, pools=terms.pools, today=terms.today)
    placed = places(found, [each.step for each in selection.choices if each.runs or everywhere])
    chosen = [Chosen(at, each.why) for each in selection.choices if each.runs for at in placed[each.step]]
    # Nobody takes these for a pass: what was asked for by name, and the evidence for a release.
    strict = bool(wish.only) or selection.profile in WHOLE
    return Made(found, diff, selection, placed, wire(terms, chosen, strict=strict))


def places(found: Given, steps: Iterable[str]) -> Mapping[str, tuple[Placed, ...]]:
    """Where each step runs."""
    terms = found.terms
    built = built_for(terms.stack, found.args)
    return {step: place(terms.catalogue, step, terms.pools, terms.today, found.away, built=built) for step in steps}


def emitted(made: Made, form: str) -> str:
    """The pipeline in the words of a CI; raises ``EmptyError`` where no selected step can be run."""
    if made.empty:
        hint = "inv pipeline --explain says why each pool cannot take them"
        context = "\n".join(made.wired.notices)
        raise EmptyError("nothing-placed", "no selected step has a pool that can take it", hint=hint, context=context)
    said = (*_reasons(made), *made.given.counted, *made.selection.notices, *made.wired.notices)
    remarks = tuple(dict.fromkeys(said))
    pipeline = made.wired.pipeline
    return buildkite.emit(pipeline, remarks) if form == BUILDKITE else github.emit(pipeline, remarks)


def workflow(found: Given) -> tuple[str, tuple[str, ...]]:
    """The workflow to commit, with a job for whatever may be selected; and what a person should hear."""
    everywhere = places(found, found.terms.catalogue.data)
    wired = wire(found.terms, [Chosen(at, "") for each in everywhere.values() for at in each])
    text = committed.emit(wired.pipeline, _select_job(found), PROFILES, wired.notices)
    return text, wired.notices


def refuse_drift(settings: Settings, found: Given) -> None:
    """Raise ``ConfigError`` where the workflow that runs us is not what would be committed now.

    A job that it lacks would not be run, and one whose shards have changed would run a part of its tests.
    """
    name = settings.host("GITHUB_WORKFLOW_REF").partition("@")[0].split("/", 2)[-1]
    path = found.top / name
    if not (name and path.is_file()):
        return
    drifted = committed.drifted(workflow(found)[0], files.read_text(path))
    if drifted:
        shown = ", ".join(drifted[:5]) + (f" and {len(drifted) - 5} more" if len(drifted) > 5 else "")
        hint = f"write it anew: inv pipeline --stack {found.terms.named} --format {GITHUB} --committed > {name}"
        raise ConfigError("workflow-drift", f"{name} does not have these jobs as they are now: {shown}", hint=hint)


def _select_job(found: Given) -> Job:
    """The job that asks which of the others run."""
    terms = found.terms
    words = ("pipeline", "--format", DOCUMENT, "--stack", terms.named)
    file = ("--catalogue", terms.file) if terms.file else ()
    away = [word for name in found.away for word in ("--away", name)]
    return Job(committed.SELECT, committed.SELECT, (*terms.pools.tool, *words, *file, *away), on_pool(terms.builder), 0)


def _reasons(made: Made) -> tuple[str, ...]:
    """Why all steps run, or none of them does."""
    if made.selection.everything:
        return (f"all steps of the profile run: {made.selection.everything}",)
    if any(each.runs for each in made.selection.choices):
        return ()
    whys = dict.fromkeys(each.why for each in made.selection.choices)
    return (next(iter(whys), "the catalogue has no step"),) if len(whys) == 1 else ("no step was selected",)


def _from_top(name: str, top: Path) -> str:
    """A file as a job finds it, which runs at the top of the checkout; one outside of it stays as it was named."""
    path, above = Path(name).resolve(), top.resolve()
    return path.relative_to(above).as_posix() if path.is_relative_to(above) else name


def _environment(args: Resolved) -> Mapping[str, str]:
    """Arguments that this call's environment set: what the jobs build has to be what was placed."""
    given = {arg.name: arg.value for arg in args.values if arg.source == "environment"}
    for name, value in given.items():
        if Setting(name, value, "").shown != value:
            hint = f"let the jobs' own environment have it: unset {name} here"
            raise ConfigError("secret-in-pipeline", f"{name} holds a secret, and a pipeline is public", hint=hint)
    return given
