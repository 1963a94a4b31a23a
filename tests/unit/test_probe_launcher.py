"""The launcher against a runtime that keeps the GPU's memory in this process and computes with NumPy."""

from __future__ import annotations

import ctypes
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.probe import module
from tests.unit.test_probe_arguments import BY_HAND

hip, main, objects, probes, reference = (module(name) for name in ("hip", "__main__", "objects", "probes", "reference"))

OUTPUTS = {
    "vector_add": 2,
    "bandwidth_copy": 1,
    "bandwidth_triad": 2,
    "peer_copy": 1,
    "expert_slots": 1,
    "expert_dispatch": 3,
    "expert_combine": 4,
}
"""Which argument of a kernel it writes to."""

ARCH = b"gfx942:sramecc+:xnack-"


def view(address: int, count: int, kind: Any = np.float32) -> Any:
    """The numbers at an address of the pretended device."""
    size = count * np.dtype(kind).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), kind)


class FakeHip:
    """libamdhip64 as far as the launcher calls it. ``broken`` maps a function's name to the code it returns."""

    def __init__(self, devices: int = 1, *, linked: bool = True, wrong: str = "") -> None:
        self.devices, self.linked, self.wrong = devices, linked, wrong
        self.broken: dict[str, int] = {}
        self.memory: dict[int, Any] = {}
        self.loaded: list[bytes] = []
        self.names: list[str] = []
        self.launched: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if name in self.broken:
                return self.broken[name]
            method = getattr(type(self), f"do_{name}", None)
            return (method(self, *arguments) or 0) if method else 0

        if name == "hipGetErrorString":
            return lambda code: f"error {code} of the runtime".encode()
        return call

    def do_hipGetDeviceCount(self, number: Any) -> None:  # noqa: N802
        number._obj.value = self.devices

    def do_hipGetDevicePropertiesR0600(self, data: Any, _device: Any) -> None:  # noqa: N802
        data._obj[0:6] = b"MI300\0"
        data._obj[hip.ARCH_OFFSET : hip.ARCH_OFFSET + len(ARCH)] = ARCH

    def do_hipDeviceCanAccessPeer(self, able: Any, _reader: Any, _owner: Any) -> None:  # noqa: N802
        able._obj.value = int(self.linked)

    def do_hipMalloc(self, address: Any, size: Any) -> None:  # noqa: N802
        block = ctypes.create_string_buffer(b"\xaa" * size.value, size.value)
        address._obj.value = ctypes.addressof(block)
        self.memory[ctypes.addressof(block)] = block

    def do_hipFree(self, address: Any) -> None:  # noqa: N802
        del self.memory[address.value]

    def do_hipMemset(self, address: Any, value: Any, size: Any) -> None:  # noqa: N802
        ctypes.memset(address, value.value, size.value)

    def do_hipMemcpy(self, to: Any, source: Any, size: Any, _kind: Any) -> None:  # noqa: N802
        ctypes.memmove(to, source, size.value)

    def do_hipModuleLoadData(self, handle: Any, image: bytes) -> None:  # noqa: N802
        self.loaded.append(image)
        handle._obj.value = 1

    def do_hipModuleGetFunction(self, function: Any, _module: Any, name: bytes) -> None:  # noqa: N802
        self.names.append(name.decode())
        function._obj.value = len(self.names)

    def do_hipEventElapsedTime(self, passed: Any, *_events: Any) -> None:  # noqa: N802
        passed._obj.value = 2.0

    def do_hipModuleLaunchKernel(self, function: Any, *rest: Any) -> None:  # noqa: N802
        sizes, extra = [each.value for each in rest[:7]], rest[9]
        assert (sizes[1:], extra[0], extra[2], extra[4]) == ([1, 1, 256, 1, 1, 0], 1, 2, 3)
        length = ctypes.c_size_t.from_address(extra[3]).value
        kernel = self.names[function.value - 1]
        values = struct.unpack(BY_HAND[kernel], ctypes.string_at(extra[1], length))
        self.launched.append(kernel)
        getattr(self, f"run_{kernel}")(sizes[0], *values)
        if kernel == self.wrong:
            view(values[OUTPUTS[kernel]], 1, np.uint32)[0] ^= 1 << 20

    def run_vector_add(self, _blocks: int, left: int, right: int, to: int, count: int) -> None:
        view(to, count)[:] = view(left, count) + view(right, count)

    def run_bandwidth_copy(self, _blocks: int, source: int, to: int, count: int) -> None:
        view(to, count * 4)[:] = view(source, count * 4)

    def run_bandwidth_triad(self, _blocks: int, left: int, right: int, to: int, scale: float, count: int) -> None:
        view(to, count * 4)[:] = reference.bandwidth_triad(view(left, count * 4), view(right, count * 4), scale)

    def run_peer_copy(self, _blocks: int, remote: int, local: int, count: int) -> None:
        view(local, count * 4, np.uint32)[:] = view(remote, count * 4, np.uint32)

    def run_expert_slots(self, blocks: int, *values: int) -> None:
        experts, slots, used, pairs, capacity = values
        found = reference.expert_slots(view(experts, pairs, np.int32), blocks, capacity)
        view(slots, pairs, np.int32)[:], view(used, blocks, np.int32)[:] = found

    def run_expert_dispatch(
        self, blocks: int, tokens: int, experts: int, slots: int, buffers: int, *sizes: int
    ) -> None:
        top_k, width, capacity = sizes
        count = 16
        rows = view(tokens, blocks // top_k * width).reshape(-1, width)
        pair = view(experts, blocks, np.int32), view(slots, blocks, np.int32)
        view(buffers, count * capacity * width)[:] = reference.expert_dispatch(rows, *pair, count, capacity).ravel()

    def run_expert_combine(self, blocks: int, *values: int) -> None:
        buffers, experts, slots, weights, tokens, top_k, width, capacity = values
        pair = view(experts, blocks * top_k, np.int32), view(slots, blocks * top_k, np.int32)
        rows = view(buffers, 16 * capacity * width).reshape(16, capacity, width)
        shares = view(weights, blocks * top_k).reshape(blocks, top_k)
        view(tokens, blocks * width)[:] = reference.expert_combine(rows, *pair, shares).ravel()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "gfx942"
    folder.mkdir()
    for name in main.KERNELS:
        (folder / f"{name}.hsaco").write_bytes(name.encode())
    monkeypatch.setattr(objects.load, "__defaults__", (tmp_path,))
    return tmp_path


def run(library: FakeHip, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main.main(["--json", "--size", "4096", *arguments], library)
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, document


def test_all_probes_pass_where_the_numbers_are_right(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert home.is_dir()
    library = FakeHip()
    code, document = run(library, capsys)
    assert code == 0, document
    assert {row["kernel"] for row in document["results"]} == set(BY_HAND)
    assert {row["verdict"] for row in document["results"]} == {"ok"}
    assert library.loaded == [name.encode() for name in main.KERNELS]
    assert library.memory == {}, "every allocation is freed"


@pytest.mark.parametrize("kernel", sorted(BY_HAND))
def test_a_wrong_number_is_seen(kernel: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert home.is_dir()
    code, document = run(FakeHip(wrong=kernel), capsys)
    wrong = [row["kernel"] for row in document["results"] if row["verdict"] == "wrong"]
    assert (code, document["outcome"]) == (1, "failed")
    assert kernel in wrong


def test_peers_without_a_link_are_skipped_and_alone_that_is_no_success(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert home.is_dir()
    code, document = run(FakeHip(2, linked=False), capsys, "--kernel", "peer_copy")
    assert [row["verdict"] for row in document["results"]] == ["skipped", "skipped"]
    assert (code, document["outcome"]) == (6, "empty")
    code, document = run(FakeHip(2), capsys, "--kernel", "peer_copy")
    assert (code, [row["detail"] for row in document["results"]]) == (0, ["reads device 1", "reads device 0"])


def test_no_device_no_library_no_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = FakeHip()
    library.broken["hipInit"] = 100
    code, document = run(library, capsys)
    assert (code, document["error"]) == (4, "hipInit: error 100 of the runtime (100)")

    def no_library(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    with pytest.raises(hip.NoRuntime, match=r"libamdhip64\.so: cannot open shared object file"):
        hip.load(opener=no_library)
    monkeypatch.setattr(objects.load, "__defaults__", (tmp_path,))
    code, document = run(FakeHip(), capsys)
    assert (code, document["outcome"]) == (3, "contract")
    assert "no code object vector_add for gfx942; this package has: none" in document["error"]


def test_a_failed_launch_tells_in_the_runtimes_words(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert home.is_dir()
    library = FakeHip()
    library.broken["hipModuleLaunchKernel"] = 98
    code, document = run(library, capsys)
    assert (code, document["error"]) == (1, "hipModuleLaunchKernel: error 98 of the runtime (98)")
    assert library.memory == {}


def test_numbers_that_are_none_are_wrong() -> None:
    good = np.ones(3, dtype=np.float32)
    bad = good.copy()
    bad[1] = np.nan
    assert probes.worst_error(bad, good) == float("inf")
    assert probes.worst_error(good[:2], good) == float("inf")
    assert probes.worst_error(good, good) == 0
