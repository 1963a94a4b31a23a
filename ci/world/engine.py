"""The Docker Engine through its SDK. Streams are read to their end and digests compared.

The SDK is imported on first need: the one question of a run that reuses an image,
"is it here?", is asked over the engine's socket without it (see ``Engine.image``).
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from ..errors import ConfigError, InfraError
from ..settings import Settings
from .engine_containers import Containers
from .engine_trouble import broken, reason, silent, stream_hint, unmeant

DEFAULT_HOST = "unix:///var/run/docker.sock"
OK, CREATED, NO_NAME, NOT_FOUND = 200, 201, 400, 404
PATIENCE = 10.0
"""Seconds a local engine may take to answer a question; one that is stopped never does."""
NAMING = 60.0
"""Seconds it may take to give a name: such a write waits while it collects what others have removed."""
_DROPPED = re.compile(r"lease does not exist|commit failed: rename |content digest \S+ not found")
"""How a pull ends whose lease an `image prune` of somebody else took away."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the engine is, and what said so: DOCKER_HOST, a context, or the default socket."""

    host: str
    source: str
    context: str = ""


def endpoint(settings: Settings) -> Endpoint:
    """The engine the docker command line would use: DOCKER_HOST, else the current context, else the socket."""
    if host := settings.host("DOCKER_HOST"):
        return Endpoint(host, "DOCKER_HOST")
    config = Path(settings.host("DOCKER_CONFIG") or Path.home() / ".docker")
    name = settings.host("DOCKER_CONTEXT")
    source = "DOCKER_CONTEXT"
    if not name:
        data = _json(config / "config.json")
        name, source = data.get("currentContext", ""), str(config / "config.json")
    if not name or name == "default":
        return Endpoint(DEFAULT_HOST, "default")
    for meta in (config / "contexts" / "meta").glob("*/meta.json"):
        data = _json(meta)
        if data.get("Name") == name:
            return Endpoint(data["Endpoints"]["docker"]["Host"], f"context {name} ({source})", name)
    hint = "docker context ls shows what there is"
    raise ConfigError("no-context", f"there is no docker context {name!r} (from {source})", hint=hint)


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        hint = "mend it, or make it readable for this user; DOCKER_CONFIG names another folder"
        raise ConfigError("bad-docker-config", f"cannot read {path}: {why}", hint=hint) from None
    return data if isinstance(data, dict) else {}


