"""The probes: make numbers, run the kernel, compare with the reference, say how fast it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from . import objects, reference
from .arguments import pack
from .hip import BLOCK, Hip

_SEED = 942
_ROUNDS = 10


@dataclass(frozen=True)
class Result:
    """One kernel on one device.

    ``verdict`` is ok, wrong or skipped, ``worst`` the largest relative error, ``gb_per_s`` 0 where no speed
    was asked for.
    """

    kernel: str
    device: int
    arch: str
    verdict: str
    worst: float = 0.0
    gb_per_s: float = 0.0
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """The result as a document holds it."""
        return asdict(self)


@dataclass(frozen=True)
class Bench:
    """One device under test; ``size`` is how many float32 a large array has."""

    hip: Hip
    device: int
    arch: str
    size: int
    find: Callable[[str, str], bytes]

    def result(self, kernel: str, got: Any, wanted: Any, *, allowed: float = 0.0, **more: Any) -> Result:
        """Compare two arrays; ``allowed`` is a relative error, 0 means the same bits."""
        error = worst_error(got, wanted)
        return Result(kernel, self.device, self.arch, "ok" if error <= allowed else "wrong", error, **more)


def verdict(results: Sequence[Result]) -> str:
    """``ok``, ``failed``, or ``empty`` where nothing was run, which is never success."""
    verdicts = {result.verdict for result in results}
    if "wrong" in verdicts:
        return "failed"
    return "ok" if "ok" in verdicts else "empty"


def worst_error(got: Any, wanted: Any) -> float:
    """The largest relative error; infinite where shapes differ or a number is none."""
    if got.shape != wanted.shape:
        return float("inf")
    if np.array_equal(got, wanted):
        return 0.0
    left, right = got.astype(np.float64), wanted.astype(np.float64)
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return float("inf")
    scale = np.maximum(np.abs(right), np.finfo(np.float32).tiny)
    return float(np.max(np.abs(left - right) / scale))


def _blocks(items: int) -> int:
    """Enough blocks to fill a GPU; kernels stride over what is more."""
    return max(1, min(-(-items // BLOCK), 65536))


def _numbers(count: int) -> Any:
    return np.random.default_rng(_SEED).standard_normal(count, dtype=np.float32)


def vector_add(bench: Bench) -> Iterator[Result]:
    """Does it compute at all; the count is no multiple of a block, so the last one is cut off."""
    hip, count = bench.hip, 100_003
    left, right = _numbers(count), _numbers(count)[::-1].copy()
    with ExitStack() as stack:
        find = stack.enter_context(hip.module(bench.find("vector_add", bench.arch)))
        a, b = (stack.enter_context(hip.memory(array.nbytes, array.tobytes())) for array in (left, right))
        to = stack.enter_context(hip.memory(left.nbytes))
        hip.launch(find("vector_add"), _blocks(count), pack("vector_add", (a, b, to, count)))
        hip.finish()
        got = np.frombuffer(hip.read(to, left.nbytes), np.float32)
        yield bench.result("vector_add", got, reference.vector_add(left, right))


def bandwidth(bench: Bench) -> Iterator[Result]:
    """Memory bandwidth: copy moves two arrays' bytes, triad three."""
    hip, count, scale = bench.hip, bench.size // 4, 3.0
    left, right = _numbers(count * 4), _numbers(count * 4)[::-1].copy()
    with ExitStack() as stack:
        find = stack.enter_context(hip.module(bench.find("bandwidth", bench.arch)))
        a, b = (stack.enter_context(hip.memory(array.nbytes, array.tobytes())) for array in (left, right))
        to = stack.enter_context(hip.memory(left.nbytes))
        runs: Sequence[tuple[str, tuple[int | float, ...], int, Any, float]] = (
            ("bandwidth_copy", (a, to, count), 2, reference.bandwidth_copy(left), 0.0),
            (
                "bandwidth_triad",
                (a, b, to, scale, count),
                3,
                reference.bandwidth_triad(left, right, scale),
                reference.TOLERANCE,
            ),
        )
        for name, values, arrays, wanted, allowed in runs:
            speed = _speed(hip, find(name), _blocks(count), pack(name, values), arrays * left.nbytes)
            got = np.frombuffer(hip.read(to, left.nbytes), np.float32)
            yield bench.result(name, got, wanted, allowed=allowed, gb_per_s=speed)


