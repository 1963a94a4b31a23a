"""Which caches are there: every place is asked at once and for a moment only.

BuildKit has no patience of its own with a registry that hangs, and reads a manifest and its configuration before
anything else: what cannot be read of these now is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..names import Reference
from ..recipe.caching import REGISTRY, S3
from ..world import files, probes
from ..world.clock import Clock
from .cache_refs import Ref

if TYPE_CHECKING:
    from ..world.registry import Registry

Told = bool | str
"""Whether a cache is there, or why nobody could tell."""

Connect = Callable[[str], "Registry"]

SECONDS = 5.0
"""For all places together: a cache that takes longer to find is not worth waiting for."""

_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
_NAME = "org.opencontainers.image.ref.name"


def look(refs: Sequence[Ref], clock: Clock, connect: Connect | None = None) -> Mapping[Ref, Told]:
    """What is there of ``refs``; what did not answer is told as such, never as absent."""
    registries: Connect = cache(connect or partial(hasty, clock))
    asked: dict[str, Callable[[], Told]] = {str(ref): partial(_there, ref, registries) for ref in refs}
    answers = probes.gather(asked, SECONDS, clock)
    return {ref: _told(answers[str(ref)]) for ref in refs}


def hasty(clock: Clock, host: str) -> Registry:
    """The registry at ``host``, asked once and for ``SECONDS`` only."""
    from ..world.credentials import docker_credentials
    from ..world.http import send
    from ..world.registry import Registry

    login = docker_credentials(lambda _text: None, seconds=SECONDS / 2)
    return Registry(host, send=send, clock=clock, credentials=login, attempts=1, deadline=SECONDS)


def _told(answer: Told | BaseException | None) -> Told:
    if answer is None:
        return f"no answer within {SECONDS:g} s"
    return answer if isinstance(answer, bool | str) else str(answer) or type(answer).__name__


def _there(ref: Ref, registries: Connect) -> Told:
    if ref.shelf.backend == REGISTRY:
        where = Reference.parse(ref.shelf.root)
        return _in_registry(registries(where.host), where.path, ref.name)
    if ref.shelf.backend == S3:
        from ..world.bucket import Bucket

        return Bucket.at(ref.shelf.root).stored(f"manifests/{ref.name}") is not None
    index = files.read_json(Path(ref.shelf.root) / "index.json")
    rows = index.get("manifests", ()) if isinstance(index, dict) else ()
    return any(row.get("annotations", {}).get(_NAME) == ref.name for row in rows)


def _in_registry(registry: Registry, repository: str, name: str) -> Told:
    from ..world import registry as oci

    answer = registry.manifest(repository, name)
    if isinstance(answer, oci.Absent):
        return False
    if isinstance(answer, oci.Unknown):
        return answer.reason
    config = _config(answer[1])
    if config is None:
        return f"{name} is no cache of BuildKit"
    blob = registry.blob(repository, config)
    return isinstance(blob, bytes) or f"{name} is not whole: {getattr(blob, 'reason', 'a part of it is gone')}"


def _config(manifest: bytes) -> str | None:
    """The digest of the part that says what is cached: in an index it is one of the manifests."""
    data: dict[str, Any] = json.loads(manifest)
    rows = [data["config"]] if isinstance(data.get("config"), dict) else data.get("manifests", [])
    return next((str(row["digest"]) for row in rows if row.get("mediaType") == _CONFIG), None)
