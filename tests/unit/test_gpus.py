"""The inventory: every machine from every source, what breaks, who may use what."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci.errors import ConfigError, DeadlineError, InfraError
from ci.settings import capture
from ci.world import gpus, smi, sysfs
from ci.world.fakes import FakeRun
from ci.world.gpus import Gpu, Node, allotted, inventory
from ci.world.smi import AMD_SMI, ROCM_SMI
from tests import nodes
from tests.nodes import MACHINES, answers, eight, sample, tree

ABSENT = InfraError("no-program", "it is not installed or not on PATH")
HUNG = DeadlineError("deadline", "amd-smi did not answer within 5 s")
BROKEN = (1, "", "ERROR: amdgpu not loaded")
WITHOUT_AMD = {"list": ABSENT}
WITHOUT_TOOLS = {**WITHOUT_AMD, "rocm_smi": ABSENT}
SHOULD_BE = {
    "mi250": (8, "gfx90a", 65520, 10),
    "mi300x": (8, "gfx942", 196592, 283),
    "mi325x": (8, "gfx942", 262128, 283),
    "mi355x": (8, "gfx950", 294896, 283),
    "mi300x-cpx": (8, "gfx942", 24574, None),
    "mi325x-dpx": (4, "gfx942", 131064, None),
}


def seen(root: Path, script: Any, **environ: str) -> Node:
    return inventory(capture({}, environ), root, start=FakeRun(script), seconds=30)


def references(node: Node) -> list[str]:
    return [problem.reference for problem in node.problems]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trees of all machines; nobody writes there."""
    folder = tmp_path_factory.mktemp("nodes")
    for machine in MACHINES:
        tree(folder / machine, machine)
    return folder


# --- machines and sources -----------------------------------------------------------------------


def test_there_is_a_sample_of_every_machine() -> None:
    assert set(MACHINES) == set(SHOULD_BE)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_machine_by_amd_smi(root: Path, machine: str) -> None:
    node = seen(root / machine, answers(machine))
    count, arch, vram, used = SHOULD_BE[machine]
    assert (node.source, len(node.gpus), references(node)) == ("amd-smi", count, [])
    assert {(gpu.arch, gpu.vram_mb, gpu.used_mb) for gpu in node.gpus} == {(arch, vram, used)}
    assert {gpu.name.lower().startswith("amd instinct mi") for gpu in node.gpus} == {True}
    assert node.kfd is not None
    assert node.kfd.path == str(root / machine / "dev/kfd")
    assert [gpu.index for gpu in node.gpus] == list(range(count))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("source", "missing"), [("rocm-smi", WITHOUT_AMD), ("sysfs", WITHOUT_TOOLS)])
def test_every_source_sees_the_same_devices(root: Path, machine: str, source: str, missing: Any) -> None:
    """A lease taken by what one source says must keep off whoever asked another."""
    best, other = seen(root / machine, answers(machine)), seen(root / machine, answers(machine, **missing))
    assert (other.source, references(other)) == (source, [])
    facts = [[(gpu.index, gpu.key, gpu.arch, gpu.render, gpu.uuid) for gpu in node.gpus] for node in (best, other)]
    assert facts[0] == facts[1]
    whole = best.gpus[0].used_mb is not None
    if whole or source == "sysfs":
        assert [gpu.used_mb for gpu in best.gpus] == [gpu.used_mb for gpu in other.gpus]
    assert [gpu.vram_mb for gpu in best.gpus] == [gpu.vram_mb for gpu in other.gpus]


@pytest.mark.parametrize("machine", MACHINES)
def test_no_two_devices_are_mistaken(root: Path, machine: str) -> None:
    node = seen(root / machine, answers(machine))
    for facts in ([gpu.key for gpu in node.gpus], [gpu.render for gpu in node.gpus], [gpu.kfd_id for gpu in node.gpus]):
        assert len(set(facts)) == len(facts)


