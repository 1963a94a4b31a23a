"""A sandbox that is a Docker container: made through the SDK, its commands children of ours by ``docker exec``.

The main program inside does nothing but pass signals on, because ``docker kill`` reaches it alone and a
killed ``docker exec`` ends nothing inside.  It needs a ``sh`` in the image, and no further process while
it signals: a container at its limit of processes can still be told to end them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import ContractError, DeadlineError, InfraError
from .attending import Attendance, Fallen, Reins
from .clock import Clock, SystemClock
from .engine import Engine
from .engine_containers import ContainerState
from .memory import kills
from .probes import ask
from .process import Command, Finished, Lines, started, stop
from .sandbox import GRACE, PATIENCE, Ended, Limits, OnLimit, Say, Spec, Stopping, never

_MAIN = """\
trap '' INT TERM
trap 'kill -INT -1' USR1
trap 'kill -TERM -1' HUP
alone() { set -- /proc/[0-9]*; [ $# -le 3 ]; }
trap 'alone && exit 0; kill -TERM -1; left=3' USR2
sleep 2147483647 & idle=$!
while wait $idle; [ -z "$left" ]; do kill -0 $idle 2>/dev/null || exit 4; done
until alone; do sleep 0.1; done
exit 3
"""
"""Alone are the init, this shell and its sleep.  ``docker stop``, whoever says it, is a SIGTERM to every process
inside and a wait for their end: 0 tells that there were none, 3 that they left."""

_SIGNALS = {signal.SIGINT: "SIGUSR1", signal.SIGTERM: "SIGHUP", signal.SIGKILL: "SIGKILL"}
_STOP, _LEFT, _UNFIT = "SIGUSR2", 3, {4, 126, 127}
_COUNTERS = ("cat", "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
_LOOKS = 20
"""Looks, a tenth of a second apart, at whether the engine still lists a command that has ended."""


class Container:
    """The container called ``spec.name``; write it in the ledger before ``begin``.

    ``env`` is the environment of the docker command line, see ``buildx.environment``.
    """

    def __init__(
        self,
        spec: Spec,
        engine: Engine,
        env: Mapping[str, str],
        say: Say,
        *,
        clock: Clock | None = None,
        stopping: Stopping = never,
    ) -> None:
        self.spec = spec
        self._engine = engine
        self._env = env
        self._say = say
        self._clock = clock or SystemClock()
        self._stopping = stopping
        self._kills = 0
        self._used = False
        self._asked = False

    @property
    def name(self) -> str:
        """The container's name."""
        return self.spec.name

    def begin(self) -> None:
        """Make and start it; ``InfraError`` where the engine cannot, ``ContractError`` where the image has no sh."""
        self._engine.create_container(self.spec, ("sh", "-c", _MAIN), _STOP)
        state = self._engine.container(self.name)
        if state is None or not state.running:
            raise self._fallen_over(state)

    def inside(self, path: Path) -> str:
        """Where a mounted file or folder is seen inside; ``InfraError`` where it is not mounted."""
        for mount in sorted(self.spec.mounts, key=lambda one: len(one.source.parts), reverse=True):
            if path.is_relative_to(mount.source):
                return str(Path(mount.target) / path.relative_to(mount.source))
        raise InfraError("not-mounted", f"{path} is not mounted in {self.name}")

    def attend(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        limits: Limits,
        on_line: Lines,
        on_limit: OnLimit,
    ) -> Ended:
        """Run a command by ``docker exec``; see ``Sandbox.attend``. It takes 2 s longer where it leaves a
        process behind that holds its output open."""
        before = self._engine.container(self.name)
        if before is None or not before.running:
            if self._used or (before and before.code not in _UNFIT):
                return Ended(None, 0.0, lost="the container was stopped or killed from outside")
            raise self._fallen_over(before)
        if self._used:  # what an earlier command lost is not this one's
            self._kills = self._counted() or self._kills
        self._used = True
        command = Command(self._exec(argv, env, cwd, tuple(self.spec.secrets)), env={**self._env, **self.spec.secrets})
        with started(command) as child:
            over = os.pidfd_open(child.pid)
            try:
                reins = Reins(child, over, self._signal)
                attendance = Attendance(
                    self.name, reins, limits, on_line, on_limit, self._say, self._clock, self._stopping
                )
                fallen = attendance.until_end()
                code = child.wait()
            except BaseException:
                stop(child)
                raise
            finally:
                os.close(over)
        return self._judged(fallen, code, before)

    def probe(self, argv: Sequence[str], seconds: float) -> Finished:
        """Ask a program inside; ``DeadlineError`` past ``seconds``, the program then left to ``end``."""
        self._asked = True
        return ask(Command(self._exec(argv, {}, "", ()), env=self._env), seconds)

    def end(self, grace: float = GRACE) -> tuple[str, ...]:
        """End what is left inside, remove the container, and give the signals that were needed.

        Nothing is left where nothing was ever run inside: however its shell ends then, it may not have been ready
        to hear of the end.
        """
        state = self._engine.container(self.name)
        rungs: tuple[str, ...] = ()
        if state and state.running:
            self._engine.stop_container(self.name, grace)
            state = self._engine.container(self.name)
            code = state.code if state else 0
            if code == _LEFT or (code and (self._used or self._asked)):
                rungs = ("SIGTERM",) if code == _LEFT else ("SIGTERM", "SIGKILL")
                tail = "" if code == _LEFT else " and SIGKILL, which may leave VRAM held"
                self._say(f"{self.name}: processes were left behind inside; ended by SIGTERM{tail}")
        self._engine.delete_container(self.name)
        return rungs

    def _exec(self, argv: Sequence[str], env: Mapping[str, str], cwd: str, secrets: tuple[str, ...]) -> tuple[str, ...]:
        return (
            "docker", "exec", "--user", self.spec.user, *(("--workdir", cwd) if cwd else ()),
            *(word for name, value in env.items() for word in ("--env", f"{name}={value}")),
            *(word for name in secrets for word in ("--env", name)),
            self.name, *argv,
        )  # fmt: skip

    def _fallen_over(self, state: ContainerState | None) -> ContractError | InfraError:
        """Why it is not up: the init ends with 127 where there is no sh, which ends with 4 where it cannot sleep."""
        image = self.spec.image
        if state and state.code in _UNFIT:
            return ContractError("no-shell", f"{image} has no sh, or no sleep: tests cannot run in it")
        return InfraError("no-container", f"{self.name} of {image} does not stay up", hint="docker inspect; inv doctor")

    def _signal(self, number: signal.Signals) -> None:
        self._engine.signal_container(self.name, _SIGNALS[number])

    def _judged(self, fallen: Fallen, code: int, before: ContainerState) -> Ended:
        """What became of the command, in the engine's own words: the exit code of docker alone tells too little."""
        limit, rungs, seconds, stderr = fallen
        code = 128 - code if 128 < code <= 128 + 64 else code
        try:
            state = self._settled(before, harmed=-code in _SIGNALS and not rungs)
        except InfraError as error:
            return Ended(None, seconds, limit, f"the engine went away: {error}", rungs=rungs)
        if signal.SIGKILL.name in rungs:
            return Ended(
                -signal.SIGKILL, seconds, limit, out_of_memory=bool(state and state.out_of_memory), rungs=rungs
            )
        lost = _harm(state, before) or _engine_failed(code, stderr)
        if not lost and not limit and state and set(state.execs) - set(before.execs):
            lost = "the engine broke off while the command still runs"
        starved = bool(code and state and self._lost_memory(state))
        return Ended(None if lost else code, seconds, limit, lost, starved, rungs)

    def _settled(self, before: ContainerState, *, harmed: bool) -> ContainerState | None:
        """The container once the engine no longer lists the command, or does not stop to.

        ``harmed``: a signal that was not ours ended the command; where it meant the whole container,
        the engine hears of that a moment later.
        """
        for _ in range(_LOOKS):
            state = self._engine.container(self.name)
            if state is None or not (state.running and (harmed or set(state.execs) - set(before.execs))):
                break
            self._clock.sleep(0.1)
        return state

    def _lost_memory(self, state: ContainerState) -> bool:
        """Whether the kernel ended a process of the last command for want of memory."""
        count = self._counted() if state.running else None
        if count is None:
            return state.out_of_memory
        more, self._kills = count > self._kills, count
        return more

    def _counted(self) -> int | None:
        """How many processes the kernel ended in the container for want of memory; None where that is not told."""
        try:
            return kills(self.probe(_COUNTERS, PATIENCE).stdout)
        except (DeadlineError, InfraError):
            return None


def _harm(state: ContainerState | None, before: ContainerState) -> str:
    """What somebody else did to the container; empty where it is the one it was, or died for want of memory."""
    if state is None:
        return "the container was removed from outside"
    same = state.running and (state.pid, state.began) == (before.pid, before.began)
    return "" if same or state.out_of_memory else "the container was stopped or killed from outside"


def _engine_failed(code: int, stderr: str) -> str:
    """What docker itself said in the end; empty where it was the command that failed, or is not there."""
    last = (stderr.strip().splitlines() or [""])[-1]
    marks = ("Error response from daemon", "error during connect", "Cannot connect to the Docker daemon", "OCI runtime")
    if not code or not last.startswith(marks):
        return ""
    absent = ("executable file not found", "no such file or directory", "permission denied")
    return "" if code in {126, 127} and any(words in last for words in absent) else last
