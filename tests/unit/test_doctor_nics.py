"""``doctor`` on nodes with RDMA cards: kernel driver, firmware and userspace against what images carry."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ci.doctor import nics, visit
from ci.doctor.findings import Finding
from ci.errors import InfraError
from ci.recipe import stack as stacks
from ci.world import nics as cards
from ci.world.process import Command, Finished
from tests.unit.test_doctor import case

ROOT = Path(__file__).resolve().parents[2]
PINS = stacks.load("vllm").pins
AINIC, BNXT = PINS["AINIC_VERSION"], PINS["BNXT_VERSION"]


class Node:
    """A node's files below ``root``, and what its dpkg says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.packages: dict[str, str] | None = {}

    def put(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
        return file

    def card(self, pci: str, maker: str, model: str, kind: str = "0x020000") -> None:
        for name, text in (("vendor", maker), ("device", model), ("class", kind)):
            self.put(f"sys/bus/pci/devices/{pci}/{name}", text)

    def module(self, name: str, version: str = "") -> None:
        self.put(f"sys/module/{name}/srcversion", "ABC123")
        if version:
            self.put(f"sys/module/{name}/version", version)

    def rdma(self, name: str, pci: str, firmware: str) -> None:
        self.put(f"sys/class/infiniband/{name}/fw_ver", firmware)
        device = self.root / f"sys/class/infiniband/{name}/device"
        device.symlink_to(f"../../../bus/pci/devices/{pci}")

    def start(self, command: Command, _on_line: object = None) -> Finished:
        assert command.argv[0] == "dpkg-query"
        if self.packages is None:
            raise InfraError("no-program", "dpkg-query is not installed or not on PATH")
        rows = [f"{name} {version} installed\n" for name, version in self.packages.items()]
        return Finished(command, 1, "".join([*rows, "libold 1 config-files\n"]), "dpkg-query: no packages found\n")

    def look(self, **environ: str) -> Finding:
        values: dict[str, Any] = {"stack": stacks.load("vllm"), "start": self.start, "environ": environ}
        patient = case(self.root, nics=partial(cards.look, nics.MODULES, self.root), **values)
        chosen = [each for each in visit.CHECKS if each.name == "nics"]
        (found,) = visit.examine(patient, chosen, 30)
        return found


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node with two AMD AI NICs that fits the images of ``NIC_BACKEND=ainic``."""
    made = Node(tmp_path)
    for number in (1, 2):
        made.card(f"0000:0{number}:00.0", "0x1dd8", "0x1002")
        made.rdma(f"ionic_{number}", f"0000:0{number}:00.0", AINIC)
    made.module("ionic", "25.11.1.001")
    made.module("ionic_rdma")
    made.packages = {"libionic1": "54.0-150.g3304be71", "ionic-common": "25.11.1.001"}
    return made


def test_a_node_that_fits(node: Node) -> None:
    found = node.look(NIC_BACKEND="ainic")
    assert (found.state, found.remedy) == ("ok", "")
    for words in (
        "2 AMD AI NICs", "module ionic (source ABC123) 25.11.1.001", "module ionic_rdma (source ABC123) without a",
        f"firmware of ionic_1 and 1 more {AINIC}", "package libionic1 54.0-150.g3304be71",
    ):  # fmt: skip
        assert words in found.message


def test_a_node_without_such_cards(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.card("0000:01:00.0", "0x8086", "0x1572")
    node.card("0000:02:00.0", "0x14e4", "0x16d7")  # Broadcom's, but none for RDMA between GPUs
    node.card("0000:03:00.0", "0x1dd8", "0x1004", kind="0x118000")  # a card's own controller is no network card
    found = node.look()
    assert (found.state, "no RDMA network card" in found.message) == ("ok", True)


def test_hardware_without_userspace(node: Node) -> None:
    node.packages = {}
    found = node.look(NIC_BACKEND="ainic")
    assert (found.state, "no userspace on this node" in found.message) == ("warn", True)
    assert "libionic1" in found.remedy


def test_a_package_that_was_removed_is_not_there(node: Node) -> None:
    node.packages = {}
    assert "libold" not in node.look(NIC_BACKEND="ainic").message


def test_a_node_without_dpkg(node: Node) -> None:
    node.packages = None
    found = node.look(NIC_BACKEND="ainic")
    assert (found.state, "no dpkg" in found.message, "no userspace" in found.message) == ("warn", True, False)


def test_driver_that_is_not_loaded(node: Node) -> None:
    (node.root / "sys/module/ionic_rdma/srcversion").unlink()
    (node.root / "sys/module/ionic_rdma").rmdir()
    found = node.look(NIC_BACKEND="ainic")
    assert (found.state, found.remedy.startswith("modprobe ionic_rdma")) == ("warn", True)
    assert "kernel module ionic_rdma not loaded" in found.message


def test_firmware_of_another_release(node: Node) -> None:
    (node.root / "sys/class/infiniband/ionic_2/fw_ver").write_text("1.110.0-a-5\n")
    found = node.look(NIC_BACKEND="ainic")
    assert found.state == "warn"
    assert f"firmware of ionic_2 is 1.110.0-a-5, images carry AINIC_VERSION {AINIC}" in found.message
    assert "AINIC_VERSION=1.110.0-a-5" in found.remedy
    assert "ionic_1" not in found.message


def test_userspace_of_another_release(node: Node) -> None:
    node.packages = {"libionic1": "1.110.0-a-5"}
    assert "package libionic1 is 1.110.0-a-5" in node.look(NIC_BACKEND="ainic").message


def test_the_release_somebody_asks_for_counts(node: Node) -> None:
    found = node.look(NIC_BACKEND="ainic", AINIC_VERSION="1.110.0-a-5")
    assert f"firmware of ionic_1 and 1 more is {AINIC}, images carry AINIC_VERSION 1.110.0-a-5" in found.message


def test_the_release_folder_of_apt(node: Node) -> None:
    source = f"deb [signed-by=/x.gpg] {PINS['AINIC_REPO']}/1.110.0-a-5 jammy main"
    node.put("etc/apt/sources.list.d/amdainic.list", source)
    assert "apt's release is 1.110.0-a-5" in node.look(NIC_BACKEND="ainic").message


@pytest.mark.parametrize("backend", ["none", "bnxt"])
def test_images_without_userspace_for_it(node: Node, backend: str) -> None:
    found = node.look(NIC_BACKEND=backend)
    assert (found.state, f"NIC_BACKEND {backend}" in found.message) == ("warn", True)
    assert "--nic-backend ainic" in found.remedy
    assert node.look(NIC_BACKEND="all").state == "ok"


@pytest.mark.parametrize(("version", "state"), [(BNXT, "ok"), ("230.0.154.0", "warn"), ("", "ok")])
def test_broadcom(tmp_path: Path, version: str, state: str) -> None:
    node = Node(tmp_path)
    node.card("0000:01:00.0", "0x14e4", "0x1760")
    node.rdma("bnxt_re0", "0000:01:00.0", BNXT)
    node.module("bnxt_en", version)
    node.module("bnxt_re", version)
    node.packages = {"bnxt-rocelib": BNXT}
    found = node.look(NIC_BACKEND="bnxt")
    assert (found.state, "1 Broadcom NIC" in found.message) == (state, True)


def test_two_makers_in_one_node(node: Node) -> None:
    node.card("0000:09:00.0", "0x14e4", "0x1750")
    found = node.look(NIC_BACKEND="all")
    assert (found.state, "1 Broadcom NIC: kernel module bnxt_en and bnxt_re not loaded" in found.message) == (
        "warn",
        True,
    )


def test_the_backends_whose_cards_a_node_has(tmp_path: Path, node: Node) -> None:
    assert cards.backends(node.root) == ("ainic",)
    node.card("0000:08:00.0", "0x14e4", "0x16d7")
    assert cards.backends(node.root) == ("ainic",), "Broadcom's, but none for RDMA between GPUs"
    node.card("0000:09:00.0", "0x14e4", "0x1760")
    assert cards.backends(node.root) == ("ainic", "bnxt")
    assert cards.backends(tmp_path / "none") == ()


def test_images_install_what_is_said_here() -> None:
    script = (ROOT / "docker/scripts/nic-vendor.sh").read_text()
    for maker in nics.MAKERS:
        listed = " ".join(f"{name}=${{BNXT_VERSION:?}}" if maker.exact else name for name in maker.image)
        assert f'packages="$packages {listed}"' in script
        folder = f"{maker.stem}_REPO:?}}/${{{maker.stem}_VERSION:?}}"
        assert (folder in script) is not maker.exact
