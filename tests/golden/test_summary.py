"""The summaries at the end of a run, word for word: text for 80 columns and Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ci.build.progress import Progress, StageTime
from ci.errors import Outcome, Place, Problem
from ci.report import console, summary
from ci.report.summary import RunReport, TierReport

SAMPLES = Path(__file__).parents[1] / "unit" / "samples"
HEX = "3f2a4b5c6d7e8f90" * 4
DIGEST = "sha256:" + "0123456789abcdef" * 4

BASE = TierReport("base", f"rocm-ci/local:base-v1-{HEX}", DIGEST, "reuse", size=640_000_000, published="engine")
CI_BASE = TierReport("ci-base", f"rocm-ci/local:ci-base-v1-{HEX}", DIGEST, "reuse", size=2_610_000_000)
BUILT = TierReport(
    "ci-base",
    f"rocm-ci/local:ci-base-v1-{HEX}",
    DIGEST,
    "build",
    reasons=("requirements/ci-base.txt: 1a2b3c4d -> 5e6f7a8b", "arg PYTORCH_ROCM_ARCH: gfx942 -> gfx942;gfx950"),
    stages=(
        StageTime("fetch", 0.0, 3, 3, "cached", 3),
        StageTime("toolchain", 72.4, 5, 0, "done", 5),
        StageTime("python_deps", 182.0, 4, 1, "done", 4),
        StageTime("exporting to image", 77.2, 1, 0, "done", 1),
    ),
    seconds=280.2,
    size=2_610_000_000,
    largest_layers=(
        (
            1_550_000_000,
            "RUN |1 X=1 /bin/sh -c apt-get install -y hipcc rocm-cmake ninja-build libopenmpi-dev # buildkit",
        ),
        (720_000_000, "RUN /bin/sh -c pip install -r /tmp/requirements.txt # buildkit"),
        (81_000, "COPY pins.json /pins.json # buildkit"),
        (12, "WORKDIR /"),
    ),
    published="engine, registry.example:5000/rocm",
    cache=("1 read, 2 written",),
    attested=("provenance", "no SBOM: no SBOM_SCANNER is pinned"),
    warnings=("FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)",),
)
RUN = RunReport(
    "build-ci-base", "local", Outcome.OK, (BASE, CI_BASE), 0.21, "inv build-test", "/var/tmp/rocm-ci/runs/7"
)


def failed(sample: str, problem: Problem, outcome: Outcome = Outcome.FAILED) -> RunReport:
    progress = Progress()
    for line in (SAMPLES / f"{sample}.jsonl").read_text(encoding="utf-8").splitlines():
        progress.feed(line)
    # The samples' clock is real; a golden file holds no measured time.
    stages = tuple(replace(stage, seconds=float(index)) for index, stage in enumerate(progress.stages, 1))
    tier = replace(CI_BASE, decision="failed", digest="", size=None, stages=stages, seconds=12.3)
    return RunReport(
        "build-ci-base", "local", outcome, (BASE, tier), 14.5, "inv build-ci-base", "/var/tmp/rocm-ci/runs/7",
        (problem,), progress.failure,
    )  # fmt: skip


STAGE_FAILED = Problem("stage-failed", "stage ci_base of tier ci-base failed", hint="the lines above are its own")
NO_PUSH = Problem("registry-unreachable", "the push of ci-base was refused", hint="inv doctor; then the same command")
HOSTILE = replace(
    BUILT,
    tag="rocm-ci/local:a|b`c",
    reasons=("a | b <script>alert(1)</script>\n# title", "`x` *y* [z](http://example.org)", *("more",) * 5),
    warnings=("w1", "w2\x1b[31m", "w3", "w4"),
    cache=("not written, the image is fine: x: denied: " + "very long reason " * 40,),
)

NOT_WRITTEN = "not written, the image is fine: localhost:5000/team/cache:ci-base-v1-" + "c" * 64 + ": denied"

REPORTS = {
    "reuse": RUN,
    "build": replace(RUN, tiers=(BASE, BUILT), seconds=312.3),
    "adopt": replace(RUN, tiers=(BASE, replace(CI_BASE, decision="adopt", published="engine"))),
    "cache-not-exported": replace(RUN, tiers=(replace(BUILT, cache=("1 read", NOT_WRITTEN)),)),
    "failed-run": failed("failing-run", STAGE_FAILED),
    "failed-for-memory": failed("out-of-memory", STAGE_FAILED),
    "failed-push": failed("push-failed", NO_PUSH, Outcome.INFRA),
    "unknown": replace(
        RUN,
        outcome=Outcome.INFRA,
        tiers=(replace(CI_BASE, decision="unknown", digest="", size=None),),
        problems=(Problem("lookup-unknown", "the registry did not say whether ci-base exists: 503"),),
        next_command="inv build-ci-base --on-unknown build",
    ),
    "config": replace(
        RUN,
        outcome=Outcome.CONFIG,
        tiers=(),
        problems=(Problem("unknown-arch", "'gfx94a' is not an arch", "did you mean gfx942?", "", Place("a.yaml", 3)),),
        next_command="",
        run_folder="",
    ),
    "hostile": replace(RUN, tiers=(HOSTILE,)),
}


@pytest.mark.parametrize("name", REPORTS)
def test_text(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.txt", summary.text(REPORTS[name], width=80))


@pytest.mark.parametrize("name", REPORTS)
def test_markdown(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.md", summary.markdown(REPORTS[name]))


def test_problems(golden: Callable[[str, str], None]) -> None:
    problems = [
        Problem("unknown-arch", "'gfx94a' is not an arch", "did you mean gfx942 or gfx90a?", "", Place("a.yaml", 3, 9)),
        Problem("unknown-key", "the stack has a key 'teirs'", "did you mean tiers?", "teirs:\n  - base"),
    ]
    golden("problems.txt", console.render_problems(problems, Outcome.CONFIG) + "\n")


@pytest.mark.parametrize("name", ["reuse", "build", "adopt"])
def test_success_fits_a_small_window(name: str) -> None:
    lines = summary.text(REPORTS[name], width=80).splitlines()
    assert len(lines) <= 23  # and the prompt
    assert [line for line in lines if len(line) > 80] == [line for line in lines if line.startswith("image ")]


@pytest.mark.parametrize("name", [name for name in REPORTS if REPORTS[name].failure])
def test_a_failure_begins_with_the_stage_and_its_last_lines(name: str) -> None:
    failure = REPORTS[name].failure
    assert failure is not None
    first, second, *_ = summary.text(REPORTS[name], width=80).splitlines()
    assert first.startswith(f"FAILED: {failure.step[:30]}")
    assert second.startswith("  | ")
    assert summary.markdown(REPORTS[name]).split("\n\n")[1].startswith("**FAILED:**")


def test_a_wide_window_shows_whole_names_once() -> None:
    text = summary.text(RUN, width=250)
    assert text.count(CI_BASE.tag) == 1
    assert text.count(DIGEST) == 2
