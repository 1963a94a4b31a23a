"""What each pin follows: the table beside the lock, what needs no entry there, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ci.errors import ConfigError
from ci.pins.kinds import EPOCH, FILE, Pin, command, pins_of
from ci.recipe import stack as stacks
from ci.recipe.stack import HOME
from tests import recipes

COMMIT = "a" * 40


def pinned(folder: Path, lock: dict[str, str], upstreams: str = "", stack: str = recipes.STACK) -> dict[str, Pin]:
    """The pins of the tiny recipe with this lock."""
    file = recipes.write(folder, stack=stack)
    (file.parent / "pins.json").write_text(json.dumps(lock))
    if upstreams:
        (file.parent / FILE).write_text(f"schema: 1\npins:\n{upstreams}")
    return {pin.name: pin for pin in pins_of(stacks.load(str(file)))}


def test_each_kind_finds_its_upstream(tmp_path: Path) -> None:
    lock = {
        "X_REPO": "https://host/x.git", "X_BRANCH": COMMIT, "Y_COMMIT": COMMIT, "B_DIGEST": "unresolved:host/b:1",
        "T_URL": "https://host/t", "T_SHA256": "b" * 64, "K_SIGNER_URL": "https://host/k", "K_FINGERPRINT": "C" * 40,
    }  # fmt: skip
    found = pinned(tmp_path, lock, "  X_BRANCH: {follows: main}\n  Y_COMMIT: {follows: v1, of: X_REPO}\n")
    assert list(found) == list(lock), "the order of the lock"
    assert found["X_BRANCH"] == Pin("X_BRANCH", COMMIT, "commit", "main", "https://host/x.git", "X_REPO")
    assert found["Y_COMMIT"][3:5] == ("v1", "https://host/x.git")
    assert found["B_DIGEST"][2:5] == ("digest", "host/b:1", "host/b:1")
    assert found["T_SHA256"][2:5] == ("sha256", "https://host/t", "https://host/t")
    assert found["K_FINGERPRINT"][2:5] == ("fingerprint", "https://host/k", "https://host/k")
    assert found["T_URL"][2:5] == ("plain", "", "")
    assert (found["X_BRANCH"].resolved, found["B_DIGEST"].resolved) == (True, False)


def test_a_stack_without_the_table_works(tmp_path: Path) -> None:
    root = recipes.STACK.replace("{image: rocm-ci-test/busy:1}", "{image: rocm-ci-test/busy:1, digest: BUSY_DIGEST}")
    lock = {"X_BRANCH": COMMIT, "Y_BRANCH": "unresolved:v2", "BUSY_DIGEST": "sha256:" + "d" * 64}
    found = pinned(tmp_path, lock, stack=root)
    assert found["X_BRANCH"][3:5] == ("", "")
    assert found["Y_BRANCH"][3:5] == ("v2", "")
    assert found["BUSY_DIGEST"].follows == "rocm-ci-test/busy:1", "a root says its image itself"


def test_what_is_found_through_an_unresolved_pin_is_nowhere_yet(tmp_path: Path) -> None:
    lock = {"K_SIGNER_URL": "unresolved:https://host/page", "K_FINGERPRINT": "unresolved:https://host/page"}
    found = pinned(tmp_path, lock)
    assert found["K_FINGERPRINT"] == Pin("K_FINGERPRINT", lock["K_FINGERPRINT"], "fingerprint", "", "", "K_SIGNER_URL")


@pytest.mark.parametrize(
    ("entry", "reference"),
    [
        ("  Z_BRANCH: {follows: main}", "unknown-pin"),
        ("  X_BRANCH: {follows: main, of: Z_REPO}", "unknown-pin"),
        ("  X_BRANCH: {follows: main, chosen: by hand}", "two-upstreams"),
        (f"  X_BRANCH: {{follows: {COMMIT}}}", "wrong-upstream"),
        (f"  X_BRANCH: {{follows: {COMMIT[:7]}}}", "wrong-upstream"),
        ("  T_SHA256: {follows: 'https://host/t'}", "wrong-upstream"),
        ("  X_REPO: {of: X_BRANCH}", "wrong-upstream"),
        ("  X_BRANCH: {follows: --upload-pack=x}", "wrong-value"),
        ("  X_BRANCH: {}", "too-few"),
        ("  X_BRANCH: {tag: v1}", "unknown-key"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(tmp_path: Path, entry: str, reference: str) -> None:
    lock = {"X_REPO": "https://host/x.git", "X_BRANCH": COMMIT, "T_SHA256": "b" * 64}
    with pytest.raises(ConfigError) as refused:
        pinned(tmp_path, lock, entry + "\n")
    problem = refused.value.problems[0]
    assert problem.reference == reference
    assert problem.place is not None
    assert problem.place.line == 3


def test_every_pin_of_ours_follows_something_or_says_how_it_is_chosen() -> None:
    for pin in pins_of(stacks.load("vllm")):
        fixed = pin.kind == "plain" and pin.resolved and pin.name.endswith(("_REPO", "_URL"))
        assert pin.follows or pin.chosen or fixed or pin.of, f"{pin.name}: say in {FILE} what it follows"
        assert not (pin.kind == "commit" and not pin.where), f"{pin.name}: no repository"


def test_a_root_and_the_table_name_one_image() -> None:
    for name in stacks.shipped():
        stack = stacks.load(name)
        follows = {pin.name: pin.follows for pin in pins_of(stack)}
        for root in stack.roots.values():
            assert not root.pin or follows[root.pin] == root.image


def test_the_table_holds_nothing_that_needs_no_entry() -> None:
    """The epoch follows the week, hashes and fingerprints the URL beside them."""
    lines = (HOME / FILE).read_text().splitlines()
    names = [line.split(":")[0].strip() for line in lines if line.startswith("  ")]
    assert names
    assert not [name for name in names if name == EPOCH or name.endswith(("_SHA256", "_FINGERPRINT", "_REPO"))]


def test_no_index_is_an_input() -> None:
    """Whoever serves a package, its hash is what counts: the locks of pip name no place."""
    locks = sorted((HOME / "requirements").glob("*.txt"))
    assert locks
    options = ("-i ", "--index-url", "--extra-index-url", "--find-links", "--trusted-host")
    for lock in locks:
        lines = lock.read_text().splitlines()
        assert not [line for line in lines if "://" in line or line.strip().startswith(options)], lock.name


def test_a_table_without_a_lock_is_one_mistake(tmp_path: Path) -> None:
    file = recipes.write(tmp_path)
    (file.parent / "pins.json").unlink(missing_ok=True)
    (file.parent / FILE).write_text("schema: 1\npins:\n  X_BRANCH: {follows: main}\n  Y_BRANCH: {follows: main}\n")
    with pytest.raises(ConfigError) as refused:
        pins_of(stacks.load(str(file)))
    (problem,) = refused.value.problems
    assert (problem.reference, "pins.json" in problem.message) == ("no-lock", True)


def test_a_table_that_cannot_be_read_is_not_none(tmp_path: Path) -> None:
    file = recipes.write(tmp_path)
    (file.parent / FILE).mkdir()
    with pytest.raises(ConfigError, match="upstreams"):
        pins_of(stacks.load(str(file)))


def test_a_mistake_stands_in_a_file_that_a_person_can_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        pinned(tmp_path, {"X_REPO": "https://host/x.git"}, "  Z_BRANCH: {follows: main}\n")
    place = refused.value.problems[0].place
    assert place is not None
    assert Path(place.file).is_file()


def test_the_next_command_of_a_pin_that_is_not_resolved(tmp_path: Path) -> None:
    lock = {
        "X_REPO": "https://host/x.git", "X_BRANCH": "unresolved:main", "K_SIGNER_URL": "unresolved:a page",
        "K_FINGERPRINT": "unresolved:a page", "V": "unresolved:1",
    }  # fmt: skip
    found = pinned(tmp_path, lock)
    ours = stacks.load("vllm")
    assert command(found["X_BRANCH"], ours) == "inv pins --update X_BRANCH"
    assert command(found["V"], ours) == "inv pins --update V --to VALUE"
    assert command(found["K_FINGERPRINT"], ours) == "inv pins --update K_SIGNER_URL --to VALUE"
    other = replace(ours, recipe=tmp_path, file="x/my stack.yaml")
    assert command(found["X_BRANCH"], other) == "inv pins --update X_BRANCH --stack 'x/my stack.yaml'"
