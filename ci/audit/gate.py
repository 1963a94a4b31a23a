"""The audit as a part of every build: an image that breaks its contract gets no tag."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import ContractError, Problem
from ..world import files
from . import image
from .contract import Contract
from .image import Surroundings
from .image_facts import ImageAudit

_SHOWN = 20


def hold(around: Surroundings, name: str, wanted: Contract, values: Mapping[str, str], folder: Path) -> None:
    """Audit the image ``name``, put all that was found into ``folder``, and refuse one that breaks its contract.

    Raises ``ContractError`` with what is wrong, the first twenty findings of many.
    """
    found = image.examine(around, name, wanted, values)
    report = folder / "audit.json"
    files.write_json(report, found.to_json())
    if found.broken:
        raise ContractError.of(_problems(found, wanted.tier, report))
    waived = sum(len(verdict.waived) for verdict in found.verdicts)
    around.say(f"audit: {wanted.tier} keeps its contract" + (f", {waived} finding(s) allowed" if waived else ""))


def _problems(found: ImageAudit, tier: str, report: Path) -> list[Problem]:
    problems = [
        Problem("image-contract", f"{tier}: {rule}: {each.subject}: {each.message}", each.hint, each.context)
        for rule, each in found.broken
    ]
    if len(problems) > _SHOWN:
        more = f"{tier}: {len(problems) - _SHOWN} findings more"
        problems[_SHOWN:] = [Problem("image-contract", more, f"{report} has them all")]
    return problems
