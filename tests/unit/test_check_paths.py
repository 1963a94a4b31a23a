"""``check`` on the files that steps name, and on globs: with a tree under test."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ci.check import loading, material
from ci.check import look as looking
from ci.check.material import Given
from ci.check.rules import apply
from ci.check.tree import Tree
from ci.errors import ConfigError, Outcome
from ci.recipe.stack import HOME
from ci.settings import capture
from ci.suites import catalogue
from ci.world.process import Command, Finished
from tests.unit.check_recipe import TODAY, no_git
from tests.unit.check_suites import POOLS, look, step

A = "[{pytest: [-v, a/test_a.py]}]"


def pytests(*words: str) -> str:
    return f"[{{pytest: [{', '.join(words)}]}}]"


# --- listed-paths -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "shown", "near"),
    [
        # Upstream's pipeline listed tests/compile/passes/distributed/, which was nowhere: #41573.
        ({"commands": pytests("passes/deep")}, "passes/deep", "tests/b/deep/"),
        ({"commands": pytests("a/test_aa.py")}, "a/test_aa.py", "tests/a/test_a.py"),
        ({"commands": pytests("'a/gone.py::test_a'")}, "'a/gone.py::test_a'", "tests/a/"),
        ({"commands": pytests("/ws/tests/c")}, "/ws/tests/c", "tests/"),
        ({"commands": pytests("a/test_a.py", "--list=a/lists/x.txt")}, "--list=a/lists/x.txt", "tests/a/"),
        ({"commands": pytests("a/test_a.py", "--example=/ws/pkg/cor.py")}, "--example=/ws/pkg/cor.py", "pkg/core.py"),
        ({"commands": pytests("a/test_a.py", "--ignore=a/test_x.py")}, "--ignore=a/test_x.py", "tests/a/test_a.py"),
        ({"commands": pytests("--forked", "z")}, "z", "tests/"),
        ({"commands": pytests("-rp", "z")}, "z", "tests/"),
        ({"commands": "[{run: [./go.sh]}]"}, "./go.sh", "tests/"),
        ({"commands": "[{run: [python3, a/tool.py]}]"}, "a/tool.py", "tests/a/"),
        ({"commands": "[{run: [python3, -m, pytest, z]}]"}, "z", "tests/"),
        ({"commands": "[{shell: 'cd a && pytest test_z.py'}]"}, "'cd a", "tests/a/test_a.py"),
        ({"commands": "[{run: [timeout, '60', pytest, -q, z/y]}]"}, "z/y", "tests/"),
        ({"cpu": f"{{commands: {pytests('z')}}}"}, "z", "tests/"),
        ({"archs": f"{{gfx942: {{commands: {pytests('z')}}}}}"}, "z", "tests/"),
        ({"workdir": "/ws/test", "commands": "[{run: [true-ish]}]"}, "/ws/test", "tests/"),
        ({"skips": '[{test: a/test_z.py, reason: x, until: "2027-01-01"}]'}, "a/test_z.py", "tests/a/test_a.py"),
    ],
)
def test_a_path_that_is_not_there(tmp_path: Path, keys: dict[str, str], shown: str, near: str) -> None:
    got = look(tmp_path, step(**keys))
    (found,) = got.where("listed-paths")
    assert found[0] == "no-path"
    assert found[1].startswith(shown)
    assert got.hints("listed-paths") == [f"did you mean {near}?"]


@pytest.mark.parametrize(
    "commands",
    [
        A,
        pytests("a", "b/deep/test_c.py::test_c"),
        pytests(".", "--junitxml=/ws/out/x.xml", "-k", "test_a", "-m", "not slow", "-p", "no:x"),
        pytests("a/test_a.py", "--timeout", "'60'", "-n", "'4'", "-sv", "-rA", "-o", "x=y", "--json-out=a/made.json"),
        pytests("a/test_a.py", "--needs", "z/y"),
        pytests("'$TESTS/x.py'", "'a/*.py'", "/opt/elsewhere/test_x.py", "a"),
        pytests("--pyargs", "pkg.core"),
        pytests("a/test_a.py", "'--args=--model=Owner/Name'"),
        pytests("'{suite}/test_smoke.py'"),
        "[{run: [tool, results.json, a/made.json, one/two, --flag]}]",
        "[{run: [./run.sh]}, {run: [python3, /ws/pkg/core.py]}]",
        "[{shell: 'for x in one two; do pytest a/test_$x.py > a/log.txt; done'}]",
        "[{shell: 'cd a && pytest test_a.py && cd .. && pytest b'}]",
        "[{shell: 'find a -name \"test_*.py\" -exec pytest -v {} \\;'}]",
    ],
)
def test_a_path_that_is_there_and_what_is_none(tmp_path: Path, commands: str) -> None:
    assert look(tmp_path, step(commands=commands)).findings == ()


def test_shipped_test_files_count_without_a_source_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree").mkdir()
    monkeypatch.chdir(tmp_path / "tree")
    got = look(tmp_path, step(workdir="", commands=pytests("test_smok.py")), given=Given())
    assert [reference for reference, _ in got.where("listed-paths")] == ["no-path"]
    assert got.hints("listed-paths") == ["did you mean test_smoke.py?"]
    got = look(tmp_path / "2", step(workdir="", commands=pytests("serving.py")), given=Given())
    assert [reference for reference, _ in got.where("nothing-collected")] == ["nothing-collected"]


def test_quarantined_tests_have_to_be_there(tmp_path: Path) -> None:
    tail = 'quarantine:\n  - {{test: "{}", reason: x, owner: me, until: "2027-01-01"}}\n'
    assert look(tmp_path, tail=tail.format("a/test_a.py::TestB::test_b[1-x]")).findings == ()
    got = look(tmp_path / "2", tail=tail.format("a/test_a.py::TestB::test_z"))
    assert got.where("listed-paths")[0][0] == "no-test"
    assert look(tmp_path / "3", tail=tail.format("a/test_zz.py::test_a")).where("listed-paths")[0][0] == "no-path"


# --- elsewhere --------------------------------------------------------------------------------------

ELSEWHERE = "runtime: rocm\nworkspace: /ws\nelsewhere: [{pattern: '(?m)^if not cuda', reason: for CUDA only}]\n"
CUDA = "if not cuda:\n    skip()\n\n\ndef test_x():\n    pass\n"
ONLY_CUDA = {
    "tests/c/test_x.py": CUDA,
    "tests/c/helper.py": "",
    "tests/d/test_x.py": CUDA,
    "tests/d/test_y.py": "def test_y(): ...",
}


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ({"commands": pytests("c/test_x.py")}, "c/test_x.py"),
        ({"commands": pytests("c/test_x.py::test_x")}, "c/test_x.py"),
        ({"commands": pytests("c")}, "c]"),
        ({"commands": pytests("d/test_x.py", "d/test_y.py")}, "d/test_x.py"),
    ],
)
def test_tests_for_another_platform(tmp_path: Path, keys: dict[str, str], shown: str) -> None:
    got = look(tmp_path, step(**keys), head=ELSEWHERE, source=ONLY_CUDA)
    assert [each.rule for each in got.findings] == ["elsewhere"]
    assert got.where("elsewhere")[0][1].startswith(shown)
    assert "for CUDA only" in got.messages("elsewhere")[0]


@pytest.mark.parametrize(
    "keys",
    [
        {"commands": pytests("d")},
        {"commands": pytests("d/test_y.py")},
        {"commands": pytests("c/test_x.py"), "skip": '{reason: x, until: "2027-01-01"}'},
        {"commands": pytests("c/test_x.py"), "skips": '[{test: c/test_x.py, reason: x, until: "2027-01-01"}]'},
    ],
)
def test_tests_for_this_platform_or_left_out(tmp_path: Path, keys: dict[str, str]) -> None:
    assert look(tmp_path, step(**keys), head=ELSEWHERE, source=ONLY_CUDA).findings == ()


def test_a_pattern_that_is_none(tmp_path: Path) -> None:
    head = "runtime: rocm\nworkspace: /ws\nelsewhere: [{pattern: '(', reason: x}]\n"
    assert look(tmp_path, head=head).where("elsewhere") == [("bad-pattern", "'(', reason: x}]")]


PATTERNS = [
    re.compile(each.pattern)
    for each in catalogue.read(HOME / "suites" / "vllm.yaml", ("base", "ci-base", "test"), ("deepep",)).elsewhere
]
MODULES = {
    'if not current_platform.is_cuda():\n    pytest.skip("no", allow_module_level=True)\n': True,
    'if not current_platform.is_cuda():\n    # why\n    pytest.skip(\n        "no",\n    )\n': True,
    'if current_platform.is_rocm():\n    pytest.skip("no", allow_module_level=True)\n': True,
    'pytestmark = pytest.mark.skipif(not current_platform.is_cuda(), reason="no")\n': True,
    "pytestmark = [\n    pytest.mark.skipif(\n        current_platform.is_rocm(), reason='no'),\n]\n": True,
    'def test_x():\n    if not current_platform.is_cuda():\n        pytest.skip("no")\n': False,
    '@pytest.mark.skipif(not current_platform.is_cuda(), reason="no")\ndef test_x(): ...\n': False,
    "pytestmark = pytest.mark.skipif(not current_platform.is_cuda() and not other(), reason='')": False,
    "if not current_platform.is_cuda():\n    FLAG = 1\n\npytest.skip('x')\n": False,
    "if current_platform.is_cuda():\n    pytest.skip('x')\n": False,
}


@pytest.mark.parametrize("text", MODULES)
def test_how_the_shipped_patterns_read_a_module(text: str) -> None:
    assert any(pattern.search(f"import pytest\n\n{text}") for pattern in PATTERNS) is MODULES[text]


# --- nothing-collected ------------------------------------------------------------------------------

SETS = {
    "tests/e/test_none.py": "import os\n\n\ndef check():\n    pass\n\n\nclass Base:\n    def test_a(self): ...\n",
    "tests/e/test_empty.py": "class TestNothing:\n    pass\n",
    "tests/f/data.py": "",
    "tests/g/test_made.py": "globals()['test_x'] = lambda: None\n",
    "tests/g/test_star.py": "from .shared import *\n",
    "tests/g/test_named.py": "from .shared import test_x\n",
    "tests/g/test_case.py": "class Case(unittest.TestCase):\n    def test_x(self): ...\n",
    "tests/g/test_heir.py": "class TestHeir(Base): ...\n",
    "tests/g/test_if.py": "if True:\n    def test_x(): ...\n",
    "tests/g/test_bad.py": "def (\n",
    "tests/h/test_p.py": "@pytest.mark.parametrize('x', names())\ndef test_p(x): ...\n",
    "tests/i/conftest.py": "def pytest_collect_file(): ...\n",
    "tests/i/test_none.py": "",
    "tests/j/conftest.py": "def pytest_collection_modifyitems(items): ...\n",
    "tests/j/test_none.py": "",
}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["e/test_none.py"], "no test function"),
        (["e/test_empty.py"], "no test function"),
        (["e"], "no test function"),
        (["a/helper.py"], "no test function"),
        (["j/test_none.py"], "no test function"),
        (["f"], "no file below it is called test_"),
        (["a/test_a.py::test_z"], "it has no test_z"),
        (["'a/test_a.py::TestB::test_z[1]'"], "it has no TestB::test_z"),
        (["a/test_a.py", "-k", "nowhere"], "-k 'nowhere' names nothing"),
        (["a/test_a.py", "-k", "'test_a and nowhere'"], "names nothing"),
        (["a", "-k", "'nowhere or (neither)'"], "names nothing"),
        (["-knowhere", "a/test_a.py"], "names nothing"),
    ],
)
def test_what_pytest_would_collect_nothing_from(tmp_path: Path, words: list[str], why: str) -> None:
    got = look(tmp_path, step(commands=pytests(*words)), source=SETS)
    assert [each.rule for each in got.findings] == ["nothing-collected"]
    assert why in got.messages("nothing-collected")[0]


@pytest.mark.parametrize(
    "words",
    [
        ["a/test_a.py::test_a", "a/test_a.py::TestB::test_b"],
        *([f"g/{name}"] for name in ("test_made.py", "test_star.py", "test_named.py", "test_case.py", "test_heir.py")),
        ["g/test_if.py", "g/test_bad.py", "g/test_heir.py::TestHeir::test_anything"],
        ["a/test_a.py", "-k", "TESTB"],
        ["a/test_a.py", "-k", "'not nowhere'"],
        ["a/test_a.py", "-k", "'nowhere or test_b'"],
        ["a/test_a.py", "-k", "\"not 'a b'\""],
        ["h/test_p.py", "-k", "nowhere"],
        ["i/test_none.py"],
        ["-o", "python_functions=check", "e/test_none.py"],
        ["--doctest-modules", "f"],
    ],
)
def test_what_pytest_may_collect_something_from(tmp_path: Path, words: list[str]) -> None:
    assert look(tmp_path, step(commands=pytests(*words)), source=SETS).findings == ()


def test_a_setting_may_change_what_is_a_test(tmp_path: Path) -> None:
    source = {**SETS, "pyproject.toml": "[tool.pytest.ini_options]\npython_functions = ['check']\n"}
    assert look(tmp_path, step(commands=pytests("e/test_none.py")), source=source).findings == ()
    allowed = "[{pytest: [e/test_none.py], allow_empty: true}]"
    assert look(tmp_path / "2", step(commands=allowed), source=SETS).findings == ()


# --- uncovered --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "commands"),
    [
        ("[pkg/]", A),
        ("[tests/b/, pkg/]", A),
        ("[tests/, '!tests/a/']", A),
        ("[tests/a/helper.py]", A),
        ("[tests/a/]", pytests(".")),
        ("[pkg/]", "[{shell: 'cd a && pytest test_a.py'}]"),
        ("[pkg/]", "[{run: [./run.sh]}]"),
    ],
)
def test_a_test_that_no_source_of_its_step_matches(tmp_path: Path, sources: str, commands: str) -> None:
    got = look(tmp_path, step(sources=sources, commands=commands))
    assert [(each.rule, each.problem.reference) for each in got.findings] == [("uncovered", "uncovered-test")]


@pytest.mark.parametrize(
    ("sources", "commands"),
    [
        ("", A),
        ("[tests/a/]", A),
        ("[tests/]", pytests(".")),
        ("['tests/**/test_*.py']", pytests(".")),
        ("[tests/a/]", pytests(".", "--ignore=b")),
        ("[tests/, '!tests/a/helper.py']", A),
        ("[pkg/]", pytests("'{suite}/test_smoke.py'")),
    ],
)
def test_a_test_that_a_source_of_its_step_matches(tmp_path: Path, sources: str, commands: str) -> None:
    assert look(tmp_path, step(sources=sources, commands=commands)).findings == ()


def test_a_test_that_an_identity_has_needs_no_source(tmp_path: Path) -> None:
    source = {"lib/test_l.py": "def test_l(): ..."}
    assert look(tmp_path, step(sources="[pkg/]", workdir="/ws", commands=pytests("lib")), source=source).findings == ()


# --- patterns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "shown", "hint"),
    [
        ("[tests/, pkgs/]", "pkgs/", "did you mean pkg/?"),
        ("[tests/, pkg/core.pyx]", "pkg/core.pyx", "did you mean pkg/core.py?"),
        ("[tests/, 'pkg/*.rs']", "'pkg/*.rs'", "correct it"),
        ("[tests/, 'pkgs/core.py*']", "'pkgs/core.py*'", "did you mean pkg/core.py?"),
        ("[tests/, pkg/core]", "pkg/core]", "did you mean pkg/core.py?"),
        ("[tests/, '!pkg/gone/']", "'!pkg/gone/'", "did you mean pkg/?"),
        ("[tests/, '!pkg/core.py']", "'!pkg/core.py'", "the last pattern that matches decides"),
        ("[tests/, '!tests/b/', '!tests/b/deep/']", "'!tests/b/deep/'", "the last pattern that matches decides"),
        ("['!tests/b/', tests/]", "'!tests/b/'", "the last pattern that matches decides"),
    ],
)
def test_a_source_that_does_nothing(tmp_path: Path, sources: str, shown: str, hint: str) -> None:
    got = look(tmp_path, step(sources=sources))
    assert [(each.rule, each.problem.reference) for each in got.findings] == [("patterns", "dead-pattern")]
    assert got.where("patterns")[0][1].startswith(shown)
    assert got.hints("patterns")[0].startswith(hint)


def test_rules_of_the_pipeline_that_match_no_file(tmp_path: Path) -> None:
    pools = POOLS.replace('docs: [docs/, "*.md"]', 'docs: [docs/, "*.rst"]\nrun_all: [cmake/, pkg/]')
    got = look(tmp_path, pools=pools)
    assert [text for _, text in got.where("patterns")] == ['"*.rst"]', "cmake/, pkg/]"]


def test_a_pattern_that_cannot_be_meant_is_found_without_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree").mkdir()
    monkeypatch.chdir(tmp_path / "tree")
    got = look(tmp_path, step(sources="[/pkg]"), given=Given())
    assert got.where("patterns") == [("bad-pattern", "/pkg]")]


def test_patterns_that_all_do_something(tmp_path: Path) -> None:
    sources = "[tests/, '!tests/b/', 'tests/b/**/test_c.py', 'pkg/core*.py', '!pkg/core_utils.py']"
    assert look(tmp_path, step(sources=sources)).findings == ()


def test_every_rank_of_a_step_on_several_nodes_is_read(tmp_path: Path) -> None:
    got = look(tmp_path, step(needs="{gpus: 1, nodes: 2}", commands="[{ranks: [[./go.sh], [python3, a/tool.py]]}]"))
    assert [text.partition("]")[0] for _, text in got.where("listed-paths")] == ["./go.sh", "a/tool.py"]


def test_of_what_lies_in_a_submodule_nobody_here_knows(tmp_path: Path) -> None:
    files = Tree(tmp_path, frozenset(("a/x.py", "third/lib")), frozenset(("third/lib",)))
    assert files.has("third/lib/deep/test_a.py")
    assert not files.has("third/library/test_a.py")
    assert not files.has("a/x.py/y")


# --- drift ------------------------------------------------------------------------------------------


def test_what_the_identities_say_already(tmp_path: Path) -> None:
    """lib/ is copied into ci-base: a change of it runs every step, whatever any list says."""
    pools = POOLS.replace('"*.md"]', '"*.md"]\nrun_all: [lib/, pkg/]')
    got = look(
        tmp_path, step(sources="[tests/, lib/one.py]") + step("two", sources="[tests/, lib/one.py]"), pools=pools
    )
    assert {(each.rule, each.level) for each in got.findings} == {("drift", "warning")}
    assert [text for _, text in got.where("drift")] == ["lib/, pkg/]", "lib/one.py]"]
    assert all("an input of ci-base" in message for message in got.messages("drift"))


def test_an_exclusion_that_hides_an_input(tmp_path: Path) -> None:
    got = look(tmp_path, step(sources="[tests/, lib/, pkg/, '!lib/one.py']"), source={"lib/two.py": ""})
    assert ("hidden-input", "'!lib/one.py']") in got.where("drift")


def test_documents_that_go_into_an_image(tmp_path: Path) -> None:
    pools = POOLS.replace('"*.md"]', '"**/*.md"]')
    got = look(tmp_path, pools=pools, source={"lib/notes.md": ""})
    assert got.where("drift") == [("hidden-input", '"**/*.md"]')]
    assert "lib/notes.md, an input of ci-base" in got.messages("drift")[0]
    assert got.hints("drift")[0].startswith('put "!lib/notes.md" behind it')
    two = look(tmp_path / "3", pools=pools, source={"lib/notes.md": "", "lib/more.md": ""})
    assert two.hints("drift")[0].startswith('put "!lib/" behind it')
    assert look(tmp_path / "2", pools=pools).findings == ()


def test_a_pattern_that_says_more_than_the_identities(tmp_path: Path) -> None:
    got = look(tmp_path, step(sources="[tests/, '**/*.py', '!pkg/']"))
    assert got.findings == ()


# --- the source -------------------------------------------------------------------------------------


def test_a_source_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        look(tmp_path, given=Given({"srcs": str(tmp_path)}))
    assert (error.value.problems[0].reference, error.value.problems[0].hint) == ("unknown-source", "did you mean src?")
    with pytest.raises(ConfigError) as error:
        look(tmp_path / "2", given=Given({"src": str(tmp_path / "nowhere")}))
    assert error.value.problems[0].reference == "no-source"


AREA = """\
group: Area
depends_on: [image-build]
steps:
- label: Elsewhere
  device: b200
  num_nodes: 7
  num_devices: 64
  source_file_dependencies: [tests/]
  command: pytest there/test_away.py
