"""A bucket as a place, on a real S3 server: the table all places share, and everything a network can do to it."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest

from ci.errors import InfraError
from ci.world.bucket import Bucket
from ci.world.store import Folder, Store
from tests.engine.conftest import ROOT
from tests.engine.s3_front import LOST, Asked, Front, error
from tests.unit.registry_replies import Reply
from tests.unit.store_cases import CASES, marked, paths

pytestmark = pytest.mark.without_engine

BAD_GATEWAY = Reply(502)


@pytest.mark.parametrize("case", CASES)
def test_a_place(case: str, store: Bucket, tmp_path: Path) -> None:
    CASES[case](store, tmp_path)


# --- several processes ------------------------------------------------------------------------

WRITER = """\
import sys
from pathlib import Path
from ci.world.store import opened
store, number, mark = opened(sys.argv[1]), sys.argv[2], sys.argv[3]
store.fetch('warm')
print(flush=True)
sys.stdin.readline()
data = b'run ' + number.encode()
print(store.swap('one', data, mark) if mark else store.create('one', data))
"""


def four_at_once(place: str, mark: str) -> list[int]:
    """The numbers of those of four processes that won."""
    words = [sys.executable, "-c", WRITER, place]
    writers = [
        subprocess.Popen(
            [*words, f"{number}", mark], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("\n")
        writer.stdin.flush()
    said = [writer.communicate(timeout=120)[0].strip() for writer in writers]
    assert set(said) <= {"True", "False"}
    return [number for number, text in enumerate(said) if text == "True"]


def check_processes(store: Store) -> None:
    (winner,) = four_at_once(store.name, "")
    assert store.read("one") == b"run %d" % winner
    store.write("one", b"before")
    (winner,) = four_at_once(store.name, marked(store, "one"))
    assert store.read("one") == b"run %d" % winner


def test_one_of_four_processes_wins_in_a_bucket(store: Bucket) -> None:
    check_processes(store)


def test_one_of_four_processes_wins_in_a_folder(tmp_path: Path) -> None:
    check_processes(Folder(tmp_path))


# --- answers that got lost ----------------------------------------------------------------------


class Spoiler:
    """Spoils the first ``count`` conditional writes with ``reply``; ``between`` is done after the first."""

    def __init__(self, door: Front, reply: Reply, count: int, between: Callable[[], object] = lambda: None) -> None:
        self._door, self._reply, self._left, self._between = door, reply, count, between
        door.spoil = self

    def __call__(self, asked: Asked) -> Reply | None:
        if not self._left or not asked.headers.keys() & {"if-match", "if-none-match"}:
            return None
        self._left -= 1
        if self._reply is not LOST:
            self._door.perform(asked)
            self._between()
            return self._reply
        return LOST


def writes(door: Front) -> int:
    return sum(asked.method == "PUT" for asked in door.asked)


@pytest.mark.parametrize("reply", [LOST, BAD_GATEWAY], ids=["cut", "502"])
@pytest.mark.parametrize("count", [1, 1000])
def test_a_write_whose_answer_was_lost_is_ours(reply: Reply, count: int, door: Front, store: Bucket) -> None:
    Spoiler(door, reply, count)
    assert store.create("one", b"run 1")
    assert writes(door) > 1, "it was asked again, and the condition failed on our own write"
    mark = marked(store, "one")
    Spoiler(door, reply, count)
    assert store.swap("one", b"run 2", mark)
    assert store.read("one") == b"run 2"


@pytest.mark.parametrize("reply", [LOST, BAD_GATEWAY], ids=["cut", "502"])
def test_a_lost_answer_makes_nobody_elses_write_ours(reply: Reply, door: Front, store: Bucket) -> None:
    store.write("one", b"theirs")
    Spoiler(door, reply, 1)
    assert not store.create("one", b"ours")
    Spoiler(door, reply, 1)
    assert not store.swap("one", b"ours", '"stale"')
    assert store.read("one") == b"theirs"


def test_a_write_that_was_replaced_before_we_knew_is_lost(door: Front, store: Bucket) -> None:
    store.write("one", b"before")
    mark = marked(store, "one")
    Spoiler(door, BAD_GATEWAY, 1, lambda: store.write("one", b"theirs"))
    assert not store.swap("one", b"ours", mark)


def test_a_request_that_never_arrived_is_asked_again(door: Front, store: Bucket) -> None:
    replies = iter([Reply(fault="close"), Reply(fault="close")])
    door.spoil = lambda _asked: next(replies, None)
    assert store.create("one", b"ours")
    assert store.read("one") == b"ours"


def test_a_conflict_that_nobody_won_is_no_loss(door: Front, store: Bucket) -> None:
    """S3 answers 409 to one of two writes at once, and the other may still fail."""
    replies = iter([error(409, "ConditionalRequestConflict")])
    door.spoil = lambda asked: next(replies, None) if asked.method == "PUT" else None
    assert store.create("one", b"ours")
    door.spoil = lambda asked: error(409, "ConditionalRequestConflict") if asked.method == "PUT" else None
    with pytest.raises(InfraError, match="others write it, and nobody did"):
        store.create("two", b"ours")


def test_the_turn_is_ours_though_nobody_said_so(door: Front, store: Bucket) -> None:
    Spoiler(door, LOST, 1)
    turn = store.claim("")
    assert turn == store.turn() != ""


# --- uploads ------------------------------------------------------------------------------------


def big(folder: Path, name: str = "big.whl", size: int = 20_000_001) -> Path:
    (folder / name).write_bytes(os.urandom(size))
    return folder / name


def test_every_body_goes_up_with_its_checksum(door: Front, store: Bucket, tmp_path: Path) -> None:
    """The server behind compares nothing; S3 does, with what is seen here."""
    source = big(tmp_path)
    store.take(source, "a/big.whl")
    assert len([asked for asked in door.asked if "partNumber=" in asked.path]) == 3
    small = tmp_path / "small.whl"
    small.write_bytes(b"small")
    store.take(small, "a/small.whl")
    store.write("b", b"1")
    store.create("c", b"2")
    store.swap("c", b"3", marked(store, "c"))
    store.publish({"index.html": b"4"})
    sent = [asked for asked in door.asked if asked.method == "PUT"]
    assert len(sent) == 8
    for asked in sent:
        digest = hashlib.sha256(asked.body).digest()
        assert asked.headers["x-amz-checksum-sha256"] == base64.b64encode(digest).decode(), asked.path
        assert asked.headers["x-amz-content-sha256"] == digest.hex(), "and the signature covers it"
    with store.opened("a/big.whl") as stream:
        assert stream.read() == source.read_bytes()
    parts = [asked.headers.get("range") for asked in door.asked if asked.headers.get("range")]
    assert len(parts) == 3, "it comes back in parts too"


def test_an_object_that_changes_while_it_is_read_is_noticed(door: Front, store: Bucket, tmp_path: Path) -> None:
    source = big(tmp_path)
    store.take(source, "big.whl")

    def change(asked: Asked) -> None:
        if asked.headers.get("range", "").startswith("bytes=8388608-"):
            door.spoil = lambda _asked: None
            Bucket.at(store.name).take(big(tmp_path, "other.whl"), "big.whl")

    door.spoil = change
    with pytest.raises(InfraError, match="PreconditionFailed"), store.opened("big.whl"):
        pass


@pytest.mark.parametrize("length", ["3", "20000002"])
def test_a_size_that_is_not_the_files_is_an_error(length: str, door: Front, store: Bucket, tmp_path: Path) -> None:
    def short(asked: Asked) -> Reply | None:
        if asked.method != "HEAD":
            return None
        answer = door.perform(asked)
        headers = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
        return replace(answer, headers={**headers, "content-length": length})

    door.spoil = short
    with pytest.raises(InfraError, match=f"has {length} bytes there; .* has 20000001"):
        store.take(big(tmp_path), "big.whl")


def test_the_wheel_that_was_refused_has_a_name(door: Front, store: Bucket, tmp_path: Path) -> None:
    items = [(big(tmp_path, f"{number}.whl", 9_000_000), f"set/{number}.whl") for number in range(5)]
    refuse = error(403, "AccessDenied")
    door.spoil = lambda asked: refuse if asked.method == "PUT" and "/set/2.whl" in asked.path else None
    said: list[str] = []
    with pytest.raises(
        InfraError, match=r"2\.whl did not get to set/2\.whl: s3://.* refuses the credentials"
    ) as caught:
        store.take_all(items, said.append)
    there = paths(store, "set")
    assert "set/2.whl" not in there
    assert f"there are {len(there)} of 5 files" in caught.value.problems[0].context
    assert len(said) == len(there)
    door.spoil = lambda _asked: None
    store.take_all([item for item in items if item[1] not in there], said.append)
    assert paths(store, "set") == [path for _, path in items]


class Stopped(BaseException):
    """What the signal raises."""


def test_a_signal_does_not_wait_for_an_upload(door: Front, store: Bucket, tmp_path: Path) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stopped

    def hang(asked: Asked) -> Reply | None:
        if asked.method != "PUT":
            return None
        os.kill(os.getpid(), signal.SIGUSR1)
        return Reply(fault="hang")

    before = signal.signal(signal.SIGUSR1, stop)
    door.spoil = hang
    try:
        with pytest.raises(Stopped):
            store.take(big(tmp_path, size=10), "one.whl")
        assert not door.released.is_set(), "the upload is still waiting for its answer"
    finally:
        signal.signal(signal.SIGUSR1, before)


# --- nobody's requests --------------------------------------------------------------------------


def test_nobody_signs_nothing(door: Front, bucket: str) -> None:
    name = urllib.parse.urlsplit(bucket).netloc
    for_all = urllib.request.Request(f"{door.behind}/{name}?acl", method="PUT", headers={"x-amz-acl": "public-read"})
    urllib.request.urlopen(for_all).read()
    Bucket.at(bucket).write("channel/one", b"1")
    assert all("authorization" in asked.headers for asked in door.asked)
    door.asked.clear()
    anyone = Bucket.at(bucket, anonymous=True)
    inside = anyone.within("channel")
    assert anyone.read("channel/one") == inside.read("one") == b"1"
    assert [found.path for found in inside.below("")] == ["one"]
    assert inside.url == f"{anyone.url}/channel"
    with inside.opened("one") as stream:
        assert stream.read() == b"1"
    assert len(door.asked) == 4
    for asked in door.asked:
        assert not [name for name in asked.headers if name == "authorization" or "security-token" in name]
        assert "X-Amz-Signature" not in urllib.parse.unquote(asked.path)
    door.spoil = lambda _asked: error(403, "AccessDenied")
    with pytest.raises(InfraError, match="is not open to everybody"):
        inside.fetch("one")