def test_the_render_node_is_that_of_the_address(root: Path) -> None:
    node = seen(root / "mi300x", answers("mi300x"))
    minors = {gpu.pci: Path(gpu.render.path).name for gpu in node.gpus if gpu.render}
    assert (minors["0000:05:00.0"], minors["0000:e5:00.0"]) == ("renderD128", "renderD135")


def test_the_order_is_the_runtimes_and_not_the_tools(root: Path) -> None:
    node = seen(root / "mi250", answers("mi250"))
    assert [gpu.pci[5:7] for gpu in node.gpus] == ["32", "35", "11", "14", "ae", "b3", "8e", "93"]


def test_partitions_share_an_address_and_have_their_own_render_nodes(root: Path) -> None:
    node = seen(root / "mi300x-cpx", answers("mi300x-cpx"))
    assert {gpu.pci for gpu in node.gpus} == {"0000:05:00.0"}
    assert [gpu.key for gpu in node.gpus][:2] == ["0000:05:00.0", "0000:05:00.0+1"]
    assert [Path(gpu.render.path).name for gpu in node.gpus if gpu.render] == [f"renderD{128 + n}" for n in range(8)]


def test_partitions_whose_addresses_the_tool_does_not_tell_apart(root: Path) -> None:
    rows = sample("mi300x-cpx", "list")
    for row in rows:
        row["bdf"] = "0000:05:00.0"
    node = seen(root / "mi300x-cpx", answers("mi300x-cpx", list=(0, json.dumps(rows), "")))
    assert node == seen(root / "mi300x-cpx", answers("mi300x-cpx"))


def test_partitions_of_a_tool_that_knows_addresses_only(root: Path) -> None:
    """Before ROCm 6.3 there was no number of the kernel's, and the partition stood in place of the function."""
    rows = [{name: row[name] for name in ("gpu", "bdf", "uuid")} for row in sample("mi300x-cpx", "list")]
    node = seen(root / "mi300x-cpx", answers("mi300x-cpx", list=(0, json.dumps(rows), "")))
    assert node == seen(root / "mi300x-cpx", answers("mi300x-cpx"))


@pytest.mark.parametrize("machine", ["mi300x-cpx", "mi325x-dpx"])
def test_partitions_have_the_same_identity_where_the_kernel_is_silent(root: Path, machine: str) -> None:
    told = smi.amd_smi(FakeRun(answers(machine)), 30).gpus
    assert {gpu.key for gpu in told} == {gpu.key for gpu in sysfs.look(root / machine).gpus}


def test_a_tool_that_writes_the_stepping_in_decimal(root: Path) -> None:
    rows = sample("mi250", "static")
    for row in rows:
        row["asic"]["target_graphics_version"] = "gfx9010"
    node = seen(root / "mi250", answers("mi250", static=(0, json.dumps(rows), "")))
    assert (references(node), {gpu.arch for gpu in node.gpus}) == ([], {"gfx90a"})


def test_partitions_of_a_kernel_that_gives_them_one_place(tmp_path: Path) -> None:
    tree(tmp_path, "mi300x-cpx")
    for path in (tmp_path / "sys/class/kfd/kfd/topology/nodes").glob("*/properties"):
        path.write_text(path.read_text().replace("location_id ", "location_id 1280\nold "))
    node = seen(tmp_path, answers("mi300x-cpx"))
    assert [gpu.key for gpu in node.gpus][:2] == ["0000:05:00.0", "0000:05:00.0+1"]
    assert references(node) == []


def test_the_uuid_is_the_one_the_runtime_takes(root: Path) -> None:
    """Of the kernel's number; where only the tool knows it, from what it calls a serial."""
    node = seen(root / "mi355x", answers("mi355x"))
    serial = sample("mi355x", "static")["gpu_data"][0]["asic"]["asic_serial"]
    assert node.gpus[0].uuid == "GPU-" + serial.removeprefix("0x").lower()
    assert smi.amd_smi(FakeRun(answers("mi355x")), 30).gpus[0].uuid == node.gpus[0].uuid
    assert smi.rocm_smi(FakeRun(answers("mi355x")), 30).gpus[0].uuid == node.gpus[0].uuid


