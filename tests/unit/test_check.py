"""``check``: each rule against a planted defect, and the stacks that ship without one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ci.check import material
from ci.check.rules import RULES, apply
from ci.errors import ConfigError, Outcome, Problem
from ci.recipe import stack as stacks
from ci.report import checks
from ci.settings import capture
from ci.world.process import Command, Finished
from tests import recipes
from tests.unit.check_recipe import PLANTED, TODAY, Check, found, no_git, plant, shown

ROOT = Path(__file__).parents[2]
TRACKED = ("ci", "docker", "docs", "kernels", "requirements", "tests")
KNOWN = {"local": ["step probe needs GPUs, and its suites are for images without a GPU runtime"]}
"""It is there to be skipped, with its reason, by every run on a host without GPUs."""

# --- as it ships ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", stacks.shipped())
def test_the_stacks_that_ship_are_clean(name: str) -> None:
    rest = [each for each in found(name) if each.rule != "unresolved"]
    assert [each.problem.message for each in rest] == KNOWN.get(name, [])


def test_the_default_stack_is_clean_over_its_own_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every path and glob of its suites and its pipeline leads somewhere in this repository."""
    monkeypatch.chdir(ROOT)
    case = material.read(capture({}, {}), checkout, today=TODAY)
    assert case.source is not None
    assert len(case.source.files) > 500
    assert [each.problem.message for each in apply(case)] == KNOWN["local"]


def checkout(command: Command, *_rest: object) -> Finished:
    """Git as it is in this repository, of which these folders are tracked."""
    if "--show-toplevel" in command.argv:
        return Finished(command, 0, f"{ROOT}\n", "")
    if "ls-files" not in command.argv:
        return Finished(command, 1, "", "")
    files = [path for name in TRACKED for path in (ROOT / name).rglob("*") if "__pycache__" not in path.parts]
    names = [path.relative_to(ROOT) for path in (*files, *ROOT.glob("*")) if path.is_file()]
    return Finished(command, 0, "".join(f"H 100644 {'0' * 40} 0\t{name}\0" for name in names), "")


def test_what_is_looked_at_is_all_that_runs() -> None:
    case = material.read(capture({"--stack": "vllm"}, {}), no_git)
    scripts = {script.path.name for script in case.scripts}
    beside = {path.name for path in (stacks.HOME / "scripts").glob("*.sh")}
    local = {script.path.name for script in material.read(capture({}, {}), no_git).scripts}
    assert scripts | local == beside
    assert len(case.steps) == len(scripts) + sum(
        len(re.findall(r"^RUN ", recipe.file.text, re.MULTILINE)) for recipe in case.recipes
    )


def test_the_tiny_recipe_is_clean(check: Check) -> None:
    assert check() == ()


def test_every_rule_says_what_is_kept_and_has_a_name_of_its_own() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all((rule.look.__doc__ or "").endswith(".") for rule in RULES)


# --- what can be read -----------------------------------------------------------------------------


def test_a_broken_stack_still_has_its_dockerfiles_looked_at(check: Check) -> None:
    stack = recipes.STACK.replace("platform: linux/amd64", "platform: linux/riscv").replace("schema: 1", "schema: 9")
    got = shown(check("RUN curl https://host/x -o /x\n", stack=stack))
    assert ("stack", "wrong-value", "tiny.yaml:1:9") in got
    assert ("stack", "wrong-value", "tiny.yaml:5:11") in got
    assert ("downloads", "unchecked-download", f"Dockerfile.tiny:{PLANTED}:5") in got


def test_no_stack_at_all_is_an_error_of_the_call() -> None:
    with pytest.raises(ConfigError, match="no stack 'locl'"):
        found("locl")


def test_a_broken_dockerfile_is_found_by_line(check: Check) -> None:
    assert ("dockerfiles", "dockerfile-unknown-instruction", f"Dockerfile.tiny:{PLANTED}") in shown(check("RUNN x"))


@pytest.mark.parametrize(
    ("key", "rule", "text", "place"),
    [
        ("channels", "channels", "schema: 1\nchannels: {}\n", "named.yaml:2:11"),
        ("suites", "suites", "schema: 1\nruntime: cpu\nsteps: {}\nsuites: []\n", "named.yaml:4:9"),
        ("contracts", "contracts", "schema: 2\n", "named.yaml:1:9"),
    ],
)
def test_files_that_a_stack_names_are_read(check: Check, key: str, rule: str, text: str, place: str) -> None:
    stack = recipes.STACK.replace("sources: [src]\n", f"sources: [src]\n{key}: named.yaml\n")
    got = shown(check(stack=stack, files={"named.yaml": text}))
    assert (rule, place) in [(name, where) for name, _, where in got]
    files = {each.problem.place.file for each in check(stack=stack, files={"named.yaml": text}) if each.problem.place}
    assert all(Path(file).is_file() for file in files)
    (missing,) = check(stack=stack.replace("named.yaml", "gone.yaml"))
    assert (missing.rule, missing.problem.reference) == (rule, "no-file")


