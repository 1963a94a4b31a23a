"""``doctor`` on what a stack is built from elsewhere: each pin asked for, and what could not be told is never ok."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ci.doctor import upstreams, visit
from ci.doctor.findings import Case, Finding
from ci.errors import DeadlineError, Outcome
from ci.recipe import stack as stacks
from ci.world.fakes import FakeSend
from ci.world.http import Headers, Request, Response, Unreachable
from ci.world.process import Command, Finished
from tests.unit.test_doctor import case

COMMIT, DIGEST, SHA, KEY = "a" * 40, "sha256:" + "b" * 64, "c" * 64, "D" * 40
STACK = """\
schema: 1
name: far
summary: built from elsewhere
repository: rocm-ci-test/far
platform: linux/amd64
fetched:
  lib: {}
args:
  NIC_BACKEND: {type: nic-backend, default: none}
  UBUNTU_CODENAME: {type: ubuntu-codename, default: jammy}
  LIB_BRANCH: {type: git-commit, environment: true}
  AINIC_VERSION: {type: ainic-version}
  AINIC_REPO: {type: text, nic: [ainic, all]}
  AINIC_SIGNER_URL: {type: text, nic: [ainic, all]}
  AINIC_FINGERPRINT: {type: text, nic: [ainic, all]}
  BNXT_VERSION: {type: text, nic: [bnxt, all]}
  BNXT_REPO: {type: text, nic: [bnxt, all]}
  BNXT_SIGNER_URL: {type: text, nic: [bnxt, all]}
  BNXT_FINGERPRINT: {type: text, nic: [bnxt, all]}
roots:
  root: {image: "far/base:1", digest: BASE_IMAGE_DIGEST}
tiers:
  base: {dockerfile: Dockerfile, target: base, parents: {ROOT: root}}