def peer_copy(bench: Bench) -> Iterator[Result]:
    """Read every other device's memory; a device that is alone reads its own."""
    hip, count = bench.hip, bench.size // 4
    bits = np.random.default_rng(_SEED).integers(0, 2**32, count * 4, dtype=np.uint32)
    others = [device for device in range(hip.count()) if device != bench.device] or [bench.device]
    for owner in others:
        detail = f"reads device {owner}"
        if owner != bench.device and not hip.let_read(bench.device, owner):
            yield Result("peer_copy", bench.device, bench.arch, "skipped", detail=f"no link to device {owner}")
            continue
        with ExitStack() as stack:
            hip.use(owner)
            remote = stack.enter_context(hip.memory(bits.nbytes, bits.tobytes()))
            hip.use(bench.device)
            to = stack.enter_context(hip.memory(bits.nbytes))
            find = stack.enter_context(hip.module(bench.find("peer_copy", bench.arch)))
            block = pack("peer_copy", (remote, to, count))
            speed = _speed(hip, find("peer_copy"), _blocks(count), block, bits.nbytes)
            got = np.frombuffer(hip.read(to, bits.nbytes), np.uint32)
            yield bench.result("peer_copy", got, reference.peer_copy(bits), gb_per_s=speed, detail=detail)


def expert_parallel(bench: Bench) -> Iterator[Result]:
    """Route tokens to experts and back; some pairs go nowhere, one expert is over its capacity."""
    hip = bench.hip
    tokens, width, top_k, count, capacity = 515, 192, 4, 16, 96
    random = np.random.default_rng(_SEED)
    values = random.standard_normal((tokens, width), dtype=np.float32)
    weights = random.random((tokens, top_k), dtype=np.float32)
    experts = random.integers(-1, count, tokens * top_k).astype(np.int32)
    slots, used = reference.expert_slots(experts, count, capacity)
    buffers = reference.expert_dispatch(values, experts, slots, count, capacity)
    unset = np.full(experts.shape, reference.DROPPED, dtype=np.int32)
    with ExitStack() as stack:
        find = stack.enter_context(hip.module(bench.find("expert_parallel", bench.arch)))
        a, e, s, w = (
            stack.enter_context(hip.memory(array.nbytes, array.tobytes()))
            for array in (values, experts, unset, weights)
        )
        u, b, to = (stack.enter_context(hip.memory(size)) for size in (used.nbytes, buffers.nbytes, values.nbytes))
        sizes = (top_k, width, capacity)
        pairs = tokens * top_k
        hip.launch(find("expert_slots"), count, pack("expert_slots", (e, s, u, pairs, capacity)))
        hip.finish()
        got_slots = np.frombuffer(hip.read(s, slots.nbytes) + hip.read(u, used.nbytes), np.int32)
        routed = bench.result("expert_slots", got_slots, np.concatenate([slots, used]))
        yield routed
        if routed.verdict != "ok":
            return  # the other kernels would write where these slots say
        hip.launch(find("expert_dispatch"), pairs, pack("expert_dispatch", (a, e, s, b, *sizes)))
        hip.launch(find("expert_combine"), tokens, pack("expert_combine", (b, e, s, w, to, *sizes)))
        hip.finish()
        got = np.frombuffer(hip.read(b, buffers.nbytes), np.float32).reshape(buffers.shape)
        yield bench.result("expert_dispatch", got, buffers)
        wanted = reference.expert_combine(buffers, experts, slots, weights)
        got = np.frombuffer(hip.read(to, values.nbytes), np.float32).reshape(values.shape)
        yield bench.result("expert_combine", got, wanted, allowed=reference.TOLERANCE)


PROBES: dict[str, Callable[[Bench], Iterator[Result]]] = {
    "vector_add": vector_add,
    "bandwidth": bandwidth,
    "peer_copy": peer_copy,
    "expert_parallel": expert_parallel,
}
"""By the name of the source file they exercise."""


def run(hip: Hip, names: Sequence[str], *, size: int, find: Callable[[str, str], bytes] = objects.load) -> list[Result]:
    """Run the probes on every device there is."""
    results: list[Result] = []
    for device in range(hip.count()):
        hip.use(device)
        _, arch = hip.describe(device)
        for name in names:
            hip.use(device)
            results += PROBES[name](Bench(hip, device, arch, size, find))
    return results


def _speed(hip: Hip, function: Any, blocks: int, block: bytes, moved: int) -> float:
    """GB/s over some rounds, after one that warms up."""

    def work() -> None:
        for _ in range(_ROUNDS):
            hip.launch(function, blocks, block)

    hip.launch(function, blocks, block)
    hip.finish()
    seconds = hip.seconds(work)
    hip.finish()
    return round(_ROUNDS * moved / seconds / 1e9, 1) if seconds > 0 else 0.0