def test_without_kfd_the_tool_and_the_render_nodes_do(tmp_path: Path) -> None:
    tree(tmp_path, "mi300x")
    shutil.rmtree(tmp_path / "sys/class/kfd")
    (tmp_path / "dev/kfd").unlink()
    for path in (tmp_path / "sys/class/drm").iterdir():
        (path / "device/vendor").write_text("0x1002\n")
    node = seen(tmp_path, answers("mi300x"))
    assert [Path(gpu.render.path).name for gpu in node.gpus if gpu.render] == [f"renderD{128 + n}" for n in range(8)]
    assert references(node) == ["no-device"]
    assert "/dev/kfd" in node.problems[0].message


def test_who_holds_a_gpu(root: Path) -> None:
    """Also the kernel's list has a process that only looked: it holds nothing."""
    for missing in ({}, WITHOUT_TOOLS):
        for machine in ("mi250", "mi300x", "mi355x"):
            node = seen(root / machine, answers(machine, **missing))
            used = sample(machine, "list")[1]["bdf"]
            assert [(each.pid, each.name, each.gpu) for each in node.holders] == [(420157, "python3", used)]
            assert node.held(used) == node.holders
            assert node.held("0000:00:00.0") == ()
    assert node.holders[0].vram_mb == 1792


def test_a_holder_in_a_container_has_no_name(tmp_path: Path) -> None:
    """The kernel's process numbers are the host's: here they may be somebody else's."""
    tree(tmp_path, "mi300x")
    (tmp_path / "proc/self/ns/pid").unlink()
    (tmp_path / "proc/self/ns/pid").symlink_to("pid:[4026532999]")
    assert [each.name for each in seen(tmp_path, answers("mi300x", **WITHOUT_TOOLS)).holders] == [""]


def test_rdma_devices(tmp_path: Path) -> None:
    tree(tmp_path, "mi300x")
    assert seen(tmp_path, answers("mi300x")).rdma == ()
    for name in ("uverbs0", "rdma_cm", "by-path/x"):
        nodes.put(tmp_path / "dev/infiniband" / name, "")
    found = seen(tmp_path, answers("mi300x")).rdma
    assert found == (str(tmp_path / "dev/infiniband/rdma_cm"), str(tmp_path / "dev/infiniband/uverbs0"))


# --- what a container sees ----------------------------------------------------------------------


@pytest.mark.parametrize("missing", [{}, WITHOUT_AMD, WITHOUT_TOOLS])
def test_devices_of_other_containers_are_not_ours(tmp_path: Path, missing: Any) -> None:
    tree(tmp_path, "mi300x")
    for minor in (128, 129, 130, 133, 134, 135):
        (tmp_path / f"dev/dri/renderD{minor}").unlink()
    node = seen(tmp_path, answers("mi300x", **missing))
    assert [(gpu.index, gpu.pci) for gpu in node.gpus] == [(0, "0000:65:00.0"), (1, "0000:85:00.0")]
    assert references(node) == []


def test_nodes_that_refuse_to_be_read(tmp_path: Path) -> None:
    """Under a device cgroup the kernel shows the nodes of others and lets nobody read them."""
    tree(tmp_path, "mi300x")
    for number in range(2, 8):
        folder = tmp_path / f"sys/class/kfd/kfd/topology/nodes/{number}"
        for name in ("gpu_id", "properties"):
            (folder / name).unlink()
            (folder / name).mkdir()  # it cannot be read, by root either
        (tmp_path / f"dev/dri/renderD{126 + number}").unlink()
    node = seen(tmp_path, answers("mi300x"))
    assert [gpu.pci for gpu in node.gpus] == ["0000:c6:00.0", "0000:e5:00.0"]
    assert references(node) == []


# --- what breaks --------------------------------------------------------------------------------