- label: Here
  device: mi300_1
  source_file_dependencies: [tests/, lib/gone.py]
  command: pip install loose
"""


def test_a_step_of_another_project_for_other_hardware_is_told_once(tmp_path: Path) -> None:
    """It is lost; what it needs, lists and is part of there is nothing that is wrong here."""
    (tmp_path / "areas").mkdir()
    (tmp_path / "areas/a.yaml").write_text(AREA)
    given = Given({"src": str(tmp_path / "tree")}, str(tmp_path / "areas"))
    head = "runtime: rocm\nworkspace: /ws\nelsewhere: [{pattern: 'AWAY', reason: it is}]\n"
    got = look(tmp_path, head=head, source={"tests/there/test_away.py": "AWAY = 1\ndef test_a(): ...\n"}, given=given)
    errors = [(each.rule, each.problem.reference) for each in got.findings if each.level == "error"]
    assert errors == [("patterns", "dead-pattern"), ("step-downloads", "unlocked-install")]
    assert [text for _, text in got.where("patterns") + got.where("step-downloads")] == [
        "lib/gone.py]",
        "pip install loose",
    ]
    assert "device: b200, which is no product of archs.yaml" in " ".join(got.messages("lost"))


def test_what_a_stage_takes_of_a_source_it_could_fetch_has_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm/envs.py").touch()
    case = material.read(capture({"--stack": "vllm"}, {}), no_git, Given({"vllm": str(tmp_path)}), TODAY)
    problems = [each.problem for each in apply(case) if each.rule == "plans"]
    assert {each.reference for each in problems} == {"missing-source"}
    assert any("setup.py names nothing in the context vllm" in each.message for each in problems)
    assert all(each.place and each.place.file.endswith("Dockerfile.rocm") and each.place.line for each in problems)
    around = replace(case, given=Given(), source=Tree(tmp_path, frozenset({"vllm/envs.py"})))
    assert list(loading.plans(around)) == list(loading.plans(case))
    other = replace(case, given=Given(), source=Tree(tmp_path, frozenset({"other.py"})))
    assert list(loading.plans(other)) == []


def test_a_tree_that_git_cannot_list_hides_nothing_else(tmp_path: Path) -> None:
    def merging(command: Command, *_rest: object) -> Finished:
        listing = f"M 100644 {'0' * 40} 2\tlib/one.py\0" if "ls-files" in command.argv else ""
        return Finished(command, 0, listing, "")

    look(tmp_path)
    given = Given({"src": str(tmp_path / "tree")})
    case = material.read(capture({"--stack": str(tmp_path / "recipe/tiny.yaml")}, {}), merging, given, TODAY)
    found = {(each.rule, each.problem.reference) for each in apply(case)}
    assert ("stack", "merge-conflict") in found
    assert case.source is None


def test_what_was_not_applied_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = capture({"--stack": "vllm"}, {})
    answer = looking.answer(settings, "", Given(), no_git)
    assert answer.outcome is Outcome.OK
    assert "not applied: listed-paths, elsewhere," in answer.text
    assert "--source vllm=PATH" in answer.text
    told = json.loads(json.dumps(answer.document))["not_applied"]
    assert "drift" in told["rules"]
    assert "summaries" not in told["rules"]