def test_beside_the_lock_all_is_read(check: Check) -> None:
    got = shown(check(files={"upstreams.yaml": "schema: 1\npins: {NOBODY_BRANCH: {follows: main}}\n"}))
    assert got == [("upstreams", "unknown-pin", "upstreams.yaml:2:8")]
    assert ("renamed", "no-reason", "renamed.yaml:2:15") in shown(
        check(
            files={
                "upstreams.yaml": "schema: 1\npins: {}\n",
                "renamed.yaml": "schema: 1\nenvironment: {OLD: {ours: none}}\n",
            }
        )
    )


@pytest.mark.parametrize("name", ["pins.json", "upstreams.yaml", "renamed.yaml", "scripts/a.sh"])
@pytest.mark.parametrize("odd", ["folder", "bytes"])
def test_a_file_that_cannot_be_read_is_a_finding_beside_the_others(tmp_path: Path, name: str, odd: str) -> None:
    lines = "COPY scripts/a.sh /a\nRUN curl https://host/x -o /x\n"
    path = plant(tmp_path, lines, files={"scripts/a.sh": "#!/bin/sh\n"})
    file = path.parent / name
    file.unlink(missing_ok=True)
    if odd == "folder" and name != "scripts/a.sh":
        file.mkdir()
    else:
        file.write_bytes(b"#!/bin/sh\n\xff\xfe")
    got = found(str(path))
    assert file.name in {Path(each.problem.place.file).name for each in got if each.problem.place}
    assert ("downloads", "unchecked-download", f"Dockerfile.tiny:{PLANTED + 1}:5") in shown(got)


def test_a_dockerfile_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    path = plant(tmp_path)
    (path.parent / "Dockerfile.tiny").write_bytes(b"FROM \xff")
    assert ("dockerfiles", "unreadable-file", "Dockerfile.tiny") in shown(found(str(path)))


def test_steps_that_nothing_here_can_read_are_said_and_not_passed(check: Check) -> None:
    text = "# escape=`\n" + recipes.DOCKERFILE.replace("\\\n", "`\n")
    assert ("dockerfiles", "odd-escape", "Dockerfile.tiny:1:1") in shown(check(dockerfile=text))


def test_files_for_bake_have_to_be_there(check: Check) -> None:
    stack = recipes.STACK.replace("sources: [src]\n", "sources: [src]\nbake: [pins.json, gone.hcl]\n")
    assert shown(check(stack=stack)) == [("stack", "no-file", "tiny.yaml:7:19")]


def test_what_no_plan_could_be_made_of_is_found(check: Check) -> None:
    text = recipes.DOCKERFILE.replace("COPY test.txt", "COPY gone.txt").replace(
        "FROM ${BASE_IMAGE} AS ci_base",
        "FROM busybox:1 AS other\nFROM ${BASE_IMAGE} AS ci_base\nCOPY --from=other / /other",
    )
    got = shown(check(dockerfile=text))
    assert [reference for rule, reference, _ in got if rule == "plans"].count("unpinned-image") == 1
    twice = recipes.STACK + "components:\n  one: {dockerfile: Dockerfile.tiny, target: ci_base, base: BASE_IMAGE}\n"
    got = shown(check(dockerfile=text, stack=twice))
    assert [reference for _, reference, _ in got].count("unpinned-image") == 1
    component = recipes.STACK + "components:\n  one: {dockerfile: Dockerfile.tiny, target: nowhere, base: BASE_IMAGE}\n"
    (finding,) = check(stack=component)
    assert (finding.rule, "nowhere" in finding.problem.message) == ("plans", True)


def test_settings_that_cannot_be_meant_are_found_with_the_rest(check: Check) -> None:
    got = shown(check("RUN curl https://host/x -o /x", ROCM_CI_STATEE="x", PYTORCH_ROCM_ARCH="gfx94a"))
    assert [rule for rule, _, _ in got] == ["settings", "plans", "downloads"]


# --- the lock -------------------------------------------------------------------------------------


