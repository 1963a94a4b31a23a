"""Version, file name, folder and record of making: where a wheel says them, it says the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.unit import audit_makers as make
from tests.unit.test_audit_rules import audited, broken, verdict


@pytest.mark.parametrize(
    ("folder", "agrees"),
    [
        (".", True), ("rocm7", True), ("rocm7.0", True), ("rocm7.0.2/probe", True), ("rocm-10.0", True),
        ("rocm10", False), ("rocm7.2/probe", False), ("rocm70", False), ("rocm7.0/rocm7.2", False),
    ],
)  # fmt: skip
def test_a_folder_called_like_a_variant_holds_that_variant(tmp_path: Path, folder: str, agrees: bool) -> None:
    place = tmp_path / folder
    place.mkdir(parents=True, exist_ok=True)
    wheel = make.wheel(place)
    for target in (wheel, tmp_path):
        found = broken(audited(target))
        assert found == ({} if agrees else {"place": [make.FILE]}), target
    if not agrees:
        assert audited(tmp_path, allow={"place:probe-*": "a mirror of somebody else's layout"}).broken == ()


def test_a_wheel_without_a_label_lies_anywhere_and_one_of_cuda_does_not(tmp_path: Path) -> None:
    (tmp_path / "rocm7.2").mkdir()
    for version, found in (("1.0", {}), ("1.0+cu129", {"place": ["probe-1.0+cu129-py3-none-linux_x86_64.whl"]})):
        folder = f"probe-{version}.dist-info"
        files = {name.replace(make.INFO, folder): data for name, data in made(version).items()}
        path = tmp_path / "rocm7.2" / f"probe-{version}-py3-none-linux_x86_64.whl"
        path.write_bytes(make.zipped(files.items()))
        assert {rule: subjects for rule, subjects in broken(audited(path)).items() if rule != "record"} == found


def made(version: str) -> Mapping[str, bytes]:
    return make.contents(metadata=f"Metadata-Version: 2.4\nName: probe\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("record", "subjects"),
    [
        (json.dumps({"schema": 1, "version": "1.0+rocm.7.0"}), []),
        (json.dumps({"schema": 1, "version": "1.0+rocm.7.2"}), ["rocm-ci.json"]),
        (json.dumps({"schema": 1}), ["rocm-ci.json"]),
        ("[]", ["rocm-ci.json"]),
        ("{", ["rocm-ci.json"]),
    ],
)
def test_the_record_of_its_making_is_of_this_version(tmp_path: Path, record: str, subjects: Sequence[str]) -> None:
    audit = audited(make.wheel(tmp_path, {f"{make.INFO}/rocm-ci.json": record.encode()}))
    assert broken(audit) == ({"names": subjects} if subjects else {})


def test_a_range_of_pythons_that_nobody_can_read(tmp_path: Path) -> None:
    audit = audited(make.wheel(tmp_path, metadata=make.METADATA + "Requires-Python: python 3\n"))
    assert broken(audit) == {"names": ["METADATA"]}
    assert "is no version range" in verdict(audit, "names").findings[0].message
