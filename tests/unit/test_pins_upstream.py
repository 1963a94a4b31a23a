"""What upstream says, per kind, and the difference between "no such thing" and "no answer"."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event

import pytest

from ci.errors import ConfigError, DeadlineError, InfraError
from ci.pins.drift import CURRENT, GONE, MOVED, NOTHING, UNKNOWN, UNRESOLVED, Drift, drifts
from ci.pins.kinds import EPOCH, WEEK, Pin
from ci.pins.upstream import Upstream
from ci.world.fakes import Answer, Ending, FakeClock, FakeRun, FakeSend
from ci.world.http import Headers, Request, Response, Unreachable
from ci.world.process import Command, Finished
from ci.world.registry import Registry

REPO, NEW, OLD = "https://host/x.git", "a" * 40, "b" * 40
BRANCH = Pin("X_BRANCH", OLD, "commit", "main", REPO, "X_REPO")
IMAGE = Pin("B_DIGEST", "sha256:" + "0" * 64, "digest", "r.example/b:1", "r.example/b:1")
FILE = Pin("T_SHA256", "0" * 64, "sha256", "https://host/t", "https://host/t", "T_URL")
KEY = Pin("K_FINGERPRINT", "0" * 40, "fingerprint", "https://host/k", "https://host/k", "K_SIGNER_URL")
ASK = ("env", "GIT_TERMINAL_PROMPT=0", "git", "ls-remote", "--", REPO, "main", "main^{}")


def upstream(
    commands: Mapping[tuple[str, ...], Ending | list[Ending]] | None = None,
    answers: Mapping[tuple[str, str], Answer] | None = None,
    *,
    clones: bool = True,
) -> Upstream:
    send, clock = FakeSend(answers or {}), FakeClock(datetime(2026, 11, 21, tzinfo=UTC))

    def registry(host: str) -> Registry:
        return Registry(host, send=send, clock=clock, credentials=lambda _host: None, attempts=1)

    return Upstream(send, FakeRun(commands or {}), registry, clock, clones)


def told(*rows: str) -> Upstream:
    return upstream({ASK: (0, "".join(f"{row}\n" for row in rows), "")})


@pytest.mark.parametrize(
    "rows",
    [
        (f"{NEW}\trefs/heads/main",),
        (f"{NEW}\trefs/heads/main", f"{OLD}\trefs/heads/other/main", f"{OLD}\trefs/pull/1/main"),
        (f"{OLD}\trefs/tags/main", f"{NEW}\trefs/tags/main^{{}}"),
        (f"{NEW}\trefs/heads/main", f"{NEW}\trefs/tags/main"),
    ],
)
def test_a_commit_is_that_of_the_branch_or_tag_of_exactly_this_name(rows: tuple[str, ...]) -> None:
    assert told(*rows).value(BRANCH) == NEW


@pytest.mark.parametrize(
    ("rows", "reference"),
    [
        ((), "no-such-ref"),
        ((f"{OLD}\trefs/heads/other/main",), "no-such-ref"),
        ((f"{NEW}\trefs/heads/main", f"{OLD}\trefs/tags/main"), "ambiguous-ref"),
    ],
)
def test_a_reference_that_is_not_there_or_is_two_things(rows: tuple[str, ...], reference: str) -> None:
    with pytest.raises(ConfigError) as refused:
        told(*rows).value(BRANCH)
    assert refused.value.problems[0].reference == reference


@pytest.mark.parametrize("ending", [(128, "", "fatal: could not read"), DeadlineError("deadline", "30 s")])
def test_a_repository_that_does_not_answer_is_no_missing_branch(ending: Ending) -> None:
    with pytest.raises(InfraError) as refused:
        upstream({ASK: ending}).value(BRANCH)
    assert refused.value.problems[0].reference == "unreachable"


def test_a_digest_is_what_the_registry_has_now() -> None:
    digest = "sha256:" + "1" * 64
    head = ("HEAD", "https://r.example/v2/b/manifests/1")
    headers = Headers({
        "Docker-Content-Digest": digest, "Content-Length": "5",
        "Content-Type": "application/vnd.oci.image.index.v1+json",
    })  # fmt: skip
    assert upstream(answers={head: Response(200, headers)}).value(IMAGE) == digest
    with pytest.raises(InfraError):
        upstream(answers={head: Response(500)}).value(IMAGE)


def test_an_image_without_host_is_docker_hubs() -> None:
    asked: list[str] = []
    here = upstream()

    def registry(host: str) -> Registry:
        asked.append(host)
        return here.registry(host)

    there = Upstream(FakeSend(lambda _request: Response(500)), here.run, registry, here.clock)
    for name in ("busybox:1", "rocm/dev:7"):
        with pytest.raises(BaseException, match=r"library/busybox/manifests/1|rocm/dev/manifests/7"):
            there.value(IMAGE._replace(follows=name))
    assert asked == ["docker.io", "docker.io"]


def streamed(*pieces: bytes, kind: str = "application/octet-stream") -> Answer:
    def answer(request: Request) -> Response:
        assert request.into is not None, "a download is hashed as it comes"
        request.into(iter(pieces))
        return Response(200, Headers({"Content-Type": kind}))

    return answer


def test_a_hash_is_of_the_stream() -> None:
    there = upstream(answers={("GET", FILE.where): streamed(b"one", b"two")})
    assert there.value(FILE) == hashlib.sha256(b"onetwo").hexdigest()


@pytest.mark.parametrize("answer", [streamed(b"<html>log in", kind="text/html; charset=utf-8"), streamed()])
def test_a_web_page_and_nothing_at_all_are_no_download(answer: Answer) -> None:
    there = upstream(answers={("GET", FILE.where): answer})
    with pytest.raises(InfraError) as refused:
        there.value(FILE)
    assert refused.value.problems[0].reference == "no-download"
    assert drifts((FILE,), there)["T_SHA256"].state == UNKNOWN


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Response(404), ConfigError), (Response(410), ConfigError), (Response(403), InfraError),
        (Response(503), InfraError), (Unreachable("dns", "no host"), InfraError),
    ],
)  # fmt: skip
def test_only_the_servers_word_is_absence(answer: Answer, kind: type[BaseException]) -> None:
    for pin in (FILE, KEY):
        with pytest.raises(kind):
            upstream(answers={("GET", pin.where): answer}).value(pin)


def test_the_epoch_is_the_week_of_the_calendar() -> None:
    epoch = Pin(EPOCH, "2026-W01", "plain", WEEK, "")
    assert upstream().value(epoch) == "2026-W47"
    early = Upstream(FakeSend({}), FakeRun({}), upstream().registry, FakeClock(datetime(2027, 1, 1, tzinfo=UTC)))
    assert early.value(epoch) == "2026-W53", "the week's year is not the day's"


@pytest.mark.parametrize(
    ("pin", "reference", "hint"),
    [
        (Pin("V", "1", "plain", "", "", "", "a release"), "follows-nothing", "--update V --to VALUE: a release"),
        (BRANCH._replace(follows=""), "follows-nothing", "--update X_BRANCH --to VALUE"),
        (BRANCH._replace(where=""), "no-upstream", "--update X_REPO"),
        (BRANCH._replace(where="", of=""), "no-upstream", "add X_REPO to the lock"),
        (KEY._replace(follows="", where=""), "no-upstream", "--update K_SIGNER_URL"),
    ],
)
def test_a_pin_that_follows_nothing_says_what_to_do(pin: Pin, reference: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        upstream().value(pin)
    assert refused.value.problems[0].reference == reference
    assert hint in refused.value.problems[0].hint


# --- drift ----------------------------------------------------------------------------------


def test_drift_says_what_upstream_says_and_what_it_could_not_tell() -> None:
    other = Pin("Y_BRANCH", NEW, "commit", "main", "https://host/y.git", "Y_REPO")
    gone = Pin("Z_BRANCH", NEW, "commit", "main", "https://host/z.git", "Z_REPO")
    ask = {name: (*ASK[:5], f"https://host/{name}.git", *ASK[6:]) for name in "yz"}
    there = upstream(
        {ASK: (0, f"{NEW}\trefs/heads/main\n", ""), ask["y"]: (128, "", "fatal"), ask["z"]: (0, "", "")},
        {("GET", FILE.where): streamed(b"same")},
        clones=False,
    )
    same = FILE._replace(value=hashlib.sha256(b"same").hexdigest())
    short = Pin("S_BRANCH", "unresolved:733fca1", "commit", "733fca1", REPO, "X_REPO")
    open_ = BRANCH._replace(name="O_BRANCH", value="unresolved:main")
    plain = Pin("V", "1", "plain", "", "")
    pins = (BRANCH, other, gone, same, short, open_, plain)
    found = drifts(pins, there)
    assert {name: drift.state for name, drift in found.items()} == {
        "X_BRANCH": MOVED, "Y_BRANCH": UNKNOWN, "Z_BRANCH": GONE, "T_SHA256": CURRENT, "S_BRANCH": UNRESOLVED,
        "O_BRANCH": UNRESOLVED, "V": NOTHING,
    }  # fmt: skip
    assert (found["X_BRANCH"].found, found["O_BRANCH"].found, found["Y_BRANCH"].found) == (NEW, NEW, "")
    assert "git cannot read host/y.git" in found["Y_BRANCH"].why


def test_no_answer_in_time_is_unknown() -> None:
    late = Event()

    def hang(command: Command) -> Finished:
        late.wait()
        return Finished(command, 0, f"{OLD}\trefs/heads/main\n", "")

    found = drifts((BRANCH,), replace(upstream(), run=hang), seconds=0)
    late.set()
    assert found["X_BRANCH"] == Drift(UNKNOWN, why="no answer within 0 s")


def test_a_bug_of_ours_is_no_drift() -> None:
    with pytest.raises(AssertionError):
        drifts((BRANCH,), upstream())


def test_without_gpg_there_is_no_fingerprint() -> None:
    def missing(_command: Command) -> Finished:
        raise InfraError("no-program", "gpg is not installed or not on PATH")

    key = upstream(answers={("GET", KEY.where): Response(200, body=b"a key")})
    with pytest.raises(InfraError) as refused:
        replace(key, run=missing).value(KEY)
    assert refused.value.problems[0].reference == "no-gpg"
    assert "apt-get install gnupg" in refused.value.problems[0].hint
