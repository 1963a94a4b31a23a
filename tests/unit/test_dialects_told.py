"""Keys and values of step files that say a thing twice, for a group, or with the variables of an upload: all told."""

from __future__ import annotations

import pytest

from ci import documents
from ci.suites.dialects import reading, upload
from ci.suites.dialects.home import Home
from ci.suites.dialects.lost import Converted

HOME = Home({"workspace": "/src"}, {"mi250": "gfx90a", "mi300": "gfx942"})


def converted(text: str) -> Converted:
    return reading.convert(documents.read(text, "steps.yaml"), HOME)


def step(*lines: str, commands: str = "commands: [a]") -> Converted:
    """A file of one step ``x`` that has these lines, from its third line on."""
    return converted("\n  ".join(("steps:\n- label: x", *lines, commands)) + "\n")


def lost(found: Converted) -> list[str]:
    """``LINE what`` of everything lost, the tokens of every file left out."""
    return [f"{each.place.line} {each.what}" for each in found.lost if "the tokens" not in each.what]


def problems(found: Converted) -> list[str]:
    wrong = (each for each in found.document.problems if each.reference != "ambiguous-value")
    return [f"{each.place.line if each.place else 0} {each.message}" for each in wrong]


def test_what_a_group_says_for_its_steps_is_told() -> None:
    found = converted("""\
steps:
- group: Inner
  key: inner
  if: build.branch == "main"
  depends_on: [image-build, lint]
  soft_fail: true
  colour: blue
  steps:
  - group: Innermost
    soft_fail: false
    depends_on: image-build
    skip: late
    steps:
    - {label: x, commands: [a]}
""")
    assert lost(found) == [
        "3 key: inner of the group",
        '4 if: build.branch == "main" of the group',
        "5 depends_on: image-build, lint of the group",
        "6 soft_fail: true of the group",
        "7 colour: blue of the group",
        "12 skip: late of the group",
    ]
    assert all(each.remedy for each in found.lost)


@pytest.mark.parametrize("kind", ["trigger: deploy", "block: Really?", "input: Who?", "wait: ~"])
def test_a_step_without_commands_is_listed_whatever_it_is_called(kind: str) -> None:
    found = converted(f"steps:\n- label: Deploy\n  key: deploy\n  {kind}\n- {{label: x, commands: [a]}}\n")
    assert lost(found) == [f"2 the step '{kind.partition(':')[0]}'"]
    assert list(found.document.value["steps"]) == ["x"]
    assert found.document.problems == ()


def test_a_step_with_commands_is_one_whatever_else_it_says() -> None:
    found = step("trigger: deploy")
    assert list(found.document.value["steps"]) == ["x"]
    assert lost(found) == ["3 the key 'trigger', which nobody here knows"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("command: b",), ["3 command: b beside commands"]),
        (("gpu: mi250_4", "agent_pool: mi300_1"), ["3 gpu: mi250_4 beside agent_pool"]),
        (("gpu: mi250_4", "device: mi300_1"), ["3 gpu: mi250_4 beside device"]),
        (("device: h100", "agent_pool: mi300_1"), ["3 device: h100 beside agent_pool"]),
        (("agent_pool: mi300_1", "num_gpus: 2", "num_devices: 3"), ["5 num_devices: 3 beside num_gpus"]),
        (("agent_pool: mi300_1", "gpu: mi300_1", "num_gpus: 2", "num_devices: 2"), []),
        (("agent_pool: mi300_1", "no_gpu: true", "num_gpus: 2"), ["5 num_gpus: 2 of a step that has no GPU"]),
        (("device: cpu", "num_devices: 2"), ["4 num_devices: 2 of a step that has no GPU"]),
        (("device: cpu", "num_devices: 0"), []),
        (("fast_check_only: true", "optional: true"), ["4 optional: true beside fast_check_only"]),
        (("autorun_on_main: true", "fast_check_only: true"), ["3 autorun_on_main: true beside fast_check_only"]),
        (("optional: false", "fast_check_only: true", "fast_check: true"), []),
    ],
)
def test_of_what_is_said_twice_the_one_that_does_not_count_is_told(lines: tuple[str, ...], told: list[str]) -> None:
    assert lost(step(*lines)) == told


MIRRORED = """\
group: G
steps:
- label: x
  device: h100
  num_devices: 8
  commands: [a]
  mirror:
    amd: {device: mi300_1, num_gpus: 2, command: b}
"""


def test_what_a_mirror_says_itself_is_not_also_the_steps() -> None:
    """Its ``command`` takes the place of the step's ``commands``, and that the step's do not run is told."""
    found = converted(MIRRORED)
    (made,) = found.document.value["steps"].values()
    assert (made["commands"], made["needs"]["gpus"]) == ([{"run": ["b"]}], 2)
    assert lost(found) == ["6 what it runs itself, on h100: its mirror has other commands"]


def test_a_count_is_a_whole_number() -> None:
    """Minutes may have a fraction; ``2.0`` is a whole number as well."""
    wrong = ("num_gpus: 2.5", "num_nodes: .inf", "parallelism: 1.9", "num_devices: .nan", "timeout_in_minutes: 20.5")
    told = {(3, "num_gpus"), (4, "num_nodes"), (5, "parallelism"), (6, "num_devices")}
    assert set(problems(step(*wrong))) == {f"{line} {key} must be a whole number" for line, key in told}
    found = step("agent_pool: mi300_1", "num_gpus: 2.0", "timeout_in_minutes: 20.5")
    made = found.document.value["steps"]["x"]
    assert (problems(found), made["needs"]["gpus"], made["limits"]["minutes"]) == ([], 2, 20.5)


# --- variables of an upload ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "after", "names"),
    [
        ("a $HOME ${HOME} ${B:-c}", "a $HOME ${HOME} ${B:-c}", ("HOME", "B")),
        ("$$HOME $${HOME} \\$HOME", "$HOME ${HOME} $HOME", ()),
        ("$(a) $1 5$ $", "$(a) $1 5$ $", ()),
        ("$$$A", "$$A", ("A",)),
    ],
)
def test_what_an_upload_makes_of_a_text(text: str, after: str, names: tuple[str, ...]) -> None:
    assert upload.filled(text) == (after, names)


def test_variables_of_an_upload_are_told_in_env() -> None:
    found = step("env:", "  A: $HOME", "  B: x${BAR}", "  C: $$HOME", r'  D: "\\$HOME"')
    assert found.document.value["steps"]["x"]["env"] == {"A": "$HOME", "B": "x${BAR}", "C": "$HOME", "D": "$HOME"}
    assert lost(found) == [
        "4 env.A: $HOME is filled in when the pipeline is uploaded",
        "5 env.B: $BAR is filled in when the pipeline is uploaded",
    ]


@pytest.mark.parametrize(
    ("folder", "workdir", "told"),
    [
        ("/x/$Y/", "/x/$Y", ["3 working_dir: $Y is filled in when the pipeline is uploaded"]),
        ("/x/$$Y", "/x/$Y", ["3 working_dir: /x/$Y, whose variables a shell reads there"]),
        ("/x/y", "/x/y", []),
    ],
)
def test_variables_in_the_folder_of_a_step_are_told(folder: str, workdir: str, told: list[str]) -> None:
    found = step(f"working_dir: {folder}")
    assert found.document.value["steps"]["x"]["workdir"] == workdir
    assert lost(found) == told
