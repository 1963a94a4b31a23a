"""The same index in a bucket: moto_server speaks S3 over HTTP, with conditional puts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ci.errors import ContractError, InfraError
from ci.wheels import growth, index
from ci.world.bucket import Bucket
from ci.world.store import Folder
from tests import wheels
from tests.engine.conftest import Cli

pytestmark = pytest.mark.without_engine


def put(url: str, wheel: Path) -> None:
    Bucket.at(url).take(wheel, wheel.name)


def page(url: str, path: str) -> dict[str, Any]:
    data = Bucket.at(url).read(f"simple/{path}")
    assert data is not None, path
    document: dict[str, Any] = json.loads(data)
    return document


def pages(url: str) -> set[str]:
    return {stored.path for stored in Bucket.at(url)._list("simple")}


def test_a_bucket_gets_the_pages_a_folder_gets(tmp_path: Path, bucket: str) -> None:
    for version in ("1.0+rocm.7.2", "1.1+rocm.7.2", "1.1+rocm.10.0"):
        put(bucket, wheels.write(tmp_path, version=version))
    index.make(Folder(tmp_path), print)
    result = index.make(Bucket.at(bucket), print)
    assert (result.entries, result.read, result.variants) == (3, 3, ("rocm10", "rocm7.2"))
    base = tmp_path / "simple"
    for path in base.rglob("index.*"):
        assert Bucket.at(bucket).read(f"simple/{path.relative_to(base)}") == path.read_bytes()
    again = index.make(Bucket.at(bucket), print)
    assert (again.read, again.new) == (0, ())


def test_stale_pages_go_and_changed_bytes_are_noticed(tmp_path: Path, bucket: str) -> None:
    helper = wheels.write(tmp_path, "helper", "1.0")
    put(bucket, helper)
    put(bucket, wheels.write(tmp_path))
    index.make(Bucket.at(bucket), print)
    Bucket.at(bucket).remove(helper.name)
    assert index.make(Bucket.at(bucket), print).gone == (helper.name,)
    assert not [path for path in pages(bucket) if "helper" in path]
    assert Bucket.at(bucket).stored(f"{helper.name}.metadata") is None
    put(bucket, wheels.write(tmp_path, files={"x.py": ""}))
    with pytest.raises(ContractError, match="is not the file that was indexed"):
        index.make(Bucket.at(bucket), print)


def test_adding_to_a_bucket(tmp_path: Path, bucket: str) -> None:
    for version in ("1.0+rocm.7.2", "1.1+rocm.7.2", "1.1+rocm.10.0"):
        growth.add(Bucket.at(bucket), [wheels.write(tmp_path, version=version)], print)
    assert page(bucket, "rocm-probe/index.json")["versions"] == ["1.0+rocm.7.2", "1.1+rocm.10.0", "1.1+rocm.7.2"]
    assert page(bucket, "rocm10/rocm-probe/index.json")["versions"] == ["1.1+rocm.10.0"]


def test_somebody_else_in_between_is_noticed(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run publishes between our look and our pages: both wheels are listed in the end."""
    put(bucket, wheels.write(tmp_path / "a", "first", "1.0"))
    others = iter([True])
    real = Bucket.publish

    def late(self: Bucket, made: Mapping[str, bytes]) -> None:
        if next(others, False):
            put(bucket, wheels.write(tmp_path / "b", "second", "1.0"))
            index.make(Bucket.at(bucket), print)
        real(self, made)

    monkeypatch.setattr(Bucket, "publish", late)
    said: list[str] = []
    index.make(Bucket.at(bucket), said.append)
    assert any("looking again" in text for text in said)
    assert [item["name"] for item in page(bucket, "index.json")["projects"]] == ["first", "second"]


def test_a_turn_is_taken_once(bucket: str) -> None:
    store = Bucket.at(bucket)
    first = store.claim(store.turn())
    assert first
    assert store.claim("") == ""
    assert store.claim(first)
    assert store.claim(first) == "", "the turn moved on"


@pytest.mark.parametrize("url", ["s3://there-is-no-such-bucket", "s3://there-is-no-such-bucket/x"])
def test_a_bucket_that_is_not_there(url: str, access: Mapping[str, str]) -> None:
    assert access
    with pytest.raises(InfraError) as caught:
        index.make(Bucket.at(url), print)
    assert "credentials" in caught.value.problems[0].hint


@contextmanager
def front(bucket: str) -> Iterator[str]:
    """A CDN as it is set up before a bucket: ``/`` at the end means ``index.html``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = urllib.parse.unquote(self.path.lstrip("/")) + ("index.html" if self.path.endswith("/") else "")
            data = Bucket.at(f"s3://{bucket}").read(key)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Type", "text/html" if key.endswith(".html") else "application/octet-stream")
            data = data or b""
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_uv_installs_from_a_bucket_behind_a_web_server(
    tmp_path: Path, cli: Cli, access: dict[str, str], bucket: str
) -> None:
    put(bucket, wheels.write(tmp_path, version="1.0+rocm.7.2"))
    name, _, prefix = bucket.removeprefix("s3://").partition("/")
    with front(name) as url:
        document = cli("index", bucket, "--url", f"{url}/{prefix}", "--json", check=0, cwd=None, **access).json
        (way,) = document["install"]
        uv = str(Path(sys.executable).with_name("uv"))
        target = tmp_path / "into"
        choice = ["--no-config", "--no-cache", "--target", str(target)]
        words = [uv, "pip", "install", "--python", sys.executable, "--default-index", way["index"], *choice]
        done = subprocess.run(
            [*words, way["requirement"]], env={**os.environ, **access}, capture_output=True, check=False
        )
    assert done.returncode == 0, done.stderr.decode()
    assert (target / "rocm_probe.py").is_file()
