"""The timeline of a run: what stands where, what is said of it, and that no name can do anything."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ci.answer import Answer
from ci.call import Call
from ci.door import _draw
from ci.errors import Outcome
from ci.report.lanes import lanes, totals
from ci.report.timeline import FILE, TEMPLATE, Drawn, page
from ci.verbs import VERBS
from ci.world.fakes import FakeClock
from ci.world.ledger import Ledger
from ci.world.spans import Span

RUN = Span("run", "test all", 0, 100)
EVIL = '</script><img src=x onerror="alert(1)">{{data}}<!--'


def numbered(*spans: Span) -> list[Span]:
    return [each._replace(number=number) for number, each in enumerate(spans, 1)]


def drawn(*spans: Span, **options: Any) -> Drawn:
    given: dict[str, Any] = {"outcome": Outcome.OK, "seconds": 100.0} | options
    return Drawn("test", Path("/state/runs/r1"), spans=numbered(*spans), **given)


class Reader(HTMLParser):
    """What a browser finds: tags with their attributes, and the text in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.tags[-1][0] if self.tags else "", []).append(data)

    def attribute(self, tag: str, name: str) -> list[str | None]:
        return [attributes[name] for each, attributes in self.tags if each == tag and name in attributes]

    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.texts["script"][0])
        return found

    def text(self) -> str:
        return "".join("".join(texts) for tag, texts in self.texts.items() if tag not in {"script", "style"})


def shown(spans: Sequence[Span]) -> list[tuple[int, str, list[tuple[str, int]]]]:
    return [(row.depth, row.name, [(bar.name, track) for bar, track in row.bars]) for row in lanes(RUN, spans)]


# --- lanes ------------------------------------------------------------------------------------


def test_a_build_has_a_lane_for_each_tier_and_stage_and_bars_for_the_rest() -> None:
    spans = numbered(
        Span("plan", "plan of ci-base", 0, 1),
        Span("tier", "ci-base", 1, 50),
        Span("stage", "late", 20, 40, parent=2),
        Span("stage", "early", 5, 20, parent=2),
        Span("instruction", "1/2 RUN a", 5, 12, parent=4),
        Span("instruction", "2/2 RUN b", 12, 20, parent=4),
        Span("push", "r:1", 40, 50, parent=2),
    )
    assert shown(spans) == [
        (0, "test all", [("plan of ci-base", 0)]),
        (1, "tier ci-base", [("r:1", 0)]),
        (2, "early", [("1/2 RUN a", 0), ("2/2 RUN b", 0)]),
        (2, "late", [("late", 0)]),
    ]


def test_bars_that_overlap_lie_above_each_other_and_a_track_is_used_again() -> None:
    bars = [(0, 10), (2, 4), (3, 9), (4.001, 8), (10, 12)]
    spans = numbered(*(Span("command", str(place), *bar) for place, bar in enumerate(bars)))
    (row,) = lanes(RUN, spans)
    assert [(bar.name, track) for bar, track in row.bars] == [("0", 0), ("1", 1), ("2", 2), ("3", 1), ("4", 0)]
    assert row.tracks == 3


def test_shards_stand_together_below_their_step_in_the_order_of_their_numbers() -> None:
    spans = numbered(
        Span("step", "kernels", 5, 30, shard="2/10", why=("1 failed",), outcome=Outcome.FAILED),
        Span("step", "models", 6, 20),
        Span("step", "kernels", 7, 40, shard="10/10"),
        Span("step", "kernels", 8, 25, shard="1/10"),
        Span("step", "alone", 9, 25, shard="1/2"),
    )
    rows = lanes(RUN, spans)
    assert [(row.depth, row.name) for row in rows[1:]] == [
        (1, "kernels, 3 shards"), (2, "kernels 1/10"), (2, "kernels 2/10"), (2, "kernels 10/10"),
        (1, "models"), (1, "alone 1/2"),
    ]  # fmt: skip
    whole = rows[1].span
    assert (whole.start, whole.end, whole.outcome, whole.why) == (5, 40, Outcome.FAILED, ("2/10: 1 failed",))


