"""Step files of other projects: what becomes of each key, what is told as lost, and that ours reads back the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci.errors import ConfigError
from ci.pipeline.patterns import Globs
from ci.report import catalogues
from ci.suites import catalogue
from ci.suites.catalogue import PROFILES, Catalogue, Command
from tests.unit.test_audit_secrets import TOKENS

OWN = """\
schema: 1
runtime: rocm
workspace: /src
health: {run: [probe], seconds: 5}
steps: {x: {summary: x, limits: {minutes: 1}, commands: [{run: [x]}]}}
suites: {x: {summary: x, steps: [x]}}
"""

Read = Callable[..., Catalogue]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """``read(text)``: the catalogue of a step file ``steps/test-gpus.yaml`` in a stack with a suite file."""
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(OWN)

    def reader(text: str, name: str = "steps/test-gpus.yaml", own: str = "own.yaml") -> Catalogue:
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return catalogue.read(path, ("base", "test"), (), Path(own) if own else None, shown=name)

    return reader


def lost(found: Catalogue, word: str = "") -> list[str]:
    """``LINE what`` of everything lost, the tokens of every file left out."""
    told = [each for each in found.lost if "the tokens" not in each.what and word in each.what]
    return [f"{each.place.line} {each.what}" for each in told]


def refused(read: Read, text: str) -> list[tuple[str, str]]:
    """(reference, line:column) of what is wrong with a step file."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [(p.reference, f"{p.place.line}:{p.place.column}" if p.place else "") for p in caught.value.problems]


FLAT = """\
steps:
- label: ":zap: Engine Tests %N" # a remark
  timeout_in_minutes: 40
  mirror_hardwares: [experimental, production]
  agent_pool: mi300_2
  num_gpus: 2
  optional: true
  fast_check: true
  parallelism: 3
  working_dir: "/src/tests/"
  source_file_dependencies:
  - engine/
  - tests/test_sequence
  - "!engine/docs/"
  commands:
  - export METHOD=spawn
  - pytest -v -s engine --shard-id=$$BUILDKITE_PARALLEL_JOB --num-shards=$$BUILDKITE_PARALLEL_JOB_COUNT
  - MODE=1 OTHER="two words" pytest test_sequence.py -k 'not "a b"' && python3 x.py --all
- label: On a CPU
  agent_pool: mi250_1
  mirror_hardwares: [production]
  no_gpu: true
  command: pytest -v cpu
- label: Everywhere
  key: every-where
  agent_pool: mi355_dpx
  mirror_hardwares: [production]
  source_file_dependencies: []
  soft_fail: true
  grade: Optional
  torch_nightly: true
  dind: false
  agent_tags: {zone: b}
  colour: blue
  commands:
  - ls *.py | grep x
"""


def test_a_step_of_the_flat_dialect(read: Read) -> None:
    found = read(FLAT)
    step = found.step("engine-tests", "gfx942")
    assert step.summary == "Engine Tests"
    assert (step.needs.gpus, step.needs.archs, step.needs.network) == (2, ("gfx942",), True)
    assert (step.limits.seconds, step.shards, step.workdir) == (2400, 3, "/src/tests")
    assert step.profiles == ("nightly", "full")
    assert step.env == {"METHOD": "spawn"}
    assert step.commands == (
        Command("pytest", ("-v", "-s", "engine")),
        Command("pytest", ("test_sequence.py", "-k", 'not "a b"'), env=(("MODE", "1"), ("OTHER", "two words"))),
        Command("run", ("python3", "x.py", "--all")),
    )
    assert (found.runtime, found.workspace, found.health is not None) == ("rocm", "/src", True)


def test_quotes_within_quotes_survive(read: Read) -> None:
    """Section 8 of the regressions: ``-k 'not "a b"'`` is one word."""
    assert 'not "a b"' in read(FLAT).step("engine-tests").commands[1].words


