"""Whether a GPU is well: the stack's own small program, run on each, bounded."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DeadlineError, InfraError
from ..world.containers import engine_failed
from ..world.dirty import REMEDY
from ..world.gpus import Gpu
from ..world.process import Finished
from .catalogue import Health
from .runtime import Room, Runtime

_HIDDEN = "-1"


def prove(health: Health | None, runtime: Runtime, room: Room, gpus: Sequence[Gpu], when: str) -> None:
    """Run the health program on every GPU of ``room``; raises ``InfraError`` at the first that is not well.

    The node is at fault then, whatever the tests say.
    """
    for number, gpu in zip(room.numbers, gpus, strict=True) if health else ():
        assert health is not None  # noqa: S101 - for the type checker
        why = _unwell(health, room, str(number), gpu)
        if why:
            why = f"its health program {why}, {when} the step"
            runtime.unwell(gpu, why)
            raise InfraError("unwell-gpu", f"{gpu.key}: {why}", hint=REMEDY)


def _unwell(health: Health, room: Room, number: str, gpu: Gpu) -> str:
    """What is wrong with a GPU; empty where nothing is. ``InfraError`` where the program cannot tell."""
    try:
        done = _asked(health, room, number)
        if done.ok:
            return ""
        hidden = _asked(health, room, _HIDDEN)
    except DeadlineError:
        return f"gave no answer within {health.seconds:g} s: it hangs"
    if (hidden.code, hidden.tail(3)) == (done.code, done.tail(3)):
        message = f"the health program says of {gpu.key} what it says with every GPU hidden: {done.tail(3)}"
        hint = "the image lacks the program or a GPU runtime, or cannot open the device; run the program in it by hand"
        raise InfraError("health-unknown", message, hint=hint)
    return f"failed: {done.tail(3)}"


def _asked(health: Health, room: Room, mask: str) -> Finished:
    argv = ("env", f"HIP_VISIBLE_DEVICES={mask}", *health.argv)
    done = room.sandbox.probe(argv, health.seconds)
    if engine_failed(done):  # a command that was ended by SIGKILL took its container with it
        room.sandbox.end()
        room.sandbox.begin()
        done = room.sandbox.probe(argv, health.seconds)
    if engine_failed(done):
        raise InfraError("health-unknown", f"the health program cannot be run: {done.tail(3)}", hint="inv doctor")
    return done
