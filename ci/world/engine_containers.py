"""The part of ``Engine`` that knows containers: made, asked about, signalled, stopped and removed."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from ..errors import InfraError
from .gpus import MASKS

if TYPE_CHECKING:
    from .sandbox import Spec

_MIB = 1 << 20
_SILENCE = 60.0
"""Seconds a local engine may take to stop or remove a container, beyond the patience it was told to have."""


class ContainerState(NamedTuple):
    """What the engine says of a container: ``code`` means something once it is not ``running``.

    ``pid`` and ``began`` change when it is started again; ``execs`` are the commands that now run in it.
    """

    running: bool
    code: int
    out_of_memory: bool
    pid: int
    began: str
    execs: tuple[str, ...]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> ContainerState:
        """Read a ``/containers/NAME/json`` answer."""
        state = data["State"]
        execs = tuple(data.get("ExecIDs") or ())
        oom = bool(state.get("OOMKilled"))
        return cls(bool(state["Running"]), int(state["ExitCode"]), oom, int(state["Pid"]), state["StartedAt"], execs)


class Containers(ABC):
    """The calls of an engine about containers; questions of a local one need no SDK and have an end of their own."""

    @abstractmethod
    def _talking(self) -> AbstractContextManager[Any]:
        """The SDK's client, its failures turned into ours."""

    @abstractmethod
    def _asked(self, method: str, path: str, patience: float) -> tuple[int, bytes]:
        """Status and body of one call; ``InfraError`` where no answer comes within ``patience`` seconds."""

    @abstractmethod
    def _failed(self, what: str) -> InfraError:
        """The error that the engine did ``what``."""

    def create_container(self, spec: Spec, argv: Sequence[str], stop_signal: str) -> None:
        """Make and start a container of an image that is here, its main program ``argv``; nothing is pulled.

        The main program runs as root and the engine's init reaps for it; what is left of a failure is a
        container of that name, for the caller to remove.
        """
        with self._talking() as client:
            try:
                made = client.api.create_container(
                    spec.image,
                    entrypoint=list(argv),
                    name=spec.name,
                    user="0:0",
                    environment={**dict.fromkeys(MASKS), **spec.env},  # a mask of the image's would add to ours
                    labels=dict(spec.labels),
                    working_dir=spec.workdir or None,
                    stop_signal=stop_signal,
                    healthcheck={"test": ["NONE"]},
                    host_config=client.api.create_host_config(**_host(spec)),
                    use_config_proxy=False,
                )
                client.api.start(made["Id"])
            except self._errors().ImageNotFound:
                hint = "build or pull it first; nothing is pulled here"
                raise InfraError("no-image", f"{spec.image} is not in the engine", hint=hint) from None
            except self._errors().APIError as error:
                said = str(error.explanation or error)
                hint = "check that its devices and mounted folders exist on the engine's host, then inv doctor"
                message = f"cannot start {spec.name} of {spec.image}"
                raise InfraError("no-container", message, context=said, hint=hint) from None

    def exported(self, image: str, name: str) -> Iterator[bytes]:
        """All files of an image that is here, as a tar archive in pieces (see ``image_files``).

        It takes a container ``name`` that never runs, so that an image without any program does as well; it is
        for the caller to remove.
        """
        with self._talking() as client:
            try:
                client.api.create_container(image, command=["-"], name=name, use_config_proxy=False)
            except self._errors().ImageNotFound:
                hint = "build or pull it first; nothing is pulled here"
                raise InfraError("no-image", f"{image} is not in the engine", hint=hint) from None
            yield from client.api.export(name)

    def container(self, name: str) -> ContainerState | None:
        """The container called ``name``, or None where the engine surely has none."""
        status, body = self._asked("GET", f"/containers/{quote(name)}/json", 10.0)
        if status == 404:
            return None
        try:
            if status == 200:
                return ContainerState.of(json.loads(body))
        except (ValueError, KeyError, TypeError):
            pass
        raise self._failed(f"status {status} for container {name}: {body[:200]!r}")

    def signal_container(self, name: str, signal: str) -> None:
        """Send a signal to the main program; no error where the container is gone or has ended."""
        self._told(name, "POST", f"kill?signal={signal}", 10.0)

    def stop_container(self, name: str, grace: float) -> None:
        """Send its stop signal, and SIGKILL after ``grace`` seconds; no error where it is gone or has ended."""
        self._told(name, "POST", f"stop?t={grace:.0f}", grace + _SILENCE)

    def delete_container(self, name: str) -> None:
        """Remove it and its anonymous volumes, running or not; no error where it is gone."""
        self._told(name, "DELETE", "?force=true&v=true", _SILENCE)

    def remove_container(self, name: str) -> None:
        """Stop a container with patience, then remove it and its anonymous volumes. No error where it is gone."""
        self.stop_container(name, 30)
        self.delete_container(name)

    def _told(self, name: str, method: str, what: str, patience: float) -> None:
        path = f"/containers/{quote(name)}{'' if what.startswith('?') else '/'}{what}"
        status, body = self._asked(method, path, patience)
        if status not in {200, 204, 304, 404, 409}:
            raise self._failed(f"status {status} for container {name}: {body[:200]!r}")

    @staticmethod
    def _errors() -> Any:
        import docker.errors

        return docker.errors


def _host(spec: Spec) -> dict[str, Any]:
    """The arguments of the SDK's ``create_host_config``."""
    from docker.types import LogConfig, Ulimit
    from docker.types import Mount as Bind

    memory = None if spec.memory_mb is None else spec.memory_mb * _MIB
    return {
        "init": True,
        "mounts": [Bind(one.target, str(one.source), type="bind", read_only=one.read_only) for one in spec.mounts],
        "devices": [f"{device.host}:{device.inside}:rwm" for device in spec.devices],
        "group_add": [str(group) for group in spec.group_ids],
        "shm_size": spec.shm_mb * _MIB,
        "mem_limit": memory,
        "memswap_limit": memory,  # the same: no swap
        "pids_limit": spec.pids,
        "ipc_mode": spec.ipc,
        "network_mode": spec.network,
        "cap_add": list(spec.capabilities),
        "security_opt": ["no-new-privileges"],
        "ulimits": [Ulimit(name="core", soft=0, hard=0)],
        "log_config": LogConfig(type="none"),
    }
