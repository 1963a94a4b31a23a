"""The contract of a tier: read before its build, so that a mistake in it costs no build, and held before any tag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit import contract, image_rules
from ..world import buildx
from ..world.ledger import Ledger
from .workspace import Workspace

if TYPE_CHECKING:
    from .perform import Screen


class Gate:
    """What stands between an image that was built and its tag; one without a contract passes."""

    def __init__(self, work: Workspace, ledger: Ledger, screen: Screen, tier: str) -> None:
        self._work, self._ledger, self._screen = work, ledger, screen
        self._contract = contract.of_tier(work.stack, tier, image_rules.NAMES)

    def hold(self, name: str) -> None:
        """Refuse the image ``name`` with ``ContractError`` where it breaks the contract; all findings go to the run."""
        if self._contract is None:
            return
        from ..audit import gate, image

        work, screen = self._work, self._screen
        env = buildx.environment(work.settings, work.engine.at)
        around = image.Surroundings(work.engine, env, lambda: self._ledger, screen.say, screen.warn)
        values = {arg.name: arg.value for arg in work.args.values}
        gate.hold(around, name, self._contract, values, self._ledger.folder / self._contract.tier)