def test_in_a_chain_whose_first_command_exits_5_the_rest_still_runs(read: Read) -> None:
    """Each of a chain is a command of its own, with its own verdict; none is a shell's ``&&``."""
    found = read("steps:\n- label: a\n  command: pytest none && pytest some && pytest more\n")
    step = found.step("a")
    assert step.commands == tuple(Command("pytest", (each,)) for each in ("none", "some", "more"))


def test_a_cpu_step_needs_no_gpu_and_defaults_are_the_dialects(read: Read) -> None:
    step = read(FLAT).step("on-a-cpu")
    assert (step.needs.gpus, step.needs.archs) == (0, ())
    assert (step.limits.seconds, step.workdir, step.bounds.shm_mb) == (180 * 60, "/src/tests", 16384)
    assert step.profiles == PROFILES
    assert "180 minutes" in read(FLAT).notices[0]


def test_what_is_lost_is_told_at_its_line_with_a_remedy(read: Read) -> None:
    found = read(FLAT)
    assert lost(found) == [
        "14 '!engine/docs/', which matches no path of a change there",
        "8 fast_check: true of an optional step",
        "4 mirror_hardwares: experimental, production",
        "21 mirror_hardwares: production",
        "26 the mode dpx of the GPUs of mi355_dpx",
        "27 mirror_hardwares: production",
        "29 soft_fail: true",
        "31 torch_nightly: true",
        "32 dind: false",
        "33 agent_tags: {'zone': 'b'}",
        "34 the key 'colour', which nobody here knows",
        "30 grade: Optional",
    ]
    assert all(each.remedy for each in found.lost)
    assert str(found.lost[3]).startswith("steps/test-gpus.yaml:4:3: engine-tests: mirror_hardwares")


def test_the_same_loss_in_many_steps_is_one_line_with_all_of_them(read: Read) -> None:
    told = catalogues.told(read(FLAT).lost)
    (line,) = [each for each in told if "mirror_hardwares: production" in each]
    assert line.endswith("(also on line 27)")


def test_a_soft_step_is_none_until_somebody_gives_it_a_day(read: Read) -> None:
    assert read(FLAT).step("every-where").soft is None


@pytest.mark.parametrize(
    ("optional", "early", "profiles"),
    [
        ("false", "", PROFILES),
        ("true", "", ("nightly", "full")),
        ("true", "autorun_on_main: true", ("main", "nightly", "full")),
        ("true", "fast_check: true", ("nightly", "full")),
        ("false", "fast_check: true", PROFILES),
        ("false", "fast_check_only: true", ("pr",)),
    ],
)
def test_profiles(read: Read, optional: str, early: str, profiles: tuple[str, ...]) -> None:
    found = read(f"steps:\n- label: a\n  command: x\n  optional: {optional}\n" + (f"  {early}\n" if early else ""))
    assert found.step("a").profiles == profiles


# --- which changes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "prefix", "boundary"),
    [
        ("tests/test_sequence.py", True, False),
        ("core/config/base.py", True, True),
        ("core/config_utils.py", True, False),
        ("core/config", True, True),
        ("vendor/transfer/a.py", True, False),
        ("vendor/other.py", True, True),
        ("else/core/config", False, False),
        ("odd[1]/a.py", True, True),
        ("odd1/a.py", False, False),
    ],
)
def test_sources_match_as_they_do_there(read: Read, path: str, *, prefix: bool, boundary: bool) -> None:
    """The flat dialect has prefixes and an inert ``!``; the grouped one paths, and exclusions wherever they stand."""
    listed = '["!vendor/transfer/", vendor/, tests/test_sequence, core/config, "odd[1]"]'
    flat = read(f"steps:\n- label: a\n  command: x\n  source_file_dependencies: {listed}\n")
    grouped = read(f"group: G\nsteps:\n- label: a\n  command: x\n  source_file_dependencies: {listed}\n")
    assert bool(Globs(flat.step("a").sources).match(path)) is prefix
    assert bool(Globs(grouped.step("a").sources).match(path)) is boundary


