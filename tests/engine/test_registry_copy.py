"""Copies, lists of tags and drops against real registries, and the registry in memory against a real one."""

from __future__ import annotations

import io
import json
import os
import socket
import tarfile
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ci.build import travel
from ci.errors import InfraError
from ci.identity import Input, Manifest
from ci.world.clock import SystemClock
from ci.world.http import Request, Response, Send, Timeouts, Unreachable, send
from ci.world.registry import Found, Registry, digest_of
from ci.world.registry_copy import copy
from tests.engine.conftest import docker, remove_images
from tests.engine.fault_server import fault_server
from tests.engine.test_registry_real import HastyClock, distribution
from tests.memory_registry import INDEX, parts, push
from tests.unit.registry_replies import Reply

MANIFEST_OF_RECIPE = Manifest.of([Input("epoch", "", "2026-11"), Input("arg", "A", "b")])


@dataclass
class Counted:
    """The real `send`, with a list of what went through; ``away`` leads one request elsewhere, once."""

    away: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, request: Request) -> Response:
        parts_of_url = urlsplit(request.url)
        self.asked.append((request.method, parts_of_url.path))
        elsewhere = self.away.pop(f"{request.method} {parts_of_url.path}", "")
        return send(replace(request, url=elsewhere + parts_of_url.path) if elsewhere else request)

    def writes(self) -> list[tuple[str, str]]:
        return [asked for asked in self.asked if asked[0] not in {"GET", "HEAD"}]


def client(url: str, through: Send = send, deadline: float = 30.0) -> Registry:
    return Registry(url, send=through, clock=HastyClock(), credentials=lambda _: None, deadline=deadline)


@pytest.fixture
def second(tmp_path: Path) -> Iterator[str]:
    """Another real registry; gives ``host:port``."""
    (tmp_path / "second").mkdir()
    with distribution(tmp_path / "second") as url:
        host = url.removeprefix("http://")
        yield host
        remove_images(f"{host}/")


