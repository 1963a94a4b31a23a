"""Stand-ins for the outside world, for tests here and in projects that use this package.

They are functions with a memory, not imitations: what a test did not announce is an
error, so a forgotten request turns a test red instead of passing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ..errors import InfraError
from .clock import Clock
from .engine import Endpoint, Engine, Image
from .engine_containers import ContainerState
from .http import Request, Response
from .process import Command, Finished, Lines
from .sandbox import Spec

Answer = Response | BaseException | Callable[[Request], Response]
Script = Mapping[tuple[str, str], Answer | Sequence[Answer]]


class FakeClock(Clock):
    """Time that passes only when told to; ``sleeps`` lists every wait asked for."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.start = start
        self.passed = 0.0
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        """The start plus what has passed."""
        return self.start + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        """What has passed."""
        return self.passed

    def sleep(self, seconds: float) -> None:
        """Remember the wait and let it pass at once."""
        self.sleeps.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass without anybody having waited."""
        self.passed += max(seconds, 0.0)


class Unexpected(AssertionError):
    """A fake was asked for something the test did not announce."""


class FakeSend:
    """The `send` seam as a table or a function.

    A table maps ``(method, url)`` to one answer, given every time, or to a sequence of
    answers, given one after the other.  An answer is a response, an error to raise or
    a function of the request.  ``requests`` lists what was asked.
    """

    def __init__(self, script: Script | Callable[[Request], Response]) -> None:
        self._script = script
        self._given: dict[tuple[str, str], int] = {}
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Response:
        """Answer from the script; raises ``Unexpected`` where it is silent."""
        self.requests.append(request)
        if callable(self._script):
            return self._script(request)
        answer = self._next(self._script, (request.method, request.url))
        if isinstance(answer, BaseException):
            raise answer
        return answer(request) if callable(answer) else answer

    def _next(self, script: Script, key: tuple[str, str]) -> Answer:
        if key not in script:
            raise Unexpected(f"{key[0]} {key[1]} is not in the script")
        answers = script[key]
        if not isinstance(answers, Sequence):
            return answers
        given = self._given.get(key, 0)
        if given >= len(answers):
            raise Unexpected(f"{key[0]} {key[1]}: asked {given + 1} times, {len(answers)} announced")
        self._given[key] = given + 1
        return answers[given]


Ending = tuple[int, str, str] | BaseException
"""How a command of the script ends: ``(code, stdout, stderr)``, or an error to raise."""


class FakeRun:
    """The `run` seam as a table.

    It maps an argument list to one ending, given every time, or to a list of endings,
    given one after the other.  ``commands`` lists what was started.
    """

    def __init__(self, script: Mapping[tuple[str, ...], Ending | list[Ending]]) -> None:
        self._script = dict(script)
        self.commands: list[Command] = []

    def __call__(self, command: Command, on_line: Lines | None = None, clock: Clock | None = None) -> Finished:
        """End as the script says; raises ``Unexpected`` where it is silent."""
        del clock
        self.commands.append(command)
        end = self._next(command)
        if isinstance(end, BaseException):
            raise end
        code, stdout, stderr = end
        if on_line:
            for name, text in (("stdout", stdout), ("stderr", stderr)):
                for line in text.splitlines():
                    on_line(name, line)
        return Finished(command, code, stdout, stderr)

    def _next(self, command: Command) -> Ending:
        ends = self._script.get(command.argv, [])
        if not isinstance(ends, list):
            return ends
        if not ends:
            raise Unexpected(f"{command} is not in the script")
        self._script[command.argv] = ends[1:]
        return ends[0]


def image(identifier: str, *, labels: Mapping[str, str] | None = None, layers: Iterable[str] = ()) -> Image:
    """An image of the fake engine; ``identifier`` is its digest."""
    return Image(identifier, (), (), dict(labels or {}), tuple(layers), 0)


@dataclass
class FakeEngine(Engine):
    """The `engine` seam in memory: ``images`` and ``containers`` by name; ``asked`` lists the calls.

    ``served`` are images a registry hands out to ``pull``; ``broken`` maps a name to the error that
    every call about it raises.  Whatever is not imitated here raises ``Unexpected``.
    """

    at: Endpoint = field(default_factory=lambda: Endpoint("fake://engine", "test"))
    images: dict[str, Image] = field(default_factory=dict)
    containers: set[str] = field(default_factory=set)
    served: dict[str, Image] = field(default_factory=dict)
    broken: dict[str, BaseException] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def _called(self, what: str, name: str) -> None:
        self.asked.append((what, name))
        if name in self.broken:
            raise self.broken[name]

    def image(self, name: str) -> Image | None:
        """The image of that name, also as ``name@digest``."""
        self._called("image", name)
        plain, _, digest = name.partition("@")
        found = self.images.get(plain)
        return found if found and digest in {"", found.id} else None

    def tag(self, name: str, new: str) -> None:
        """A further name."""
        self._called("tag", name)
        self.images[new] = replace(self.images[name.partition("@")[0]])

    def untag(self, name: str, patience: float = 60.0) -> None:
        """Take a name away."""
        del patience
        self._called("untag", name)
        self.images.pop(name, None)

    def create_container(self, spec: Spec, argv: Sequence[str], stop_signal: str) -> None:
        """Start a container of an image of ``images``."""
        del argv, stop_signal
        self._called("create_container", spec.name)
        plain, _, digest = spec.image.partition("@")
        if plain not in self.images or digest not in {"", self.images[plain].id}:
            raise InfraError("no-image", f"{spec.image} is not in the engine")
        self.containers.add(spec.name)

    def container(self, name: str) -> ContainerState | None:
        """The container of that name, which runs."""
        self._called("container", name)
        running = ContainerState(running=True, code=0, out_of_memory=False, pid=1, began="", execs=())
        return running if name in self.containers else None

    def signal_container(self, name: str, signal: str) -> None:
        """Remember the signal."""
        self._called(f"signal {signal}", name)

    def stop_container(self, name: str, grace: float) -> None:
        """Remember the patience."""
        self._called(f"stop {grace:g}", name)

    def delete_container(self, name: str) -> None:
        """Remove a container."""
        self._called("delete_container", name)
        self.containers.discard(name)

    def remove_container(self, name: str) -> None:
        """Remove a container."""
        self._called("remove_container", name)
        self.containers.discard(name)

    def pull(self, name: str, platform: str) -> Image:
        """Bring an image of ``served`` in."""
        del platform
        self._called("pull", name)
        if name not in self.served:
            raise Unexpected(f"pull of {name}: nobody serves it")
        self.images[name.partition("@")[0]] = self.served[name]
        return self.served[name]

    @contextmanager
    def _talking(self) -> Iterator[Any]:
        raise Unexpected("the fake engine does not imitate this call")
        yield
