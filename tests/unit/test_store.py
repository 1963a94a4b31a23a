"""A folder as a place: the table all places share, and what can go wrong with a disk."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ci.errors import InfraError
from ci.world import arrivals
from ci.world.bucket_access import explained
from ci.world.drafts import Drafts
from ci.world.store import Folder
from tests.unit.store_cases import CASES, paths


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    (tmp_path / "store").mkdir()
    return Folder(tmp_path / "store")


def drafts(store: Folder) -> list[Path]:
    return list(Path(store.name).rglob("new-*"))


@pytest.mark.parametrize("case", CASES)
def test_a_place(case: str, store: Folder, tmp_path: Path) -> None:
    CASES[case](store, tmp_path)
    assert drafts(store) == []


# --- a disk that fails ------------------------------------------------------------------------


@contextmanager
def small_files() -> Iterator[None]:
    """A disk that takes no more than 10 kB of a file, and then fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def not_for_us(folder: Path) -> Iterator[None]:
    """A folder nobody but root may use, and we are not root."""
    user = os.geteuid()
    folder.chmod(0)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(user)
        folder.chmod(0o755)


BIG = b"x" * 100_000
ACTS: dict[str, Callable[[Folder, Path], object]] = {
    "write": lambda store, _big: store.write("a/one", BIG),
    "create": lambda store, _big: store.create("a/new", BIG),
    "swap": lambda store, _big: store.swap("a/one", BIG, (store.fetch("a/one") or (b"", ""))[1]),
    "take": lambda store, big: store.take(big, "a/one"),
    "take_all": lambda store, big: store.take_all([(big, "a/one")], print),
    "publish": lambda store, _big: store.publish({"index.html": BIG}),
    "update": lambda store, _big: store.update({"index.html": BIG}),
}
LOOKS: dict[str, Callable[[Folder], object]] = {
    "read": lambda store: store.read("a/one"),
    "fetch": lambda store: store.fetch("a/one"),
    "stored": lambda store: store.stored("a/one"),
    "below": lambda store: list(store.below("a")),
    "all": lambda store: list(store.below("")),
    "remove": lambda store: store.remove("a/one"),
}


@pytest.fixture
def used(store: Folder) -> Folder:
    store.write("a/one", b"old")
    store.publish({"index.html": b"old"})
    return store


def as_before(store: Folder) -> bool:
    told = {path: store.read(path) for path in paths(store)}
    return told == {"a/one": b"old", "simple/index.html": b"old"} and not drafts(store)


