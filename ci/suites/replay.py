"""The one command that runs a step again as it was run: same image, same part of its tests, same settings."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..build.workspace import Workspace
from ..errors import Outcome
from ..settings import Setting
from .catalogue import Step
from .request import Request

PROGRAM = ("python", "-m", "ci") if __package__ == "ci.suites" else ("rocm-ci",)

CACHE = "ROCM_CI_MODEL_CACHE"
WELL = frozenset({Outcome.OK, Outcome.SKIPPED})
"""Outcomes after which nobody has to run a step again."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What the commands of one run have in common.

    ``environ`` is what was set for the run and changes it, secrets left out; ``cache`` the folder of models, for
    steps that need some; ``durations`` the file that shards were planned from, empty for the catalogue's own.
    """

    suite: str
    options: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    cache: str = ""
    durations: str = ""

    def command(self, step: Step, shard: str, image: str) -> str:
        """One line for a POSIX shell; ``shard`` reads ``2/4``, empty for the whole step, ``image`` is by digest."""
        environ = {**self.environ, **({CACHE: self.cache} if step.models and self.cache else {})}
        words = [*PROGRAM, "test", self.suite, "--only", step.name]
        words += ["--shard", shard] if shard else []
        words += ["--image", image] if image else []
        words += ["--durations", self.durations] if shard and self.durations else []
        given = [f"{name}={shlex.quote(value)}" for name, value in environ.items()]
        return " ".join((*given, shlex.join((*words, *self.options))))


def replay(request: Request, work: Workspace, planned_from: Path | None) -> Replay:
    """The commands of the run that ``request`` asks for; ``planned_from`` is where its shards have their own file."""
    durations = str(planned_from) if planned_from else request.durations
    cache = work.settings.get(CACHE).value
    return Replay(request.suite, tuple(_options(request, work)), dict(_environ(work)), cache, durations)


def _options(request: Request, work: Workspace) -> Iterator[str]:
    stack = work.settings.get("ROCM_CI_STACK")
    if stack.source != "default":
        yield from ("--stack", stack.value)
    if request.catalogue:
        yield from ("--catalogue", request.catalogue)
    for source in request.sources:
        yield from ("--source", source)
    if request.runtime == "native":
        yield from ("--runtime", request.runtime)
    if request.wish.require_gpu:
        yield "--require-gpu"


def _environ(work: Workspace) -> Iterator[tuple[str, str]]:
    """The build arguments that somebody gave: they say what the image has, and so which steps can run."""
    for arg in work.args.values:
        given = arg.source == "environment" or arg.source.startswith("flag ")
        if given and Setting(arg.name, arg.value, arg.source).shown == arg.value:
            yield arg.name, arg.value
