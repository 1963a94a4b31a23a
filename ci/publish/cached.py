"""Wheel sets by identity: what one build made, kept for every later release that needs the same.

A set lies below ``cache/<key>/``: its wheels, the metadata beside each, and last its manifest.  A set
that has a manifest is whole; one without is being made, or somebody stopped.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ContractError
from ..names import wheel_path
from ..world.store import Store
from ..world.versioned import broken, decoded, encoded
from .manifest import WheelRow

SET = "manifest.json"


@dataclass(frozen=True)
class WheelSet:
    """The wheels that were made for ``key``, the identity of the part they are of."""

    key: str
    wheels: tuple[WheelRow, ...]

    def encode(self) -> bytes:
        """The one way to write it down."""
        rows = sorted(self.wheels, key=lambda row: row.filename)
        return encoded({"key": self.key, "wheels": [row._asdict() for row in rows]})

    @classmethod
    def decode(cls, data: bytes, where: str) -> WheelSet:
        """The set that ``encode`` wrote; ``where`` names it in errors."""
        document = decoded(data, where)
        try:
            return cls(str(document["key"]), tuple(WheelRow(**row) for row in document["wheels"]))
        except (KeyError, TypeError) as error:
            raise broken(where, str(error)) from None


def find(cache: Store, key: str) -> WheelSet | None:
    """The whole set of ``key``, None where there is none; raises ``ContractError`` for one of another key."""
    data = cache.read(f"{key}/{SET}")
    if data is None:
        return None
    where = f"{cache.name}/{key}/{SET}"
    found = WheelSet.decode(data, where)
    if found.key != key:
        hint = "somebody copied it there; remove that folder"
        raise ContractError("other-key", f"{where} is the set of {found.key}", hint=hint)
    return found


def cached_path(row: WheelRow) -> str:
    """Where a wheel lies in the cache."""
    return f"{row.part}/{wheel_path(row.sha256, row.filename)}"