def test_a_gpu_has_a_lane_with_the_steps_that_held_it() -> None:
    spans = numbered(
        Span("step", "kernels", 0, 30),
        Span("lease", "wait for 2 GPU(s)", 0, 5, parent=1),
        Span("gpus", "g0, g1", 5, 30, parent=1, gpus=("g1", "g0")),
        Span("command", "pytest", 6, 30, parent=3),
        Span("step", "models", 30, 60, outcome=Outcome.FAILED),
        Span("gpus", "g1", 40, 60, parent=5, gpus=("g1",)),
    )
    assert shown(spans) == [
        (0, "test all", [("test all", 0)]),
        (1, "GPU g0", [("kernels", 0)]),
        (1, "GPU g1", [("kernels", 0), ("models", 0)]),
        (1, "kernels", [("wait for 2 GPU(s)", 0), ("pytest", 0)]),
        (1, "models", [("models", 0)]),
    ]
    on_g1 = lanes(RUN, spans)[2]
    assert [(bar.start, bar.end, bar.outcome) for bar, _ in on_g1.bars] == [
        (5, 30, Outcome.OK), (40, 60, Outcome.FAILED),
    ]  # fmt: skip
    assert on_g1.span.why == ("held 45.0 s",)


def test_tries_are_told_only_where_there_were_several() -> None:
    once = numbered(Span("step", "a", 0, 9), Span("try", "try 1", 0, 9, parent=1), Span("command", "c", 1, 9, parent=2))
    assert shown(once)[1] == (1, "a", [("c", 0)])
    twice = [*once, Span("try", "try 2", 9, 12, number=4, parent=1), Span("command", "d", 10, 12, number=5, parent=4)]
    assert shown(twice)[1] == (1, "a", [("try 1", 0), ("c", 1), ("try 2", 0), ("d", 1)])


def test_nothing_lies_outside_the_run_and_nobody_without_a_parent_is_lost() -> None:
    spans = numbered(Span("tier", "a", -5, 300), Span("stage", "b", 120, 130, parent=77))
    rows = lanes(RUN, spans)
    assert [(row.depth, row.name, row.span.start, row.span.end) for row in rows[1:]] == [
        (1, "tier a", 0, 100), (1, "b", 100, 100),
    ]  # fmt: skip


def test_totals() -> None:
    spans = numbered(
        Span("step", "a", 0, 1), Span("step", "b", 0, 1), Span("step", "c", 0, 1, Outcome.FAILED),
        Span("step", "d", 0, 0, Outcome.SKIPPED), Span("tier", "t", 0, 1, cached=True), Span("command", "x", 0, 1),
        Span("stage", "s", 0, 1, cached=True), Span("stage", "s", 0, 1),
    )  # fmt: skip
    assert totals(spans) == "4 steps: 1 failed, 2 ok, 1 skipped · 1 tier, 1 reused · 2 stages, 1 cached"
    assert totals([]) == ""


# --- the page ---------------------------------------------------------------------------------


def test_no_name_can_leave_its_place() -> None:
    spans = [
        Span("step", EVIL, 0, 9, Outcome.FAILED, (EVIL,), shard="1/2", gpus=(EVIL,), log=f"/state/runs/r1/{EVIL}"),
        Span("command", EVIL, 0, 9, parent=1),
        Span("gpus", EVIL, 0, 9, parent=1, gpus=(EVIL,)),
    ]
    options = {"outcome": Outcome.FAILED, "why": (EVIL,), "replays": {(EVIL, "1/2"): EVIL}, "lost": EVIL}
    evil, tame = (Reader(page(drawn(*each, **options))) for each in (spans, [s._replace(name="n") for s in spans]))
    assert not {tag for tag, _ in evil.tags} & {"img", "iframe", "object", "base", "form", "input", "svg"}
    assert [tag for tag, _ in evil.tags if tag != "code"] == [tag for tag, _ in tame.tags if tag != "code"]
    assert not [name for _, attributes in evil.tags for name in attributes if name.startswith("on")]
    bar = next(each for each in evil.data()["spans"] if each["what"] == "step" and not each["name"].startswith("GPU"))
    assert (bar["name"], bar["why"], bar["replay"], bar["log"]) == (EVIL, [EVIL], EVIL, EVIL)
    assert EVIL in evil.text()


