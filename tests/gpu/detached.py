"""Programs that may never end: started apart, given a deadline, and left behind rather than waited for.

A process in the driver's uninterruptible sleep survives SIGKILL, and whoever waits for it hangs too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

import processes


class Told(NamedTuple):
    """What a program printed; ``code`` is None where it did not end in time, and 127 where there is none."""

    code: int | None
    text: str

    @property
    def ok(self) -> bool:
        """Whether it ended well."""
        return self.code == 0


class Started(NamedTuple):
    """A program on its way; its output goes to a file without a name."""

    process: subprocess.Popen[bytes] | None
    output: IO[bytes]
    end: float
    problem: str = ""


def start(argv: Sequence[str], seconds: float, env: Mapping[str, str] | None = None) -> Started:
    """Begin; both output streams are kept together."""
    output = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the program
    end = time.monotonic() + seconds
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env=env
        )
    except OSError as error:
        return Started(None, output, end, f"{argv[0]}: {error.strerror}")
    return Started(process, output, end)


def finish(started: Started) -> Told:
    """What it printed by its deadline; it is killed then, and not waited for."""
    process, output = started.process, started.output
    with output:
        if process is None:
            return Told(127, started.problem)
        processes.wait([process.pid], started.end - time.monotonic())
        code = process.poll()
        if code is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            processes.wait([process.pid], 0.5)
            process.returncode = -9 if process.poll() is None else process.returncode
        size = os.fstat(output.fileno()).st_size
        output.seek(0)
        return Told(code, output.read(min(size, 1 << 20)).decode(errors="replace"))


def ask(argv: Sequence[str], seconds: float) -> Told:
    """Start and finish."""
    return finish(start(argv, seconds))
