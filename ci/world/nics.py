"""What the kernel's own files say of network cards: PCI devices, drivers, RDMA devices; and apt's sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .sysfs import _text

_NETWORK = "0x02"
"""The first digits of the PCI class of network controllers."""

_BACKENDS = {"ainic": ("0x1dd8", ()), "bnxt": ("0x14e4", ("0x1750", "0x1751", "0x1752", "0x1760"))}
"""PCI maker and models of each NIC backend's cards, no model: all of the maker's.

Of Broadcom's many cards, those made for RDMA between GPUs (BCM575xx, BCM576xx).
"""


class Card(NamedTuple):
    """A network controller; ``maker`` and ``model`` are PCI numbers such as ``0x1dd8``, ``driver`` is empty without."""

    pci: str
    maker: str
    model: str
    driver: str


class Module(NamedTuple):
    """A loaded kernel module; modules of the kernel's own tree often have no ``version``."""

    name: str
    version: str
    source: str


class Rdma(NamedTuple):
    """An RDMA device, its card's PCI address and the version of its firmware."""

    name: str
    pci: str
    firmware: str


class Nics(NamedTuple):
    """All of it; ``apt`` is the text of apt's sources."""

    cards: tuple[Card, ...]
    modules: tuple[Module, ...]
    rdma: tuple[Rdma, ...]
    apt: str

    def module(self, name: str) -> Module | None:
        """The loaded module of that name."""
        return next((each for each in self.modules if each.name == name), None)


def look(modules: tuple[str, ...], root: Path = Path("/")) -> Nics:
    """Read it all; of kernel modules those named. Needs no root rights and loads nothing."""
    sources = root / "etc/apt/sources.list.d"
    texts = (_text(path) for pattern in ("*.list", "*.sources") for path in sorted(sources.glob(pattern)))
    folders = (root / "sys/module" / name for name in modules)
    loaded = tuple(
        Module(folder.name, _text(folder / "version"), _text(folder / "srcversion"))
        for folder in folders
        if folder.is_dir()
    )
    rdma = tuple(
        Rdma(device.name, (device / "device").resolve().name, _text(device / "fw_ver"))
        for device in sorted((root / "sys/class/infiniband").glob("*"))
    )
    return Nics(tuple(_cards(root)), loaded, rdma, "\n".join(texts))


def backends(root: Path = Path("/")) -> tuple[str, ...]:
    """The NIC backends that a card below ``root`` is for."""
    cards = tuple(_cards(root))
    return tuple(backend for backend in _BACKENDS if cards_for(backend, cards))


def cards_for(backend: str, cards: Iterable[Card]) -> tuple[Card, ...]:
    """Those of ``cards`` that a NIC backend is for."""
    maker, models = _BACKENDS[backend]
    return tuple(card for card in cards if card.maker == maker and (not models or card.model in models))


def _cards(root: Path) -> Iterator[Card]:
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if _text(device / "class").startswith(_NETWORK):
            driver = device / "driver"
            name = driver.resolve().name if driver.exists() else ""
            yield Card(device.name, _text(device / "vendor"), _text(device / "device"), name)
