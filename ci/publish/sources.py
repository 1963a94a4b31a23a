"""New wheels from where a release takes them: a project that is packed, or the image of a tier that holds them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..audit.examine import examine
from ..audit.facts import Audit, Wanted
from ..build.perform import Performance
from ..errors import ContractError, EmptyError, Problem
from ..names import container_name
from ..wheels import job
from ..wheels.job import Request
from ..world import files, image_files
from ..world.process import run

_SHOWN = 5


def of_project(performance: Performance, request: Request, folder: Path) -> tuple[Path, ...]:
    """The project's wheel in ``folder``, compiled, packed and audited; ``ContractError`` where it breaks a rule."""
    done = job.perform(replace(request, out=folder), performance.ledger, performance.screen)
    _refuse_broken([done.audit])
    return (folder / done.wheel.name,) if done.wheel else ()


def of_tier(performance: Performance, tier: str, reference: str, folder: Path) -> tuple[Path, ...]:
    """The wheels of the image ``reference`` in ``folder``, each audited.

    Raises ``ContractError`` for an image with anything but wheels, and for a wheel that breaks a rule.
    """
    work, ledger = performance.workspace, performance.ledger
    if work.engine.image(reference) is None:
        work.engine.pull(reference, work.stack.platform)
    performance.screen.say(f"{tier}: exporting its wheels from {reference}")
    name = container_name(ledger.folder.name, f"{tier}-export")
    thing = ledger.will_make("container", name)
    try:
        found = _saved(tier, image_files.read(work.engine.exported(reference, name)), folder)
    finally:
        ledger.clear(thing, lambda: work.engine.delete_container(name), performance.screen.warn)
    _refuse_broken(examine(path, Wanted(), (), run, work.settings.environ) for path in found)
    return found


def _saved(tier: str, found: Iterable[image_files.File], folder: Path) -> tuple[Path, ...]:
    with files.disk_errors(f"cannot make {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    saved: list[Path] = []
    odd: list[str] = []
    for each in found:
        path = folder / Path(each.path).name
        if each.stream is None or path.suffix != ".whl" or path in saved:
            odd.append(each.path)
            if len(odd) == _SHOWN:  # a whole system need not be read to its end
                break
        elif not odd:
            each.save(path)
            saved.append(path)
    if odd:
        message = f"tier {tier} holds what is no wheel, or a wheel twice: {', '.join(odd)}"
        hint = "let its target be FROM scratch, and COPY nothing but wheels into it"
        raise ContractError("not-only-wheels", message, hint=hint)
    if not saved:
        raise EmptyError("no-wheels", f"tier {tier} holds no wheel", hint="COPY the wheels into its target")
    return tuple(sorted(saved))


def _refuse_broken(audits: Iterable[Audit]) -> None:
    problems = [
        Problem("wheel-broken", f"{audit.target.name}: {rule}: {each.subject}: {each.message}", each.hint, each.context)
        for audit in audits
        for rule, each in audit.broken
    ]
    if problems:
        raise ContractError.of(problems)