def test_a_pin_that_nobody_resolved_is_a_warning_for_who_needs_it(check: Check) -> None:
    lock = json.dumps({"LEVEL": "2", "X_BRANCH": "unresolved:main", "Y_BRANCH": "unresolved:main"}, indent=1)
    (first, second) = check("ARG X_BRANCH", files={"pins.json": lock})
    assert shown((first,)) == [("unresolved", "unresolved", "pins.json:3:14")]
    assert (first.level, "--update X_BRANCH" in first.problem.hint) == ("warning", True)
    assert shown((second,)) == [("unused-pins", "unused-pin", "pins.json:4:2")]


def test_a_pin_through_which_another_is_found_is_used(check: Check) -> None:
    lock = {"LEVEL": "2", "K_SIGNER_URL": "https://host/k", "K_FINGERPRINT": "A" * 40, "Z_URL": "https://host/z"}
    got = check("ARG K_FINGERPRINT", files={"pins.json": json.dumps(lock, indent=1)})
    assert shown(got) == [("unused-pins", "unused-pin", "pins.json:5:2")]


def test_the_next_command_for_a_pin_is_one_that_works(check: Check) -> None:
    lock = {"LEVEL": "2", "K_SIGNER_URL": "unresolved:a page", "K_FINGERPRINT": "unresolved:a page"}
    got = check("ARG K_SIGNER_URL\nARG K_FINGERPRINT", files={"pins.json": json.dumps(lock, indent=1)})
    hints = {each.problem.hint.partition(" --stack ")[0] for each in got}
    assert hints == {"inv pins --update K_SIGNER_URL --to VALUE"}
    assert all(" --stack " in each.problem.hint for each in got)


def test_a_pin_that_another_stack_of_the_recipe_uses_is_used(check: Check) -> None:
    lock = json.dumps({"X_DIGEST": f"sha256:{'a' * 64}", "Z": "1"})
    assert [each.rule for each in check(files={"pins.json": lock})] == ["unused-pins", "unused-pins"]
    beside = {
        "pins.json": lock,
        "other.yaml": "roots: {x: {digest: X_DIGEST}}\n",
        "Dockerfile.other": "ARG Z\nFROM scratch\n",
    }
    assert check(files=beside) == ()


# --- old names ------------------------------------------------------------------------------------

TABLE = """\
schema: 1
environment:
  "OLD_*": {ours: OTHER}
  OLD_NAME: {ours: NEW_NAME, why: "a better word"}
  DROPPED: {ours: none, why: "nobody needs it"}
  KEPT_NAME: {ours: same}
"""


def test_an_old_name_that_is_set_is_told_with_the_new_one(check: Check) -> None:
    environ = {"OLD_NAME": "1", "DROPPED": "1", "KEPT_NAME": "1", "OLD_THING": "1", "UNRELATED": "1"}
    got = check(files={"renamed.yaml": TABLE}, **environ)
    assert {each.rule for each in got} == {"old-names"}
    assert {each.level for each in got} == {"warning"}
    assert [(each.problem.message, each.problem.hint) for each in got] == [
        ("environment variable DROPPED is not read: nothing stands for it", "nobody needs it"),
        ("environment variable OLD_NAME is not read: use NEW_NAME", "a better word"),
        ("environment variable OLD_THING is not read: use OTHER", "do not set it"),
    ]


# --- what is told ---------------------------------------------------------------------------------


def test_errors_come_first_and_end_with_2_warnings_do_not() -> None:
    problem = Problem("moving-source", "it moves", "pin it")
    warned = checks.answer("tiny", ["clones"], ["Dockerfile"], [checks.Row("clones", "warning", problem)])
    assert (warned.outcome, warned.outcome.exit_code) == (Outcome.OK, 0)
    assert warned.text.splitlines()[-1].startswith("ok, 1 warning: stack tiny, 1 rule")
    failed = checks.answer("tiny", ["clones"], ["Dockerfile"], [checks.Row("clones", "error", problem)])
    assert (failed.outcome, failed.outcome.exit_code) == (Outcome.CONFIG, 2)
    assert failed.text.splitlines()[:2] == ["error: it moves [moving-source]", "    → pin it"]


def test_the_document_has_every_field(check: Check) -> None:
    rows = [checks.Row(each.rule, each.level, each.problem) for each in check("RUN pip install x")]
    (finding,) = checks.answer("tiny", [], [], rows).document["findings"]
    assert (finding["rule"], finding["level"], finding["line"], finding["column"]) == ("installs", "error", PLANTED, 5)
    assert finding["file"].endswith("Dockerfile.tiny")
    assert finding["message"]
    assert finding["hint"]
