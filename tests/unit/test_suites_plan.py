"""What a suite means on a node: who runs, as what, and why not."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from ci.errors import ConfigError
from ci.suites import catalogue, plan
from ci.suites.plan import Here, Wish
from ci.suites.words import Folders, argv, environment, exclusions

TODAY = date(2026, 11, 21)
SUITE = """\
schema: 1
runtime: %s
steps:
  both:
    summary: s
    needs: {gpus: 2, archs: [gfx942, gfx950]}
    limits: {minutes: 10}
    commands: [{pytest: [-v, --timeout=300, a.py]}]
    cpu: {env: {WHERE: cpu}}
    skips:
      - {test: "a.py::slow", reason: too slow, until: "2027-01-01"}
      - {test: b.py, reason: was broken, until: "2026-01-01"}
  gpu-only:
    summary: s
    needs: {gpus: 1}
    limits: {minutes: 10}
    commands: [{run: [probe]}]
  anywhere:
    summary: s
    needs: {memory_gb: 16}
    limits: {minutes: 10}
    commands: [{run: ["true"]}]
  fabric:
    summary: s
    needs: {gpus: 1, rdma: true}
    limits: {minutes: 10}
    commands: [{run: ["true"]}]
  out:
    summary: s
    limits: {minutes: 10}
    commands: [{run: ["true"]}]
    skip: {reason: CUDA only, until: "2027-05-31"}
suites:
  all: {summary: s, steps: [both, gpu-only, anywhere, fabric, out]}
quarantine:
  - {test: "a.py::q", reason: flaky, owner: kim, until: "2027-01-01"}
  - {test: "a.py::old", reason: flaky, owner: kim, until: "2026-11-20"}
