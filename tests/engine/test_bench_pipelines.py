"""The benchmark of pipelines compares like with like: both generators give the same pipeline of a small catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import pipelines
from tests.bench.measure import BenchError, output

pytestmark = pytest.mark.without_engine


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pipelines.write(tmp_path_factory.mktemp("bench") / "repository", steps=40, changed=30)


@pytest.fixture(scope="module")
def ours(repository: Path) -> str:
    process = pipelines.ours(repository)
    return output(process.argv, process.cwd, process.env)


def test_both_generators_say_the_same(repository: Path, ours: str) -> None:
    process = pipelines.rival(repository)
    pipelines.same(ours, output(process.argv, process.cwd, process.env))
    wanted = {  # a catalogue that lacked one of these would prove less
        "images": "build-ci-base --stack", "shards": "--shard 2/", "GPUs": "--require-gpu", "no GPU": "amd-cpu",
        "soft": "      - exit_status: 1\n",
    }  # fmt: skip
    assert [what for what, text in wanted.items() if text not in ours] == []
    assert 3 < ours.count("- key:") < 40, "some steps run and some do not"


def test_another_pipeline_is_told(ours: str) -> None:
    for old, new in (("--require-gpu ", ""), ("amd-cpu", "cpu"), ("exit_status: 5", "exit_status: 6")):
        with pytest.raises(BenchError, match=r"^step \d"):
            pipelines.same(ours, ours.replace(old, new, 1))
    with pytest.raises(BenchError, match="steps, and the other has"):
        pipelines.same(ours, ours[: ours.rindex("  - key:")])
