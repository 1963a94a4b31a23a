"""The pipeline file of a stack: what it says, and everything wrong with it at once."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from ci.errors import ConfigError
from ci.pipeline import pools
from ci.pipeline.pools import Away, Label, Pools
from ci.recipe import stack as stacks

ARCHS = stacks.archs()
WHOLE = """\
schema: 1
tool: [tool, --quiet]
bundle: s3://bucket/run
github: {checkout: "actions/checkout@0123456789012345678901234567890123456789"}
docs: [docs/, "*.md"]
run_all: [everything.txt]
labels:
  run-it-all: {profile: nightly, run_all: true}
  more: {run_all: true}
pools:
  big:
    family: MI300X
    gpus: 8
    nodes: 2
    memory_gb: 1024
    rdma: true
    nics: [bnxt]
    buildkite: {queue: amd}
    github: [self-hosted, big]
    away: {reason: new racks, until: "2026-12-01"}
  cpu: {memory_gb: 16, builds: true}
"""


def made(tmp_path: Path, text: str) -> Pools:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return pools.read(path, ARCHS)


def refused(tmp_path: Path, text: str) -> list[str]:
    """Each problem as line, reference, message."""
    with pytest.raises(ConfigError) as caught:
        made(tmp_path, text)
    return [
        f"{each.place.line if each.place else '?'} {each.reference}: {each.message}" for each in caught.value.problems
    ]


def test_everything_a_file_can_say(tmp_path: Path) -> None:
    found = made(tmp_path, WHOLE)
    assert (found.file, found.tool, found.bundle) == ("p.yaml", ("tool", "--quiet"), "s3://bucket/run")
    assert found.checkout.startswith("actions/checkout@01234567")
    assert (found.docs, found.run_all) == (("docs/", "*.md"), ("everything.txt",))
    assert found.labels == {"run-it-all": Label("nightly", run_all=True), "more": Label("", run_all=True)}
    big, cpu = found.pools
    assert (big.name, big.family, big.arch, big.gpus, big.nodes) == ("big", "MI300X", "gfx942", 8, 2)
    assert (big.memory_gb, big.rdma, big.nics, big.builds) == (1024, True, ("bnxt",), False)
    assert (dict(big.buildkite), big.github) == ({"queue": "amd"}, ("self-hosted", "big"))
    assert big.away == Away("new racks", date(2026, 12, 1))
    assert "deepep" in big.supports
    assert (cpu.family, cpu.arch, cpu.gpus, cpu.nodes, cpu.away) == ("", "", 0, 1, None)
    assert (cpu.builds, cpu.supports, dict(cpu.buildkite), cpu.github) == (True, frozenset(), {}, ())
    assert found.document.place("pools", "big", "gpus").line == 13


def test_what_a_file_may_leave_out(tmp_path: Path) -> None:
    found = made(tmp_path, "schema: 1\npools:\n  cpu: {memory_gb: 16, builds: true}\n")
    assert found.tool == ("python3", "-m", "ci")
    assert (found.bundle, found.checkout, found.docs, found.run_all, dict(found.labels)) == ("", "", (), (), {})


def test_all_problems_come_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = """\
schema: 1
labels:
  nothing: {}
pools:
  a: {family: MI300XX, gpus: 1, memory_gb: 64}
  b: {gpus: 2, memory_gb: 64}
  c: {family: MI250, memory_gb: 64}
  d: {memory_gb: 0, nodes: -1, gpus: -2}
  e: {memory_gb: 64, away: {reason: moved, until: "2026-02-30"}}
