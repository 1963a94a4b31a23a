"""The guard itself: what it forbids really raises."""

from __future__ import annotations

import socket
import subprocess

import pytest

from ci.settings import capture
from ci.world.engine import Engine, endpoint
from ci.world.process import Command, run
from tests.unit.conftest import TouchedTheWorld


def test_a_process_raises() -> None:
    with pytest.raises(TouchedTheWorld):
        subprocess.run(["/bin/true"], check=False)
    with pytest.raises(TouchedTheWorld):
        run(Command(("true",)))


def test_a_socket_raises() -> None:
    with pytest.raises(TouchedTheWorld), socket.socket() as one:
        one.connect(("127.0.0.1", 9))


def test_the_engine_raises() -> None:
    with pytest.raises(TouchedTheWorld):
        Engine(endpoint(capture(environ={"HOME": "/nowhere", "DOCKER_CONFIG": "/nowhere"}))).image("a:b")
