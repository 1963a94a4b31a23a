"""A registry in memory: the `send` seam of ``ci.world.registry`` with a state, for tests of what writes to one.

It does what CNCF distribution 2.8.2 does with deletion switched on; tests/engine/test_registry_copy.py
runs the same cases against both.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ci.world.http import Headers, Request, Response
from ci.world.registry import Registry, digest_of

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
IN_TOTO = "application/vnd.in-toto+json"
API = {"Docker-Distribution-Api-Version": "registry/2.0"}
_MANIFESTS = re.compile(r"/v2/(.+)/manifests/([^/]+)")
_BLOB = re.compile(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})")
_UPLOADS = re.compile(r"/v2/(.+)/blobs/uploads/([^/]*)")
_TAGS = re.compile(r"/v2/(.+)/tags/list")

Hook = Callable[[Request], Response | BaseException | None]


@dataclass(frozen=True)
class Parts:
    """An image as a registry holds it: its blobs, its manifests (children first) and its index."""

    blobs: tuple[bytes, ...]
    manifests: tuple[bytes, ...]
    index: bytes

    @property
    def digest(self) -> str:
        """The digest of the whole image."""
        return digest_of(self.index)


def parts(labels: Mapping[str, str], *layers: bytes, created: str = "") -> Parts:
    """An image index of one image manifest and its attestation, as BuildKit writes them."""
    image_config = _json(
        {
            **({"created": created} if created else {}),
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": dict(labels)},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
        }
    )
    image = _manifest(image_config, [_descriptor(LAYER, layer) for layer in layers])
    statement = _json({"_type": "https://in-toto.io/Statement/v0.1", "subject": [{"digest": digest_of(image)}]})
    about = {"annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}}
    proof_config = _json(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(statement)]},
        }
    )
    proof = _manifest(proof_config, [_descriptor(IN_TOTO, statement) | about])
    proof_of = {
        "vnd.docker.reference.digest": digest_of(image),
        "vnd.docker.reference.type": "attestation-manifest",
    }
    entries = [
        _descriptor(MANIFEST, image) | {"platform": {"architecture": "amd64", "os": "linux"}},
        _descriptor(MANIFEST, proof)
        | {"annotations": proof_of, "platform": {"architecture": "unknown", "os": "unknown"}},
    ]
    index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    return Parts((image_config, *layers, proof_config, statement), (image, proof), index)


def push(registry: Registry, repository: str, tag: str, image: Parts) -> str:
    """Store the image under a tag through the client; its digest."""
    for blob in image.blobs:
        registry.put_blob(repository, blob)
    for manifest in image.manifests:
        registry.put_manifest(repository, digest_of(manifest), manifest, MANIFEST)
    return registry.put_manifest(repository, tag, image.index, INDEX).digest


class MemoryRegistry:
    """A function from request to response with a memory.

    ``tags``: repository -> tag -> digest; ``manifests``: repository -> digest -> (type, bytes);
    ``blobs``: repository -> digest -> bytes.  ``requests`` lists all that was asked and ``writes``
    all but GET and HEAD, whether or not it was done.  ``hook`` may answer first: a response is
    given, an error raised, None lets the registry answer; to lose an answer after the deed the
    hook calls ``answer`` itself.  ``deletes`` is the switch ``storage.delete.enabled``; a page of a
    list of tags has ``page`` names at most, where the real one gives all.
    """

    def __init__(self, hook: Hook | None = None, *, deletes: bool = True, page: int = 1000) -> None:
        self.hook = hook
        self.deletes = deletes
        self.page = page
        self.tags: dict[str, dict[str, str]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.requests: list[Request] = []
        self.writes: list[Request] = []
        self._uploads: dict[str, bytes] = {}
        self._numbers = count(1)
        self._lock = threading.RLock()

    def __call__(self, request: Request) -> Response:
        """One request; what the hook says, or what a registry would."""
        with self._lock:
            self.requests.append(request)
            if request.method not in {"GET", "HEAD"}:
                self.writes.append(request)
        said = self.hook(request) if self.hook else None
        if isinstance(said, BaseException):
            raise said
        return said or self.answer(request)

    def image(self, repository: str, tag: str, labels: Mapping[str, str], *layers: bytes, created: str = "") -> str:
        """Put a small whole image there, past hook and lists; its digest."""
        made = parts(labels, *layers, created=created)
        held = self.blobs.setdefault(repository, {})
        held.update({digest_of(blob): blob for blob in made.blobs})
        stored = self.manifests.setdefault(repository, {})
        stored.update({digest_of(body): (MANIFEST, body) for body in made.manifests})
        stored[made.digest] = (INDEX, made.index)
        self.tags.setdefault(repository, {})[tag] = made.digest
        return made.digest

    def answer(self, request: Request) -> Response:
        """What the registry itself does."""
        path = urlsplit(request.url).path
        doors: tuple[tuple[re.Pattern[str], Callable[..., Response]], ...] = (
            (_TAGS, self._tags),
            (_MANIFESTS, self._manifest),
            (_UPLOADS, self._upload),
            (_BLOB, self._blob),
        )
        with self._lock:
            if path == "/v2/":
                return _answer(200, {"Content-Type": "application/json; charset=utf-8"}, b"{}")
            for pattern, door in doors:
                if match := pattern.fullmatch(path):
                    return _delivered(request, door(request, *match.groups()))
        return Response(404, Headers({"Content-Type": "text/plain"}), b"404 page not found\n")

    def _tags(self, request: Request, repository: str) -> Response:
        if repository not in self.tags:
            return _error(404, "NAME_UNKNOWN")
        query = _query(request)
        limit, last = min(self.page, int(query.get("n", self.page))), query.get("last", "")
        names = sorted(name for name in self.tags.get(repository, {}) if name > last)
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if len(names) > limit:
            names = names[:limit]
            headers["Link"] = f'</v2/{repository}/tags/list?last={names[-1]}&n={limit}>; rel="next"'
        return _answer(200, headers, _json({"name": repository, "tags": names or None}))

    def _manifest(self, request: Request, repository: str, reference: str) -> Response:
        if request.method == "PUT":
            return self._put_manifest(request, repository, reference)
        if request.method == "DELETE":
            return self._delete_manifest(repository, reference)
        held = self.manifests.get(repository, {})
        digest = reference if ":" in reference else self.tags.get(repository, {}).get(reference, "")
        if digest not in held:
            return _error(404, "MANIFEST_UNKNOWN")
        kind, body = held[digest]
        return _answer(200, {"Content-Type": kind, "Docker-Content-Digest": digest}, body)

    def _put_manifest(self, request: Request, repository: str, reference: str) -> Response:
        body = _body(request)
        digest = digest_of(body)
        content = json.loads(body)
        kind = Headers(request.headers)["content-type"]
        if content.get("schemaVersion") != 2 or content.get("mediaType", kind) != kind:
            return _error(400, "MANIFEST_INVALID")
        if ":" in reference and reference != digest:
            return _error(400, "DIGEST_INVALID")
        children = {row["digest"] for row in content.get("manifests", ())}
        blobs = {row["digest"] for row in (*content.get("layers", ()), content.get("config")) if row}
        held = self.manifests.setdefault(repository, {})
        lacking = (children - set(held)) | (blobs - set(self.blobs.get(repository, {})))
        if lacking:
            return _error(400, "MANIFEST_BLOB_UNKNOWN")
        held[digest] = (kind, body)
        if ":" not in reference:
            self.tags.setdefault(repository, {})[reference] = digest
        return _answer(201, {"Docker-Content-Digest": digest, "Location": f"/v2/{repository}/manifests/{digest}"})

    def _delete_manifest(self, repository: str, reference: str) -> Response:
        if not self.deletes:
            return _error(405, "UNSUPPORTED")
        if ":" not in reference:
            return _error(400, "DIGEST_INVALID")
        if reference not in self.manifests.get(repository, {}):
            return _error(404, "MANIFEST_UNKNOWN")
        del self.manifests[repository][reference]
        held = self.tags.get(repository, {})
        if held:
            self.tags[repository] = {tag: digest for tag, digest in held.items() if digest != reference}
        return _answer(202)

    def _blob(self, request: Request, repository: str, digest: str) -> Response:
        body = self.blobs.get(repository, {}).get(digest)
        if request.method not in {"GET", "HEAD"}:
            return _error(405, "UNSUPPORTED")
        if body is None:
            return _error(404, "BLOB_UNKNOWN")
        return _answer(200, {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}, body)

    def _upload(self, request: Request, repository: str, name: str) -> Response:
        query = _query(request)
        if request.method == "POST":
            return self._start(repository, query)
        if name not in self._uploads:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        if request.method == "DELETE":
            del self._uploads[name]
            return _answer(204)
        self._uploads[name] += _body(request)
        if request.method == "PATCH":
            return self._started(repository, name)
        body = self._uploads.pop(name)
        if query.get("digest") != digest_of(body):
            return _error(400, "DIGEST_INVALID")
        return self._stored(repository, body)

    def _start(self, repository: str, query: Mapping[str, str]) -> Response:
        mounted = self.blobs.get(query.get("from", ""), {}).get(query.get("mount", ""))
        if mounted is not None:
            return self._stored(repository, mounted)
        name = f"upload-{next(self._numbers)}"
        self._uploads[name] = b""
        return self._started(repository, name)

    def _started(self, repository: str, name: str) -> Response:
        end = max(0, len(self._uploads[name]) - 1)
        return _answer(202, {"Location": f"/v2/{repository}/blobs/uploads/{name}?_state=x", "Range": f"0-{end}"})

    def _stored(self, repository: str, body: bytes) -> Response:
        digest = digest_of(body)
        self.blobs.setdefault(repository, {})[digest] = body
        return _answer(201, {"Docker-Content-Digest": digest, "Location": f"/v2/{repository}/blobs/{digest}"})


def _delivered(request: Request, answer: Response) -> Response:
    """The answer as this request takes it: without its body, or with the body handed over."""
    if request.method == "HEAD":
        return Response(answer.status, answer.headers)
    if request.into is None or answer.status != 200:
        return answer
    request.into(iter((answer.body,)))
    return Response(answer.status, answer.headers)


def _body(request: Request) -> bytes:
    return request.file.read_bytes() if request.file else request.body or b""


def _query(request: Request) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(request.url).query).items()}


def _answer(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Response:
    return Response(status, Headers({**API, "Content-Length": str(len(body)), **(headers or {})}), body)


def _error(status: int, code: str) -> Response:
    body = _json({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]})
    return _answer(status, {"Content-Type": "application/json; charset=utf-8"}, body)


def _manifest(config: bytes, layers: list[dict[str, Any]]) -> bytes:
    return _json({"schemaVersion": 2, "mediaType": MANIFEST, "config": _descriptor(CONFIG, config), "layers": layers})


def _descriptor(kind: str, body: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest_of(body), "size": len(body)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