"""
    assert refused(tmp_path, text) == [
        "5 unknown-family: no GPUs are called 'MI300XX' in archs.yaml",
        "6 no-family: pool b has GPUs of no family",
        "7 no-gpus: pool c has a family of GPUs and no GPU",
        "8 wrong-value: gpus must be 0 or more",
        "8 wrong-value: nodes must be 1 or more",
        "8 wrong-value: memory_gb must be 1 or more",
        "9 wrong-value: 2026-02-30 is no day",
        "4 no-builder: no pool builds images",
        "3 empty-label: label nothing asks for nothing",
    ]


@pytest.mark.parametrize(
    ("family", "hint"), [("MI300XX", "did you mean MI300X"), ("mi355x", "did you mean MI355X"), ("gfx942", "allowed: ")]
)
def test_an_unknown_family_is_suggested(tmp_path: Path, family: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(tmp_path, f"schema: 1\npools:\n  a: {{family: {family}, gpus: 1, memory_gb: 1, builds: true}}\n")
    (problem,) = caught.value.problems
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("nodes: 2", "jobs: 2", "14 unknown-key: pools.big has no key 'jobs'"),
        ("nics: [bnxt]", "nics: [mlx5]", '17 wrong-value: pools.big.nics.0 cannot be "mlx5"'),
        ("profile: nightly", "profile: weekly", '8 wrong-value: labels.run-it-all.profile cannot be "weekly"'),
        ("actions/checkout@0123456789", "actions/checkout@v4 #", "4 wrong-value: "),
        ("gpus: 8", "gpus: 8\n    gpus: 4", "14 duplicate-key: key 'gpus' appears twice"),
        ("  cpu: {", "  CPU: {", "21 wrong-value: the key pools.CPU cannot be 'CPU'"),
    ],
)
def test_what_the_schema_refuses(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert refused(tmp_path, WHOLE.replace(old, new))[0].startswith(problem)


def test_a_pool_that_is_away_too_long_is_told_and_stays_away(tmp_path: Path) -> None:
    found = made(tmp_path, WHOLE)
    assert pools.overdue(found, date(2026, 12, 1)) == ()
    (told,) = pools.overdue(found, date(2026, 12, 2))
    assert told == "pool big is still away; p.yaml says to look again on 2026-12-01 (new racks)"
    for_good = made(tmp_path, WHOLE.replace(', until: "2026-12-01"', ""))
    assert pools.overdue(for_good, date(2030, 1, 1)) == ()
    assert str(for_good.pools[0].away) == "away: new racks"


def test_a_stack_without_a_pipeline_says_what_to_write(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "schema: 1\nname: s\nsummary: s\nrepository: a/b\nplatform: linux/amd64\n"
        "roots: {r: {image: 'debian:bookworm-slim', debian: bookworm}}\n"
        "tiers: {base: {dockerfile: D, target: base, parents: {ROOT: r}}}\n"
    )
    (tmp_path / "D").write_text("FROM scratch AS base\n")
    with pytest.raises(ConfigError, match="stack s has no pipeline") as caught:
        pools.load(stacks.load(str(path)))
    assert "pipeline: pipelines/NAME.yaml" in caught.value.problems[0].hint


@pytest.mark.parametrize("name", stacks.shipped())
def test_the_shipped_files_are_right(name: str) -> None:
    found = pools.load(stacks.load(name))
    assert any(each.builds and not each.away for each in found.pools)
    assert all(each.buildkite or each.github for each in found.pools)


def test_the_pools_of_the_vllm_stack() -> None:
    found = pools.load(stacks.load("vllm"))
    assert [each.name for each in found.pools] == [
        *(f"{family}-{gpus}" for family in ("mi355x", "mi325x", "mi300x", "mi250") for gpus in (1, 2, 4, 8)), "cpu"
    ]  # fmt: skip
    for each in found.pools[:-1]:
        assert each.name == f"{each.family.lower()}-{each.gpus}"
        assert each.buildkite["queue"] == f"amd_{each.family.rstrip('X').lower()}_{each.gpus}"
        assert each.memory_gb == each.gpus * (64 if each.family == "MI250" else 128)
    archs = {each.family: each.arch for each in found.pools}
    assert archs == {"MI355X": "gfx950", "MI325X": "gfx942", "MI300X": "gfx942", "MI250": "gfx90a", "": ""}
