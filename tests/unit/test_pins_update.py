"""One pin changed: what the file keeps, what would rebuild, and what is refused with the lock untouched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from ci import settings
from ci.build.record import Records
from ci.build.roots import Made
from ci.build.workspace import Workspace
from ci.errors import ConfigError, Outcome, SupersededError
from ci.pins import request, update
from ci.pins.ages import Age, ages
from ci.pins.drift import Drift
from ci.pins.forms import wanted
from ci.pins.listing import Listing
from ci.pins.update import Update, replaced, write
from ci.pins.upstream import Upstream
from ci.recipe import stack as stacks
from ci.recipe.pins import MARK, expected
from ci.recipe.tree import Tree
from ci.recipe.values import resolve_args
from ci.report import pins as shown
from ci.world import locks
from ci.world.fakes import FakeClock, FakeEngine, FakeRun, FakeSend
from ci.world.registry import Registry
from tests import recipes

OLD, NEW = "a" * 40, "b" * 40
LOCK = {
    "EPOCH": "2026-W01", "LEVEL": "1", "X_REPO": "https://host/x.git", "X_BRANCH": OLD,
    "T_URL": "https://host/t", "T_SHA256": "unresolved:https://host/t",
}  # fmt: skip
DOCKERFILE = (
    recipes.DOCKERFILE
    + """
FROM ${CI_BASE_IMAGE} AS native
ARG X_REPO
ARG X_BRANCH
RUN echo ${X_REPO} ${X_BRANCH}
"""
)
STACK = (
    recipes.STACK
    + """\
components:
  native: {dockerfile: Dockerfile.tiny, target: native, base: CI_BASE_IMAGE}
