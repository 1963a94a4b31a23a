"""Where bundles are kept: a file or folder of this host, a bucket, or the artifacts of a Buildkite build.

A place that cannot be meant is refused at once; only what this gives goes and looks.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..errors import ConfigError, DeadlineError, InfraError
from ..world import files
from ..world.process import Command, Run, run
from ..world.store import Store, opened

BUILDKITE = "buildkite:"
_SILENCE = 600.0
"""Seconds without a word from the agent after which a download is given up."""

Fetch = Callable[[str, Path], Path]
"""``fetch(name, folder)``: the bundle ``name`` as a file, in ``folder`` unless it is a file of this host already.

Raises ``InfraError`` where it cannot be had.
"""

Send = Callable[[Path], str]
"""``send(bundle)``: keep it under its own name, whole or not at all; gives where it is now."""


def source(text: str, start: Run = run) -> Fetch:
    """How to get a bundle from ``text``: a file, a folder, ``s3://BUCKET/PREFIX`` or ``buildkite:``."""
    if text.startswith(BUILDKITE):
        if text != BUILDKITE:
            hint = "give buildkite: alone; the bundle is found by its name"
            raise ConfigError("unknown-place", f"{text!r} is no place for a bundle", hint=hint)
        return partial(_downloaded, start)
    return partial(_copied, opened(text)) if "://" in text else partial(_here, Path(text))


def target(text: str) -> Send:
    """How to keep a bundle in ``text``: a folder, made when it is not there, or ``s3://BUCKET/PREFIX``."""
    if text.startswith(BUILDKITE):
        hint = "put it into a folder and upload that: buildkite-agent artifact upload 'dist/*.tar'"
        raise ConfigError("unknown-place", "--out takes a folder or s3://BUCKET/PREFIX", hint=hint)
    if "://" in text:
        return partial(_put, opened(text))
    files.check_folder(Path(text).absolute(), "--out")
    return partial(_laid, Path(text))


def _here(place: Path, name: str, _folder: Path) -> Path:
    found = place / name if place.is_dir() else place
    if not found.is_file():
        raise _missing(str(found))
    return found


def _copied(store: Store, name: str, folder: Path) -> Path:
    try:
        with (
            store.opened(name) as stream,
            files.disk_errors(f"cannot write {folder / name}"),
            (folder / name).open("wb") as out,
        ):
            shutil.copyfileobj(stream, out, 1 << 20)
    except FileNotFoundError:
        raise _missing(f"{store.name.rstrip('/')}/{name}") from None
    return folder / name


def _downloaded(start: Run, name: str, folder: Path) -> Path:
    """The agent finds artifacts by their path when they were uploaded, whose folder we do not know."""
    argv = ("buildkite-agent", "artifact", "download", f"*{name}", str(folder))
    hint = "this works inside a Buildkite job, after the one that uploaded the bundle; a retry may help"
    try:
        done = start(Command(argv, inactivity=_SILENCE))
    except DeadlineError as error:
        raise InfraError("buildkite-artifact", error.problems[0].message, hint=hint) from None
    if not done.ok:
        message = f"the Buildkite agent could not download {name}: it ended with {done.code}"
        raise InfraError("buildkite-artifact", message, context=done.tail(), hint=hint)
    found = sorted(path for path in folder.rglob(name) if path.is_file())
    if not found:
        raise _missing(f"{BUILDKITE}{name}")
    return found[0]


def _laid(folder: Path, bundle: Path) -> str:
    files.copy_whole(bundle, folder / bundle.name)
    return str(folder / bundle.name)


def _put(store: Store, bundle: Path) -> str:
    store.take(bundle, bundle.name)
    where = f"{store.name.rstrip('/')}/{bundle.name}"
    seen = store.stored(bundle.name)
    if seen is None or seen.size != bundle.stat().st_size:
        raise InfraError("store", f"{where} was written and is not there whole", hint="run the same command again")
    return where


def _missing(where: str) -> InfraError:
    hint = "make it where the software is built: inv build-test --artifact-only; names follow the tier's identity"
    return InfraError("no-bundle", f"there is no bundle {where}", hint=hint)
