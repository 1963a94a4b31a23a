"""docker/renamed.yaml: every name leads to something that exists here, or says why to nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from ci import settings
from ci.check import renamed
from ci.documents import SCHEMA_KEYWORDS
from ci.recipe import dockerfile
from ci.recipe import stack as stacks
from ci.recipe.stack import HOME
from ci.verbs import VERBS

DOCUMENT = renamed.read(HOME)
TABLE: dict[str, dict[str, dict[str, str]]] = {
    key: value for key, value in DOCUMENT.value.items() if isinstance(value, dict)
}
STACK = stacks.load("vllm")
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "migration.md").read_text(encoding="utf-8")


NEW = {
    "DEADSNAKES_REPO", "TOOLCHAIN_TEST_REPO", "ROCM_SYSTEMS_REPO", "TORCHCODEC_REPO", "RDMA_CORE_REPO",
    "RDMA_CORE_BRANCH", "LMCACHE_REPO", "LMCACHE_VERSION", "AITER_VERSION",
}  # fmt: skip
"""Pins that upstream has no name for."""


def entries() -> Iterator[tuple[str, str, dict[str, str]]]:
    for section, table in TABLE.items():
        for name, entry in table.items():
            yield section, name, entry


def hcl() -> str:
    return "".join((HOME / name).read_text() for name in STACK.bake if name.endswith(".hcl"))


def test_the_table_can_be_read() -> None:
    assert DOCUMENT.problems == ()
    assert len(TABLE["environment"]) > 120


def test_a_name_without_a_counterpart_says_why() -> None:
    assert [name for _, name, entry in entries() if entry["ours"] == "none" and not entry.get("why")] == []


def test_every_command_exists() -> None:
    verbs = {verb.name: {option.name for option in verb.options} for verb in VERBS}
    told = [text for _, _, entry in entries() for text in (entry["ours"], entry.get("why", ""))]
    for text in [*told, PAGE]:
        for verb in re.findall(r"\binv ([a-z][a-z-]+)", text):
            assert verb in verbs, text
        for verb, option in re.findall(r"\binv ([a-z-]+)[^,.;`]*? --([a-z-]+)", text):
            assert option in verbs[verb], text
    options = set[str]().union(*verbs.values())
    for text in told:
        for option in re.findall(r"(?<![\w-])--([a-z][a-z-]+)", text):
            assert option in options or f"docker buildx create --{option}" in text, text


def test_a_name_that_is_kept_is_read_under_that_name() -> None:
    known = {known.name for known in settings.KNOWN} | set(settings.HOST_NAMES) | {spec.name for spec in STACK.args}
    kept = {name for name, entry in TABLE["environment"].items() if entry["ours"] == "same"}
    assert kept - known == {"BUILDKITE_BUILD_NUMBER"}


def test_a_new_name_is_one_that_is_read() -> None:
    known = {known.name for known in settings.KNOWN} | set(settings.HOST_NAMES) | {spec.name for spec in STACK.args}
    for name, entry in TABLE["environment"].items():
        pin = re.fullmatch(r"pin (\w+)", entry["ours"])
        if pin:
            assert pin[1] in STACK.pins, name
        elif re.fullmatch(r"[A-Z][A-Z0-9_]+", entry["ours"]):
            assert entry["ours"] in known, name


def test_every_pin_and_every_variable_that_people_bake_with_is_in_the_table() -> None:
    wanted = set(re.findall(r'^variable "([A-Z_0-9]+)"', hcl(), re.MULTILINE))
    ours = {"RECIPE", "VLLM_SOURCE", "ROCM_DEV_IMAGE", "TOOLS_IMAGE", "BASE_WHEELS_IMAGE", "VLLM_VERSION", "EPOCH"}
    ours |= {"CA_FILE", "PIP_CONF_FILE", "APT_CONF_FILE", "SCCACHE_BUCKET", "SCCACHE_REGION"}
    ours |= {spec.name for spec in STACK.args} | set(settings.HOST_NAMES)
    ours |= {name for name in STACK.pins if re.search("(_URL|_SHA256|_DIGEST|_FINGERPRINT)$", name)}
    known = list(TABLE["environment"])
    assert {name for name in wanted - ours - NEW if not any(fnmatchcase(name, pattern) for pattern in known)} == set()


def test_what_is_said_of_bake_by_hand_is_so() -> None:
    declared = set(re.findall(r'variable "(\w+)"', hcl()))
    for name, entry in TABLE["environment"].items():
        if "by hand" in entry.get("why", "") and "*" not in name:
            assert name in declared, name
    idle = re.findall(r'variable "(\w+)" \{\s*default\s*=\s*""\s*description = "without effect', hcl())
    told = PAGE.partition("without effect:")[2].partition(". Any other")[0]
    assert set(idle) == set(re.findall(r"`([A-Z_]+)`", told))


def test_targets_and_stages_that_are_kept_exist() -> None:
    targets = set(re.findall(r'^(?:target|group) "([a-z-]+)"', hcl(), re.MULTILINE))
    components = {f"{name}-rocm-ci" for name in STACK.components}
    kept = {name.partition(" ")[0] for name, entry in TABLE["targets"].items() if entry["ours"] == "same"}
    assert kept <= targets | components
    stages: set[str | None] = set()
    for name in ("Dockerfile.rocm_base", "Dockerfile.rocm"):
        stages |= {stage.name for stage in dockerfile.parse((HOME / name).read_text(), name).stages}
    for name, entry in TABLE["stages"].items():
        ours = name if entry["ours"] == "same" else entry["ours"]
        if ours not in {"none", "VLLM_VERSION"}:
            assert set(ours.split(", ")) <= stages, name


def test_every_tag_that_is_given_by_hand_is_in_the_table() -> None:
    given = set(re.findall(r'^  tags +=? *\["([^"$]+)"\]', hcl(), re.MULTILINE))
    assert len(given) > 4
    assert given - TABLE["tags"].keys() == {"rocm/vllm-dev:base-wheels"}, "upstream has no such image"


def test_a_file_of_the_recipe_that_a_row_names_exists() -> None:
    named = {entry["ours"] for _, _, entry in entries() if re.fullmatch(r"docker/[\w./-]+", entry["ours"])}
    assert "docker/scripts/pin-requirements.py" in named
    assert [name for name in named if not (HOME.parent / name).is_file()] == []


def test_no_reason_is_one_that_the_next_change_makes_untrue() -> None:
    assert [name for _, name, entry in entries() if re.search(r"\byet\b", entry.get("why", ""))] == []


def test_the_schema_uses_only_what_is_checked() -> None:
    def keywords(schema: Any) -> Iterator[str]:
        for key, value in schema.items() if isinstance(schema, dict) else ():
            yield key
            for child in value.values() if key in {"properties", "$defs"} else [value]:
                yield from keywords(child)

    assert set(keywords(json.loads((HOME / "renamed.schema.json").read_text()))) <= SCHEMA_KEYWORDS


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("schema: 1\nenvironment: {A: {}}\n", "missing-key"),
        ("schema: 1\nenvironment: {A: {ours: b, whi: c}}\n", "unknown-key"),
        ("schema: 1\nenvironment: {A: {ours: none}}\n", "no-reason"),
        ("schema: 1\nenvironment:\n  A: {ours: b}\n  A: {ours: c}\n", "duplicate-key"),
    ],
)
def test_a_table_that_cannot_be_meant(tmp_path: Path, text: str, reference: str) -> None:
    (tmp_path / "renamed.yaml").write_text(text)
    found = renamed.read(tmp_path)
    assert [problem.reference for problem in found.problems] == [reference]
    assert found.value == {}
