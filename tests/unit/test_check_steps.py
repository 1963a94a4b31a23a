"""``check`` on the steps of a suite file: what can be told without the tree under test."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from ci.check.material import Given
from ci.report import checks
from tests.unit.check_suites import POOLS, STEP, look, step
from tests.unit.test_audit_secrets import TOKENS

ACTIVE = '{reason: broken, until: "2026-12-01"}'
ENDED = '{reason: broken, until: "2026-11-21"}'


def test_a_stack_without_a_defect_is_clean(tmp_path: Path) -> None:
    assert look(tmp_path).findings == ()
    assert look(tmp_path / "2", step()).findings == ()


def test_all_that_is_wrong_comes_at_once(tmp_path: Path) -> None:
    """A suite file that cannot be read hides neither the pipeline file nor the Dockerfiles."""
    got = look(tmp_path, STEP.replace("summary", "sumary"), pools=POOLS.replace("builds: true", "builds: maybe"))
    assert {each.rule for each in got.findings} == {"suites", "pipelines"}
    assert ("unknown-key", "sumary: the one") in got.where("suites")
    assert got.where("pipelines") == [("wrong-type", "maybe}")]


def test_a_pipeline_without_a_builder_is_found(tmp_path: Path) -> None:
    got = look(tmp_path, pools=POOLS.replace(", builds: true", ""))
    assert [reference for reference, _ in got.where("pipelines")] == ["no-builder"]


# --- summaries --------------------------------------------------------------------------------------


def test_two_steps_with_one_summary(tmp_path: Path) -> None:
    got = look(tmp_path, step("one", "Same  thing") + step("two", "same thing") + step("three", "another"))
    assert got.where("summaries") == [("summary-twice", "same thing")]
    assert "line 6" in got.hints("summaries")[0]


# --- limits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ({"limits": "{minutes: 5, silent_minutes: 6}"}, "{minutes: 5, silent_minutes: 6}"),
        ({"commands": "[{pytest: [--timeout=300, a/test_a.py]}]"}, "{minutes: 5}"),
        ({"commands": "[{pytest: [--timeout, '300', a/test_a.py]}]"}, "{minutes: 5}"),
        ({"commands": "[{shell: 'pytest --timeout=400 a/test_a.py | tee x'}]"}, "{minutes: 5}"),
        ({"archs": "{gfx942: {limits: {minutes: 1, silent_minutes: 2}}}"}, "{minutes: 1, silent_minutes: 2}}}"),
        ({"cpu": "{commands: [{pytest: [--timeout=900, a/test_a.py]}]}"}, "[{pytest: [--timeout=900, a/test_a.py]}]}"),
    ],
)
def test_limits_inside_out(tmp_path: Path, keys: dict[str, str], shown: str) -> None:
    assert look(tmp_path, step(**keys)).where("limits") == [("limits-crossed", shown)]


@pytest.mark.parametrize(
    "keys",
    [
        {"limits": "{minutes: 5, silent_minutes: 5}"},
        {"commands": "[{pytest: [--timeout=299, a/test_a.py]}]"},
        {"commands": "[{run: [serve, --timeout-graceful=900]}]"},
        {"archs": "{gfx942: {limits: {minutes: 9, silent_minutes: 6}}}"},
    ],
)
def test_limits_in_order(tmp_path: Path, keys: dict[str, str]) -> None:
    assert look(tmp_path, step(**keys)).findings == ()


# --- profiles, pools --------------------------------------------------------------------------------


def test_a_step_that_no_profile_has(tmp_path: Path) -> None:
    assert look(tmp_path, step(profiles="[]")).where("profiles") == [("no-profile", "[]")]
    assert look(tmp_path / "2", step(profiles="[nightly]")).findings == ()


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        ("{gpus: 4}", "has 2 of the 4 GPUs it needs"),
        ("{gpus: 1, archs: [gfx950]}", "gpu: has gfx942, it needs gfx950"),
        ("{gpus: 1, memory_gb: 100}", "GB of memory"),
        ("{gpus: 1, rdma: true}", "gpu: has no RDMA devices"),
        ("{gpus: 1, nic: ainic}", "gpu: has no ainic NIC"),
        ("{gpus: 1, nodes: 2}", "nodes"),
    ],
)
def test_a_step_that_no_pool_can_take(tmp_path: Path, needs: str, reason: str) -> None:
    commands = "[{ranks: [[echo], [echo]]}]" if "nodes" in needs else "[{pytest: [a/test_a.py]}]"
    got = look(tmp_path, step(needs=needs, commands=commands))
    assert got.where("unplaced") == [("unplaced", needs)]
    assert reason in got.of("unplaced")[0].problem.context
    assert [each.rule for each in got.findings] == ["unplaced"]


def test_a_matrix_needs_a_pool_for_each_arch(tmp_path: Path) -> None:
    got = look(tmp_path, step(matrix="[gfx942, gfx950]"))
    assert got.messages("unplaced") == ["no pool can take step one on gfx950"]


def test_a_step_that_is_skipped_needs_no_pool(tmp_path: Path) -> None:
    assert look(tmp_path, step(needs="{gpus: 8}", skip=ACTIVE)).findings == ()


def test_a_pool_that_is_away_leaves_a_warning(tmp_path: Path) -> None:
    pools = POOLS.replace("memory_gb: 64}", 'memory_gb: 64, away: {reason: moved, until: "2026-12-01"}}')
    got = look(tmp_path, pools=pools)
    assert [(each.rule, each.level) for each in got.findings] == [("away", "warning")]
    assert "moved" in got.findings[0].problem.context
    spare = pools.replace("  cpu:", "  more: {family: MI325X, gpus: 1, memory_gb: 64}\n  cpu:")
    assert look(tmp_path / "2", pools=spare).findings == ()


def test_a_step_that_its_runtime_can_never_run(tmp_path: Path) -> None:
    got = look(tmp_path, step(), head="runtime: cpu\nworkspace: /ws\n")
    assert [(each.rule, each.level) for each in got.findings] == [("never-run", "warning")]
    assert look(tmp_path / "2", step(cpu="{}"), head="runtime: cpu\nworkspace: /ws\n").findings == ()
    assert look(tmp_path / "3", step(needs=""), head="runtime: cpu\nworkspace: /ws\n").findings == ()


# --- days -------------------------------------------------------------------------------------------

TAIL = 'quarantine:\n  - {{test: a/test_a.py::test_a, reason: flaky, owner: me, until: "{}"}}\n'


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"skip": ENDED}, "step one"),
        ({"soft": ENDED}, "step one"),
        ({"cpu": f"{{skip: {ENDED}}}"}, "step one"),
        ({"archs": f"{{gfx942: {{skip: {ENDED}}}}}"}, "step one"),
        ({"skips": f"[{{test: a/test_a.py, {ENDED[1:-1]}}}]"}, "a/test_a.py"),
    ],
)
def test_what_has_outlived_its_day(tmp_path: Path, keys: dict[str, str], what: str) -> None:
    got = look(tmp_path, step(**keys))
    assert [(each.rule, each.level) for each in got.findings] == [("expired", "warning")]
    assert got.messages("expired") == [f"{what}: this ended on 2026-11-21 (broken)"]
    assert got.where("expired")[0][1].startswith('"2026-11-21"')
    lasting = {key: value.replace("2026-11-21", "2026-11-22") for key, value in keys.items()}
    assert look(tmp_path / "2", step(**lasting)).findings == ()


def test_quarantines_and_pools_have_days_too(tmp_path: Path) -> None:
    pools = POOLS.replace("16,", '16, away: {reason: moved, until: "2026-11-01"},')
    got = look(tmp_path, tail=TAIL.format("2026-11-21"), pools=pools, today=date(2026, 11, 22))
    assert sorted(text[:12] for _, text in got.where("expired")) == ['"2026-11-01"', '"2026-11-21"']
    assert look(tmp_path / "2", tail=TAIL.format("2026-11-22")).findings == ()


# --- secrets ----------------------------------------------------------------------------------------

KEY = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ({"env": f"{{MODEL: {KEY}}}"}, KEY),
        ({"env": "{HF_TOKEN: abcdefgh1234}"}, "abcdefgh1234"),
        ({"env": "{DB_PASSWORD: 'hunter22'}"}, "'hunter22'"),
        ({"env": "{PROXY: 'http://me:s3cr3tpw@host/'}"}, "'http://me:s3cr3tpw@host/'"),
        ({"archs": "{gfx942: {env: {API_KEY: abcdefgh1234}}}"}, "abcdefgh1234"),
        ({"commands": f"[{{run: [tool, --with, {KEY}]}}]"}, "[tool"),
        ({"commands": "[{run: [tool], env: {HF_TOKEN: abcdefgh1234}}]"}, "abcdefgh1234"),
        ({"commands": "[{shell: 'HF_TOKEN=abcdefgh1234 tool'}]"}, "'HF_TOKEN"),
    ],
)
def test_a_secret_is_found_and_never_shown(tmp_path: Path, keys: dict[str, str], shown: str) -> None:
    got = look(tmp_path, step(**keys))
    assert [each.rule for each in got.findings] == ["secrets"]
    assert got.where("secrets")[0][1].startswith(shown)
    told = str(got.findings)
    assert not any(secret in told for secret in (KEY, "abcdefgh1234", "hunter22", "s3cr3tpw"))


@pytest.mark.parametrize(
    "env",
    ["{TOKEN_LIMIT: '4096'}", "{HF_TOKEN: ''}", "{USE_API_KEY: 'false'}", "{KEY: value}", "{URL: 'http://host:80/'}"],
)
def test_what_is_no_secret(tmp_path: Path, env: str) -> None:
    assert look(tmp_path, step(env=env)).findings == ()


SHOWN = {
    "shell: 'pip install git+https://LOGIN@host/x'": "git+https://****@host/x is another thing",
    "shell: 'pip install git+https://TOKEN@host/x'": "git+https://****@host/x is another thing",
    "shell: 'curl https://me:LOGIN@host/x -o x'": "curl fetches https://****@host/x and nothing",
    "shell: 'curl https://host/x?token=LOGIN -o x'": "curl fetches https://host/x?token=**** and nothing",
    "shell: 'curl -sSu me:LOGIN $URL -o x'": "curl fetches $URL and nothing",
    "shell: 'curl -H \"Authorization: Bearer LOGIN\" host/x -o x'": "curl fetches host/x and nothing",
    "shell: 'wget --http-password LOGIN $URL'": "wget fetches $URL and nothing",
    "pytest: ['gone/TOKEN/test_a.py']": "there is no tests/gone/***/test_a.py",
}


@pytest.mark.parametrize("command", SHOWN)
def test_no_finding_shows_a_secret(tmp_path: Path, command: str) -> None:
    """Other rules quote what they find as well; as text and as a document."""
    written = command.replace("LOGIN", "hunter2secret").replace("TOKEN", TOKENS["a Hugging Face token"])
    got = look(tmp_path, step(commands=f"[{{{written}}}]"))
    told = checks.answer("tiny", [], [], [checks.Row(*each) for each in got.findings])
    for text in (told.text, json.dumps(told.document, ensure_ascii=False)):
        assert SHOWN[command] in text
        assert "hunter2" not in text
        assert "hf_" not in text


# --- downloads --------------------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("command", "reference"),
    [
        ("run: [pip, install, 'git+https://host/x']", "unlocked-install"),
        ("run: [pip, install, 'git+https://host/x@main']", "unlocked-install"),
        ("run: [python3, -m, pip, install, -U, torchao]", "unlocked-install"),
        ("run: [uv, pip, install, --system, 'torchao>=0.17']", "unlocked-install"),
        ("shell: 'pip install torch==2.* && pytest a'", "unlocked-install"),
        ("shell: 'cd x && uv pip install -e git+https://host/x'", "unlocked-install"),
        ("run: [uvx, tool]", "unlocked-install"),
        ("run: [pip, install, -vv, torchao]", "unlocked-install"),
        ("run: [pip, install, --no-input, torchao]", "unlocked-install"),
        ("run: [pip, install, -Ur, requirements.txt, torchao]", "unlocked-install"),
        ("run: [pip, install, -rrequirements.txt, torchao]", "unlocked-install"),
        ("run: [pip, --timeout, '60', install, torchao]", "unlocked-install"),
        ("run: [uv, --offline, pip, install, torchao]", "unlocked-install"),
        ("run: [uv, tool, install, -w, torchao, x==1.0]", "unlocked-install"),
        ("run: [pipx, install, -f, torchao]", "unlocked-install"),
        ("run: [curl, -O, 'https://host/x']", "unchecked-download"),
        ("shell: 'wget https://host/x | sh'", "unchecked-download"),
        ("run: [bash, -c, 'curl https://host/x -o x']", "unchecked-download"),
        ("run: [git, clone, 'https://host/x']", "moving-source"),
        ("run: [hf, download, a/b]", "moving-model"),
        ("run: [huggingface-cli, download, a/b, --revision, main]", "moving-model"),
    ],
)
def test_a_command_that_fetches_what_can_move(tmp_path: Path, command: str, reference: str) -> None:
    got = look(tmp_path, step(commands=f"[{{{command}}}]"))
    assert [(each.rule, each.problem.reference) for each in got.findings] == [("step-downloads", reference)]
    assert got.where("step-downloads")[0][1] == command.partition(": ")[2] + "}]"


@pytest.mark.parametrize(
    "command",
    [
        f"run: [pip, install, 'git+https://host/x@{COMMIT}#egg=x']",
        f"run: [pip, install, 'https://host/x-1.0-py3-none-any.whl#sha256={'a' * 64}']",
        "run: [pip, install, --no-deps, torchao==0.17.0, 'x[y]==1.0']",
        "run: [pip, install, -e, ., ./x, dist/x.whl]",
        "run: [pip, install, --require-hashes, -r, lock.txt]",
        "run: [pip, install, --no-index, --find-links, wheels, x]",
        "run: [pip, install, --index-url, 'https://host/simple', --target, out, x==1.0]",
        "run: [pip, install, -Ur, lock, -t, out, --log=log, x==1.0]",
        "run: [uv, --directory, install, pip, install, -p, '3.12', x==1.0]",
        "run: [pip, list]",
        f"shell: 'git clone https://host/x && git -C x checkout {COMMIT}'",
        "shell: 'curl https://host/x -o x && echo \"$SUM  x\" | sha256sum -c -'",
        "shell: 'curl -sf http://localhost:8000/health'",
        f"run: [hf, download, a/b, --revision, {COMMIT}]",
        f"run: [hf, download, a/b, --revision={COMMIT}]",
    ],
)
def test_a_command_that_fetches_what_is_pinned(tmp_path: Path, command: str) -> None:
    assert look(tmp_path, step(commands=f"[{{{command}}}]")).findings == ()


def test_a_clone_and_its_checkout_may_be_two_commands_of_a_step(tmp_path: Path) -> None:
    clone = "{run: [git, clone, 'https://host/x']}"
    checkout = f"{{run: [git, -C, x, checkout, {COMMIT}]}}"
    assert look(tmp_path, step(commands=f"[{clone}, {checkout}]")).findings == ()
    assert look(tmp_path / "2", step(commands=f"[{checkout}, {clone}]")).of("step-downloads")


# --- no source --------------------------------------------------------------------------------------


def test_without_a_source_its_paths_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree").mkdir()
    monkeypatch.chdir(tmp_path / "tree")
    got = look(tmp_path, step(commands="[{pytest: [gone/test_x.py]}]", sources="[gone/]"), given=Given())
    assert got.findings == ()
