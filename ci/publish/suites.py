"""The suites a channel requires, run on the very images of a release; who ran already on them is not run again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..build.perform import Performance
from ..errors import CiError, ContractError, EmptyError, Outcome
from ..names import run_id
from ..suites.job import Job
from ..suites.results import RunResult
from ..world import files
from ..world.ledger import Ledger
from ..world.process import holding_signals
from ..world.versioned import broken, decoded, encoded
from .manifest import SuiteRow
from .places import Places
from .preflight import refuse


def evidence_path(commit: str, suite: str, digests: Sequence[str]) -> str:
    """Where a channel keeps that a suite ran on the images with these digests."""
    named = hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
    return f"{commit}/suites/{suite}-{named[:16]}.json"


@dataclass(frozen=True)
class Proof:
    """What runs: ``images`` maps a tier to its reference by digest."""

    performance: Performance
    places: Places
    commit: str
    images: Mapping[str, str]

    def rows(self, jobs: Mapping[str, Job]) -> tuple[SuiteRow, ...]:
        """The evidence of every suite, run where there is none; raises once all have run, with all that is wrong."""
        rows: list[SuiteRow] = []
        errors: list[CiError] = []
        for suite, job in jobs.items():
            least = self.places.channel.suites[suite]
            digests = tuple(sorted({self.images[tier].rpartition("@")[2] for tier in job.plan.tiers}))
            path = evidence_path(self.commit, suite, digests)
            known = self._known(path, least)
            if known:
                self.places.say(f"suite {suite} ran on these images before: {known.run} tests, {known.outcome}")
                rows.append(known)
                continue
            result = self._traced(job)
            error = judged(result, least)
            if error:
                errors.append(error)
            else:
                rows.append(self._kept(path, row_of(result, job, digests), least))
        refuse(errors)
        return tuple(rows)

    def _known(self, path: str, least: int) -> SuiteRow | None:
        """The evidence at ``path``, where it is enough."""
        data = self.places.store.read(path)
        if data is None:
            return None
        where = f"{self.places.store.name}/{path}"
        document = decoded(data, where)
        try:
            row = SuiteRow(**{**document, "digests": tuple(document["digests"])})
        except (KeyError, TypeError) as error:
            raise broken(where, str(error)) from None
        return row if row.outcome == Outcome.OK and row.run >= least else None

    def _kept(self, path: str, row: SuiteRow, least: int) -> SuiteRow:
        """Write the evidence down; that of a run which was faster counts, unless it is not enough."""
        data = encoded(row._asdict())
        if self.places.store.create(path, data):
            return row
        known = self._known(path, least)
        if known is None:
            self.places.store.write(path, data)
        return known or row

    def _traced(self, job: Job) -> RunResult:
        with self.performance.ledger.spans.during("suite", job.request.suite) as doing:
            result = self._run(job, doing.span.number)
            doing.span = doing.span._replace(outcome=result.outcome, why=result.reasons)
            return result

    def _run(self, job: Job, span: int) -> RunResult:
        """The suite as a run of its own, two suites may have a step of one name; what it did goes to ``span``."""
        outer, clock = self.performance, self.places.clock
        run = run_id(clock.now(), os.urandom(4).hex())
        verb = f"test {job.request.suite}"
        with holding_signals():  # a run folder that is there is one we know of
            ledger = Ledger.begin(files.state(str(outer.workspace.state)), run, verb)
        outcome = Outcome.INTERNAL
        try:
            asked = replace(job.request, images=self.images)
            inner = Performance(outer.workspace, ledger, outer.screen, False, outer.on_unknown)
            result = replace(job, request=asked).perform(inner, outer.workspace.clock.monotonic()).perform()
            outcome = result.outcome
            return result
        except CiError as error:
            outcome = error.outcome
            raise
        finally:
            document = {"schema": 1, "verb": verb, "outcome": outcome, "exit_code": outcome.exit_code}
            files.write_json(ledger.folder / "result.json", document)
            ledger.end()
            outer.ledger.spans.adopt(ledger.folder, span)


def judged(result: RunResult, least: int) -> CiError | None:
    """Why a suite does not prove what it has to; None where it does."""
    ran = sum(step.counts.run for step in result.steps)
    why = "\n".join([*result.reasons, *_reasons(result)])
    told = f"suite {result.suite}"
    if result.outcome in {Outcome.SKIPPED, Outcome.EMPTY} or (result.outcome is Outcome.OK and least and not ran):
        hint = "nothing was run, which proves nothing; run it where its steps can run"
        return EmptyError("suite-empty", f"{told} ran no test", hint=hint, context=why)
    if result.outcome is not Outcome.OK:
        hint = f"see {result.folder}; nothing was staged"
        return _kind(result.outcome)("suite-failed", f"{told}: {result.outcome}", hint=hint, context=why)
    if ran < least:
        hint = "tests were skipped or left out here; run it where they run, or lower at_least in the channel"
        return ContractError("suite-short", f"{told} ran {ran} tests, {least} are required", hint=hint, context=why)
    return None


def _kind(outcome: Outcome) -> type[CiError]:
    """The error that ends a run with ``outcome``."""
    return next((kind for kind in CiError.__subclasses__() if kind.outcome is outcome), CiError)


def _reasons(result: RunResult) -> Iterator[str]:
    for step in result.steps:
        if step.outcome is not Outcome.OK:
            yield from (f"{step.label}: {each}" for each in step.reasons)


def row_of(result: RunResult, job: Job, digests: tuple[str, ...]) -> SuiteRow:
    """The evidence of a run: tests by what became of them, and the archs they ran on, or ``cpu``."""
    ran = [step for step in result.steps if step.commands]
    gpus = {gpu.arch for step in ran for key in step.gpus if (gpu := job.node.gpu(key))}
    on = sorted(gpus | ({"cpu"} if any(not step.gpus for step in ran) else set()))
    counts = [step.counts for step in ran]
    return SuiteRow(
        result.suite,
        result.outcome,
        sum(each.run for each in counts),
        sum(each.failed for each in counts),
        sum(each.skipped for each in counts),
        ", ".join(on),
        digests,
    )
