"""The commands that make a builder, and what a build with each driver's builder exports, word for word."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ci.build import builder, definition
from ci.recipe import stack as stacks


@pytest.mark.parametrize("driver", builder.DRIVERS)
def test_the_command_that_makes_a_builder(driver: str, golden: Callable[[str, str], None]) -> None:
    argv = builder.create(driver, "fast", stacks.load("vllm"))
    golden(f"{driver}.json", json.dumps(argv, indent=1) + "\n")


def test_where_a_build_goes(golden: Callable[[str, str], None]) -> None:
    drivers = (builder.OWN, *builder.DRIVERS)
    rows = [f"{driver}: {definition.output(driver, 'rocm-ci/local:base-building')}" for driver in drivers]
    rows += [f"{driver}, files of a stage: {definition.output(driver, '', 'export')}" for driver in drivers]
    golden("outputs.txt", "\n".join(rows) + "\n")