def test_no_gpu_is_no_problem(tmp_path: Path) -> None:
    script = {AMD_SMI["list"]: ABSENT, ROCM_SMI: ABSENT}
    assert seen(tmp_path, script) == Node((), None, (), "none", (), ())


def test_tools_on_a_machine_without_a_gpu_fail_and_that_is_no_problem(tmp_path: Path) -> None:
    script = {AMD_SMI["list"]: BROKEN, ROCM_SMI: BROKEN}
    assert seen(tmp_path, script) == Node((), None, (), "none", (), ())
    script = {AMD_SMI["list"]: (0, "[]", ""), ROCM_SMI: (0, "WARNING: No JSON data to report\n", "")}
    assert seen(tmp_path, script) == Node((), None, (), "none", (), ())


def test_a_tool_that_hangs_is_a_problem_on_any_machine(tmp_path: Path) -> None:
    assert references(seen(tmp_path, {AMD_SMI["list"]: HUNG, ROCM_SMI: ABSENT})) == ["smi-hung"]


@pytest.mark.parametrize(
    ("end", "reference"),
    [
        (HUNG, "smi-hung"),
        (BROKEN, "smi-failed"),
        ((0, "GPU: 0\n    BDF: 0000:05:00.0\n", ""), "smi-garbage"),
        ((0, '{"gpu_data": [', ""), "smi-garbage"),
        ((0, "", ""), "smi-garbage"),
    ],
)
def test_a_tool_that_fails_is_a_problem_and_the_next_is_asked(root: Path, end: Any, reference: str) -> None:
    node = seen(root / "mi300x", answers("mi300x", list=end))
    assert (node.source, len(node.gpus), references(node)) == ("rocm-smi", 8, [reference])
    node = seen(root / "mi300x", answers("mi300x", list=end, rocm_smi=end))
    assert (node.source, len(node.gpus), references(node)) == ("sysfs", 8, [reference, reference])
    assert all(problem.hint for problem in node.problems)


def test_a_tool_that_hangs_is_said_to(root: Path) -> None:
    node = seen(root / "mi300x", answers("mi300x", list=HUNG))
    assert node.problems[0].message == "amd-smi did not answer within 30 s: driver hung?"


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """An event that is set only when the test is over, so that its threads end as well."""
    event = threading.Event()
    yield event
    event.set()


def test_a_tool_that_cannot_even_be_ended_is_left_behind(root: Path, never: threading.Event) -> None:
    """In uninterruptible sleep: whoever waits for it waits for ever."""
    fake = FakeRun(answers("mi300x"))

    def start(command: Any) -> Any:
        if command.argv[0] == "amd-smi":
            never.wait()
        return fake(command)

    node = inventory(capture({}, {}), root / "mi300x", start=start, seconds=2)
    assert (node.source, len(node.gpus), references(node)) == ("rocm-smi", 8, ["smi-hung"])


def test_files_of_the_kernel_that_hang(never: threading.Event, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysfs, "look", lambda _root: never.wait())
    node = inventory(capture({}, {}), root / "mi300x", start=FakeRun(answers("mi300x")), seconds=0.05)
    assert (node.source, node.gpus) == ("none", ())
    assert references(node)[0] == "sysfs-hung"


@pytest.mark.parametrize("name", ["static", "metric", "process"])
def test_a_part_that_fails_leaves_the_rest(root: Path, name: str) -> None:
    node = seen(root / "mi300x", answers("mi300x", **{name: HUNG}))
    assert (node.source, len(node.gpus), references(node)) == ("amd-smi", 8, ["smi-hung"])
    assert {(gpu.vram_mb, gpu.used_mb) for gpu in node.gpus} == {(196592, 283)}


@pytest.mark.parametrize(
    "before",
    [
        "WARNING: User is missing the following required groups: render, video. Please add user to these groups.\n",
        "Permission needed to access required GPU device node(s):\n  • /dev/kfd\n\n",
        "[WARN] something\n{half\n",
    ],
)
@pytest.mark.parametrize("machine", ["mi300x", "mi355x"])
def test_warnings_before_the_json(root: Path, machine: str, before: str) -> None:
    script = {argv: (0, before + text, "") for argv, (_, text, _) in answers(machine).items()}
    assert seen(root / machine, script) == seen(root / machine, answers(machine))