@pytest.mark.parametrize("act", ACTS)
def test_a_full_disk_leaves_nothing_half_written(act: str, used: Folder, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(BIG)
    with small_files(), pytest.raises(InfraError) as caught:
        ACTS[act](used, big)
    assert caught.value.problems[0].reference == "disk"
    assert as_before(used)


@pytest.mark.parametrize("act", ACTS)
def test_a_disk_we_may_not_write_to(act: str, used: Folder, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(BIG)
    with not_for_us(Path(used.name)), pytest.raises(InfraError, match="Permission denied"):
        ACTS[act](used, big)
    assert as_before(used)


@pytest.mark.parametrize("look", LOOKS)
def test_what_we_may_not_look_at_is_not_missing(look: str, used: Folder) -> None:
    with not_for_us(Path(used.name)), pytest.raises(InfraError, match="Permission denied"):
        LOOKS[look](used)


def test_a_folder_that_cannot_be_listed_is_not_left_out(used: Folder) -> None:
    used.write("a/closed/two", b"")
    with not_for_us(Path(used.name) / "a" / "closed"), pytest.raises(InfraError, match="Permission denied"):
        list(used.below(""))


def test_the_file_that_failed_has_a_name(used: Folder, tmp_path: Path) -> None:
    for name in ("one.whl", "two.whl", "three.whl"):
        (tmp_path / name).write_bytes(BIG[: 50_000 if name == "two.whl" else 5_000])
    said: list[str] = []
    with small_files(), pytest.raises(InfraError, match=r"two\.whl did not get to set/two") as caught:
        used.take_all([(tmp_path / f"{name}.whl", f"set/{name}") for name in ("one", "two", "three")], said.append)
    assert said == ["1 of 3 files, 5 kB of 60 kB"]
    assert "there are 1 of 3 files" in caught.value.problems[0].context
    assert paths(used, "set") == ["set/one"]


# --- drafts -----------------------------------------------------------------------------------


def test_drafts_of_others_at_work_stay_and_those_of_killed_runs_go(store: Folder) -> None:
    store.publish({"index.html": b"1"})
    ours = Path(store.name) / ".index"
    for name, age in (("new-dead", 7200), ("new-alive", 600)):
        (ours / name).write_bytes(b"half")
        now = (ours / name).stat().st_mtime
        os.utime(ours / name, (now - age, now - age))
    (ours / "new-link").symlink_to("nowhere")
    store.publish({"index.html": b"2"})
    assert sorted(left.name for left in drafts(store)) == ["new-alive", "new-link"]


def test_staging_while_another_run_publishes(store: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages appear while a wheel is half there: the wheel gets there all the same."""
    source = tmp_path / "one.whl"
    source.write_bytes(b"wheel")

    def slow(source: Path, target: Path) -> None:
        target.write_bytes(b"wh")
        Folder(Path(store.name)).publish({"index.html": b"1"})
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr("shutil.copyfile", slow)
    store.take(source, "one.whl")
    assert store.read("one.whl") == b"wheel"


def test_the_age_of_a_draft_is_told_by_the_disk_it_is_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight hours between the disk's clock and ours make no draft old."""
    (tmp_path / "new-alive").write_bytes(b"half")
    real = Path.touch

    def touch(self: Path, **more: Any) -> None:
        real(self, **more)
        disk = (tmp_path / "new-alive").stat().st_mtime
        os.utime(self, (disk, disk))

    behind = (tmp_path / "new-alive").stat().st_mtime - 8 * 3600
    os.utime(tmp_path / "new-alive", (behind, behind))
    monkeypatch.setattr(Path, "touch", touch)
    Drafts(tmp_path).sweep()
    assert [left.name for left in tmp_path.iterdir()] == ["new-alive"]


# --- several at a time ------------------------------------------------------------------------


def items(folder: Path, count: int) -> list[arrivals.Item]:
    for number in range(count):
        (folder / f"{number}").write_bytes(b"x" * 100)
    return [(folder / f"{number}", f"to/{number}") for number in range(count)]


def test_several_at_a_time_and_no_more(tmp_path: Path) -> None:
    together = threading.Barrier(3)
    fourth = threading.Event()
    lock = threading.Lock()
    busy: list[int] = [0]

    def take(_source: Path, _path: str) -> None:
        with lock:
            busy[0] += 1
            if busy[0] > 3:
                fourth.set()
        fourth.wait(0.2)  # give it the chance to begin
        together.wait(30)  # three must be here at once, or none goes on
        with lock:
            busy[0] -= 1

    said: list[str] = []
    arrivals.together(take, items(tmp_path, 9), said.append, 3)
    assert said[-1] == "9 of 9 files, 900 B of 900 B"
    assert not fourth.is_set()


def test_after_a_failure_none_is_begun_and_those_under_way_arrive(tmp_path: Path) -> None:
    failing: list[threading.Thread] = []
    failed = threading.Event()
    begun: list[str] = []

    def take(_source: Path, path: str) -> None:
        begun.append(path)
        if path == "to/0":
            failing.append(threading.current_thread())
            failed.set()
            raise InfraError("store", "the disk is gone", hint="find it", context="seen")
        failed.wait(30)
        failing[0].join(30)  # past its end, at which the failure is told

    said: list[str] = []
    with pytest.raises(InfraError) as caught:
        arrivals.together(take, items(tmp_path, 6), said.append, 2)
    (problem,) = caught.value.problems
    assert (problem.reference, problem.message, problem.hint) == (
        "store",
        "0 did not get to to/0: the disk is gone",
        "find it",
    )
    assert problem.context.endswith("\nseen")
    assert set(begun) == {"to/0", "to/1"}, "the one that failed, and the one beside it"
    assert len(said) == 1


def test_a_bug_in_a_thread_is_no_silence(tmp_path: Path) -> None:
    def take(_source: Path, _path: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        arrivals.together(take, items(tmp_path, 1), print, 2)


# --- what a bucket's errors mean ----------------------------------------------------------------

S3 = "Generic S3 error: Error performing GET http://h/b/x in 4ms - Server returned non-2xx status code: "
ERRORS = {
    "403": (f"{S3}403 Forbidden: <Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
            "s3://b refuses the credentials (403 AccessDenied: Access Denied)", "renew AWS_"),
    "bare 403": (f"{S3}403 Forbidden: ", "s3://b refuses the credentials (403)", "renew AWS_"),
    "401": (f"{S3}401 Unauthorized: ", "s3://b refuses the credentials (401)", "renew AWS_"),
    "expired": (f"{S3}400 Bad Request: <?xml?>\n<Error><Code>ExpiredToken</Code></Error>",
                "s3://b refuses the credentials (400 ExpiredToken)", "renew AWS_"),
    "clock": (f"{S3}403 Forbidden: <Error><Code>RequestTimeTooSkewed</Code></Error>",
              "s3://b refuses what a wrong clock has signed", "set the clock"),
    "no bucket": (f"{S3}404 Not Found: <Error><Code>NoSuchBucket</Code><Message>none</Message></Error>",
                  "s3://b cannot be used: 404 NoSuchBucket: none", "the bucket's name"),
    "timeout": ("Error performing GET http://h/b/x in 15s - HTTP error: error\n\nDebug\n kind: Timeout,",
                "s3://b cannot be used: no complete answer came in time", "AWS_ENDPOINT_URL"),
    "refused": ('Error performing GET http://h/b/x\n\nDebug\n kind: Connect, message: "Connection refused"',
                "s3://b cannot be used: Connection refused", "AWS_ENDPOINT_URL"),
    "nobody": ("Error performing PUT http://169.254.169.254/latest/api/token in 1s - HTTP error: error",
               "there are no credentials for s3://b", "set AWS_ACCESS_KEY_ID"),
    "other": ("Something broke", "s3://b cannot be used: Something broke", "check AWS_REGION"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_of_a_bucket_say_what_to_do(case: str) -> None:
    said, message, hint = ERRORS[case]
    (problem,) = explained("s3://b", said, anonymous=False).problems
    assert (problem.reference, problem.message) == ("store", message)
    assert hint in problem.hint


def test_nobody_is_told_to_renew_what_was_not_used() -> None:
    (problem,) = explained("s3://b", ERRORS["403"][0], anonymous=True).problems
    assert problem.message.startswith("s3://b is not open to everybody")
    assert "renew" not in problem.hint


def test_an_error_holds_no_secret() -> None:
    body = "<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIA1</AWSAccessKeyId></Error>"
    assert "AKIA1" not in repr(explained("s3://b", f"{S3}403 Forbidden: {body}", anonymous=False).problems)
