"""The tables of docs/migration.md are what docker/renamed.yaml says; ``nox -s docs`` writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci.check import renamed
from ci.recipe.stack import HOME

PAGE = Path(__file__).resolve().parents[2] / "docs" / "migration.md"
NOTE = "<!-- Written by `nox -s docs` from docker/renamed.yaml; edit that. -->"


def test_the_tables_are_fresh(request: pytest.FixtureRequest) -> None:
    before, mark, rest = PAGE.read_text(encoding="utf-8").partition("<!-- names -->\n")
    _, end, after = rest.partition("<!-- /names -->")
    assert mark
    assert end
    page = f"{before}{mark}{NOTE}\n\n{renamed.tables(renamed.read(HOME))}\n{end}{after}"
    if request.config.getoption("--update-golden"):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page, "stale: run nox -s docs"