"""


def skips(tmp_path: Path, here: Here, wish: Wish = Wish(), runtime: str = "rocm") -> dict[str, str]:  # noqa: B008 - frozen
    return {each.name: each.skip for each in made(tmp_path, here, wish, runtime).steps}


def made(tmp_path: Path, here: Here, wish: Wish = Wish(), runtime: str = "rocm") -> plan.SuitePlan:  # noqa: B008 - frozen
    path = tmp_path / "x.yaml"
    path.write_text(SUITE % runtime)
    return plan.make(catalogue.read(path, ("test",)), "all", here, wish, TODAY)


def test_without_gpus_the_cpu_variant_runs_and_the_rest_says_why_not(tmp_path: Path) -> None:
    found = skips(tmp_path, Here((), 24))
    assert found == {
        "both": "",
        "gpu-only": "needs 1 GPU: this node has no GPU",
        "anywhere": "",
        "fabric": "needs 1 GPU: this node has no GPU",
        "out": "CUDA only (until 2027-05-31)",
    }
    assert made(tmp_path, Here((), 24)).steps[0].step.env == {"WHERE": "cpu"}


def test_an_image_without_gpu_runtime_uses_no_gpu(tmp_path: Path) -> None:
    found = made(tmp_path, Here(("gfx942",) * 8, 64, True), runtime="cpu")
    assert [each.step.needs.gpus for each in found.steps if not each.skip] == [0, 0]
    assert found.steps[1].skip == "needs 1 GPU: the image has no GPU runtime"


def test_require_gpu_forbids_the_cpu_variant(tmp_path: Path) -> None:
    found = skips(tmp_path, Here((), 24), Wish(require_gpu=True))
    assert found["both"] == "would run on CPU, which --require-gpu forbids: this node has no GPU"
    assert found["anywhere"] == ""


def test_a_node_with_gpus_never_runs_the_cpu_variant(tmp_path: Path) -> None:
    found = made(tmp_path, Here(("gfx942",) * 8, 64, True))
    assert [each.skip for each in found.steps[:4]] == ["", "", "", ""]
    assert [each.step.needs.gpus for each in found.steps] == [2, 1, 0, 1, 0]
    assert found.steps[0].step.env == {}
    few = skips(tmp_path, Here(("gfx942",), 8, False))
    assert few["both"] == "needs 2 GPUs (gfx942 or gfx950): this node has 1 GPU (gfx942)"
    assert few["anywhere"] == "needs 16 GB of memory: this node has 8"
    assert few["fabric"] == "needs RDMA devices: this node has no /dev/infiniband"
    other = skips(tmp_path, Here(("gfx90a",) * 8, 64, True))
    assert other["both"] == "needs 2 GPUs (gfx942 or gfx950): this node has 8 GPUs (gfx90a)"


def test_a_step_gets_the_nic_it_needs_or_says_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text((SUITE % "rocm").replace("rdma: true", "nic: bnxt"))
    steps = catalogue.read(path, ("test",))
    here = Here(("gfx942",), 64)
    found = [
        plan.make(steps, "all", here._replace(nics=nics), Wish(("fabric",)), TODAY).steps[0]
        for nics in ((), ("ainic",), ("ainic", "bnxt"))
    ]
    assert [each.skip for each in found] == [
        "needs the bnxt NIC: this node has none",
        "needs the bnxt NIC: this node has ainic",
        "",
    ]
    assert [each.unmet for each in found] == [True, True, False]


def test_exemptions_count_until_their_day_and_say_when_it_is_over(tmp_path: Path) -> None:
    found = made(tmp_path, Here((), 24))
    assert [each.test for each in found.steps[0].excluded] == ["a.py::slow"]
    assert [each.test for each in found.quarantine] == ["a.py::q"]
    assert found.notices == (
        "b.py runs again: its exemption ended on 2026-01-01 (was broken)",
        "a.py::old fails again where it fails: its quarantine ended on 2026-11-20",
    )


def test_only_narrows_and_knows_its_names(tmp_path: Path) -> None:
    assert list(skips(tmp_path, Here(), Wish(only=("gpu-only",)))) == ["gpu-only"]
    with pytest.raises(ConfigError, match="has no step 'gpu-onyl'"):
        skips(tmp_path, Here(), Wish(only=("gpu-onyl",)))


def test_inner_limits_are_shorter_than_outer_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="step both may take 600 s, its teardown 190 s and the report 60 s") as caught:
        made(tmp_path, Here((), 24), Wish(deadline=849))
    assert [each.reference for each in caught.value.problems] == ["limits-crossed"] * 2  # both and anywhere
    assert made(tmp_path, Here((), 24), Wish(deadline=850)).steps
    path = tmp_path / "y.yaml"
    path.write_text((SUITE % "rocm").replace("--timeout=300", "--timeout=600"))
    with pytest.raises(ConfigError, match="a test may take 600 s, the whole step 600 s"):
        plan.make(catalogue.read(path, ("test",)), "all", Here(), Wish(), TODAY)


def test_the_words_of_a_command() -> None:
    folders = Folders("/s", "/r", "/c")
    words = argv(catalogue.Command("pytest", ("-k", "not {x}", "{suite}/a.py")), folders, select=True)
    assert words[:3] == ("python3", "-m", "pytest")
    assert words[-3:] == ("-k", "not {x}", "/s/a.py")
    assert {"--junitxml=/r/junit.xml", "--rocm-ci-results=/r", "--rocm-ci-select=/r/select.txt"} <= set(words)
    assert "--collect-only" not in words
    assert argv(catalogue.Command("run", ("sh", "-c", "echo {results}")), folders) == ("sh", "-c", "echo /r")
    assert exclusions(("a.py::slow", "b.py")) == ("--deselect=a.py::slow", "--ignore=b.py")


def test_the_environment_is_ours_alone(tmp_path: Path) -> None:
    step = made(tmp_path, Here((), 24)).steps[0].step
    found = environment(step, Folders("/s", "/r", "/c"), "0,1")
    assert found["WHERE"] == "cpu"
    assert found["PYTHONPATH"] == "/s/plugin:/s/site"
    assert (found["PYTORCH_ROCM_ARCH"], found["HIP_VISIBLE_DEVICES"]) == ("", "0,1")
    assert not {"ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "HF_TOKEN", "HOME"} & set(found)