"""
)


def workspace(
    folder: Path, lock: dict[str, str] | None = None, dockerfile: str = DOCKERFILE, stack: str = STACK
) -> Workspace:
    """The tiny recipe with a component and this lock."""
    folder /= str(len(list(folder.iterdir())))
    file = recipes.write(folder, dockerfile, stack)
    (file.parent / "pins.json").write_text(json.dumps(lock or LOCK, indent=2) + "\n")
    loaded, given = stacks.load(str(file)), settings.capture({}, {})
    trees = {name: Tree(name, folder / name, {}, lambda _root: None) for name in ("recipe", "src")}
    records = Records(folder / "state")
    records.save_roots(loaded.name, {"busy": Made("rocm-ci/root:busy", "sha256:" + "a" * 64, "test")})
    args = resolve_args(loaded, given, stacks.archs())
    engine = FakeEngine()
    return Workspace(given, loaded, args, trees, engine, None, None, folder / "state", records, FakeClock())


def nobody() -> Upstream:
    """An upstream that must not be asked."""

    def registry(_host: str) -> Registry:
        raise AssertionError("a registry was asked")

    return Upstream(FakeSend({}), FakeRun({}), registry, FakeClock())


def outlook(work: Workspace, name: str, value: str) -> Update:
    return update.outlook(work, name, value, nobody())


def because(found: Update) -> dict[str, tuple[str, ...]]:
    return {each.name: each.because for each in found.rebuilt}


# --- the file -------------------------------------------------------------------------------


def test_only_the_value_moves() -> None:
    text = '{\n  "A": "1",\n\n  "X_A" : "A",\r\n  "B": "say \\"A\\": \\"2\\"", "C": "\\u00e9" }'
    changed = replaced(text, "A", "9")
    assert changed == text.replace('"A": "1"', '"A": "9"')
    assert replaced(changed, "A", "1") == text
    assert json.loads(replaced(text, "C", 'a"b\\')) == {**json.loads(text), "C": 'a"b\\'}


def test_a_lock_that_names_the_pin_twice_is_left_alone() -> None:
    with pytest.raises(ConfigError, match="2 times"):
        replaced('{"A": "1", "B": {"A": "2"}}', "A", "9")


def test_the_lock_is_written_whole_and_keeps_its_shape_and_mode(tmp_path: Path) -> None:
    work = workspace(tmp_path)
    path = work.stack.recipe / "pins.json"
    path.chmod(0o640)
    before = path.read_text()
    write(work, outlook(work, "X_BRANCH", NEW), print)
    assert path.read_text() == before.replace(OLD, NEW)
    assert list(json.loads(path.read_text())) == list(LOCK)
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(file.name for file in path.parent.glob(".new*")) == []


def test_what_another_run_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    work = workspace(tmp_path)
    path = work.stack.recipe / "pins.json"
    found = outlook(work, "X_BRANCH", NEW)
    path.write_text(path.read_text().replace('"LEVEL": "1"', '"LEVEL": "2"'))
    write(work, found, print)
    assert json.loads(path.read_text()) == {**LOCK, "LEVEL": "2", "X_BRANCH": NEW}
    with pytest.raises(SupersededError):
        write(work, found, print)
    assert json.loads(path.read_text())["X_BRANCH"] == NEW


def test_the_lock_of_an_installed_tool_is_nobodys_to_change(tmp_path: Path) -> None:
    """It is gone with the next version, and no repository has it."""
    work = workspace(tmp_path)
    found = outlook(work, "LEVEL", "2")
    before = (work.stack.recipe / "pins.json").read_bytes()
    with pytest.raises(ConfigError) as refused:
        write(work, found, print, installed=work.stack.recipe)
    assert refused.value.problems[0].reference == "installed-lock"
    assert (work.stack.recipe / "pins.json").read_bytes() == before


def test_two_runs_write_one_after_the_other(tmp_path: Path) -> None:
    work = workspace(tmp_path)
    path = work.stack.recipe / "pins.json"
    write(work, outlook(work, "LEVEL", "2"), print)
    (lock,) = (work.state / "locks").iterdir()
    found, waits = outlook(work, "X_BRANCH", NEW), Event()
    with locks.exclusive(work.state, lock.name, print):
        other = Thread(target=write, args=(work, found, lambda _text: waits.set()))
        other.start()
        assert waits.wait(30), "it wrote while another run was writing"
        path.write_text(path.read_text().replace("2026-W01", "2026-W02"))
    other.join()
    assert json.loads(path.read_text()) == {**LOCK, "LEVEL": "2", "EPOCH": "2026-W02", "X_BRANCH": NEW}


@pytest.mark.parametrize(
    ("name", "value", "reference"),
    [
        ("X_BRANCH", "main", "loose-pin"), ("X_BRANCH", OLD[:8], "loose-pin"),
        ("X_BRANCH", "unresolved:main", "loose-pin"), ("LEVEL", "unresolved:1", "loose-pin"),
        ("LEVEL", "1\n2", "loose-pin"), ("EPOCH", "2026-13", "loose-pin"),
        ("EPOCH", "2026-W00", "loose-pin"), ("EPOCH", "2027-W53", "loose-pin"), ("X_BRANCHES", NEW, "unknown-pin"),
        ("LEVEL", " 1", "loose-pin"), ("LEVEL", "1\x7f", "loose-pin"),
    ],
)  # fmt: skip
def test_what_is_no_value_of_its_kind_is_refused(tmp_path: Path, name: str, value: str, reference: str) -> None:
    with pytest.raises(ConfigError) as refused:
        outlook(workspace(tmp_path), name, value)
    assert refused.value.problems[0].reference == reference


FORMS = {
    **LOCK, "K_DIGEST": f"sha256:{'1' * 64}", "K": "host/k:1", "A_FINGERPRINT": "A" * 40, "A_SIGNER_URL": "https://host/a",
    "APT_REPO": "https://host/apt", "X_VERSION": "1.0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "good", "bad", "form"),
    [
        ("X_BRANCH", (NEW,), ("main", "b" * 39, "B" * 40, "c" * 64), "full commit, 40 digits"),
        ("K_DIGEST", (f"sha256:{'a' * 64}",), ("a" * 64, f"sha512:{'a' * 128}"), "sha256: and 64 digits"),
        ("T_SHA256", ("c" * 64,), ("c" * 63, f"sha256:{'c' * 64}"), "64 digits"),
        ("A_FINGERPRINT", ("B" * 40,), ("b" * 40, "B" * 16, "BBBB BBBB"), "OpenPGP fingerprint, 40 digits"),
        ("X_REPO", ("https://h/y.git", "git://h/y.git"), ("https://h/y", "h/y.git", "https://u@h/y.git"), "a URL"),
        ("APT_REPO", ("https://h/x", "http://h:80"), ("ftp://h/x", "https://u:w@h", "https://h/ x", "x"), "a URL"),
        ("T_URL", ("https://h/x?y=1",), ("https://", "T_SHA256", "unresolved:https://h/x"), "URL such as"),
        ("T_URL", ("https://h/", "https://h/@a/b", "https://h?x=@"), ("https://u@h/", "https://h/a b"), "URL such as"),
        ("X_VERSION", ("235.2.86.0", "1.117.5-a-77", "v1.2-rc1"), ("latest", "vx", "1 2", "main"), "version such as"),
        ("X_VERSION", ("1:2.4-1ubuntu1~22.04+b1", "1!2.0.post1+rocm7.2"), ("~1", "-1"), "version such as"),
        ("K", ("docker/k:stable-1", "k"), ("Docker/K", f"k@sha256:{'a' * 64}", "k:1 k:2"), "image such as"),
        ("EPOCH", ("2026-W47", "2026-11"), ("2026-13", "2026-1", "week 47"), "ISO week such as 2026-W47"),
        ("LEVEL", ("2", "any words"), ("2\n", " 2"), "one line of text"),
    ],
)  # fmt: skip
def test_each_pin_has_a_form(tmp_path: Path, name: str, good: tuple[str, ...], bad: tuple[str, ...], form: str) -> None:
    work = workspace(tmp_path, FORMS)
    path = work.stack.recipe / "pins.json"
    before = path.read_bytes()
    for value in good:
        assert outlook(work, name, value).value == value
    for value in bad:
        with pytest.raises(ConfigError) as refused:
            outlook(work, name, value)
        (problem,) = refused.value.problems
        assert (problem.reference, refused.value.exit_code) == ("loose-pin", 2)
        assert repr(value) in problem.message
        assert form in problem.hint or value.startswith(MARK)
    assert path.read_bytes() == before


def test_a_pin_that_is_an_argument_has_the_type_of_that(tmp_path: Path) -> None:
    """What the lock may hold and the next call refuses could not be corrected by this verb either."""
    more = "args:\n  AINIC_VERSION: {type: ainic-version}\n  X_VERSION: {type: pep440-version}\n"
    lock = {**LOCK, "AINIC_VERSION": "1.117.5-a-77", "X_VERSION": "1.0"}
    work = workspace(tmp_path, lock, stack=STACK.replace("args:\n", more))
    for name, good, bad, form in (
        ("AINIC_VERSION", "1.117.6-a-1", "v1", "wanted is a version such as 1.117.5-a-77"),
        ("X_VERSION", "1.2rc1", "1.2-rc1", "wanted is 1.2rc1, its canonical spelling (PEP 440)"),
    ):
        assert outlook(work, name, good).value == good
        with pytest.raises(ConfigError) as refused:
            outlook(work, name, bad)
        (problem,) = refused.value.problems
        assert (problem.reference, problem.hint) == ("loose-pin", form)


@pytest.mark.parametrize("name", ["LEVEL", "T_URL"])
def test_no_login_gets_into_the_lock(tmp_path: Path, name: str) -> None:
    """The next reading of the lock would refuse it."""
    with pytest.raises(ConfigError) as refused:
        outlook(workspace(tmp_path), name, "https://me:hun/ter2@host/x")
    assert refused.value.problems[0].hint == "wanted is a value without credentials"


def test_every_value_that_ships_could_be_given_again() -> None:
    for name in ("local", "vllm"):
        stack = stacks.load(name)
        odd = {pin: words for pin, value in stack.pins.items() if (words := wanted(stack, pin, value))}
        assert all(stack.pins[pin].startswith(MARK) for pin in odd), odd


def test_what_upstream_says_has_the_form_too(tmp_path: Path) -> None:
    """A repository may have commits of 64 digits."""
    work = workspace(tmp_path, {**LOCK, "X_BRANCH": "unresolved:main"})
    ask = ("env", "GIT_TERMINAL_PROMPT=0", "git", "ls-remote", "--", "https://host/x.git", "main", "main^{}")
    for said, fits in (("c" * 40, True), ("c" * 64, False)):
        run = FakeRun({ask: (0, f"{said}\trefs/heads/main\n", "")})
        upstream = replace(nobody(), run=run)
        if fits:
            assert update.outlook(work, "X_BRANCH", "", upstream).value == said
            continue
        with pytest.raises(ConfigError) as refused:
            update.outlook(work, "X_BRANCH", "", upstream)
        assert refused.value.problems[0].reference == "loose-pin"


# --- what would rebuild ---------------------------------------------------------------------


def test_what_would_rebuild_is_what_the_pin_reaches(tmp_path: Path) -> None:
    found = because(outlook(workspace(tmp_path), "X_BRANCH", NEW))
    assert found == {"native": ("arg X_BRANCH",)}
    found = because(outlook(workspace(tmp_path), "LEVEL", "2"))
    assert found == {"base": ("arg LEVEL",), "ci-base": ("parent BASE_IMAGE",), "test": ("parent CI_BASE_IMAGE",)}
    assert because(outlook(workspace(tmp_path), "T_URL", "https://host/u")) == {}
    assert set(because(outlook(workspace(tmp_path), "EPOCH", "2026-W47"))) == {"base", "ci-base", "test", "native"}


def test_a_tier_has_its_identities_where_it_has_any(tmp_path: Path) -> None:
    work = workspace(tmp_path)
    base = outlook(work, "LEVEL", "2").rebuilt[0]
    assert len({base.before, base.after, ""}) == 3
    write(work, outlook(work, "LEVEL", "2"), print)
    then = workspace(tmp_path, {**LOCK, "LEVEL": "2"})
    assert outlook(then, "LEVEL", "3").rebuilt[0].before == base.after


def test_what_is_not_resolved_hides_nothing(tmp_path: Path) -> None:
    """A tier without identity is rebuilt by a pin that it reaches, and by no other."""
    needy = DOCKERFILE.replace("FROM ${BASE_IMAGE} AS ci_base\n", "FROM ${BASE_IMAGE} AS ci_base\nARG T_SHA256\n")
    work = workspace(tmp_path, dockerfile=needy)
    found = outlook(work, "LEVEL", "2").rebuilt
    assert [(each.name, bool(each.before), bool(each.after)) for each in found] == [
        ("base", True, True), ("ci-base", False, False), ("test", False, False),
    ]  # fmt: skip
    resolved = outlook(work, "T_SHA256", "c" * 64).rebuilt
    assert [(each.name, each.before, bool(each.after)) for each in resolved] == [
        ("ci-base", "", True), ("test", "", True),
    ]  # fmt: skip


def test_of_the_shipped_stack_it_is_told_without_any_identity() -> None:
    """Nearly all of that lock waits for somebody with a network."""
    stack, given = stacks.load("vllm"), settings.capture({}, {})
    trees = {"recipe": Tree("recipe", stack.recipe, {}, lambda _root: None)}
    args, records = resolve_args(stack, given, stacks.archs()), Records(Path("/nowhere"))
    work = Workspace(given, stack, args, trees, FakeEngine(), None, None, Path("/nowhere"), records, FakeClock())
    found = because(outlook(work, "DEEPEP_BRANCH", NEW))
    assert set(found) == {"ci-base", "test", "release", "deepep"}
    assert found["release"] == ("arg DEEPEP_BRANCH",)
    assert because(outlook(work, "BASE_IMAGE_DIGEST", "sha256:" + "1" * 64))["base"] == ("root BASE_IMAGE",)
    assert because(outlook(work, "BNXT_VERSION", "236")) == {}, "no argument under the default NIC backend"


def test_what_was_found_through_another_url_is_stale(tmp_path: Path) -> None:
    lock = {**LOCK, "T_SHA256": "d" * 64}
    assert outlook(workspace(tmp_path, lock), "T_URL", "https://host/u").stale == ("T_SHA256",)
    assert outlook(workspace(tmp_path), "T_URL", "https://host/u").stale == (), "it was not resolved anyway"
    assert outlook(workspace(tmp_path), "X_REPO", "https://host/y.git").stale == ("X_BRANCH",)


# --- options, text, document ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "drift", "plan"),
    [("", "1", False, False), ("", "", False, True), ("A", "", True, False)],
)
def test_options_that_mean_nothing_together(name: str, value: str, drift: bool, plan: bool) -> None:
    with pytest.raises(ConfigError):
        request.read(name, value, drift=drift, plan=plan)


def test_the_answer_to_an_update(tmp_path: Path) -> None:
    work = workspace(tmp_path)
    answer = shown.updated(outlook(work, "LEVEL", "2"), None)
    lines = answer.text.splitlines()
    assert lines[:4] == ["LEVEL", "  - 1", "  + 2", "would rebuild:"]
    assert " → " in lines[4]
    assert lines[-1] == "nothing was written"
    assert answer.document["rebuilds"][1]["because"] == ["parent BASE_IMAGE"]
    same = shown.updated(outlook(work, "LEVEL", "1"), None)
    assert (same.text, same.document["changed"]) == ("LEVEL stays 1: it is that already", False)


def test_a_reference_that_stood_in_the_lock_alone_is_not_lost(tmp_path: Path) -> None:
    lock = {**LOCK, "X_BRANCH": "unresolved:v1"}
    told = shown.updated(outlook(workspace(tmp_path, lock), "X_BRANCH", NEW), None).text
    assert "X_BRANCH: {follows: v1}" in told
    kept = workspace(tmp_path, lock)
    (kept.stack.recipe / "upstreams.yaml").write_text("schema: 1\npins:\n  X_BRANCH: {follows: v1}\n")
    assert "follows:" not in shown.updated(outlook(kept, "X_BRANCH", NEW), None).text
    assert "follows:" not in shown.updated(outlook(workspace(tmp_path), "X_BRANCH", NEW), None).text


def test_a_fingerprint_that_was_fetched_is_to_be_compared(tmp_path: Path) -> None:
    pin = update.pin_called(workspace(tmp_path).stack, "X_BRANCH")._replace(name="K", kind="fingerprint")
    fetched = shown.updated(Update(pin, NEW, given=False, rebuilt=(), stale=("K_OTHER",)), None).text
    assert "compare the fingerprint" in fetched
    assert "inv pins --update K_OTHER" in fetched
    assert "compare" not in shown.updated(Update(pin, NEW, given=True, rebuilt=(), stale=()), None).text


def test_the_list_says_unknown_and_never_current(tmp_path: Path) -> None:
    stack = workspace(tmp_path).stack
    pins = tuple(update.pin_called(stack, name) for name in ("X_BRANCH", "T_SHA256", "LEVEL"))
    old = {"X_BRANCH": Age(3, NEW, committed=True), "T_SHA256": Age(None, "", committed=False)}
    drift = {"X_BRANCH": Drift("moved", NEW), "T_SHA256": Drift("unknown", why="no answer"), "LEVEL": Drift("gone")}
    answer = shown.listed(Listing(stack, pins, old, drift))
    branch, hashed, level, ending = answer.text.splitlines()
    assert branch.split() == ["X_BRANCH", "commit", OLD[:12], "3", "days", "moved", "to", NEW[:12]]
    assert "unresolved: https://host/t" in hashed
    assert "not committed  could not tell: no answer" in hashed
    assert "unknown" in level
    assert ending == "3 pins, 1 not resolved, 1 moved, 1 gone, 1 could not be told"
    assert answer.outcome is Outcome.INFRA
    rows = answer.document["pins"]
    assert [row["age_days"] for row in rows] == [3, None, None]
    assert [row["value"] for row in rows] == [OLD, None, "1"]
    assert shown.listed(Listing(stack, pins, old)).outcome is Outcome.OK


# --- age ------------------------------------------------------------------------------------


def blamed(folder: Path, porcelain: str, *, shallow: str = "false") -> FakeRun:
    git = ("git", "-c", "core.fsmonitor=false", "-c", "blame.ignoreRevsFile=", "-C", str(folder))
    return FakeRun({
        (*git, "rev-parse", "--is-shallow-repository"): (0, f"{shallow}\n", ""),
        (*git, "blame", "-w", "-M", "--line-porcelain", "--", "pins.json"): (0 if porcelain else 128, porcelain, ""),
    })  # fmt: skip


def row(commit: str, line: int, moment: int, *, boundary: bool = False) -> str:
    return f"{commit} 9 {line} 1\ncommitter-time {moment}\n{'boundary' if boundary else 'summary x'}\n\ttext\n"


def test_an_age_is_that_of_the_line(tmp_path: Path) -> None:
    stack, clock = workspace(tmp_path).stack, FakeClock()
    now, day = int(clock.now().timestamp()), 86400
    told = row(NEW, 2, now - 3 * day) + row("0" * 40, 3, now) + row(OLD, 4, now - 5 * day + 60) + row(OLD, 5, now + 60)
    found = ages(stack, clock, blamed(stack.recipe, told))
    assert [found[name].days for name in LOCK] == [3, None, 4, 0, None, None]
    assert [found[name].committed for name in LOCK] == [True, False, True, True, True, True]
    assert found["EPOCH"].commit == NEW


def test_an_age_that_git_cannot_tell_is_unknown(tmp_path: Path) -> None:
    stack, clock = workspace(tmp_path).stack, FakeClock()
    assert {age.days for age in ages(stack, clock, blamed(stack.recipe, "")).values()} == {None}
    first = row(NEW, 2, 0, boundary=True)
    assert ages(stack, clock, blamed(stack.recipe, first))["EPOCH"].days is not None, "the first commit of all"
    cut = ages(stack, clock, blamed(stack.recipe, first, shallow="true"))
    assert cut["EPOCH"].days is None, "where a history is cut off, its edge is no change"


def test_plain_text_is_one_line() -> None:
    assert expected("X_REPO", "https://host") == ""
    assert expected("X_REPO", "") == "one line of text"