"""
DOCKERFILE = """\
ARG ROOT=scratch
FROM scratch AS lib
ARG LIB_REPO
ARG LIB_BRANCH
ADD ${LIB_REPO}#${LIB_BRANCH} /
FROM scratch AS tool
ARG TOOL_URL
ARG TOOL_SHA256
ADD --checksum=sha256:${TOOL_SHA256} ${TOOL_URL} /tool
FROM ${ROOT} AS base
ARG NIC_BACKEND
ARG UBUNTU_CODENAME
ARG EXTRA_REPO
ARG EXTRA_SIGNER_URL
ARG EXTRA_FINGERPRINT
ARG AINIC_VERSION
ARG AINIC_REPO
ARG AINIC_SIGNER_URL
ARG AINIC_FINGERPRINT
ARG BNXT_VERSION
ARG BNXT_REPO
ARG BNXT_SIGNER_URL
ARG BNXT_FINGERPRINT
RUN --mount=type=bind,from=lib,target=/lib --mount=type=bind,from=tool,target=/tool true
FROM scratch AS nobody
ARG UNUSED_SHA256
"""
PINS = {
    "EPOCH": "2026-01", "BASE_IMAGE_DIGEST": DIGEST,
    "LIB_REPO": "https://git.example/lib.git", "LIB_BRANCH": COMMIT,
    "TOOL_URL": "https://files.example/tool", "TOOL_SHA256": SHA,
    "EXTRA_REPO": "https://apt.example/extra", "EXTRA_SIGNER_URL": "https://apt.example/extra.asc",
    "EXTRA_FINGERPRINT": KEY,
    "AINIC_VERSION": "1.2.3-a-4", "AINIC_REPO": "https://nic.example/ainic",
    "AINIC_SIGNER_URL": "https://nic.example/key", "AINIC_FINGERPRINT": KEY,
    "BNXT_VERSION": "235.1", "BNXT_REPO": "https://bnxt.example/deb",
    "BNXT_SIGNER_URL": "https://bnxt.example/key", "BNXT_FINGERPRINT": KEY,
    "UNUSED_URL": "https://files.example/unused", "UNUSED_SHA256": "unresolved:https://files.example/unused",
}  # fmt: skip
INDEX = Headers({"content-type": "application/vnd.oci.image.index.v1+json", "docker-content-digest": DIGEST,
                 "content-length": "9"})  # fmt: skip
IMAGE = ("HEAD", f"https://registry-1.docker.io/v2/far/base/manifests/{DIGEST}")
TOOL = ("HEAD", "https://files.example/tool")
SIGNER = ("GET", "https://apt.example/extra.asc")
RELEASE = ("GET", "https://apt.example/extra/dists/jammy/InRelease")
LISTED = b"SHA256:\n 00 1 main/binary-amd64/Packages.gz\n 00 1 main/binary-amd64/Packages\n"
GOOD: Mapping[tuple[str, str], Any] = {
    IMAGE: Response(200, INDEX),
    TOOL: Response(200),
    SIGNER: Response(200, body=b"a key"),
    RELEASE: Response(200, body=LISTED),
}


class Fetch:
    """git and gpg: what they answer to the words of a command that matter."""

    def __init__(self, git: tuple[int, str] | BaseException = (0, ""), key: str = KEY) -> None:
        self.git, self.key = git, key
        self.asked: list[str] = []

    def __call__(self, command: Command, _on_line: object = None) -> Finished:
        words = command.argv
        if "gpg" in words:
            return Finished(command, 0, f"pub:x\nfpr:::::::::{self.key}:\n", "")
        if "ls-remote" in words:
            self.asked.append("ls-remote")
            return Finished(command, 0, f"{COMMIT}\trefs/heads/main\n", "")
        if "init" in words:
            return Finished(command, 0, "", "")
        self.asked.append(" ".join(words[-2:]))
        if isinstance(self.git, BaseException):
            raise self.git
        return Finished(command, self.git[0], "", self.git[1])


def patient(tmp_path: Path, answers: Mapping[Any, Any], fetch: Fetch | None = None, **changes: Any) -> Case:
    """A host whose network gives the ``GOOD`` answers, changed by ``answers``; ``pins`` and ``environ`` change, too."""
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "stack.yaml").write_text(STACK)
    (recipe / "Dockerfile").write_text(DOCKERFILE)
    (recipe / "pins.json").write_text(json.dumps({**PINS, **changes.pop("pins", {})}))
    send = FakeSend({**GOOD, **answers})
    return case(
        tmp_path, stack=stacks.load(str(recipe / "stack.yaml")), fetch=fetch or Fetch(), send=send, **changes
    )  # fmt: skip


def look(sick: Case) -> dict[tuple[str, str], Finding]:
    """The findings of the check by group and subject."""
    chosen = [each for each in visit.CHECKS if each.name == "pins"]
    return {(each.check, each.subject): each for each in visit.examine(sick, chosen, 30)}


def test_all_of_it_is_there(tmp_path: Path) -> None:
    fetch = Fetch()
    found = look(patient(tmp_path, {}, fetch))
    assert {key: each.state for key, each in found.items()} == dict.fromkeys(
        [("pins", ""), ("commits", ""), ("images", ""), ("downloads", ""), ("keys", ""), ("packages", "")], "ok"
    )
    assert found["commits", ""].message == "1 of 1 there"
    assert fetch.asked == [f"https://git.example/lib.git {COMMIT}"]


def test_only_what_a_tier_reaches_is_asked_for(tmp_path: Path) -> None:
    found = look(patient(tmp_path, {}))["pins", ""]
    assert found.message.startswith("4 of 4 resolved; not needed with these settings: ")
    assert {"UNUSED_SHA256", "AINIC_FINGERPRINT", "BNXT_FINGERPRINT"} == set(
        found.message.rpartition(": ")[2].split(", ")
    )


@pytest.mark.parametrize(
    ("name", "kind", "update"),
    [
        ("LIB_BRANCH", "v1.0", "LIB_BRANCH"),
        ("BASE_IMAGE_DIGEST", "far/base:1", "BASE_IMAGE_DIGEST"),
        ("TOOL_SHA256", "https://files.example/tool", "TOOL_SHA256"),
        ("EXTRA_FINGERPRINT", "https://apt.example/extra.asc", "EXTRA_FINGERPRINT"),
        ("EXTRA_SIGNER_URL", "https://apt.example/", "EXTRA_SIGNER_URL --to VALUE"),
    ],
)
def test_a_pin_that_nobody_resolved(tmp_path: Path, name: str, kind: str, update: str) -> None:
    tag = ("HEAD", "https://registry-1.docker.io/v2/far/base/manifests/1")
    found = look(patient(tmp_path, {tag: Response(200, INDEX)}, pins={name: f"unresolved:{kind}"}))
    each = found["pins", name]
    command = f"inv pins --update {update} --stack {tmp_path}/recipe/stack.yaml"
    assert (each.state, each.outcome, each.remedy) == ("fail", Outcome.CONFIG, command)
    assert {each.state for key, each in found.items() if key[1] != name} == {"ok"}


def test_a_fingerprint_says_what_comes_first(tmp_path: Path) -> None:
    pins = {"EXTRA_SIGNER_URL": "unresolved:x", "EXTRA_FINGERPRINT": "unresolved:x"}
    assert "EXTRA_SIGNER_URL comes first" in look(patient(tmp_path, {}, pins=pins))["pins", "EXTRA_FINGERPRINT"].message


UNKNOWN = Response(404, Headers({"content-type": "application/json"}), b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')


@pytest.mark.parametrize(
    ("where", "answers", "git", "remedy"),
    [
        (("commits", "LIB_BRANCH"), {}, (128, f"fatal: remote error: upload-pack: not our ref {COMMIT}"), "LIB_BRANCH"),
        (("images", "BASE_IMAGE_DIGEST"), {IMAGE: UNKNOWN}, (0, ""), "BASE_IMAGE_DIGEST"),
        (("downloads", "TOOL_SHA256"), {TOOL: Response(404)}, (0, ""), "TOOL_URL --to VALUE"),
        (("downloads", "TOOL_SHA256"), {TOOL: Response(410)}, (0, ""), "TOOL_URL --to VALUE"),
        (("keys", "EXTRA_FINGERPRINT"), {SIGNER: Response(404)}, (0, ""), "EXTRA_FINGERPRINT"),
        (("packages", "EXTRA_REPO"), {RELEASE: Response(200, body=b"SHA256:\n")}, (0, ""), "EXTRA_REPO --to VALUE"),
    ],
)
def test_what_is_gone_is_a_failure_of_its_own(
    tmp_path: Path, where: tuple[str, str], answers: Any, git: tuple[int, str], remedy: str
) -> None:
    found = look(patient(tmp_path, answers, Fetch(git)))
    each = found[where]
    command = f"inv pins --update {remedy} --stack {tmp_path}/recipe/stack.yaml"
    assert (each.state, each.outcome, each.remedy) == ("fail", Outcome.CONFIG, command)
    assert (where[0], "") not in found


DOWN = Unreachable("dns", "host.example/path: the host name cannot be resolved (DNS)")


@pytest.mark.parametrize(
    ("group", "server", "answers", "git"),
    [
        (
            "commits",
            "git.example",
            {},
            (128, "fatal: unable to access 'https://git.example/x': No such host"),
        ),
        ("commits", "git.example", {}, DeadlineError("deadline", "env did not answer within 20 s")),
        ("commits", "git.example", {}, (128, "fatal: could not read Username for 'https://git.example'")),
        ("commits", "git.example", {}, (128, "")),
        ("images", "docker.io", {IMAGE: DOWN}, (0, "")),
        ("images", "docker.io", {IMAGE: Response(404, Headers({"content-type": "text/html"}))}, (0, "")),
        ("downloads", "files.example", {TOOL: DOWN}, (0, "")),
        ("downloads", "files.example", {TOOL: Response(503)}, (0, "")),
        ("downloads", "files.example", {TOOL: Response(200, Headers({"content-type": "text/html"}))}, (0, "")),
        ("keys", "apt.example", {SIGNER: Response(500)}, (0, "")),
        ("packages", "apt.example", {RELEASE: DOWN}, (0, "")),
        ("packages", "apt.example", {RELEASE: Response(403)}, (0, "")),
    ],
)
def test_what_could_not_be_told_is_not_ok(tmp_path: Path, group: str, server: str, answers: Any, git: Any) -> None:
    found = look(patient(tmp_path, answers, Fetch(git)))
    each = found[group, server]
    assert (each.state, each.outcome) == ("fail", Outcome.INFRA)
    assert each.message.startswith("could not tell: ")
    assert (group, "") not in found


def test_one_dead_server_is_one_failure(tmp_path: Path) -> None:
    urls = {f"T{number}_URL": f"https://files.example/{number}" for number in range(5)}
    pins = {**urls, **{f"T{number}_SHA256": SHA for number in range(5)}}
    answers = {
        ("HEAD", url): Unreachable("dns", f"files.example/{number}: no name")
        for number, url in enumerate(urls.values())
    }
    sick = patient(tmp_path, answers, pins=pins)
    file = tmp_path / "recipe/Dockerfile"
    file.write_text(DOCKERFILE.replace("ARG TOOL_URL\n", "ARG TOOL_URL\n" + "".join(f"ARG {name}\n" for name in pins)))
    found = look(sick)
    names = ", ".join(f"T{number}_SHA256" for number in range(5))
    assert found["downloads", "files.example"].message == f"could not tell: no name ({names})"
    assert found["downloads", ""].message == "1 of 6 there"


def test_a_server_that_refuses_to_say_without_sending(tmp_path: Path) -> None:
    first = ("GET", "https://files.example/tool")
    for number, answer in enumerate((Response(206, body=b"x"), Unreachable("too-large", "sends more than 1 bytes"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = look(patient(folder, {TOOL: Response(405), first: answer}))
        assert found["downloads", ""].message == "1 of 1 there"


def test_another_key_than_the_pinned_one(tmp_path: Path) -> None:
    found = look(patient(tmp_path, {}, Fetch(key="E" * 40)))["keys", "EXTRA_FINGERPRINT"]
    assert (found.state, found.outcome) == ("fail", Outcome.CONFIG)
    assert "E" * 40 in found.message
    assert KEY in found.message


def packages(**versions: str) -> bytes:
    text = "".join(f"Package: {k}\nVersion: {v}\n\n" for k, v in versions.items())
    return gzip.compress(text.encode(), mtime=0)  # it is in the names of tests, which every process must find the same


AINIC = "https://nic.example/ainic/1.2.3-a-4/dists/jammy"
BNXT = "https://bnxt.example/deb/dists/jammy"
NICS = {
    ("GET", "https://nic.example/key"): Response(200, body=b"a key"),
    ("GET", "https://bnxt.example/key"): Response(200, body=b"a key"),
    ("GET", f"{AINIC}/InRelease"): Response(404),
    ("GET", f"{AINIC}/Release"): Response(200, body=LISTED),
    ("GET", f"{BNXT}/InRelease"): Response(200, body=LISTED),
    ("GET", f"{AINIC}/main/binary-amd64/Packages.gz"): Response(
        200, body=packages(**{"libionic-dev": "54.0", "ionic-common": "1"})
    ),
    ("GET", f"{BNXT}/main/binary-amd64/Packages.gz"): Response(200, body=packages(**{"bnxt-rocelib": "235.1"})),
}


def test_packages_of_the_chosen_cards(tmp_path: Path) -> None:
    found = look(patient(tmp_path, NICS, environ={"NIC_BACKEND": "all"}))
    assert (found["packages", ""].message, found["keys", ""].message) == ("3 of 3 there", "3 of 3 there")


@pytest.mark.parametrize(
    ("url", "body", "subject", "words"),
    [
        (BNXT, packages(**{"bnxt-rocelib": "234.9"}), "BNXT_VERSION", "235.1 (it has 234.9)"),
        (BNXT, packages(other="1"), "BNXT_VERSION", "lacks bnxt-rocelib"),
        (AINIC, packages(**{"libionic-dev": "1"}), "AINIC_VERSION", "lacks ionic-common"),
        (AINIC, b"no gzip", "nic.example", "cannot be read"),
        (AINIC, packages(x="1")[:-9], "nic.example", "cannot be read"),
    ],
)
def test_packages_that_are_not_there(tmp_path: Path, url: str, body: bytes, subject: str, words: str) -> None:
    answers = {**NICS, ("GET", f"{url}/main/binary-amd64/Packages.gz"): Response(200, body=body)}
    each = look(patient(tmp_path, answers, environ={"NIC_BACKEND": "all"}))["packages", subject]
    outcome = Outcome.INFRA if words == "cannot be read" else Outcome.CONFIG
    assert (each.state, each.outcome, words in each.message) == ("fail", outcome, True)


def test_a_commit_that_somebody_gives_is_asked_for_instead(tmp_path: Path) -> None:
    fetch = Fetch()
    look(patient(tmp_path, {}, fetch, environ={"LIB_BRANCH": "e" * 40}))
    assert fetch.asked == ["https://git.example/lib.git " + "e" * 40]


def test_a_branch_that_somebody_gives_is_no_unresolved_pin(tmp_path: Path) -> None:
    for number, (branch, state) in enumerate((("main", "ok"), ("nowhere", "fail"))):
        folder, fetch = tmp_path / str(number), Fetch()
        folder.mkdir()
        found = look(patient(folder, {}, fetch, environ={"LIB_BRANCH": branch}))
        assert ("pins", "LIB_BRANCH") not in found
        assert fetch.asked == ["ls-remote"]
        assert found["commits", "" if state == "ok" else "LIB_BRANCH"].state == state


def test_arguments_that_cannot_be_meant(tmp_path: Path) -> None:
    found = look(patient(tmp_path, {}, environ={"NIC_BACKEND": "mlx5"}))["args", ""]
    assert (found.state, found.outcome) == ("fail", Outcome.CONFIG)


def test_a_stack_that_is_built_from_nothing_elsewhere_is_not_waited_for(tmp_path: Path) -> None:
    local = case(tmp_path)
    assert upstreams.needed(local).asked == ()
    assert visit.patience(local) == visit.DEADLINE
    assert visit.patience(patient(tmp_path, {})) == visit.DEADLINE + upstreams.ALL < 60


def test_an_answer_that_never_comes_is_told_as_such(tmp_path: Path) -> None:
    over = threading.Event()

    def silent(_request: Request) -> Response:
        over.wait()
        return Response(200)

    sick = patient(tmp_path, {TOOL: silent})
    found = {(each.check, each.subject): each for each in upstreams.look_at_pins(sick, 5)}
    over.set()
    each = found["downloads", "files.example"]
    assert (each.message, each.outcome) == ("could not tell: no answer within 5 s (TOOL_SHA256)", Outcome.INFRA)
    assert found["keys", ""].state == "ok"


def test_a_mistake_of_ours_is_not_hidden(tmp_path: Path) -> None:
    def broken(_request: Request) -> Response:
        raise KeyError("ours")

    answers = {TOOL: broken}
    found = look(patient(tmp_path, answers))["pins", ""]
    assert (found.state, found.outcome) == ("fail", Outcome.INTERNAL)


def test_forty_pins_are_read_at_a_glance() -> None:
    lines = [
        Finding("pins", "fail", "not resolved: v1", f"inv pins --update P{n}_BRANCH", Outcome.CONFIG, f"P{n}_BRANCH")
        for n in range(40)
    ]
    text = visit.render((*lines, Finding("commits", "ok", "40 of 40 there"))).text.splitlines()
    assert text[0] == "fail  pins     P0_BRANCH: not resolved: v1 → inv pins --update P0_BRANCH"
    assert len(text) == 42


def test_what_cannot_be_meant_is_told_whole_and_with_its_places(tmp_path: Path) -> None:
    file = tmp_path / "far.yaml"
    file.write_text(STACK)
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "pins.json").write_text(json.dumps(PINS))
    (tmp_path / "upstreams.yaml").write_text("schema: 1\npins:\n  A_BRANCH: {follows: x}\n  B_BRANCH: {follows: x}\n")
    checks = [check for check in visit.CHECKS if check.name == "pins"]
    (found,) = visit.examine(case(tmp_path, stack=stacks.load(str(file))), checks, 30)
    assert (found.state, found.outcome) == ("fail", Outcome.CONFIG)
    assert all(each in found.message for each in ("A_BRANCH", "upstreams.yaml:3:3", "B_BRANCH", "upstreams.yaml:4:3"))
    assert "run it again" not in found.remedy
