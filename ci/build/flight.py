"""Single flight: of several hosts that want the same image published, one builds it, the others wait and reuse it.

They meet in the store of the call, by a lease for each identity.  It saves work and decides nothing: where it
cannot be had, or is lost, the build goes on, and whoever is first under the content tag wins as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from ..errors import ConfigError, ContractError, InfraError
from ..world.store import opened
from ..world.store_lease import LASTS, Matter, held, holder
from .plan import TierPlan
from .workspace import Workspace

FOLDER = "in-flight"
"""Where the leases lie in a store; no channel can be called so."""


@contextmanager
def alone(
    work: Workspace, tier: TierPlan, run: str, say: Callable[[str], None], lasts: float = LASTS
) -> Iterator[bool]:
    """Build ``tier`` while nobody else who publishes it and has this store does; waits for whoever is at it.

    Gives whether others may have built it since it was looked up last.  ``lasts``: seconds after which others
    build it themselves, where this run shows no sign of life.  Only a run that writes where it reads takes part.
    """
    named = work.settings.get("ROCM_CI_STORE").value
    if not named or work.place is None or work.writes != work.place:
        yield False
        return
    found: list[Matter] = []
    with ExitStack() as stack:
        try:
            store = opened(named).within(FOLDER)
            what = f"{tier.name} {tier.identity[:12]}"
            matter = Matter(store, work.clock, say, what, document=f"{tier.identity}.json")
            stack.enter_context(stack.enter_context(held(matter, run, lasts)).kept())
            found.append(matter)
        except (ConfigError, ContractError, InfraError) as error:
            say(f"{tier.name}: nobody can tell whether another host builds it, so this one does: {error}")
        yield True
    for matter in found:
        _forget(matter)


def _forget(matter: Matter) -> None:
    """Remove the lease of an image that is published: whoever comes now finds that."""
    with suppress(InfraError, ContractError):
        last = holder(matter)
        if last and last.released:
            matter.store.remove(matter.document)
