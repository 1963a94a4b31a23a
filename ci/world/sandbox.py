"""Where tests run: what a sandbox is made of, what it can be asked, and how a command in it ended.

There are two: ``container.Container`` and ``native.Native``, the machine or container we are in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from .containers import Mount
from .process import Finished, Lines

RUN_LABEL, STEP_LABEL = "org.rocm-ci.run", "org.rocm-ci.step"
"""Labels every container of a run carries: the name of its run, and of its step."""

GRACE = 60.0
"""Seconds between SIGTERM and SIGKILL: a GPU process that is killed may leave its memory held."""

PATIENCE = 10.0
"""Seconds to wait after SIGINT, and for the end of what was killed."""

Say = Callable[[str], None]
"""Hears one sentence for the log of the run."""

OnLimit = Callable[[str], None]
"""Called with ``deadline``, ``inactivity`` or ``interrupted``, before the first signal."""


class Passed(NamedTuple):
    """A device file of this host, and its path inside."""

    host: str
    inside: str


@dataclass(frozen=True, slots=True)
class Spec:
    """What a sandbox is made of.

    ``image`` is ``reference@digest``, which is in the engine already.  ``env`` is an allow-list made by the
    caller and may be seen in ``docker inspect``; ``secrets`` reach the attended commands alone.
    ``group_ids`` are the numeric groups that may open ``devices``.
    Sizes are in MiB.  ``ipc`` is ``private`` or ``host``, ``network`` ``none``, ``bridge`` or ``host``.
    ``capabilities`` come on top of the engine's usual ones (``IPC_LOCK`` for RDMA).  ``user`` is the
    ``uid:gid`` of the commands, ``workdir`` the folder they start in unless they name one.

    Of all this ``Native`` uses ``name``, ``env``, ``secrets`` and ``workdir``.
    """

    name: str
    image: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Passed, ...] = ()
    group_ids: tuple[int, ...] = ()
    shm_mb: int = 64
    memory_mb: int | None = None
    pids: int | None = None
    ipc: str = "private"
    network: str = "none"
    capabilities: tuple[str, ...] = ()
    user: str = "0:0"
    labels: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""


class Limits(NamedTuple):
    """Seconds a command may take, may be silent (None: for ever), has after SIGTERM; and those ``on_limit`` has."""

    seconds: float
    silent_seconds: float | None = None
    grace_seconds: float = GRACE
    evidence_seconds: float = 30.0

    @property
    def teardown_seconds(self) -> float:
        """The longest time ``attend`` may take past a limit, and ``end`` after it: what an outer limit has to leave."""
        return self.evidence_seconds + 2 * (PATIENCE + self.grace_seconds + PATIENCE)


class Ended(NamedTuple):
    """How a command ended.

    ``code`` is negative for a signal and None where it was never learned.  ``limit`` is ``deadline`` or
    ``inactivity`` where we ended it.  ``lost`` says why the world is to blame.  ``rungs`` are the signals that
    were needed; after ``SIGKILL`` VRAM may be held.
    """

    code: int | None
    seconds: float
    limit: str = ""
    lost: str = ""
    out_of_memory: bool = False
    rungs: tuple[str, ...] = ()


class Sandbox(Protocol):
    """A place to run the commands of one step in, one after the other.

    Write its container in the ledger before ``begin``, and call ``end`` whatever happened.  After a limit or a
    loss the sandbox is spent: end it and begin another.
    """

    @property
    def name(self) -> str:
        """The name of the container, or of the step."""

    def begin(self) -> None:
        """Make it ready; raises ``InfraError`` where the world cannot, ``ContractError`` where the image is unfit."""

    def inside(self, path: Path) -> str:
        """The path inside of a file or folder of this host."""

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
        """Run ``argv`` to its end, ``env`` added to the sandbox's, in ``cwd`` (empty: the sandbox's).

        ``on_line`` hears every line, in this thread; what it raises ends the command by the ladder and goes on.
        ``on_limit`` is called in a thread of its own, so that output is taken meanwhile; it is left behind after
        ``evidence_seconds``, and what it raises is only said.  A program that is not there ends with 127.
        Raises ``Interrupted`` on a signal, the ladder done first.
        """

    def probe(self, argv: Sequence[str], seconds: float) -> Finished:
        """Ask a program inside, for evidence; ``DeadlineError`` past ``seconds``. Secrets are kept from it."""

    def end(self, grace: float = GRACE) -> tuple[str, ...]:
        """End whatever still runs inside, SIGTERM first, and remove the sandbox; gives the signals that were needed.

        No error where it is gone already; ``InfraError`` where it cannot be removed.
        """


Stopping = Callable[[], int]
"""Gives the number of a signal that asks us to stop, 0 where there is none.

Signals are heard in the main thread only: whoever attends in another one is asked to stop by this.
"""


def never() -> int:
    """For a sandbox in the main thread, which hears of signals by itself."""
    return 0
