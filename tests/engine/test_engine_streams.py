"""Errors and silence inside a 200 of the engine, while an older image of the name is there."""

from __future__ import annotations

import itertools
import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from ci.errors import InfraError
from ci.world.engine import Endpoint, Engine

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
LAYER = {"status": "Pulling fs layer", "id": "1"}
ENDING = {"status": f"Digest: {OLD}"}
FAILED = {"errorDetail": {"message": "unexpected EOF"}, "error": "unexpected EOF"}
PUSHED = {"status": f"1: digest: {OLD} size: 527"}


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are expected."""


@contextmanager
def engine(
    folder: Path, *parts: bytes, cut: bool = False, image: bytes = b"", turns: Sequence[Sequence[bytes]] = ()
) -> Iterator[Engine]:
    """An engine that has an old image, and answers pull, push and import with these chunks; with ``turns``, in turn."""
    described = image or json.dumps({"Id": OLD}).encode()
    answers = iter(turns or itertools.repeat(parts))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Tests are quiet."""

        def do_GET(self) -> None:
            body = json.dumps({"ApiVersion": "1.47"}).encode() if self.path.endswith("/version") else described
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in next(answers):
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            if cut:
                self.wfile.write(b"400\r\nhalf of it")
            else:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True

    path = folder / "engine.sock"
    with _Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        made = Engine(Endpoint(f"unix://{path}", "default"))
        try:
            yield made
        finally:
            if made._client is not None:
                made._client.close()
            server.shutdown()
            thread.join()


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\r\n" for row in rows)


BAD = {
    "error": ((lines(LAYER, FAILED),), False, "unexpected EOF"),
    "error after the digest": ((lines(LAYER, ENDING, PUSHED, FAILED),), False, "unexpected EOF"),
    "no closing record": ((lines(LAYER),), False, "without a digest"),
    "cut": ((lines(LAYER),), True, ""),
    "half a record": ((lines(LAYER) + b'{"status": "Dig',), False, ""),
    "a page": ((b"<html>the proxy is tired</html>",), False, ""),
    "nothing": ((), False, ""),
}


ASK: dict[str, Callable[[Engine], object]] = {
    "pull": lambda made: made.pull("team/app:1", "linux/amd64"),
    "push": lambda made: made.push("team/app:1"),
    "import": lambda made: made.bring_in(iter([b"archive"]), "team/app:1"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("what", ASK)
def test_a_stream_that_ends_badly_is_no_success(tmp_path: Path, name: str, what: str) -> None:
    parts, cut, words = BAD[name]
    with engine(tmp_path, *parts, cut=cut) as made, pytest.raises(InfraError) as caught:
        ASK[what](made)
    assert words in str(caught.value)
    assert caught.value.problems[0].hint


def test_a_stream_that_ends_well_is_believed(tmp_path: Path) -> None:
    with engine(tmp_path, lines(LAYER, ENDING)) as made:
        assert made.pull("team/app:1", "linux/amd64").id == OLD
    (tmp_path / "engine.sock").unlink()
    with engine(tmp_path, lines(LAYER, PUSHED)) as made:
        assert made.push("team/app:1") == OLD


def test_another_image_than_the_one_pulled_is_no_success(tmp_path: Path) -> None:
    with (
        engine(tmp_path, lines(LAYER, {"status": f"Digest: {NEW}"})) as made,
        pytest.raises(InfraError, match="but team/app:1 is"),
    ):
        made.pull("team/app:1", "linux/amd64")


@pytest.mark.parametrize("body", [b"<html>", b'{"Id": "sha', b"[]", b"{}"])
def test_an_answer_that_is_no_image_is_no_image(tmp_path: Path, body: bytes) -> None:
    with engine(tmp_path, image=body) as made, pytest.raises(InfraError, match="is no description"):
        made.image("team/app:1")


@pytest.mark.parametrize(
    "detail",
    [
        'failed commit on ref "layer-sha256:7c": commit failed: lease does not exist: not found',
        'failed commit on ref "c": commit failed: rename /var/lib/ingest/6589/data /var/lib/blobs/6b: no such file',
        "NotFound: content digest sha256:7c2a: not found",
    ],
)
def test_a_pull_whose_lease_somebody_pruned_is_tried_once_more(tmp_path: Path, detail: str) -> None:
    dropped, well = lines(LAYER, {"error": detail}), lines(LAYER, ENDING)
    with engine(tmp_path, turns=[[dropped], [well]]) as made:
        assert made.pull("team/app:1", "linux/amd64").id == OLD
    (tmp_path / "engine.sock").unlink()
    with engine(tmp_path, turns=[[dropped], [dropped]]) as made, pytest.raises(InfraError, match="the engine reports"):
        made.pull("team/app:1", "linux/amd64")


def test_a_pull_that_failed_otherwise_is_not_tried_again(tmp_path: Path) -> None:
    with engine(tmp_path, turns=[[lines(FAILED)]]) as made, pytest.raises(InfraError, match="unexpected EOF"):
        made.pull("team/app:1", "linux/amd64")