def test_a_step_without_sources_runs_for_every_change_or_for_its_own_file(read: Read) -> None:
    """The flat dialect runs it always; the grouped one by no change but one of the file."""
    text = "steps:\n- label: a\n  command: x\n"
    assert read(text).step("a").sources == ()
    assert read("group: G\n" + text).step("a").sources == ("steps/test-gpus.yaml",)
    only = "  source_file_dependencies: ['!core/']\n"
    assert read("group: G\n" + text + only).step("a").sources == ("steps/test-gpus.yaml",)


def test_paths_that_no_change_can_have_are_told(read: Read) -> None:
    found = read("group: G\nsteps:\n- label: a\n  command: x\n  source_file_dependencies: [./core, /core, core]\n")
    assert found.step("a").sources == ("core",)
    assert lost(found, "matches no path") == [
        "5 './core', which matches no path of a change there",
        "5 '/core', which matches no path of a change there",
    ]


# --- mirrors ---------------------------------------------------------------------------------------

GROUPED = """\
group: Kernels
depends_on: [image-build]
steps:
- label: Attention %N
  key: attention
  timeout_in_minutes: 35
  parallelism: 4
  device: h100
  num_devices: 2
  optional: true
  working_dir: /src/tests
  env: {DEPTH: "2"}
  source_file_dependencies: [core/, "!core/other/"]
  commands:
  - pytest kernels --shard-id=$$BUILDKITE_PARALLEL_JOB --num-shards=$$BUILDKITE_PARALLEL_JOB_COUNT
  mirror:
    amd:
      device: mi325_2
      dind: false
      depends_on: [image-build-amd]
      source_file_dependencies: [platforms/rocm.py]
- label: Only There
  command: pytest there
- label: Named There
  device: b200-k8s
  num_devices: 4
  depends_on: [image-build, lint]
  command: pytest there
- label: Small
  device: cpu-small
  commands: [pytest cpu]
"""


def test_a_mirror_takes_nothing_by_accident(read: Read) -> None:
    """Row 44: what it runs and for which changes is the step's; how long, in how many parts and where are its own."""
    found = read(GROUPED)
    step = found.step("attention", "gfx942")
    assert (step.limits.seconds, step.shards) == (180 * 60, 1)
    assert (step.needs.gpus, step.needs.archs) == (2, ("gfx942",))
    assert step.commands == (Command("pytest", ("kernels",)),)
    assert (step.env, step.workdir, step.profiles) == ({"DEPTH": "2"}, "/src/tests", ("nightly", "full"))
    assert step.sources == ("platforms/rocm.py", "core", "!core/other")
    assert "6 timeout_in_minutes: 35 of the step, which is not its mirror's" in lost(found)
    assert "7 parallelism: 4 of the step, which is not its mirror's" in lost(found)


def test_a_mirrors_environment_lies_on_top_of_the_steps(read: Read) -> None:
    own = '      env: {DEPTH: "3", WIDTH: "1"}\n'
    found = read(GROUPED.replace('{DEPTH: "2"}', '{DEPTH: "2", KIND: a}').replace("      dind: false\n", own))
    assert found.step("attention").env == {"DEPTH": "3", "KIND": "a", "WIDTH": "1"}


def test_what_only_the_other_hardware_runs_is_told(read: Read) -> None:
    own = "      commands: [pytest kernels/here]\n"
    found = read(GROUPED.replace("      dind: false\n", own))
    assert found.step("attention").commands == (Command("pytest", ("kernels/here",)),)
    assert lost(found, "itself") == ["14 what it runs itself, on h100: its mirror has other commands"]
    assert lost(read(GROUPED), "itself") == []


def test_a_mirror_on_none_of_these_gpus_is_told(read: Read) -> None:
    more = "    nightly_torch: {}\n    xpu: {device: intel_gpu}\n"
    found = read(GROUPED.replace("  mirror:\n", "  mirror:\n" + more) + "  mirror: {torch_nightly: {}}\n")
    assert list(found.data) == ["attention", "only-there", "named-there", "small"]
    assert lost(found, "the mirror") == [
        "17 the mirror nightly_torch, which names no hardware of these",
        "18 the mirror xpu, which names no hardware of these",
        "34 the mirror torch_nightly, which names no hardware of these",
    ]