def test_control_characters_and_halves_of_characters_are_shown_as_something_harmless() -> None:
    text = page(drawn(Span("step", "a\x1b[31m\u202eb\udcff", 0, 9, why=("\x00\udc80",))))
    assert text.encode(), "a page that cannot be written is none"
    assert not re.search("[\x00-\x08\x1b\u202e]", text)


def test_the_policy_lets_only_the_page_itself_run_and_asks_nobody() -> None:
    text = page(drawn(Span("step", "a", 0, 9)))
    found = Reader(text)
    policy = found.attribute("meta", "content")[0] or ""
    rules = dict(each.strip().split(" ", 1) for each in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for tag, body in (("script", text.rpartition("<script>")[2]), ("style", text.partition("<style>")[2])):
        digest = hashlib.sha256(body.partition(f"</{tag}>")[0].encode()).digest()
        assert rules[f"{tag}-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert not found.attribute("script", "src") + found.attribute("link", "href") + found.attribute("img", "src")
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp|eval\(|innerHTML", text)
    assert [tag for tag, attributes in found.tags if "style" in attributes] == [], "the policy forbids them"


def test_an_empty_run_is_a_page_that_says_so() -> None:
    found = Reader(page(drawn(outcome=Outcome.INTERRUPTED, seconds=0.0, why=("stopped by signal 2",))))
    assert "test: interrupted in 0.0 s" in found.text()
    assert "No step and no tier was begun." in found.text()
    assert "stopped by signal 2" in found.text()
    assert [row["name"] for row in found.data()["lanes"]] == ["test"]
    assert found.data()["seconds"] > 0, "nothing is divided by zero"


def test_what_failed_stands_above_the_chart_with_its_reason_and_the_command_that_runs_it() -> None:
    spans = [
        Span("step", "well", 0, 9),
        Span("step", "left", 0, 5, Outcome.INTERRUPTED, ("stopped",)),
        Span("step", "kernels", 0, 9, Outcome.FAILED, ("1 failed",), shard="1/2"),
        Span("step", "kernels", 0, 9, shard="2/2"),
        Span("command", "pytest", 0, 9, Outcome.FAILED, parent=3),
    ]
    replays = {("kernels", "1/2"): "python -m ci test all --only kernels --shard 1/2"}
    text = page(drawn(*spans, outcome=Outcome.FAILED, replays=replays))
    bad = text.partition('<section id="bad"')[2].partition("</section>")[0]
    assert re.findall(r"<li>(.*)</li>", bad) == [
        f'<strong>failed</strong> kernels 1/2: 1 failed<code class="replay">{replays["kernels", "1/2"]}</code>',
        "<strong>interrupted</strong> left: stopped",
    ]
    assert '<section id="bad"' not in page(drawn(*spans[:1]))


def test_ten_failures_are_told_and_the_rest_counted() -> None:
    text = page(drawn(*(Span("step", f"s{n}", 0, 1, Outcome.TIMEOUT) for n in range(15)), outcome=Outcome.TIMEOUT))
    assert text.count("<strong>timeout</strong>") == 10
    assert "and 5 more" in text


@pytest.mark.parametrize(
    ("span", "look", "mark", "bad"),
    [
        (Span("step", "a", 0, 9), "ok", "9.0 s", False),
        (Span("tier", "a", 0, 9, cached=True), "cached", "cached 9.0 s", False),
        (Span("step", "a", 0, 0, Outcome.SKIPPED), "skipped", "skipped", False),
        (Span("step", "a", 0, 9, Outcome.FAILED, cached=True), "failed", "failed 9.0 s", True),
        (Span("tier", "a", 0, 9, Outcome.CONTRACT), "failed", "contract 9.0 s", True),
        (Span("step", "a", 0, 9, Outcome.TIMEOUT), "not done", "timeout 9.0 s", True),
        (Span("step", "a", 0, 9, Outcome.INTERRUPTED), "interrupted", "interrupted 9.0 s", True),
    ],
)
def test_an_outcome_is_a_look_and_a_word(span: Span, look: str, mark: str, bad: bool) -> None:
    found = Reader(page(drawn(span)))
    row = found.data()["lanes"][1]
    assert (row["mark"], row["bad"], found.data()["spans"][row["span"]]["look"]) == (mark, bad, look)
    assert f'data-state="{look}"' in page(drawn(span)), "the legend has it"
    assert f'[data-state="{look}"]' in TEMPLATE.read_text() or look == "ok", "the style has it"


def test_every_span_is_in_the_table_for_whoever_has_no_scripts() -> None:
    spans = [Span("tier", "ci-base", 1, 5), Span("push", "r:1", 2, 5, parent=1), Span("gpus", "g", 1, 5, gpus=("g0",))]
    text = page(drawn(*spans))
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in text.splitlines() if line.startswith("<tr><td>")]
    assert cells == [
        ["run", "test", "0.0 s", "1 min 40 s", "ok", ""],
        ["GPU", "g0", "1.0 s", "4.0 s", "ok", "held 4.0 s"],
        ["run", "test", "1.0 s", "4.0 s", "ok", ""],
        ["tier", "ci-base", "1.0 s", "4.0 s", "ok", ""],
        ["push", "r:1", "2.0 s", "3.0 s", "ok", ""],
    ]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.05, ["0 s", "0.01 s", "0.02 s", "0.03 s", "0.04 s"]),
        (3, ["0 s", "0.5 s", "1 s", "1.5 s", "2 s", "2.5 s"]),
        (100, ["0 s", "20 s", "40 s", "1 min", "1 min 20 s"]),
        (7300, ["0 s", "20 min", "40 min", "1 h", "1 h 20 min", "1 h 40 min"]),
        (3e6, ["0 s", "119 h 03 min", "238 h 06 min"]),
    ],
)
def test_the_axis_names_round_moments(seconds: float, expected: list[str]) -> None:
    ticks = Reader(page(drawn(seconds=seconds))).data()["ticks"]
    assert [text for _, text in ticks][: len(expected)] == expected
    assert len(ticks) <= 8


