"""Which steps a change selects, and the words for why each runs or does not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from ci.errors import ConfigError
from ci.pipeline import pools
from ci.pipeline.changes import changed
from ci.pipeline.pools import Pools
from ci.pipeline.select import Choice, Selection, Wish, asked, choose
from ci.providers.facts import Facts
from ci.recipe import stack as stacks
from ci.suites import catalogue
from ci.suites.catalogue import Catalogue
from ci.world.diffs import Diff
from ci.world.fakes import FakeRun

TODAY = date(2026, 11, 22)
STEPS = """\
schema: 1
runtime: cpu
steps:
  any: {summary: s, limits: {minutes: 1}, commands: [{run: ['true']}]}
  config:
    summary: s
    sources: [vllm/config, tests/test_sequence, docker/Dockerfile.rocm, setup.py]
    limits: {minutes: 1}
    commands: [{run: ['true']}]
  distributed:
    summary: s
    sources: [vllm/distributed/, '!vllm/distributed/kv_transfer/', third/lib/x.cc]
    profiles: [pr, nightly]
    limits: {minutes: 1}
    commands: [{run: ['true']}]
  long:
    summary: s
    profiles: [nightly]
    sources: [vllm/]
    limits: {minutes: 1}
    commands: [{run: ['true']}]
  retired: {summary: s, profiles: [], limits: {minutes: 1}, commands: [{run: ['true']}]}
  broken:
    summary: s
    skip: {reason: hangs, link: https://example.org/9, until: '2026-11-22'}
    limits: {minutes: 1}
    commands: [{run: ['true']}]
  mended:
    summary: s
    skip: {reason: hung, until: '2026-11-21'}
    sources: [vllm/]
    limits: {minutes: 1}
    commands: [{run: ['true']}]
suites: {all: {summary: s, steps: [any, config, distributed, long, retired, broken, mended]}}
"""
POOLS = """\
schema: 1
docs: [docs/, '**/*.md']
labels:
  ready: {profile: nightly, run_all: true}
  everything: {run_all: true}
  all-files: {profile: full}
pools: {cpu: {memory_gb: 8, builds: true}}
"""


def read(folder: Path, steps: str = STEPS, nodes: str = POOLS) -> tuple[Catalogue, Pools]:
    (folder / "s.yaml").write_text(steps)
    (folder / "p.yaml").write_text(nodes)
    return catalogue.read(folder / "s.yaml", ("test",)), pools.read(folder / "p.yaml", stacks.archs())


@pytest.fixture
def written(tmp_path: Path) -> tuple[Catalogue, Pools]:
    return read(tmp_path)


def select(
    written: tuple[Catalogue, Pools],
    *files: str,
    triggers: Mapping[str, str] | None = None,
    unknown: str = "",
    profile: str = "pr",
    only: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
) -> Selection:
    diff = Diff(tuple(sorted(files)), "c0ffee" + 34 * "0", unknown)
    return choose(written[0], diff, triggers or {}, Wish(profile, only, labels), pools=written[1], today=TODAY)


def why(found: Selection, step: str) -> tuple[bool, str]:
    return next((each.runs, each.why) for each in found.choices if each.step == step)


def running(found: Selection) -> list[str]:
    return [each.step for each in found.choices if each.runs]


SKIPPED = "skipped: hangs (until 2026-11-22, https://example.org/9)"


def test_every_step_has_an_answer_in_the_order_of_the_file(written: tuple[Catalogue, Pools]) -> None:
    found = select(written, "vllm/config/a.py", "README.md")
    assert found.choices == (
        Choice("any", True, "it names no sources: any change runs it"),
        Choice("config", True, "vllm/config/a.py matches its source vllm/config"),
        Choice("distributed", False, "none of 2 changed files matches its sources"),
        Choice("long", False, "not part of profile pr, only of nightly"),
        Choice("retired", False, "not part of profile pr, only of none"),
        Choice("broken", False, SKIPPED),
        Choice("mended", True, "vllm/config/a.py matches its source vllm/"),
    )
    assert (found.profile, found.everything) == ("pr", "")
    assert found.notices == ("step mended runs again: its skip ended on 2026-11-21 (hung)",)


@pytest.mark.parametrize(
    "file",
    ["tests/test_sequence.py", "vllm/config_utils.py", "docker/Dockerfile.rocm_72_base", "setup_py_helper"],
)
def test_a_source_ends_at_a_boundary(written: tuple[Catalogue, Pools], file: str) -> None:
    assert why(select(written, file), "config") == (False, f"{file} matches none of its sources")


def test_an_exclusion_counts_for_its_files_alone(written: tuple[Catalogue, Pools]) -> None:
    inside = "vllm/distributed/kv_transfer/x.py"
    assert not why(select(written, inside), "distributed")[0]
    both = select(written, inside, "vllm/distributed/comm.py")
    assert why(both, "distributed") == (True, "vllm/distributed/comm.py matches its source vllm/distributed/")


def test_a_submodule_on_the_way_to_a_source_selects(written: tuple[Catalogue, Pools]) -> None:
    found = why(select(written, "third/lib"), "distributed")
    assert found == (True, "third/lib, which its source third/lib/x.cc may lie below, changed")


def test_a_submodule_that_wildcards_enter_selects(tmp_path: Path) -> None:
    step = "{summary: s, sources: ['csrc/*/kern.cu'], limits: {minutes: 1}, commands: [{run: ['true']}]}"
    steps = f"schema: 1\nruntime: cpu\nsteps: {{a: {step}}}\nsuites: {{all: {{summary: s, steps: [a]}}}}\n"
    written = read(tmp_path, steps)
    diff = Diff(("csrc/sub",), "c0ffee")
    for links, runs in (((), False), (("csrc/sub",), True)):
        found = choose(written[0], diff._replace(links=links), {}, Wish(), pools=written[1], today=TODAY)
        assert why(found, "a")[0] == runs
    assert why(found, "a")[1] == "csrc/sub, which its source csrc/*/kern.cu may lie below, changed"


def test_documents_alone_run_nothing(written: tuple[Catalogue, Pools]) -> None:
    found = select(written, "docs/conf.py", "vllm/README.md", triggers={"docs/conf.py": "an input"})
    assert running(found) == []
    assert why(found, "any") == (False, "only documents changed")
    assert running(select(written, "docs/conf.py", "x.txt")) == ["any"]


def test_no_change_runs_nothing_and_says_so(written: tuple[Catalogue, Pools]) -> None:
    found = select(written)
    assert running(found) == []
    assert why(found, "any") == (False, "no file changed")
    assert found.notices[0] == "no file changed since c0ffee000000: nothing is run"


def test_a_change_that_is_not_known_runs_all_and_says_so(written: tuple[Catalogue, Pools]) -> None:
    found = select(written, unknown="this clone is shallow; fetch more: --deepen 200")
    assert running(found) == ["any", "config", "distributed", "mended"]
    words = "what changed is not known: this clone is shallow; fetch more: --deepen 200"
    assert (found.everything, why(found, "config")) == (words, (True, words))
    assert why(found, "broken") == (False, SKIPPED)


def test_a_file_that_all_depends_on_runs_all(written: tuple[Catalogue, Pools]) -> None:
    triggers = {"b.txt": "the pins", "a\n.txt": "an input of ci-base (Dockerfile:3)"}
    found = select(written, "a\n.txt", "b.txt", triggers=triggers)
    assert running(found) == ["any", "config", "distributed", "mended"]
    assert found.everything == r"'a\n.txt' changed: an input of ci-base (Dockerfile:3), and 1 more such files"
    assert why(found, "long")[0] is False


def test_a_nightly_runs_what_is_its_own_whatever_changed(written: tuple[Catalogue, Pools]) -> None:
    found = select(written, profile="nightly")
    assert running(found) == ["any", "config", "distributed", "long", "mended"]
    assert (found.profile, why(found, "long")) == ("nightly", (True, "profile nightly"))


def test_full_runs_every_step_of_the_file_but_the_skipped(written: tuple[Catalogue, Pools]) -> None:
    assert running(select(written, profile="full")) == ["any", "config", "distributed", "long", "retired", "mended"]


def test_a_step_that_is_not_of_main_does_not_run_there(written: tuple[Catalogue, Pools]) -> None:
    found = why(select(written, "vllm/distributed/a.py", profile="main"), "distributed")
    assert found == (False, "not part of profile main, only of pr, nightly")


def test_only_runs_these_whatever_the_profile_and_the_change(written: tuple[Catalogue, Pools]) -> None:
    found = select(written, "docs/a.md", only=("long", "broken"), unknown="x", triggers={"docs/a.md": "y"})
    assert running(found) == ["long"]
    assert why(found, "long") == (True, "--only asks for it")
    assert why(found, "any") == (False, "--only asks for others")
    assert why(found, "broken") == (False, SKIPPED)
    assert found.everything == ""
    assert f"step broken does not run, although --only asks for it: {SKIPPED[9:]}" in found.notices


def test_a_list_that_only_takes_back_would_never_run_its_step(tmp_path: Path) -> None:
    steps = STEPS.replace("sources: [vllm/]", "sources: ['!vllm/old/', '!docs/']", 1)
    with pytest.raises(ConfigError, match="a list of ! alone lets no file in") as caught:
        select(read(tmp_path, steps), "vllm/a.py")
    (problem,) = caught.value.problems
    assert problem.place is not None
    assert problem.place.line == steps[: steps.index("'!vllm/old/'")].count("\n") + 1


def test_an_unknown_step_is_refused_with_a_suggestion(written: tuple[Catalogue, Pools]) -> None:
    with pytest.raises(ConfigError) as caught:
        select(written, only=("confg", "long", "nothing-like-it"))
    assert [each.message for each in caught.value.problems] == [
        "s.yaml has no step 'confg'",
        "s.yaml has no step 'nothing-like-it'",
    ]
    assert "did you mean config" in caught.value.problems[0].hint


def test_labels_ask_for_more(written: tuple[Catalogue, Pools]) -> None:
    found = select(written, "x.txt", labels=("documentation", "everything"))
    assert (running(found), found.everything) == (["any", "config", "distributed", "mended"], "label everything")
    found = select(written, labels=("ready",))
    assert (found.profile, found.notices[0]) == ("nightly", "label ready makes it profile nightly, not pr")
    assert running(found) == ["any", "config", "distributed", "long", "mended"]
    assert asked(Wish("full", (), ("ready",)), written[1]).profile == "full"
    assert asked(Wish("pr", (), ("ready", "all-files")), written[1]).profile == "full"
    assert asked(Wish("main", (), ("unheard-of",)), written[1]) == ("main", "", ())


def test_patterns_that_cannot_be_meant_are_refused_all_at_once(tmp_path: Path) -> None:
    steps = STEPS.replace("'!vllm/distributed/kv_transfer/'", "../x").replace("setup.py]", "'a**b']")
    broken = read(tmp_path, steps, POOLS.replace("docs/,", "/docs,"))
    with pytest.raises(ConfigError) as caught:
        select(broken, "x")
    places = [(each.place.file, each.place.line) for each in caught.value.problems if each.place]
    assert places == [("s.yaml", 7), ("s.yaml", 12), ("p.yaml", 2)]


def test_the_same_input_gives_the_same_answer(written: tuple[Catalogue, Pools]) -> None:
    files = [f"vllm/{number}.py" for number in range(50)]
    assert select(written, *files) == select(written, *reversed(files))


# --- what a change is counted from --------------------------------------------------------------


def test_no_repository_is_an_unknown_change(written: tuple[Catalogue, Pools]) -> None:
    answers = {
        "fatal: not a git repository": "there is no git repository here",
        "fatal: dubious ownership\n\tgit config --add safe.directory /x\n": "owns it: git config --add safe",
    }
    asking = ("git", "-C", str(Path.cwd()), "rev-parse", "--show-toplevel", "--is-shallow-repository")
    for said, expected in answers.items():
        git = FakeRun({asking: (128, "", said)})
        assert expected in changed(None, Wish(), written[1], start=git).unknown


@pytest.mark.parametrize("wish", [Wish("nightly"), Wish("full"), Wish(only=("any",)), Wish(labels=("everything",))])
def test_git_is_not_asked_where_no_change_matters(written: tuple[Catalogue, Pools], wish: Wish) -> None:
    assert changed(None, wish, written[1], base="main", facts=Facts("buildkite", "x")) == Diff()


def test_a_catalogue_of_hundreds_is_decided_by_its_own_sources(tmp_path: Path) -> None:
    one = "  {name}: {{summary: s, sources: [{source}], limits: {{minutes: 1}}, commands: [{{run: ['true']}}]}}\n"
    names = [f"s{number}" for number in range(250)]
    body = "".join(one.format(name=name, source=f"area{number}/") for number, name in enumerate(names))
    tail = f"suites: {{all: {{summary: s, steps: [{', '.join(names)}]}}}}\n"
    made = read(tmp_path, f"schema: 1\nruntime: cpu\nsteps:\n{body}{tail}")
    found = select(made, *(f"area{number}/x.py" for number in range(0, 250, 2)))
    assert running(found) == names[::2]