@pytest.mark.parametrize(
    ("depends", "folder"), [("[image-build]", "/src/tests"), ("[]", "/src"), ("~", "/src"), (None, "/src")]
)
def test_the_folder_of_a_grouped_step_comes_with_its_dependencies(read: Read, depends: str | None, folder: str) -> None:
    """Upstream gives a file's steps the folder with the tests only where the file depends on something."""
    named = f"depends_on: {depends}\n" if depends else ""
    text = f"group: A\n{named}steps:\n- {{label: a, command: x}}\n- {{label: b, command: x, working_dir: /b}}\n"
    assert [read(text).step(name).workdir for name in "ab"] == [folder, "/b"]


def test_a_mirrors_own_limits_count(read: Read) -> None:
    own = "      timeout_in_minutes: 50\n      parallelism: 2\n"
    step = read(GROUPED.replace("      dind: false\n", own)).step("attention")
    assert (step.limits.seconds, step.shards) == (3000, 2)


def test_a_step_for_other_hardware_is_kept_in_no_profile_and_told(read: Read) -> None:
    found = read(GROUPED)
    assert found.step("only-there").profiles == ()
    assert found.step("named-there").profiles == ()
    assert found.step("small").profiles == PROFILES
    assert (found.step("named-there").needs.gpus, found.step("small").needs.gpus) == (4, 0)
    assert lost(found, "hardware") == ["22 it names no hardware of these, so no profile has it"]
    assert lost(found, "b200") == ["25 device: b200-k8s, which is no product of archs.yaml"]
    assert "2 of them in no profile" in found.notices[0]


def test_a_dependency_on_an_image_is_implied_and_another_one_told(read: Read) -> None:
    assert lost(read(GROUPED), "depends_on") == ["27 depends_on: image-build, lint"]


def test_the_suite_is_the_group_or_the_file(read: Read) -> None:
    assert list(read(GROUPED).suites) == ["kernels"]
    assert list(read(FLAT).suites) == ["test-gpus"]
    assert read(FLAT).suite("test-gpus").steps == ("engine-tests", "on-a-cpu", "every-where")


# --- names -----------------------------------------------------------------------------------------


def test_a_label_on_several_pools_gets_the_pool(read: Read) -> None:
    two = "".join(f"- label: Engine\n  agent_pool: mi{pool}_1\n  command: x\n" for pool in (250, 300))
    found = read("steps:\n" + two)
    assert [step["summary"] for step in found.data.values()] == ["Engine (mi250_1)", "Engine (mi300_1)"]
    assert list(found.data) == ["engine-mi250-1", "engine-mi300-1"]


def test_two_steps_of_one_name_are_refused_with_both_lines(read: Read) -> None:
    twice = "steps:\n- label: A b\n  command: x\n- label: A (b)\n  command: y\n"
    with pytest.raises(ConfigError) as caught:
        read(twice)
    (problem,) = caught.value.problems
    assert (problem.reference, str(problem.place)) == ("duplicate-step", "steps/test-gpus.yaml:4:10")
    assert "line 2" in problem.hint


def test_a_long_label_is_cut_and_stays_its_own(read: Read) -> None:
    labels = [f"Distributed transfer of everything over all of the nodes, part {number}" for number in (1, 2)]
    found = read("steps:\n" + "".join(f"- label: {each}\n  command: x\n" for each in labels))
    assert len(found.data) == 2
    assert all(len(name) <= 50 for name in found.data)


# --- several nodes ---------------------------------------------------------------------------------

RANKS = ((("python3", "a.py"), ("python3", "b.py")),)


