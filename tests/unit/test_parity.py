"""docs/parity.md: every row has its line, and every command, file and test that a line names is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ci.verbs import VERBS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
ROWS = {"Images": 81, "Tests and releases": 74}
STATES = ("done", "unproven", "not yet", "no")

OPTIONS = {verb.name: {option.name for option in verb.options} for verb in VERBS}
SESSIONS = {
    name or function.replace("_", "-")
    for name, function in re.findall(
        r'^@nox\.session(?:\(name="([\w-]+)"\))?\ndef (\w+)', (ROOT / "noxfile.py").read_text(), re.MULTILINE
    )
}


class Line(NamedTuple):
    """A row of one of the two tables; ``text`` may be empty, which is for a test to find."""

    table: str
    number: int
    capability: str
    state: str
    text: str

    def __str__(self) -> str:
        return f"{self.table} {self.number}"


def lines() -> Iterator[Line]:
    for table in ROWS:
        section = PAGE.partition(f"\n## {table}\n")[2].partition("\n## ")[0]
        for row in re.findall(r"^\| *(\d.*)\|$", section, re.MULTILINE):
            number, capability, state, *text = (cell.strip() for cell in row.split(" | "))
            yield Line(table, int(number), capability, state, " | ".join(text))


LINES = list(lines())
every = pytest.mark.parametrize("line", LINES, ids=str)


def commands(text: str) -> list[str]:
    """What stands as a command: of Invoke, of Nox, or of the package."""
    return [each for each in re.findall(r"`([^`]+)`", text) if re.match(r"(inv|nox -s|python -m ci) ", each)]


def files(text: str) -> list[str]:
    """Files of the checkout, with the test in them where one is named, and pages that are linked to."""
    quoted = re.findall(r"`([\w.-]+/[^`\s]*)`", text)
    named = [each for each in quoted if (ROOT / each.partition("/")[0]).is_dir()]
    return named + [f"docs/{each}" for each in re.findall(r"\]\(([^)#]+)[^)]*\)", text)]


def missing_file(named: str) -> str:
    """What is not there of ``path`` or ``path::test``; empty where all is."""
    path, _, test = named.partition("::")
    found = ROOT / path
    if not found.exists():
        return path
    return "" if not test or re.search(rf"^\s*def {test}\(", found.read_text(encoding="utf-8"), re.MULTILINE) else named


def missing_in(command: str) -> list[str]:
    """The words of a command that nobody would understand."""
    words = command.removeprefix("python -m ").split()
    if words[0] == "nox":
        return [] if words[2] in SESSIONS else words[2:3]
    if words[1] not in OPTIONS:
        return words[1:2]
    given = [word[2:] for word in words if word.startswith("--")]
    return [word for word in given if word not in OPTIONS[words[1]]]


@pytest.mark.parametrize("table", ROWS)
def test_every_row_of_upstreams_table_has_one_line_in_its_order(table: str) -> None:
    assert [line.number for line in LINES if line.table == table] == list(range(1, ROWS[table] + 1))


@every
def test_a_state_is_one_of_four(line: Line) -> None:
    assert line.state in STATES
    assert line.capability


@every
def test_what_is_not_done_says_what_is_missing(line: Line) -> None:
    if line.state == "done":
        return
    assert line.text
    if line.state == "unproven":
        assert re.search(r"\bneeds?\b", line.text), "what would prove it?"


@every
def test_what_is_done_names_a_command_or_a_file(line: Line) -> None:
    assert line.state != "done" or commands(line.text) or files(line.text)


@every
def test_everything_that_is_named_is_there(line: Line) -> None:
    assert [gone for each in files(line.text) if (gone := missing_file(each))] == []
    assert {each: words for each in commands(line.text) if (words := missing_in(each))} == {}


def test_the_names_are_found_in_the_first_place() -> None:
    """Else the tests above would hold for a page that they cannot read."""
    assert {"tests", "rocm-tests", "faults"} <= SESSIONS
    text = (
        "`inv plan --stack x`, `nox -s tests`, `tests/a.py::test_b`, [c](how-to/c.md#d), `--plan`, `inv`, `/app/e.txt`"
    )
    assert (commands(text), files(text)) == (
        ["inv plan --stack x", "nox -s tests"], ["tests/a.py::test_b", "docs/how-to/c.md"]
    )  # fmt: skip
    assert missing_file("tests/unit/test_parity.py::test_nowhere")
    assert missing_file("tests/nowhere.py") == "tests/nowhere.py"
    assert not missing_file("tests/unit/test_parity.py::missing_file")
    assert [missing_in(each) for each in ("inv paln", "inv plan --pish", "nox -s nothing", "python -m ci plan")] == [
        ["paln"], ["pish"], ["nothing"], []
    ]  # fmt: skip


def test_the_words_of_the_states_are_explained_on_the_page() -> None:
    assert re.findall(r"^- \*\*(.+?)\*\*: ", PAGE, re.MULTILINE) == list(STATES)
