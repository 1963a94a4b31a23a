"""Exit statuses in words, with their usual cause on machines with GPUs."""

from __future__ import annotations

import signal

_CAUSES = {
    signal.SIGABRT: "GPU hang or abort",
    signal.SIGBUS: "is /dev/shm too small?",
    signal.SIGSEGV: "it reached for memory that is not its own",
    signal.SIGILL: "an instruction this CPU does not have",
    signal.SIGKILL: "not by us: the host's out-of-memory killer, or somebody on the host",
    signal.SIGTERM: "not by us: somebody on the host, or a test that ends its own process group",
    signal.SIGINT: "not by us: somebody on the host, or a test that ends its own process group",
}
_PROGRAM = {126: "the program cannot be executed", 127: "there is no such program in the image"}


def signal_of(code: int) -> signal.Signals | None:
    """The signal in an exit status: negative, or 128 and more as shells and containers tell it."""
    number = -code if code < 0 else code - 128
    try:
        return signal.Signals(number)
    except ValueError:
        return None


def told(code: int) -> str:
    """``ended with 1``, or ``ended by SIGBUS (135): is /dev/shm too small?``."""
    found = signal_of(code)
    if found:
        cause = _CAUSES.get(found)
        return f"ended by {found.name} ({code})" + (f": {cause}" if cause else "")
    cause = _PROGRAM.get(code)
    return f"ended with {code}" + (f": {cause}" if cause else "")
