"""A bucket that refuses, is ill, is none, or gives no answer: always an error, never "not there" and no short list."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ci.errors import InfraError
from ci.world.bucket import Bucket
from tests.engine.conftest import ROOT
from tests.engine.s3_front import XML, Asked, Front, error
from tests.unit.registry_replies import Reply
from tests.unit.store_cases import paths

pytestmark = pytest.mark.without_engine


def a_file() -> Path:
    return next((ROOT / "tests").glob("*.py"))


CALLS: dict[str, Callable[[Bucket], object]] = {
    "fetch": lambda store: store.fetch("one"),
    "read": lambda store: store.read("one"),
    "stored": lambda store: store.stored("one"),
    "opened": lambda store: store.opened("one").__enter__(),
    "below": lambda store: list(store.below("")),
    "create": lambda store: store.create("one", b"1"),
    "swap": lambda store: store.swap("one", b"1", '"mark"'),
    "write": lambda store: store.write("one", b"1"),
    "take": lambda store: store.take(a_file(), "one"),
    "copy": lambda store: store.copy("one", "two"),
    "remove": lambda store: store.remove("one"),
    "discard": lambda store: store.discard("some"),
    "publish": lambda store: store.publish({"index.html": b"1"}),
    "turn": lambda store: store.turn(),
    "claim": lambda store: store.claim(""),
}


@pytest.mark.parametrize("code", ["403 AccessDenied", "400 ExpiredToken", "401 InvalidToken"])
@pytest.mark.parametrize("call", CALLS)
def test_refused_credentials_are_never_a_missing_file(call: str, code: str, door: Front, store: Bucket) -> None:
    status, _, name = code.partition(" ")
    door.spoil = lambda _asked: error(int(status), name)
    with pytest.raises(InfraError) as caught:
        CALLS[call](store)
    (problem,) = caught.value.problems
    assert problem.reference == "store"
    assert "credentials" in problem.message + problem.hint
    if status != "400" or call not in {"stored", "take", "turn"}:  # those ask by HEAD: 400 has no reason there
        assert "refuses the credentials" in problem.message


@pytest.mark.parametrize("call", ["create", "swap", "claim", "write", "take", "copy"])
def test_who_may_only_read_is_told_so(call: str, door: Front, store: Bucket) -> None:
    door.spoil = lambda asked: error(403, "AccessDenied") if asked.method == "PUT" else None
    with pytest.raises(InfraError, match="refuses the credentials"):
        CALLS[call](store)


@pytest.mark.parametrize("reply", [error(404, "NoSuchBucket"), Reply(404, {}, b"not here")], ids=["bucket", "server"])
@pytest.mark.parametrize("call", CALLS)
def test_no_bucket_is_not_an_empty_one(call: str, reply: Reply, door: Front, store: Bucket) -> None:
    door.spoil = lambda _asked: reply
    with pytest.raises(InfraError, match=r"cannot be used|did not get to"):
        CALLS[call](store)


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_ill(call: str, door: Front, store: Bucket) -> None:
    door.spoil = lambda _asked: error(500, "InternalError")
    with pytest.raises(InfraError, match="cannot be used: 500"):
        CALLS[call](store)


def test_a_removal_that_was_refused_inside_a_good_answer(door: Front, store: Bucket) -> None:
    store.write("one/one", b"1")
    wrong = b"<Error><Key>rocm/stable/one/one</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
    body = b"<DeleteResult>%s</DeleteResult>" % wrong
    door.spoil = lambda asked: Reply(200, XML, body) if asked.method == "POST" else None
    for remove, path in ((store.remove, "one/one"), (store.discard, "one")):
        with pytest.raises(InfraError, match=r"refuses the credentials \(AccessDenied"):
            remove(path)


PAGE = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><KeyCount>1</KeyCount>
<MaxKeys>1</MaxKeys><IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>
<Contents><Key>rocm/stable/a.whl</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>
<ETag>"x"</ETag><Size>1</Size></Contents></ListBucketResult>"""
SECOND = {
    "500": error(500, "InternalError"),
    "403": error(403, "AccessDenied"),
    "404": Reply(404),
    "cut": Reply(200, XML, PAGE[:200]),
    "closed": Reply(fault="close"),
}
LISTINGS: dict[str, Callable[[Bucket], object]] = {
    "below": lambda store: list(store.below("")),
    "listing": lambda store: store.listing(),
    "publish": lambda store: store.publish({}),
}


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("listing", LISTINGS)
def test_an_error_on_the_second_page_is_no_short_list(listing: str, second: str, door: Front, store: Bucket) -> None:
    def spoil(asked: Asked) -> Reply | None:
        if "list-type" not in asked.path:
            return None
        return SECOND[second] if "continuation-token" in asked.path else Reply(200, XML, PAGE)

    door.spoil = spoil
    with pytest.raises(InfraError):
        LISTINGS[listing](store)
    assert not [asked for asked in door.asked if asked.method in {"PUT", "POST"}], "nothing was written or removed"


def test_a_list_of_several_pages_is_whole(store: Bucket) -> None:
    store.publish({f"{number}/index.html": b"" for number in range(1005)})
    assert len(paths(store, "simple")) == 1005


@contextmanager
def dead(kind: str) -> Iterator[str]:
    """An address where nobody listens, or where everybody is let in and nobody answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "hangs":
            listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("kind", "why"), [("refuses", "Connection refused"), ("hangs", "no complete answer came in time")]
)
def test_a_dead_endpoint_is_the_worlds_fault(kind: str, why: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with dead(kind) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for call in ("fetch", "take"):
            with pytest.raises(InfraError, match=why) as caught:
                CALLS[call](Bucket.at(bucket))
            assert caught.value.problems[0].reference == "store"
