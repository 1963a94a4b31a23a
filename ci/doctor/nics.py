"""RDMA network cards: does what an image carries for them fit the kernel driver and firmware of this node?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import InfraError
from ..recipe import stack as stacks
from ..recipe.values import Resolved, resolve_args
from ..report.units import counted
from ..world.nics import Card, Nics, cards_for
from ..world.process import Command, Run
from .findings import Case, Finding


@dataclass(frozen=True)
class Maker:
    """One NIC backend: what drives its cards, and what an image installs for them.

    ``stem`` is the beginning of its pins (``AINIC_VERSION``).  ``image`` are the packages an image gets; with
    ``exact`` they have the pinned version, else that is the name of a release folder.  ``host`` are the names the
    same userspace has on a node.
    """

    backend: str
    label: str
    stem: str
    modules: tuple[str, str]
    image: tuple[str, ...]
    exact: bool
    host: tuple[str, ...]


MAKERS = (
    Maker(
        "ainic", "AMD AI NIC", "AINIC", ("ionic", "ionic_rdma"),
        ("libionic-dev", "ionic-common"), exact=False, host=("libionic1", "libionic-dev", "ionic-common"),
    ),
    Maker(
        "bnxt", "Broadcom NIC", "BNXT", ("bnxt_en", "bnxt_re"), ("bnxt-rocelib",), exact=True, host=("bnxt-rocelib",),
    ),
)  # fmt: skip
"""The NIC backends, as a node and an image have them."""

MODULES = tuple(module for maker in MAKERS for module in maker.modules)
_RELEASE = re.compile(r"\d+(\.\d+){2,}(-a-\d+)?")


def look_at_nics(case: Case) -> Iterator[Finding]:
    """Compare hardware, kernel driver, firmware, userspace and what the stack's images carry, per maker."""
    seen = case.nics()
    args = resolve_args(case.stack, case.settings, stacks.archs()) if case.stack else Resolved((), (), ())
    here = {maker: cards for maker in MAKERS if (cards := cards_for(maker.backend, seen.cards))}
    if not here:
        yield Finding("nics", "ok", "no RDMA network card that an image needs userspace for")
    for maker, cards in here.items():
        yield from _maker(case, maker, cards, seen, args)


def _maker(case: Case, maker: Maker, cards: tuple[Card, ...], seen: Nics, args: Resolved) -> Iterator[Finding]:
    name = f"{counted(len(cards), maker.label)}"
    missing = [module for module in maker.modules if seen.module(module) is None]
    if missing:
        message = f"{name}: kernel module {' and '.join(missing)} not loaded"
        yield Finding("nics", "warn", message, f"modprobe {' '.join(missing)}, or install the maker's driver")
    yield from _backend(maker, name, args)
    packages = _packages(maker, case.start)
    if packages is None:
        yield Finding("nics", "warn", f"{name}: no dpkg to ask for its userspace", "compare its version by hand")
    elif not packages:
        message = f"{name}: no userspace on this node ({' or '.join(maker.host)}); native runs and perftest see no card"
        yield Finding("nics", "warn", message, f"install the maker's release of {', '.join(maker.host)}")
    wanted = _wanted(case, maker, args)
    told = {**_kernel(maker, cards, seen), **(packages or {}), **_sources(case, maker, seen)}
    differing = {what: version for what, version in told.items() if wanted and _differs(version, wanted)}
    stated = ", ".join(f"{what} {version or 'without a version'}" for what, version in told.items())
    for what, version in differing.items():
        message = f"{name}: {what} is {version}, images carry {maker.stem}_VERSION {wanted}"
        hint = f"bring the node to {wanted}, or build with {maker.stem}_VERSION={version}"
        yield Finding("nics", "warn", message, hint)
    yield Finding("nics", "ok", f"{name}: {stated or 'nothing says a version'}")


def _backend(maker: Maker, name: str, args: Resolved) -> Iterator[Finding]:
    backend = args.get("NIC_BACKEND")
    if backend and backend not in (maker.backend, "all"):
        message = f"{name}: images are built with NIC_BACKEND {backend}, which has no userspace for it"
        yield Finding("nics", "warn", message, f"--nic-backend {maker.backend}, where the stack has it")


def _packages(maker: Maker, start: Run) -> dict[str, str] | None:
    """Installed packages of the maker's userspace and their versions; None where dpkg does not say."""
    shown = "${Package} ${Version} ${db:Status-Status}\\n"
    try:
        told = start(Command(("dpkg-query", "--show", f"--showformat={shown}", *maker.host)))
    except InfraError:
        return None
    rows = (line.split() for line in told.stdout.splitlines())  # it fails where one of them is unknown
    return {f"package {row[0]}": row[1] for row in rows if len(row) == 3 and row[2] == "installed"}


def _kernel(maker: Maker, cards: tuple[Card, ...], seen: Nics) -> dict[str, str]:
    found = {}
    for name in maker.modules:
        if module := seen.module(name):
            source = f" (source {module.source})" if module.source else ""
            found[f"module {name}{source}"] = module.version
    slots = {card.pci for card in cards}
    mine = [device for device in seen.rdma if device.pci in slots]
    for version in dict.fromkeys(device.firmware for device in mine):
        names = [device.name for device in mine if device.firmware == version]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        found[f"firmware of {names[0]}{more}"] = version
    return found


def _sources(case: Case, maker: Maker, seen: Nics) -> dict[str, str]:
    """The release whose folder this node's apt installs from; the packages in it have numbers of their own."""
    repository = case.stack.pins.get(f"{maker.stem}_REPO", "") if case.stack else ""
    if maker.exact or not repository:
        return {}
    found = re.search(rf"{re.escape(repository)}/([^/\s]+)", seen.apt)
    return {"apt's release": found[1]} if found else {}


def _wanted(case: Case, maker: Maker, args: Resolved) -> str:
    name = f"{maker.stem}_VERSION"
    return args.get(name) or (case.stack.pins.get(name, "") if case.stack else "")


def _differs(version: str, wanted: str) -> bool:
    """Whether two versions of one shape differ; numbers of another shape count something else."""
    shapes = {tuple(re.findall(r"[a-z]+", text)) for text in (version, wanted)}
    return len(shapes) == 1 and bool(_RELEASE.fullmatch(version)) and version != wanted