def layer(size: int = 0) -> bytes:
    """A tar with one file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo("content")
        entry.size = size
        tar.addfile(entry, io.BytesIO(os.urandom(size)))
    return stream.getvalue()


def published(registry: Registry, repository: str, *layers: bytes) -> str:
    """An image with its attestation and the list of its recipe beside it; its digest."""
    made = parts({"made": "for a copy"}, *layers)
    digest = push(registry, repository, "nightly", made)
    subject = {"mediaType": INDEX, "digest": digest, "size": len(made.index)}
    travel.publish(registry, repository, subject, MANIFEST_OF_RECIPE)
    return digest


def everything(registry: Registry, repository: str, digest: str) -> dict[str, bytes]:
    """All manifests of the image by digest, read back."""
    whole = registry.manifest(repository, digest)
    assert isinstance(whole, tuple)
    found = {digest: whole[1]}
    for row in json.loads(whole[1]).get("manifests", ()):
        found |= everything(registry, repository, row["digest"])
    return found


def test_a_copy_is_the_same_image_with_all_that_belongs_to_it(registry: str, second: str, tmp_path: Path) -> None:
    here, there, said = client(registry), client(second), list[str]()
    digest = published(here, "team/app", layer(), layer(3_000_000))
    found = copy(here, "team/app", digest, there, "release/app", say=said.append, scratch=tmp_path / "scratch")
    assert found == here.head("team/app", digest) == there.head("release/app", digest)
    assert everything(there, "release/app", digest) == everything(here, "team/app", digest)
    assert len(everything(there, "release/app", digest)) == 3  # index, image, attestation
    assert travel.fetch(there, "release/app", digest) == MANIFEST_OF_RECIPE
    assert said[0] == "copied 1 of 7 blobs, 0 MB"
    assert said[-1] == "copied 7 of 7 blobs, 3 MB"
    assert list((tmp_path / "scratch").iterdir()) == []
    docker("pull", f"{second}/release/app@{digest}")
    assert docker("inspect", "-f", "{{.Config.Labels.made}}", f"{second}/release/app@{digest}") == "for a copy"


def test_a_second_copy_sends_nothing(registry: str, second: str, tmp_path: Path) -> None:
    here, counted, said = client(registry), Counted(), list[str]()
    digest = published(here, "team/app", layer())
    for _ in range(2):
        counted.asked.clear()
        copy(here, "team/app", digest, client(second, counted), "app", say=said.append, scratch=tmp_path)
    assert counted.writes() == []
    assert said[-1] == "all 6 blobs are there"


def test_on_one_host_blobs_are_mounted(registry: str, tmp_path: Path) -> None:
    counted = Counted()
    both = client(registry, counted)
    digest = published(both, "team/app", layer(100_000))
    counted.asked.clear()
    copy(both, "team/app", digest, both, "team/other", say=lambda _: None, scratch=tmp_path)
    assert both.head("team/other", digest) == both.head("team/app", digest)
    assert {method for method, path in counted.asked if "/blobs/" in path} == {"HEAD", "POST"}


def test_wrong_bytes_at_the_source_publish_nothing(registry: str, second: str, tmp_path: Path) -> None:
    here, there = client(registry), client(second)
    body = layer(50_000)
    digest = published(here, "team/app", body)
    (stored,) = tmp_path.glob(f"registry/**/{digest_of(body)[7:]}/data")
    stored.write_bytes(bytes(len(body)))
    with pytest.raises(InfraError) as caught:
        copy(here, "team/app", digest, there, "app", say=lambda _: None, scratch=tmp_path / "scratch")
    assert f"{registry}/team/app@{digest_of(body)} was not pulled" in str(caught.value)
    assert f"the body is {digest_of(bytes(len(body)))}" in str(caught.value)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert [path for path in tmp_path.glob("second/**/_manifests") if path.is_dir()] == []


def test_a_blob_that_is_cut_off_is_asked_for_again(registry: str, second: str, tmp_path: Path) -> None:
    body = layer(200_000)
    digest = published(client(registry), "team/app", body)
    path = f"/v2/team/app/blobs/{digest_of(body)}"
    with fault_server({("GET", path): (Reply(200, {}, body, "cut"),)}) as faults:
        counted = Counted({f"GET {path}": faults.url})
        here = client(registry, counted)
        copy(here, "team/app", digest, client(second), "app", say=lambda _: None, scratch=tmp_path)
        assert len(faults.asked) == 1
    assert counted.asked.count(("GET", path)) == 2
    assert isinstance(client(second).head("app", digest), Found)


def test_an_upload_that_is_cut_off_starts_anew(registry: str, second: str, tmp_path: Path) -> None:
    body = layer(200_000)
    digest = published(client(registry), "team/app", body)
    start = "/v2/app/blobs/uploads/"
    script = {("POST", start): (Reply(202, {"Location": start + "1"}),), ("PUT", start + "1"): (Reply(fault="close"),)}
    with fault_server(script) as faults:
        counted = Counted({f"POST {start}": faults.url, f"PUT {start}1": faults.url})
        there = client(second, counted)
        copy(client(registry), "team/app", digest, there, "app", say=lambda _: None, scratch=tmp_path)
        assert [asked.method for asked in faults.asked] == ["POST", "PUT"]
    assert isinstance(client(second).head("app", digest), Found)


def test_a_layer_passes_through_without_being_held(registry: str, second: str, tmp_path: Path) -> None:
    here, there = client(registry), client(second)
    digest = published(here, "team/app", layer(40_000_000))
    tracemalloc.start()
    try:
        copy(here, "team/app", digest, there, "app", say=lambda _: None, scratch=tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


def test_neither_a_slow_stream_nor_a_slow_reader_is_a_still_one(tmp_path: Path) -> None:
    """Each takes longer than it may stand still; both at once, as most of it is waiting."""
    with ThreadPoolExecutor() as both:
        for each in [both.submit(a_slow_stream), both.submit(a_slow_reader, tmp_path / "large")]:
            each.result()


def a_slow_stream() -> None:
    taken: list[bytes] = []
    with fault_server({("GET", "/a"): (Reply(200, {}, b"x" * 110, "drip"),)}) as faults:
        answer = send(Request("GET", faults.url + "/a", timeout=Timeouts(10.0, 10.0, 10.0), into=taken.extend))
    assert answer.body == b""
    assert b"".join(taken) == b"x" * 110


def a_slow_reader(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(48_000_000)  # many times what sockets hold
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader = threading.Thread(target=read_slowly, args=(listener, 48_000_000), daemon=True)
        reader.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        assert send(Request("PUT", url, timeout=Timeouts(60.0, 60.0, 10.0), file=file)).status == 201
        reader.join()


def read_slowly(listener: socket.socket, size: int) -> None:
    """Take a request of ``size`` bytes in, over longer than it may stand still, and answer."""
    connection, _ = listener.accept()
    with connection:
        taken, pauses = 0, iter([0.7] * 15)
        while taken < size and (piece := connection.recv(3_200_000, socket.MSG_WAITALL)):
            taken += len(piece)
            SystemClock().sleep(next(pauses, 0.0))
        connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")


def test_a_stream_that_is_cut_off_is_an_error() -> None:
    taken: list[bytes] = []
    script = {("GET", "/a"): (Reply(200, {}, b"x" * 10, "cut"),)}
    with fault_server(script) as faults, pytest.raises(Unreachable) as caught:
        send(Request("GET", faults.url + "/a", into=taken.extend))
    assert caught.value.kind == "cut"
    assert b"".join(taken) == b"x" * 5


def test_a_still_stream_is_given_up(tmp_path: Path) -> None:
    limits = Timeouts(60.0, 60.0, 0.3)
    with fault_server({("GET", "/a"): (Reply(fault="hang"),)}) as faults, pytest.raises(Unreachable) as caught:
        send(Request("GET", faults.url + "/a", timeout=limits, into=lambda pieces: list(pieces).clear()))
    assert "no byte more within 0.3 s" in caught.value.reason
    file = tmp_path / "large"
    file.write_bytes(bytes(30_000_000))  # more than sockets hold, so that it is the sending that stands still
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(Unreachable) as caught:
        send(Request("PUT", f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=limits, file=file))
    assert "no byte more within 0.3 s" in caught.value.reason


def test_an_empty_file_is_sent_with_its_length(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_bytes(b"data")
    with fault_server({("PUT", "/a"): (Reply(201),)}) as faults:
        for name in ("empty", "full"):
            assert send(Request("PUT", faults.url + "/a", file=tmp_path / name)).status == 201
    assert [asked.body for asked in faults.asked] == [b"", b"data"]
    assert [asked.headers["Content-Length"] for asked in faults.asked] == ["0", "4"]