@pytest.mark.parametrize(
    ("commands", "ranks"),
    [
        ("[python3 a.py, python3 b.py]", RANKS),
        ('["[python3 a.py] && [python3 b.py]"]', RANKS),
        ("[[python3 a.py], [python3 b.py]]", RANKS),
        ('["[one, two] && [three, four]"]', ((("one",), ("three",)), (("two",), ("four",)))),
        ("[./run-multi-node-test.sh /src/tests 2 4 $IMAGE_TAG 'python3 a.py' 'python3 b.py']", RANKS),
        ("[X=1 python3 a.py, python3 b.py]", ((("env", "X=1", "python3", "a.py"), ("python3", "b.py")),)),
        (
            "[[a, b], [c]]",
            ((("bash", "-e", "-o", "pipefail", "-c", "a && b"), ("c",)),),
        ),
    ],
)
def test_commands_of_several_nodes_are_ranks(read: Read, commands: str, ranks: tuple[Any, ...]) -> None:
    step = read(f"steps:\n- label: a\n  num_nodes: 2\n  num_gpus: 4\n  commands: {commands}\n").step("a")
    assert (step.needs.nodes, step.needs.gpus) == (2, 4)
    assert tuple(each.ranks for each in step.commands) == ranks


def test_nodes_whose_commands_nobody_can_tell_apart_are_told(read: Read) -> None:
    found = read("steps:\n- label: a\n  num_nodes: 2\n  commands: [x, y, z]\n")
    assert found.step("a").needs.nodes == 1
    assert lost(found) == ["3 num_nodes: 2, whose commands do not say what each runs"]


# --- what is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reference", "place"),
    [
        ("steps:\n- label: a\n  timeout_in_minutes: soon\n  command: x\n", "wrong-type", "3:23"),
        ("steps:\n- label: a\n  timeout_in_minutes: 0\n  command: x\n", "wrong-value", "3:23"),
        ("steps:\n- label: a\n  optional: maybe\n  command: x\n", "wrong-type", "3:13"),
        ("steps:\n- label: a\n  optional: yes\n  command: x\n", "ambiguous-value", "3:13"),
        ("steps:\n- label: a\n  commands: [1]\n", "wrong-type", "3:13"),
        ("steps:\n- label: a\n  commands:\n", "ambiguous-value", "3:12"),
        ("steps:\n- label: a\n", "too-few", "2:3"),
        ("steps:\n- label: a\n  commands: []\n", "too-few", "3:13"),
        ("steps:\n- command: x\n", "missing-key", "2:3"),
        ("steps:\n- label: a\n  label: b\n  command: x\n", "duplicate-key", "3:3"),
        ("steps:\n- label: a\n  env: {A: 1}\n  command: x\n", "wrong-type", "3:12"),
        ("steps:\n- label: a\n  source_file_dependencies: [1]\n  command: x\n", "wrong-type", "3:29"),
        ("steps: []\n", "too-few", "1:8"),
    ],
)
def test_what_no_step_can_be_made_of_is_refused_at_its_place(read: Read, text: str, reference: str, place: str) -> None:
    assert (reference, place) in refused(read, text)


def test_all_mistakes_come_at_once(read: Read) -> None:
    text = "steps:\n- label: a\n  optional: 1\n  parallelism: x\n- command: x\n"
    assert {place for _, place in refused(read, text)} >= {"3:13", "4:16", "5:3"}


def test_empty_values_of_keys_that_are_not_used_are_no_mistake(read: Read) -> None:
    assert list(read("steps:\n- label: a\n  depends_on: ~\n  if:\n  command: x\n").data) == ["a"]


def test_steps_that_run_nothing_and_inner_groups(read: Read) -> None:
    text = """\
steps:
- wait
- block: Really?
- group: Inner
  steps:
  - label: deep
    command: x
"""
    found = read(text)
    assert list(found.data) == ["deep"]
    assert lost(found) == ["2 the step 'wait'", "3 the step 'block'"]


