"""What tests beside each other need: ports that nobody else gets, lists of images that others remove."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from tests.images import listed
from tests.servers import git_server, kept_port, running

ENGINE = """\
#!/bin/sh
echo "$*" >> {folder}/asked
[ "$(wc -l < {folder}/asked)" -gt {failures} ] || {{ echo 'Error response from daemon: {text}' >&2; exit 1; }}
echo one
echo two
"""
DIGEST = "sha256:" + "0" * 64
GONE = (
    f"NotFound: content digest {DIGEST}: not found",
    f"failed to read config content: rpc error: code = NotFound desc = content digest {DIGEST}: not found",
)


def test_a_port_is_nobody_elses_before_and_while_and_after_a_server_listens(tmp_path: Path) -> None:
    with kept_port() as port:

        def taken() -> bool:
            with socket.socket() as other:
                try:
                    other.bind(("127.0.0.1", port))
                except OSError:
                    return True
            return False

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        argv = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(tmp_path), str(port))
        assert (taken(), answers()) == (True, False)
        for _ in range(2):
            with running(*argv, port=port):
                assert (taken(), answers()) == (True, True)
            assert (taken(), answers()) == (True, False)


def test_every_server_has_its_own(tmp_path: Path) -> None:
    with git_server(tmp_path) as one, git_server(tmp_path) as other:
        assert one != other


def test_a_server_that_ends_before_it_listens_fails_with_what_it_said() -> None:
    argv = ("sh", "-c", "echo to the one; echo to the other >&2; exit 3")
    ends = pytest.raises(pytest.fail.Exception, match=r"exit 3\nto the one\nto the other")
    with kept_port() as port, ends, running(*argv, port=port):
        raise AssertionError("it runs")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a script stands for the docker command line."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "docker"


def play(engine: Path, text: str, failures: int) -> None:
    engine.write_text(ENGINE.format(folder=engine.parent, text=text, failures=failures))
    engine.chmod(0o755)


@pytest.mark.parametrize("text", GONE)
def test_images_are_listed_again_where_one_went_meanwhile(engine: Path, text: str) -> None:
    play(engine, text, failures=3)
    assert listed("--quiet", "a", host="unix:///x") == ["one", "two"]
    assert (engine.parent / "asked").read_text().splitlines() == ["--host unix:///x images --quiet a"] * 4


@pytest.mark.parametrize(("text", "asked"), [(GONE[0], 20), ("permission denied", 1), ("network not found", 1)])
def test_a_list_that_fails_otherwise_or_for_ever_fails(engine: Path, text: str, asked: int) -> None:
    play(engine, text, failures=100)
    with pytest.raises(AssertionError, match=text.rpartition(":")[2]):
        listed()
    assert len((engine.parent / "asked").read_text().splitlines()) == asked
