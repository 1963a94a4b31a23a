"""The cache policy of a stack: where BuildKit's caches are, and which of them a build looks at first.

Nothing of it is in a Dockerfile, and none of it is an input: a cache decides how long a build takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .. import documents
from ..documents import Document
from ..errors import Problem

MOST = 3
"""Sources of one build: each is a round trip, and BuildKit has missed in many what it found in one."""

CONTENT, BRANCH, UPSTREAM, COMPONENT = "content", "branch", "upstream", "component:"
REGISTRY, S3, FOLDER = "registry", "s3", "folder"


class Policy(NamedTuple):
    """``backends`` and ``sources`` in their order; ``upstream`` is a branch, ``bucket`` an ``s3://BUCKET[/PREFIX]``.

    Of each source the first backend that has it is used, and the first ``MOST`` sources that are there.
    """

    backends: tuple[str, ...] = (REGISTRY,)
    sources: tuple[str, ...] = (CONTENT, BRANCH)
    upstream: str = ""
    bucket: str = ""

    @property
    def components(self) -> tuple[str, ...]:
        """The components that have caches of their own, the dearest first."""
        return tuple(source.removeprefix(COMPONENT) for source in self.sources if source.startswith(COMPONENT))


def policy(data: Mapping[str, Any]) -> Policy:
    """The policy of ``caches:`` in a stack file; the default one of a stack that has none."""
    known = Policy()
    return Policy(
        tuple(data.get("backends", known.backends)),
        tuple(data.get("sources", known.sources)),
        data.get("upstream", ""),
        data.get("bucket", ""),
    )


def problems(document: Document, components: Mapping[str, object]) -> Iterator[Problem]:
    """What the schema cannot see: names that lead nowhere, words without what they need, words said twice."""
    data: Mapping[str, Any] = document.value.get("caches", {})
    found = policy(data)
    for name in found.components:
        if name not in components:
            hint = documents.suggest(name, list(components)) if components else "this stack declares no components"
            place = document.place("caches", "sources", found.sources.index(COMPONENT + name))
            yield Problem("unknown-component", f"caches: no component {name!r}", hint, place=place)
    for key, word, needed in (("sources", UPSTREAM, "upstream"), ("backends", S3, "bucket")):
        if (word in getattr(found, key)) != bool(data.get(needed)):
            message = f"caches: {key} with {word} and the key {needed} go together, and only one is there"
            yield Problem("half-a-cache", message, "give both, or neither", place=document.key("caches"))
    for key in ("backends", "sources"):
        words = getattr(found, key)
        for index, word in enumerate(words):
            if word in words[:index]:
                place = document.place("caches", key, index)
                yield Problem("given-twice", f"caches: {key} has {word} twice", "leave one out", place=place)