def test_a_stack_without_a_suite_file_has_no_folder_to_run_in(read: Read) -> None:
    found = read("steps:\n- label: a\n  command: x\n", own="")
    assert found.step("a").workdir == "{suite}"
    assert lost(found) == ["2 the folder it runs in by default"]


# --- and back --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [FLAT, GROUPED])
def test_what_convert_writes_reads_back_as_the_same_steps(read: Read, text: str) -> None:
    first = read(text)
    again = read(catalogues.converted(first).text, "steps/ours.yaml")
    assert again.notices == ()
    assert again.lost == ()
    for arch in ("", "gfx90a", "gfx942", "gfx950"):
        assert [again.step(name, arch) for name in again.data] == [first.step(name, arch) for name in first.data]
    assert again.suites == first.suites


def test_convert_lists_what_is_lost_as_data(read: Read) -> None:
    document = json.loads(json.dumps(catalogues.converted(read(FLAT)).document))
    assert document["outcome"] == "ok"
    assert document["catalogue"]["steps"]["on-a-cpu"]["needs"] == {"gpus": 0, "network": True}
    assert {"file", "line", "column", "step", "what", "remedy"} == set(document["lost"][0])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('plugins: [{docker: {environment: ["HF_TOKEN=hunter2secret"]}}]', "HF_TOKEN=***"),
        ("plugins: [{docker: {environment: {HF_TOKEN: hunter2secret}}}]", "HF_TOKEN: ***"),
        ("plugins: [{git: 'https://me:hunter2secret@host/x'}]", "https://****@host/x"),
        (f"plugins: [{'x' * 70}, {TOKENS['a Hugging Face token']}]", f"{'x' * 70}, ***"),
        ("agents: {queue: a, api-key: hunter2secret}", "api-key: ***"),
        ("commands: [a, '# login at https://me:hunter2secret@host']", "https://****@host"),
        (f"{TOKENS['a Hugging Face token']}: 1", "the key ***"),
    ],
)
def test_what_is_lost_is_told_without_its_secrets(read: Read, said: str, shown: str) -> None:
    """As text and as data; the catalogue itself has what the file has."""
    found = read(f"steps:\n- label: x\n  {said}\n" + ("" if "commands" in said else "  commands: [a]\n"))
    for told in ("\n".join(catalogues.told(found.lost)), str(catalogues.converted(found).document["lost"])):
        assert shown in re.sub(r"[\\']", "", told)
        assert "hunter2" not in told
        assert "hf_" not in told


def test_a_file_of_250_steps_reads_back(read: Read) -> None:
    steps = []
    for number in range(250):
        listed = "".join(f"  - part{number}/{each}/\n" for each in range(12))
        steps.append(
            f"- label: Part {number} (GPUs)\n  agent_pool: mi{(250, 300, 355)[number % 3]}_{(1, 2, 4)[number % 3]}\n"
            f"  timeout_in_minutes: {10 + number % 90}\n  optional: {str(number % 4 == 0).lower()}\n"
            f"  source_file_dependencies:\n{listed}  commands:\n  - export N={number}\n"
            f"  - pytest -v part{number} -k 'not \"x {number}\"' && A=1 python3 tool.py | tee log\n"
        )
    first = read("steps:\n" + "\n".join(steps))
    again = read(catalogues.converted(first).text, "steps/ours.yaml")
    assert len(first.data) == 250
    assert [again.step(name, "gfx942") for name in again.data] == [first.step(name, "gfx942") for name in first.data]


def test_places_lead_to_the_lines_of_the_original(read: Read) -> None:
    document = read(FLAT).document
    places: dict[tuple[str | int, ...], int] = {
        ("steps", "engine-tests", "limits", "minutes"): 3,
        ("steps", "engine-tests", "needs", "gpus"): 5,
        ("steps", "engine-tests", "sources", 1): 13,
        ("steps", "engine-tests", "commands", 0): 17,
        ("steps", "engine-tests", "commands", 2): 18,
        ("steps", "on-a-cpu"): 19,
    }
    assert {path: document.place(*path).line for path in places} == places
