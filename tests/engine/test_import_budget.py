"""What each verb imports: a run that has nothing to do must not pay for what it does not use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import recipes
from tests.engine.conftest import Cli
from tests.engine.own import own

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"docker", "git", "requests", "rich", "urllib3", "nox", "invoke", "obstore", "asyncio", "multiprocessing"}
MOST = 250
"""Modules a verb may import in all, the standard library's included; Python itself starts with about 40."""


def imported(cli: Cli, *arguments: str, code: int = 0) -> set[str]:
    """The dotted names of everything ``python -m ci`` imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ci", *arguments],
        cwd=ROOT,
        env={**cli.environ, "ROCM_CI_STATE": str(cli.state)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def heavy(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules} & HEAVY


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, busy_root: str) -> Path:
    assert busy_root
    return recipes.write(tmp_path_factory.mktemp("budget"), stack=own(recipes.STACK))


@pytest.fixture
def options(stack: Path) -> tuple[str, ...]:
    return ("--stack", str(stack), "--source", f"src={stack.parents[1] / 'src'}")


def test_a_reuse_a_plan_and_an_explanation_are_light(cli: Cli, options: tuple[str, ...]) -> None:
    cli("build-ci-base", *options)
    for words in (("build-base",), ("build-ci-base",), ("build-ci-base", "--plan"), ("plan",), ("explain", "ci-base")):
        modules = imported(cli, *words, *options)
        assert heavy(modules) == set(), words
        assert len(modules) <= MOST, words


@pytest.mark.without_engine
@pytest.mark.parametrize("words", [("config",), ("--help",), ("plan", "--help"), ("reap",)], ids=" ".join)
def test_verbs_that_ask_no_engine_are_light(cli: Cli, words: tuple[str, ...]) -> None:
    modules = imported(cli, *words)
    assert heavy(modules) == set()
    assert len(modules) <= MOST


@pytest.mark.without_engine
@pytest.mark.parametrize("words", [("buildx",), ("plan", "--bogus"), ()], ids=" ".join)
def test_a_refusal_is_light_and_reads_no_yaml(cli: Cli, words: tuple[str, ...]) -> None:
    modules = imported(cli, *words, code=2)
    assert not {name.partition(".")[0] for name in modules} & (HEAVY | {"yaml"})
