"""What ``make`` judges and reads, without a build: suites, sizes, the files of an image."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.errors import ContractError, DeadlineError, EmptyError, FailedError, InfraError, Outcome
from ci.publish.make import image_size
from ci.publish.suites import evidence_path, judged
from ci.suites.results import RunResult, StepResult
from ci.suites.verdict import Counts
from ci.world import image_files
from ci.world.fakes import FakeClock
from ci.world.registry import Registry
from tests.memory_registry import MemoryRegistry


def result(outcome: Outcome, *ran: int) -> RunResult:
    steps = tuple(
        StepResult(f"s{number}", "", outcome, ("why",), counts=Counts(run=count)) for number, count in enumerate(ran)
    )
    return RunResult("proof", "plant", outcome, steps, Path("/run"), 1.0)


@pytest.mark.parametrize(
    ("ended", "least", "kind"),
    [
        (result(Outcome.OK, 3, 1), 4, None),
        (result(Outcome.OK, 0), 0, None),
        (result(Outcome.OK, 3), 4, ContractError),
        (result(Outcome.OK, 0), 1, EmptyError),
        (result(Outcome.SKIPPED, 0), 0, EmptyError),
        (result(Outcome.EMPTY), 1, EmptyError),
        (result(Outcome.FAILED, 9), 4, FailedError),
        (result(Outcome.INFRA, 9), 4, InfraError),
        (result(Outcome.TIMEOUT, 9), 4, DeadlineError),
        (result(Outcome.CONTRACT, 9), 4, ContractError),
    ],
)
def test_what_a_suite_proves(ended: RunResult, least: int, kind: type | None) -> None:
    error = judged(ended, least)
    assert (type(error) if error else None) is kind
    if error and ended.steps and ended.outcome is not Outcome.OK:
        assert "s0: why" in error.problems[0].context


def test_evidence_is_of_the_digests_in_any_order() -> None:
    one = evidence_path("c", "proof", ("sha256:1", "sha256:2"))
    assert one == evidence_path("c", "proof", ("sha256:2", "sha256:1"))
    assert one.startswith("c/suites/proof-")
    assert (
        len({one, evidence_path("c", "proof", ("sha256:1",)), evidence_path("c", "other", ("sha256:1", "sha256:2"))})
        == 3
    )


def test_the_size_of_an_image_is_what_a_pull_brings() -> None:
    memory = MemoryRegistry()
    registry = Registry("localhost:5000", send=memory, clock=FakeClock(), credentials=lambda _host: None)
    digest = memory.image("r", "t", {"a": "b"}, b"x" * 100, b"y" * 50)
    config = next(
        blob
        for blob in memory.blobs["r"].values()
        if b'"rootfs"' in blob and b"unknown" not in blob and b"amd64" in blob
    )
    assert image_size(registry, "r", digest) == 150 + len(config)
    with pytest.raises(InfraError) as caught:
        image_size(registry, "r", "sha256:" + "0" * 64)
    assert caught.value.problems[0].reference == "could-not-tell"


# --- the files of an image ------------------------------------------------------------------


def archive(*names: str, content: bytes = b"z") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name in (".dockerenv", "etc/hosts", *names):
            member = tarfile.TarInfo(name.removesuffix("@").removesuffix("/"))
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            elif name.endswith("@"):
                member.type, member.linkname = tarfile.SYMTYPE, "/x"
            else:
                member.size = 5000
            tar.addfile(member, io.BytesIO(content * member.size))
    return data.getvalue()


def pieces(data: bytes, size: int = 700) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def test_files_arrive_without_what_the_engine_mounted(tmp_path: Path) -> None:
    found = []
    for file in image_files.read(pieces(archive("a.whl", "sub/", "sub/b.whl", "link@"))):
        found.append((file.path, file.stream is not None))
        if file.path == "sub/b.whl":
            file.save(tmp_path / "b")
    assert found == [("a.whl", True), ("sub/b.whl", True), ("link", False)]
    assert (tmp_path / "b").read_bytes() == b"z" * 5000


def saved(data: bytes, folder: Path) -> None:
    for file in image_files.read(pieces(data)):
        file.save(folder / Path(file.path).name)


@pytest.mark.parametrize("end", [0, 300, 512 + 100, 7000, 12000, -9216 - 1024])
def test_an_archive_that_breaks_off_is_no_image(tmp_path: Path, end: int) -> None:
    with pytest.raises(InfraError) as caught:
        saved(archive("a.whl", "b.whl")[:end], tmp_path)
    assert caught.value.problems[0].reference == "engine-stream"


@pytest.mark.parametrize("content", [b"z", b"\0"])
def test_an_archive_cut_between_two_files(tmp_path: Path, content: bytes) -> None:
    """The very place where nothing but the missing end tells, and zeros of a file look like one."""
    whole = archive("a.whl", "b.whl", content=content)
    with pytest.raises(InfraError):
        saved(whole[: whole.index(b"b.whl")], tmp_path)
