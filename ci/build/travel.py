"""The manifest travels with its image: as a label where it is small, and as an artifact beside it in a registry.

The artifact refers to the image as its subject.  It is listed under the fallback tag
``sha256-<digest>`` of the OCI distribution specification, which every registry can hold.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InfraError
from ..identity import Manifest

if TYPE_CHECKING:  # an explanation reads labels and asks no registry
    from ..world.registry import Registry

_MAX_LABEL = 64 * 1024
"""A manifest larger than this travels as an artifact only: engines hand labels out on every listing."""

_ARTIFACT = "application/vnd.rocm-ci.manifest.v1+json"
_IMAGE = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_EMPTY = "application/vnd.oci.empty.v1+json"


def label(manifest: Manifest) -> str:
    """The manifest as a label's value; empty when it is too large for one."""
    packed = base64.b64encode(zlib.compress(_bytes(manifest), 9)).decode()
    return packed if len(packed) <= _MAX_LABEL else ""


def from_label(value: str) -> Manifest | None:
    """Read back what ``label`` wrote; None for an empty label."""
    return _manifest(zlib.decompress(base64.b64decode(value))) if value else None


def publish(registry: Registry, repository: str, subject: Mapping[str, Any], manifest: Manifest) -> str:
    """Store the manifest beside the image that ``subject`` describes (mediaType, digest, size); its digest.

    Raises ``InfraError``. Idempotent: equal manifests make equal bytes, and a referrer is listed once.
    """
    from ..world.registry import digest_of

    body = _bytes(manifest)
    layer = {"mediaType": _ARTIFACT, "digest": registry.put_blob(repository, body), "size": len(body)}
    empty = {"mediaType": _EMPTY, "digest": registry.put_blob(repository, b"{}"), "size": 2}
    artifact = _json(
        {
            "schemaVersion": 2,
            "mediaType": _IMAGE,
            "artifactType": _ARTIFACT,
            "config": empty,
            "layers": [layer],
            "subject": {key: subject[key] for key in ("mediaType", "digest", "size")},
        }
    )
    digest = digest_of(artifact)
    registry.put_manifest(repository, digest, artifact, _IMAGE)
    entry = {"mediaType": _IMAGE, "digest": digest, "size": len(artifact), "artifactType": _ARTIFACT}
    listed = _referrers(registry, repository, subject["digest"])
    if entry not in listed:
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [*listed, entry]}
        registry.put_manifest(repository, _fallback(subject["digest"]), _json(index), _INDEX)
    return digest


def fetch(registry: Registry, repository: str, digest: str) -> Manifest | None:
    """The manifest published beside the image ``digest``; None where there is none."""
    entry = next(
        (row for row in _referrers(registry, repository, digest) if row.get("artifactType") == _ARTIFACT), None
    )
    if entry is None:
        return None
    artifact = registry.manifest(repository, entry["digest"])
    if not isinstance(artifact, tuple):
        raise _unreadable(registry, repository, entry["digest"], artifact)
    layer = json.loads(artifact[1])["layers"][0]["digest"]
    body = registry.blob(repository, layer)
    if not isinstance(body, bytes):
        raise _unreadable(registry, repository, layer, body)
    return _manifest(body)


def _referrers(registry: Registry, repository: str, digest: str) -> list[dict[str, Any]]:
    from ..world.registry import Absent

    answer = registry.manifest(repository, _fallback(digest))
    if isinstance(answer, Absent):
        return []
    if not isinstance(answer, tuple):
        raise _unreadable(registry, repository, _fallback(digest), answer)
    found: list[dict[str, Any]] = json.loads(answer[1])["manifests"]
    return found


def _unreadable(registry: Registry, repository: str, name: str, answer: object) -> InfraError:
    from ..world.registry import Absent, Found

    reason = "it is not there" if isinstance(answer, Absent | Found) else getattr(answer, "reason", str(answer))
    hint = "run the same command again, or inv doctor"
    return InfraError("artifact", f"{registry.host}/{repository}: {name} cannot be read: {reason}", hint=hint)


def _fallback(digest: str) -> str:
    return digest.replace(":", "-")


def _bytes(manifest: Manifest) -> bytes:
    return _json(manifest.to_json())


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _manifest(data: bytes) -> Manifest:
    return Manifest.from_json(json.loads(data))
