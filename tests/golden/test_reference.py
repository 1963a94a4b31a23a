"""The generated reference is what the tables say; ``nox -s docs`` writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ci.errors import EXIT_CODES
from ci.report import reference
from ci.verbs import VERBS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.mark.parametrize(
    ("name", "render"), [("verbs.md", lambda: reference.verbs(VERBS)), ("settings.md", reference.settings)]
)
def test_the_reference_is_fresh(name: str, render: Callable[[], str], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        (DOCS / name).write_text(render(), encoding="utf-8")
    assert (DOCS / name).read_text(encoding="utf-8") == render(), "stale: run nox -s docs"


def test_it_names_everything() -> None:
    text = reference.verbs(VERBS)
    for verb in VERBS:
        assert f"## `{verb.name}" in text
        assert verb.summary in text
        assert all(option.help.split(";")[0].split("|")[0] in text for option in verb.options)
    assert all(f"`{outcome.value}`" in text for outcome in EXIT_CODES)
