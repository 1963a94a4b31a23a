"""An overlay: where it comes from, and how what buildx makes of it is compared with the plan."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ci.check import overlay
from ci.check.overlay import Overlay, differences, fetched
from ci.errors import CiError, ConfigError, ContractError, InfraError
from ci.recipe import stack as stacks
from ci.settings import capture
from ci.world import by_hand
from ci.world.fakes import FakeSend
from ci.world.http import Response, Unreachable
from ci.world.process import Command, Finished
from tests import recipes

URL = "https://host.invalid/over.hcl"
TEXT = b"# overlay\n"
HASH = hashlib.sha256(TEXT).hexdigest()


@pytest.mark.parametrize(
    "word", [URL, f"{URL}#sha256=abc", f"{URL}#sha1={HASH}", f"ftp://host/x#sha256={HASH}", "s3://b/x"]
)
def test_an_address_without_its_hash_is_refused_before_anybody_is_asked(word: str) -> None:
    ask = FakeSend({})
    with pytest.raises(ConfigError) as caught:
        fetched(word, ask)
    assert (caught.value.problems[0].reference, ask.requests) == ("unpinned-overlay", [])


def test_an_address_with_credentials_is_not_shown_with_them() -> None:
    with pytest.raises(ConfigError) as caught:
        fetched("https://user:secret@host.invalid/x?token=hidden", FakeSend({}))
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Response(200, body=b"# other\n"), ContractError),
        (Response(404), InfraError),
        (Unreachable("dns", "no such host"), InfraError),
    ],
)
def test_what_is_not_the_pinned_file_is_not_used(answer: Response | Unreachable, kind: type[CiError]) -> None:
    with pytest.raises(kind):
        fetched(f"{URL}#sha256={HASH}", FakeSend({("GET", URL): answer}))


def test_the_pinned_file_is_taken(tmp_path: Path) -> None:
    found = fetched(f"{URL}#sha256={HASH}", FakeSend({("GET", URL): Response(200, body=TEXT)}))
    assert found == Overlay("host.invalid/over.hcl", TEXT)
    (tmp_path / "over.hcl").write_bytes(TEXT)
    assert fetched(str(tmp_path / "over.hcl"), FakeSend({})).text == TEXT
    with pytest.raises(ConfigError, match="No such file"):
        fetched(str(tmp_path / "gone.hcl"), FakeSend({}))


# --- compared -------------------------------------------------------------------------------------

STACK = recipes.STACK.replace("sources: [src]\n", "").replace("schema: 1\n", "schema: 1\nbake: [base.hcl]\n")
ARGS = {"PYTORCH_ROCM_ARCH": "gfx942", "LEVEL": "9"}
BASE = {"dockerfile": "Dockerfile.tiny", "target": "base", "args": ARGS}
CHILD_ARGS = {"NIC_BACKEND": "none", "COLOUR": "blue", "BASE_IMAGE": "x"}
CHILD = {"dockerfile": "Dockerfile.tiny", "target": "ci_base", "args": CHILD_ARGS}


def compared(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], **environ: str
) -> tuple[list[str], list[Command]]:
    """The differences where buildx prints ``before``, and ``after`` with one file more; and what was asked of it."""
    dockerfile = recipes.DOCKERFILE.replace("COPY --from=src lib /opt/lib\n", "")
    path = recipes.write(tmp_path / str(len(list(tmp_path.iterdir()))), dockerfile, STACK)
    (path.parent / "base.hcl").write_text("")
    (path.parent / "pins.json").write_text('{"EPOCH": "1", "LEVEL": "9"}\n')
    texts = [json.dumps({"target": each}) for each in (before, after)]
    asked: list[Command] = []

    def run(command: Command, *_rest: object) -> Finished:
        if command.argv[0] == "git":
            return Finished(command, 0, "", "")
        asked.append(command)
        return Finished(command, 0, texts[command.argv.count("--file") - 1], "")

    settings = capture({}, {"PATH": "/bin", **environ})
    problems = differences(stacks.load(str(path)), settings, Overlay("over.hcl", TEXT), run)
    return [problem.message for problem in problems], asked


def test_what_changes_no_argument_is_no_difference(tmp_path: Path) -> None:
    tagged = {**BASE, "tags": ["a:b"], "output": [{"type": "registry"}]}
    messages, asked = compared(tmp_path, {"one": BASE, "two": CHILD}, {"one": tagged, "two": CHILD})
    assert messages == []
    assert [command.argv.count("--file") for command in asked] == [1, 2]
    assert asked[0].cwd == tmp_path / "0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"args": {**ARGS, "LEVEL": "1"}}, "target one: LEVEL is '1', in the plan of base '9'"),
        ({"args": {"LEVEL": "9"}}, "target one: PYTORCH_ROCM_ARCH is not set, in the plan of base 'gfx942'"),
        ({"args": {**ARGS, "MORE": "1"}}, "target one: MORE is '1', without the overlay not set"),
        ({"dockerfile": "Other"}, "target one: dockerfile is 'Other', without the overlay 'Dockerfile.tiny'"),
        ({"contexts": {"a": "/b"}}, "target one: contexts is {'a': '/b'}, without the overlay not set"),
        ({"network": "host"}, "target one: network is 'host', without the overlay not set"),
        ({"entitlements": ["x"]}, "target one: entitlements is ['x'], without the overlay not set"),
    ],
)
def test_a_difference_is_told_by_target(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    messages, _ = compared(tmp_path, {"one": BASE}, {"one": {**BASE, **change}})
    assert messages == [message]


def test_files_that_differ_from_the_plan_by_themselves_are_told_too(tmp_path: Path) -> None:
    wrong = {**BASE, "args": {**ARGS, "LEVEL": "1"}}
    assert compared(tmp_path, {"one": wrong}, {"one": wrong})[0] == [
        "target one: LEVEL is '1', in the plan of base '9'"
    ]


def test_a_parent_moves_with_each_build_but_an_overlay_must_not_change_it(tmp_path: Path) -> None:
    other = {**CHILD, "args": {**CHILD_ARGS, "BASE_IMAGE": "y"}}
    assert compared(tmp_path, {"two": CHILD}, {"two": CHILD})[0] == []
    assert compared(tmp_path, {"two": CHILD}, {"two": other})[0] == [
        "target two: BASE_IMAGE is 'y', without the overlay 'x'"
    ]


def test_a_target_that_is_none_of_the_stacks_is_told(tmp_path: Path) -> None:
    messages, _ = compared(tmp_path, {}, {"new": {"dockerfile": "Dockerfile.tiny", "target": "elsewhere"}})
    assert messages == ["target new is none of the stack's"]
    assert compared(tmp_path, {}, {"new": BASE})[0] == []


def test_a_bake_sees_what_was_given_and_nothing_else(tmp_path: Path) -> None:
    target = {**BASE, "args": {"PYTORCH_ROCM_ARCH": "gfx950", "LEVEL": "9"}}
    messages, asked = compared(
        tmp_path, {"one": target}, {"one": target}, PYTORCH_ROCM_ARCH="MI355X", LEVEL="1", HOME="/h"
    )
    assert messages == []
    env = asked[0].env or {}
    assert env["PYTORCH_ROCM_ARCH"] == "gfx950"
    assert (env["RECIPE"], env["HOME"], env["PATH"]) == ("recipe", "/h", "/bin")
    assert "LEVEL" not in env


def test_a_stack_without_files_to_bake_says_so(tmp_path: Path) -> None:
    stack = stacks.load(str(recipes.write(tmp_path)))
    with pytest.raises(ConfigError, match="no files to bake by hand"):
        list(differences(stack, capture({}, {}), Overlay("o", TEXT)))


def test_the_hash_is_of_what_was_read_and_no_more_than_a_file_of_text() -> None:
    ask = FakeSend({("GET", URL): Response(200, body=TEXT)})
    fetched(f"{URL}#sha256={HASH}", ask)
    assert ask.requests[0].max_body == overlay.MOST


@pytest.mark.parametrize(("text", "name"), [(b'\n {"target": {}}', "overlay.json"), (TEXT, "overlay.hcl")])
def test_an_overlay_of_json_is_given_as_such(tmp_path: Path, text: bytes, name: str) -> None:
    names: list[str] = []

    def run(command: Command, *_rest: object) -> Finished:
        names.extend(Path(word).name for word in command.argv if "overlay." in word)
        return Finished(command, 0, '{"target": {}}', "")

    by_hand.printed([], text, folder=tmp_path, env={}, start=run)
    assert names == [name]
