"""Whether a GPU is well: the stack's own small program, run on each, bounded."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CiError, InfraError, Interrupted
from ..world.dirty import REMEDY
from ..world.gpus import Gpu
from .catalogue import Health
from .runtime import Room, Runtime


def prove(health: Health | None, runtime: Runtime, room: Room, gpus: Sequence[Gpu], when: str) -> None:
    """Run the health program on every GPU of ``room``; raises ``InfraError`` at the first that is not well.

    The node is at fault then, whatever the tests say.
    """
    for number, gpu in zip(room.numbers, gpus, strict=True) if health else ():
        assert health is not None  # noqa: S101 - for the type checker
        argv = ("env", f"HIP_VISIBLE_DEVICES={number}", *health.argv)
        hung, why = False, ""
        try:
            done = room.sandbox.probe(argv, health.seconds)
            why = "" if done.ok else f"the health program failed {when} the step: {done.tail(3)}"
        except Interrupted:
            raise
        except CiError as error:
            hung, why = True, f"the health program gave no answer {when} the step: {error}"
        if why:
            runtime.unwell(gpu, why, hung=hung)
            raise InfraError("unwell-gpu", f"{gpu.key}: {why}", hint=REMEDY)