@pytest.mark.parametrize("odd", ["null", "3", '"text"', "[3, null]", '[{"gpu": "N/A"}]', '{"gpu_data": {"gpu": 0}}'])
def test_json_of_another_shape_is_no_gpu(root: Path, odd: str) -> None:
    node = seen(root / "mi300x", answers("mi300x", list=(0, odd, "")))
    assert (node.source, len(node.gpus)) == ("rocm-smi", 8)
    script = dict.fromkeys(answers("mi300x"), (0, odd, "")) | {AMD_SMI["list"]: answers("mi300x")[AMD_SMI["list"]]}
    node = seen(root / "mi300x", script)
    assert (node.source, [gpu.used_mb for gpu in node.gpus]) == ("amd-smi", [283] * 8)


def test_values_the_tool_does_not_know(root: Path) -> None:
    rows = sample("mi300x", "static")
    for row in rows:
        row["asic"] = row["vram"] = "N/A"
    metric = sample("mi300x", "metric")
    for row in metric:
        row["mem_usage"] = "N/A"
    node = seen(
        root / "mi300x", answers("mi300x", static=(0, json.dumps(rows), ""), metric=(0, json.dumps(metric), ""))
    )
    assert {(gpu.arch, gpu.vram_mb, gpu.used_mb) for gpu in node.gpus} == {("gfx942", 196592, 283)}
    assert references(node) == []


def test_sources_that_disagree_about_the_devices(root: Path) -> None:
    rows = sample("mi300x", "list")
    gone = json.dumps(rows[:3] + rows[4:])
    node = seen(root / "mi300x", answers("mi300x", list=(0, gone, "")))
    assert (len(node.gpus), references(node)) == (7, ["sources-disagree"])
    assert "0000:65:00.0" in node.problems[0].message
    assert "0000:65:00.0" not in {gpu.pci for gpu in node.gpus}


def test_a_device_that_only_the_tool_knows_is_not_given_out(tmp_path: Path) -> None:
    """A display card without compute: the runtime does not count it."""
    tree(tmp_path, "mi300x")
    shutil.rmtree(tmp_path / "sys/class/kfd/kfd/topology/nodes/9")
    (tmp_path / "sys/bus/pci/devices/0000:e5:00.0/vendor").write_text("0x1002\n")
    node = seen(tmp_path, answers("mi300x"))
    assert (len(node.gpus), references(node)) == (7, ["sources-disagree"])


def test_sources_that_disagree_about_the_arch(root: Path) -> None:
    rows = sample("mi300x", "static")
    rows[0]["asic"]["target_graphics_version"] = "gfx950"
    node = seen(root / "mi300x", answers("mi300x", static=(0, json.dumps(rows), "")))
    assert references(node) == ["sources-disagree"]
    assert {gpu.arch for gpu in node.gpus} == {"gfx942"}


# --- device files -------------------------------------------------------------------------------


def test_device_files_that_do_not_open(tmp_path: Path) -> None:
    tree(tmp_path, "mi300x")
    for path in (tmp_path / "dev/kfd", tmp_path / "dev/dri/renderD130"):
        path.unlink()
        path.mkdir()
    node = seen(tmp_path, answers("mi300x"), USER="ann")
    assert references(node) == ["closed-device", "closed-device"]
    gid = (tmp_path / "dev/kfd").stat().st_gid
    assert node.problems[0].message == f"{tmp_path}/dev/kfd does not open: Is a directory; its group is {gid}"
    assert f"usermod -aG {gid} ann" in node.problems[0].hint
    assert node.kfd is not None
    assert (node.kfd.gid, node.kfd.trouble) == (gid, "Is a directory")


