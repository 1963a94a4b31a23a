"""A folder of step files as one catalogue: every file is read, and what is none is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci.errors import ConfigError
from ci.report import catalogues
from ci.suites import catalogue
from ci.suites.catalogue import Catalogue

OWN = """\
schema: 1
runtime: rocm
workspace: /src
steps: {x: {summary: x, limits: {minutes: 1}, commands: [{run: [x]}]}}
suites: {x: {summary: x, steps: [x]}}
"""
KERNELS = """\
group: Kernels
depends_on: [image-build]
steps:
- label: Attention
  device: mi300_1
  source_file_dependencies: [core/attention]
  command: pytest kernels/attention
"""
ENGINE = """\
group: Engine
depends_on: [image-build]
steps:
- label: Engine
  device: h100
  command: pytest engine
- label: Sequence
  device: mi300_1
  soft_fail: true
  command: pytest sequence
"""
PLAIN = "steps:\n- label: Plain\n  device: mi300_1\n  source_file_dependencies: [core/a]\n  command: pytest plain\n"


def read(folder: Path, files: dict[str, str], shown: str = "areas") -> Catalogue:
    """The catalogue of a folder with these files."""
    (folder / "own.yaml").write_text(OWN)
    for name, text in files.items():
        (folder / "areas" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "areas" / name).write_text(text)
    return catalogue.read(folder / "areas", ("base", "test"), (), folder / "own.yaml", shown=shown)


def refused(folder: Path, files: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, files)
    return [f"{problem.reference} {problem.place}" for problem in caught.value.problems]


def test_every_file_below_is_read_and_its_lines_stay_its_own(tmp_path: Path) -> None:
    found = read(tmp_path, {"kernels.yaml": KERNELS, "deep/engine.yml": ENGINE, "notes.md": "x"})
    assert {name: suite.steps for name, suite in found.suites.items()} == {
        "engine": ("engine", "sequence"),
        "kernels": ("attention",),
    }
    assert str(found.document.place("steps", "attention")) == "areas/kernels.yaml:4:3"
    assert str(found.document.place("steps", "sequence", "commands", 0)) == "areas/deep/engine.yml:10:12"
    assert found.file == "areas"
    assert found.notices[0] == "areas is a folder of 2 Buildkite step files: 3 steps, 1 of them in no profile"
    assert {each.place.file for each in found.lost} == {"areas/kernels.yaml", "areas/deep/engine.yml"}
    assert [str(each.place) for each in found.lost if "soft_fail" in each.what] == ["areas/deep/engine.yml:9:3"]


def test_a_change_of_a_file_runs_its_steps(tmp_path: Path) -> None:
    found = read(tmp_path, {"a.yaml": KERNELS, "b.yaml": ENGINE})
    assert found.step("attention").sources == ("core/attention", "areas/a.yaml")
    assert found.step("sequence").sources == ("areas/b.yaml",)
    again = read(tmp_path, {}, shown=str(tmp_path / "areas"))
    assert again.step("attention").sources == ("core/attention",)


def test_losses_of_two_files_are_two_lines(tmp_path: Path) -> None:
    found = read(tmp_path, {"a.yaml": KERNELS, "b.yaml": ENGINE.replace("soft_fail: true", "soft_fail: true # b")})
    told = [each for each in catalogues.told(found.lost) if "the tokens" in each]
    assert [each.partition(":")[0] for each in told] == ["areas/a.yaml", "areas/b.yaml"]


def test_files_of_one_group_are_one_suite(tmp_path: Path) -> None:
    found = read(tmp_path, {"a.yaml": KERNELS, "b.yaml": ENGINE.replace("group: Engine", "group: Kernels")})
    assert {name: suite.steps for name, suite in found.suites.items()} == {
        "kernels": ("attention", "engine", "sequence")
    }


def test_in_a_folder_every_file_is_of_the_grouped_dialect(tmp_path: Path) -> None:
    assert read(tmp_path, {"plain.yaml": PLAIN}).step("plain").sources == ("core/a", "areas/plain.yaml")
    alone = catalogue.read(tmp_path / "areas/plain.yaml", ("test",), (), tmp_path / "own.yaml", shown="plain.yaml")
    assert alone.step("plain").sources == ("core/a*",)


def test_a_step_that_two_files_have_is_refused_with_both_places(tmp_path: Path) -> None:
    twice = {"a.yaml": KERNELS, "b.yaml": KERNELS.replace("group: Kernels", "group: Other")}
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, twice)
    (problem,) = caught.value.problems
    assert (problem.reference, str(problem.place)) == ("duplicate-step", "areas/b.yaml:4:3")
    assert problem.hint.endswith("the other is at areas/a.yaml:4:3")


def test_what_is_no_step_file_is_refused_by_name(tmp_path: Path) -> None:
    files = {"a.yaml": KERNELS, "data.yaml": "tasks: [x]\n", "empty.yaml": "# moved\n", "bad.yaml": "steps: [\n"}
    assert refused(tmp_path, files) == [
        "syntax areas/bad.yaml:2:1",
        "no-step-file areas/data.yaml:1:1",
        "empty-file areas/empty.yaml",
    ]


def test_a_folder_without_a_step_file_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, {"a.txt": ""}) == ["no-file None"]


def test_a_configuration_says_which_folders_have_the_steps(tmp_path: Path) -> None:
    path = tmp_path / "ci_config.yaml"
    path.write_text("name: ci\njob_dirs:\n- .ci/areas\n- .ci/hardware\nrun_all_patterns: [core/]\n")
    with pytest.raises(ConfigError) as caught:
        catalogue.read(path, ("test",), shown="ci_config.yaml")
    (problem,) = caught.value.problems
    assert (problem.reference, str(problem.place)) == ("no-step-file", "ci_config.yaml:2:1")
    assert problem.hint == "--catalogue .ci/areas, or --catalogue .ci/hardware"


def test_what_convert_writes_of_a_folder_reads_back_as_the_same_steps(tmp_path: Path) -> None:
    first = read(tmp_path, {"a.yaml": KERNELS, "b.yaml": ENGINE})
    (tmp_path / "ours.yaml").write_text(catalogues.converted(first).text)
    again = catalogue.read(tmp_path / "ours.yaml", ("base", "test"))
    assert (again.notices, again.lost, again.suites) == ((), (), first.suites)
    assert [again.step(name, "gfx942") for name in again.data] == [first.step(name, "gfx942") for name in first.data]