@dataclass(frozen=True, slots=True)
class Image:
    """What the engine says of an image. ``id`` is its digest in the containerd store."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    labels: Mapping[str, str]
    layers: tuple[str, ...]
    size: int
    created: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Image:
        """Read an ``/images/NAME/json`` answer."""
        config = data.get("Config") or {}
        return cls(
            data["Id"],
            tuple(data.get("RepoTags") or ()),
            tuple(data.get("RepoDigests") or ()),
            config.get("Labels") or {},
            tuple((data.get("RootFS") or {}).get("Layers") or ()),
            int(data.get("Size") or 0),
            data.get("Created") or "",
        )


@dataclass
class Engine(Containers):
    """One engine. Every failure of the engine itself is ``InfraError``, never an absent image."""

    at: Endpoint
    _client: Any = field(default=None, repr=False)
    _expected: dict[str, socket.socket] = field(default_factory=dict, repr=False)

    def image(self, name: str) -> Image | None:
        """The image called ``name``, or None where the engine surely has none."""
        if self._is_local:
            question = self._expected.pop(name, None) or self._ask("GET", _about(name))
            status, body = self._answer(question)
            if status == NOT_FOUND:
                return None
            if status == NO_NAME:
                hint = "write it as [HOST/]NAME:TAG or [HOST/]NAME@sha256:..., the name in lower case"
                raise ConfigError("bad-image-name", f"{name!r} is no name of an image", hint=hint)
            if status != OK:
                raise broken(self.at, f"status {status} for image {name}: {body[:200]!r}")
            return self._described(name, body)
        with self._talking() as client:
            try:
                return Image.of(client.api.inspect_image(name))
            except self._errors().ImageNotFound:
                return None

    @property
    def _is_local(self) -> bool:
        return self.at.host.startswith("unix://")

    def _described(self, name: str, body: bytes) -> Image:
        try:
            return Image.of(json.loads(body))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise broken(self.at, f"its answer for image {name} is no description: {body[:80]!r}") from None

    def expect(self, names: Iterable[str]) -> None:
        """Ask about images before their turn, so that the engine works while we do.

        The next ``image(name)`` is told the answer to this question; ``forget`` ends that.
        """
        for name in names if self._is_local else ():
            if name not in self._expected:
                with suppress(InfraError):  # whoever needs the answer asks again, and is told why there is none
                    self._expected[name] = self._ask("GET", _about(name))

    def forget(self) -> None:
        """Drop the answers nobody came for: what is asked from now on is asked of the engine as it is then."""
        while self._expected:
            self._expected.popitem()[1].close()

    def _ask(self, method: str, path: str, patience: float = PATIENCE) -> socket.socket:
        """Put a question; HTTP/1.0, because its answer ends where the connection does."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(patience)
            connection.connect(self.at.host.removeprefix("unix://"))
            connection.sendall(f"{method} {path} HTTP/1.0\r\nHost: engine\r\n\r\n".encode())
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise silent(self.at, error) from None
            raise
        return connection

    def _answer(self, question: socket.socket) -> tuple[int, bytes]:
        """Status and body; whether the body is whole is for its reader to see."""
        try:
            with question, question.makefile("rb") as stream:
                head, _, body = stream.read().partition(b"\r\n\r\n")
            return int(head.split(None, 2)[1]), body
        except OSError as error:
            raise silent(self.at, error) from None
        except (IndexError, ValueError):
            raise broken(self.at, f"its answer is no HTTP: {head[:80]!r}") from None

    def _read(self, status: int, body: bytes, what: str) -> Any:
        """The JSON of an answer with status 200; anything else is the engine's fault."""
        try:
            if status == OK:
                return json.loads(body)
        except ValueError:
            pass
        raise broken(self.at, f"status {status} for {what}: {body[:200]!r}")

    def info(self) -> Mapping[str, Any]:
        """``docker info`` as the API gives it."""
        with self._talking() as client:
            return dict(client.info())

    def is_rootless(self) -> bool:
        """Whether it runs as a plain user: root in its containers then is that user."""
        status, body = self._asked("GET", "/info", PATIENCE)
        return "name=rootless" in (self._read(status, body, "what it is").get("SecurityOptions") or ())

    def version(self) -> Mapping[str, Any]:
        """``docker version`` of the server."""
        with self._talking() as client:
            return dict(client.version())

    def tag(self, name: str, new: str) -> None:
        """Give the image ``name`` the further name ``new``."""
        repository, _, tag = new.rpartition(":")
        if self._is_local:
            query = urlencode({"repo": repository, "tag": tag})
            status, body = self._answer(self._ask("POST", f"/images/{quote(name, safe='/:@')}/tag?{query}", NAMING))
            if status != CREATED:
                raise broken(self.at, f"status {status} when naming {name} {new}: {body[:200]!r}")
            return
        with self._talking() as client:
            client.api.tag(name, repository, tag, force=True)

    def untag(self, name: str, patience: float = 2 * PATIENCE) -> None:
        """Take the name away; layers go when no other name holds them. No error where it is gone already.

        ``patience`` bounds the wait on a local engine: whoever was told to stop has little of it.
        """
        if self._is_local:
            status, body = self._answer(self._ask("DELETE", f"/images/{quote(name, safe='/:@')}", patience))
            if status not in {OK, NOT_FOUND}:
                raise broken(self.at, f"status {status} when removing {name}: {body[:200]!r}")
            return
        with self._talking() as client:
            try:
                client.api.remove_image(name, noprune=False)
            except self._errors().ImageNotFound:
                return

    def history(self, name: str) -> tuple[tuple[int, str], ...]:
        """Layers as (bytes, what made it), newest first."""
        if self._is_local:
            status, body = self._answer(self._ask("GET", f"/images/{quote(name, safe='/:@')}/history"))
            return tuple((row["Size"], row["CreatedBy"]) for row in self._read(status, body, name))
        with self._talking() as client:
            return tuple((row["Size"], row["CreatedBy"]) for row in client.api.history(name))

    def archive(self, name: str) -> Iterator[bytes]:
        """``docker save``: every layer of an image that is here, and its config, as a tar archive in pieces."""
        with self._talking() as client:
            try:
                yield from client.api.get_image(name, chunk_size=1 << 18)
            except self._errors().ImageNotFound:
                raise InfraError("no-image", f"{name} is not in the engine", hint="build or pull it first") from None

    def bring_in(self, archive: Iterator[bytes], name: str) -> Image:
        """``docker import``: a root image from a tar stream."""
        repository, _, tag = name.rpartition(":")
        with self._talking() as client:
            text = client.api.import_image_from_stream(archive, repository=repository, tag=tag)
            rows = self._drain(json.loads(line) for line in text.splitlines() if line)
        return self._arrived(name, str(rows[-1].get("status", "")), "import")

    def pull(self, name: str, platform: str) -> Image:
        """Pull ``name``; an error inside the stream is an error, an older local image is no success.

        An engine that prunes images, for whomever, drops what its pulls have fetched so far (moby pull request
        53335).  Such a pull is tried once more.
        """
        try:
            rows = self._pulled(name, platform)
        except InfraError as error:
            if not _DROPPED.search(str(error)):
                raise
            rows = self._pulled(name, platform)
        lines = (str(row.get("status", "")) for row in rows)
        digest = next((line.removeprefix("Digest: ") for line in lines if line.startswith("Digest: ")), "")
        return self._arrived(name, digest, "pull")

    def _pulled(self, name: str, platform: str) -> list[Mapping[str, Any]]:
        with self._talking() as client:
            return self._drain(client.api.pull(name, stream=True, decode=True, platform=platform))

    def _arrived(self, name: str, digest: str, how: str) -> Image:
        """The image now called ``name``, which has to be the one the stream's last records spoke of."""
        if not digest.startswith("sha256:"):
            hint = "the connection was cut; run the same command again"
            raise InfraError("engine-stream", f"the {how} of {name} ended without a digest", hint=hint)
        image = self.image(name)
        if image is None:
            raise broken(self.at, f"the {how} of {name} ended well but the image is not there")
        if image.id != digest and not any(known.endswith(f"@{digest}") for known in image.digests):
            hint = "somebody else tags images of this name at the same time; run the same command again"
            raise InfraError("engine-stream", f"the {how} gave {digest}, but {name} is {image.id}", hint=hint)
        return image

    def push(self, name: str) -> str:
        """Push ``name`` (``repository:tag``); gives the digest the registry reported."""
        repository, _, tag = name.rpartition(":")
        with self._talking() as client:
            records = client.api.push(repository, tag, stream=True, decode=True)
            rows = self._drain(records)
        # The containerd store ends a push with a line of text, the older stores with an "aux" record.
        ending = re.compile(rf"{re.escape(tag)}: digest: (sha256:[0-9a-f]{{64}}) size: \d+")
        said = (ending.fullmatch(str(row.get("status", ""))) for row in reversed(rows))
        digest = next((match[1] for match in said if match), "")
        digest = digest or next((row["aux"]["Digest"] for row in rows if "Digest" in row.get("aux", {})), "")
        if not digest:
            hint = "the connection was cut; run the same command again"
            raise InfraError("push", f"the push of {name} ended without a digest", hint=hint)
        return str(digest)

    def gateway(self) -> str:
        """The address containers reach this host at on the engine's bridge; empty where there is no bridge."""
        if self._is_local:
            status, body = self._answer(self._ask("GET", "/networks/bridge"))
            return "" if status == NOT_FOUND else _gateway(self._read(status, body, "the bridge"))
        with self._talking() as client:
            try:
                return _gateway(client.api.inspect_network("bridge"))
            except self._errors().NotFound:
                return ""

    def _asked(self, method: str, path: str, patience: float) -> tuple[int, bytes]:
        if self._is_local:
            return self._answer(self._ask(method, path, patience))
        with self._talking() as client:
            answer = client.api.request(method, client.api.base_url + path, timeout=patience)
            return answer.status_code, answer.content

    def _failed(self, what: str) -> InfraError:
        return broken(self.at, what)

    def _drain(self, records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Read a progress stream to its end; raises on the error record that hides behind status 200."""
        rows: list[Mapping[str, Any]] = []
        for row in self._readable(records):
            if "error" in row or "errorDetail" in row:
                detail = (row.get("errorDetail") or {}).get("message") or row.get("error")
                raise InfraError("engine-stream", f"the engine reports: {detail}", hint=stream_hint(str(detail)))
            rows.append(row)
        if not rows:
            raise broken(self.at, "the engine's answer was empty")
        return rows

    def _readable(self, records: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The records; a stream that breaks off raises whatever its layer happens to raise, told here as one."""
        from http.client import HTTPException

        from urllib3.exceptions import HTTPError

        try:
            yield from records
        except (HTTPError, HTTPException, ValueError, self._errors().StreamParseError) as error:
            hint = "the connection was cut; see the engine's log, then run the same command again"
            message = f"the engine's answer broke off: {reason(error)}"
            raise InfraError("engine-stream", message, hint=hint) from None

    @contextmanager
    def _talking(self) -> Iterator[Any]:
        """The SDK's client, its failures turned into ours."""
        import docker
        import requests

        try:
            if self._client is None:
                self._client = self._connect()
            yield self._client
        except docker.errors.APIError as error:
            raise broken(self.at, str(error.explanation or error)) from None
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise silent(self.at, error) from None

    def _connect(self) -> Any:
        import docker.utils

        if self.at.context:
            context = docker.ContextAPI.get_context(self.at.context)
            return docker.DockerClient(base_url=context.Host, tls=context.TLSConfig, timeout=60)
        if self.at.source == "DOCKER_HOST":
            try:
                docker.utils.parse_host(self.at.host)
            except (docker.errors.DockerException, ValueError) as error:
                raise unmeant(self.at, error) from None
            return docker.from_env(timeout=60)
        return docker.DockerClient(base_url=self.at.host, timeout=60)


def _gateway(network: Mapping[str, Any]) -> str:
    return str(next((row["Gateway"] for row in network["IPAM"]["Config"] if "Gateway" in row), ""))


def _about(name: str) -> str:
    return f"/images/{quote(name, safe='/:@')}/json"
