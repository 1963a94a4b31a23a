"""Rules about where steps run: each has a pool that can take it, now too."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Problem
from ..pipeline import placing
from ..pipeline.placing import Placed
from ..pipeline.pools import Pools
from ..suites.catalogue import Catalogue
from .material import Case
from .steps import as_on, place


def unplaced(case: Case) -> Iterator[Problem]:
    """Every step has a pool with what it needs, for each arch of its matrix."""
    for name, each in _nowhere(case, _all_up(case.pools)):
        arch = f" on {each.arch}" if each.arch else ""
        hint = f"add such a pool to {case.pipeline_file}, or correct what the step needs"
        at = place(case, "steps", name, "needs")
        yield Problem("unplaced", f"no pool can take step {name}{arch}", hint, _reasons(each), at)


def away(case: Case) -> Iterator[Problem]:
    """Every step has a pool that takes jobs now."""
    unplaceable = {(name, each.arch) for name, each in _nowhere(case, _all_up(case.pools))}
    for name, each in _nowhere(case, case.pools):
        if (name, each.arch) not in unplaceable:
            arch = f" on {each.arch}" if each.arch else ""
            hint = "nobody runs it until one is back; a further pool in its stead would"
            message = f"no pool takes step {name}{arch} now"
            yield Problem("pools-away", message, hint, _reasons(each), place(case, "steps", name, "needs"))


def never_run(case: Case) -> Iterator[Problem]:
    """Every step can run in an image without a GPU runtime, where the suite file is for such images."""
    for name in case.catalogue.data if case.catalogue and case.catalogue.runtime == "cpu" else ():
        if case.catalogue and not case.catalogue.runs_on_cpu(name) and not _left_out(case, case.catalogue, name):
            hint = "say under cpu: how it runs there; every run of its suites skips it"
            message = f"step {name} needs GPUs, and its suites are for images without a GPU runtime"
            yield Problem("never-run", message, hint, place=place(case, "steps", name, "needs"))


def _all_up(pools: Pools | None) -> Pools | None:
    return pools._replace(pools=tuple(each._replace(away=None) for each in pools.pools)) if pools else None


def _nowhere(case: Case, pools: Pools | None) -> Iterator[tuple[str, Placed]]:
    """The steps that no pool takes, but those whose own file says that nobody runs them."""
    catalogue = case.catalogue
    if catalogue is None or pools is None:
        return
    built = placing.built_for(case.stack, case.args) if case.stack else None
    for name in catalogue.data:
        runs = catalogue.runtime == "rocm" or catalogue.runs_on_cpu(name)
        if runs and not _left_out(case, catalogue, name):
            found = placing.place(catalogue, name, pools, case.today, built=built)
            yield from ((name, each) for each in found if each.pool is None)


def _left_out(case: Case, catalogue: Catalogue, name: str) -> bool:
    """Whether a skip that holds leaves the step out, on one kind of node or all; or no profile has it."""
    data = catalogue.data[name]
    if data.get("profiles") == []:
        return True
    kinds = {"": data, "cpu": data.get("cpu", {}), **data.get("archs", {})}
    steps = (as_on(catalogue, name, kind) for kind, each in kinds.items() if "skip" in each)
    return any(step.skip and step.skip.holds(case.today) for step in steps)


def _reasons(placed: Placed) -> str:
    return placing.told(placed.refused)
