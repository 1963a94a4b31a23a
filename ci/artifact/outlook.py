"""What artifact-only mode would do, for ``--plan``: nothing is written, and no bundle is looked for."""

from __future__ import annotations

from ..build.plan import Plan
from ..build.workspace import Workspace
from . import ground, place
from .ground import Ground
from .mode import Mode


def outlook(work: Workspace, tier: str, mode: Mode) -> Ground | Plan:
    """The ground of the tier's bundle; the ordinary plan while roots are missing, without which nothing has a name.

    Raises as the run itself would.
    """
    if mode.out:
        place.target(mode.out)
    else:
        place.source(mode.place)
    ground.stage(work, tier)
    plan = work.plan((tier,))
    return plan if plan.missing_roots else ground.survey(work, ground.planned(plan, tier))
