"""A cache in its place, and how buildx wants to hear of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..recipe.caching import FOLDER, REGISTRY, S3
from ..settings import Settings


class Shelf(NamedTuple):
    """A place that holds caches: ``root`` is a repository, an ``s3://`` URL or a folder; ``writes``: this run may."""

    backend: str
    root: str
    writes: bool


class Ref(NamedTuple):
    """One cache of one place, which need not be there."""

    shelf: Shelf
    name: str

    def __str__(self) -> str:
        return f"{self.shelf.root}{':' if self.shelf.backend == REGISTRY else '#'}{self.name}"


def source(ref: Ref, settings: Settings) -> str:
    """``ref`` as an entry of ``cache-from``."""
    return _entry(_words(ref, settings, "src"))


def target(ref: Ref, settings: Settings, mode: str) -> str:
    """``ref`` as an entry of ``cache-to``; ``mode`` max keeps every stage, min the last.

    With ``ignore-error`` a failed export leaves the exit code 0: its vertex alone tells.
    """
    return _entry([*_words(ref, settings, "dest"), f"mode={mode}", "ignore-error=true"])


def environment(refs: Iterable[Ref], settings: Settings) -> dict[str, str]:
    """The variables buildx needs to reach these caches, beside those it has."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    wanted = names if any(ref.shelf.backend == S3 for ref in refs) else ()
    return {name: settings.host(name) for name in wanted if settings.host(name)}


def folders(refs: Iterable[Ref]) -> tuple[str, ...]:
    """The folders that buildx has to be let into."""
    return tuple(dict.fromkeys(ref.shelf.root for ref in refs if ref.shelf.backend == FOLDER))


def _words(ref: Ref, settings: Settings, folder: str) -> list[str]:
    root, name = ref.shelf.root, ref.name
    if ref.shelf.backend == REGISTRY:
        return ["type=registry", f"ref={root}:{name}"]
    if ref.shelf.backend == FOLDER:
        return ["type=local", f"{folder}={root}", f"tag={name}"]
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    words = ["type=s3", f"bucket={bucket}", f"name={name}", *([f"prefix={prefix}/"] if prefix else [])]
    if region := settings.host("AWS_REGION"):
        words.append(f"region={region}")
    if endpoint := settings.host("AWS_ENDPOINT_URL"):
        words += [f"endpoint_url={endpoint}", "use_path_style=true"]
    return words


def _entry(words: Sequence[str]) -> str:
    """One row of CSV, which is how buildx reads it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(words)
    return text.getvalue()