# --- at the end of a run ----------------------------------------------------------------------


def ended(folder: Path, said: Any, **document: Any) -> Ledger:
    """The end of a run that did one step."""
    ledger = Ledger(folder, FakeClock())
    ledger.spans.record(Span("step", "kernels", 0, 0, Outcome.FAILED, shard="1/2"))
    call = Call(VERBS[0], {}, said)
    _draw(call, ledger, Answer(Outcome.FAILED, "", document))
    return ledger


def test_the_end_of_a_run_leaves_the_page_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    steps = [{"name": "kernels", "shard": "1/2", "replay": "ci test --only kernels"}, {"name": "x", "shard": ""}]
    ended(tmp_path, sys.stderr, steps=steps, problems=[{"message": "it broke"}])
    text = (tmp_path / FILE).read_text()
    assert f"timeline: {tmp_path / FILE}\n" in capsys.readouterr().err
    assert '<code class="replay">ci test --only kernels</code>' in text
    assert "it broke" in text


def test_a_page_that_cannot_be_written_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    (tmp_path / FILE).mkdir()
    ended(tmp_path, sys.stderr)
    ended(tmp_path, sys.stderr, steps=[{"replay": "no name"}])
    told = capsys.readouterr().err
    assert told.count("warning: there is no timeline of this run: ") == 2
    assert "timeline: /" not in told


def test_a_run_that_did_nothing_that_takes_time_has_no_page(tmp_path: Path) -> None:
    _draw(Call(VERBS[0], {}, None), Ledger(tmp_path, FakeClock()), Answer(Outcome.OK, "", {}))
    assert list(tmp_path.iterdir()) == []