def test_a_device_that_the_container_was_not_given() -> None:
    kfd = gpus.Device("/dev/kfd", 109, "Operation not permitted")
    render = gpus.Device("/dev/dri/renderD128", 109, "")
    (problem,) = gpus.access(kfd, [render], capture({}, {}))
    assert "--device /dev/kfd" in problem.hint


def test_a_driver_without_render_nodes(tmp_path: Path) -> None:
    nodes.put(tmp_path / "dev/kfd", "")
    node = seen(tmp_path, answers("mi300x", **WITHOUT_TOOLS))
    assert (node.source, references(node)) == ("none", ["no-device"])
    assert "render node" in node.problems[0].message


def test_another_makers_render_node_is_none_of_ours(tmp_path: Path) -> None:
    for name, vendor in (("renderD128", "0x1002\n"), ("renderD129", "0x8086\n")):
        nodes.put(tmp_path / "dev/dri" / name, "")
        nodes.put(tmp_path / "sys/class/drm" / name / "device/vendor", vendor)
    assert [Path(device.path).name for device in sysfs.devices(tmp_path).render] == ["renderD128"]


# --- masks --------------------------------------------------------------------------------------

GPUS = eight()
NODE = Node(GPUS, None, (), "amd-smi", (), ())


def given(node: Node = NODE, /, **environ: str) -> list[int]:
    return [gpu.index for gpu in allotted(capture({}, environ), node)]


def test_without_a_mask_all_are_ours() -> None:
    assert given() == list(range(8))


@pytest.mark.parametrize("mask", gpus.MASKS)
@pytest.mark.parametrize(
    ("value", "indices"),
    [
        ("0", [0]),
        ("3,1", [1, 3]),
        (" 2 , 5 ", [2, 5]),
        ("GPU-0000000000000004", [4]),
        ("gpu-0000000000000004,0", [0, 4]),
        ("-1", []),
        ("2,-1,3", [2]),
    ],
)
def test_one_mask_names_ours(mask: str, value: str, indices: list[int]) -> None:
    assert given(NODE, **{mask: value}) == indices


def test_masks_that_agree() -> None:
    assert given(ROCR_VISIBLE_DEVICES="2,3", HIP_VISIBLE_DEVICES="3,2", CUDA_VISIBLE_DEVICES="2,3") == [2, 3]


def test_masks_that_disagree_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        given(ROCR_VISIBLE_DEVICES="2,3", HIP_VISIBLE_DEVICES="0,1")
    (problem,) = caught.value.problems
    assert problem.reference == "conflicting-masks"
    assert problem.hint == "keep one: unset HIP_VISIBLE_DEVICES"
    assert problem.context == "ROCR_VISIBLE_DEVICES=2,3\nHIP_VISIBLE_DEVICES=0,1"


@pytest.mark.parametrize(
    ("value", "reference"),
    [("", "empty-mask"), (" ", "empty-mask"), ("8", "unknown-gpu"), ("0,x", "unknown-gpu"), ("GPU-1", "unknown-gpu")],
)
def test_a_mask_that_means_nothing_is_refused(value: str, reference: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given(HIP_VISIBLE_DEVICES=value)
    assert caught.value.problems[0].reference == reference


def test_a_name_that_several_partitions_have_is_refused() -> None:
    twins = tuple(replace(gpu, uuid=GPUS[0].uuid) for gpu in GPUS[:2])
    with pytest.raises(ConfigError):
        given(NODE._replace(gpus=twins), HIP_VISIBLE_DEVICES=GPUS[0].uuid)


def test_masks_on_a_machine_without_a_gpu_mean_nothing() -> None:
    assert given(NODE._replace(gpus=()), HIP_VISIBLE_DEVICES="", CUDA_VISIBLE_DEVICES="3") == []


def test_a_device_without_a_uuid_is_named_by_nothing() -> None:
    bare: tuple[Gpu, ...] = (replace(GPUS[0], uuid=""),)
    with pytest.raises(ConfigError):
        given(NODE._replace(gpus=bare), HIP_VISIBLE_DEVICES=",")
