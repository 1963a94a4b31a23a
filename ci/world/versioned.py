"""JSON documents that carry the version of their form: the one before is read, a newer one refused and left alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, ContractError

VERSION = 1
"""Version of every document of a store."""


def encoded(document: Mapping[str, Any]) -> bytes:
    """A document as it is stored, its version noted in it."""
    return (json.dumps({"schema": VERSION, **document}, indent=1, sort_keys=True) + "\n").encode()


def decoded(data: bytes, where: str) -> dict[str, Any]:
    """What ``encoded`` wrote, without the version; raises for a newer one and for what is no such document."""
    try:
        document = json.loads(data)
        version = int(document.pop("schema"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise broken(where, str(error)) from None
    if version > VERSION:
        hint = "use the newer rocm-ci that wrote it; it was left as it is"
        raise ConfigError("newer-document", f"{where} was written by a newer version", hint=hint)
    return dict(document)


def broken(where: str, why: str) -> ContractError:
    """The error of a document that cannot be read; ``where`` names it."""
    hint = "somebody else wrote it, or it was cut off; look at it, nothing was changed"
    return ContractError("broken-document", f"{where} is not what this tool writes: {why}", hint=hint)
