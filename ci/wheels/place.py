"""From a word on the command line to a store, and from options to an indexing run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError
from ..world.store import Folder, Store
from .growth import add
from .index import Result, Say, make


def opened(text: str, *, anonymous: bool = False) -> Store:
    """The store called ``text``: ``s3://bucket/prefix`` or a folder; ``ConfigError`` for anything else.

    ``anonymous``: a bucket is read as nobody, whatever credentials are there.
    """
    if text.startswith("s3://"):
        from ..world.bucket import Bucket

        return Bucket.at(text, anonymous=anonymous)
    if "://" in text:
        hint = "give a folder, or s3://BUCKET/PREFIX"
        raise ConfigError("unknown-place", f"{text!r} is neither a folder nor a bucket", hint=hint)
    return Folder(Path(text))


def perform(store: Store, added: Sequence[str], say: Say, *, replace: bool, plan: bool) -> Result:
    """Make the whole index, or add the wheels ``added`` to it."""
    if not added:
        return make(store, say, replace=replace, plan=plan)
    if plan:
        hint = "leave one of them out: a plan looks at what is there already"
        raise ConfigError("plan-of-add", "--plan and --add do not go together", hint=hint)
    return add(store, [Path(wheel) for wheel in added], say, replace=replace)
