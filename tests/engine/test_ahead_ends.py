"""Questions and Ctrl-C: what nobody waits for when the interpreter ends, and who does; each in its own process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASKING = """
import atexit, os, signal, threading
from ci.world.ahead import ahead
never, told = threading.Event(), threading.Event()

def question(seconds):
    told.wait()
    never.wait(seconds)
    import plistlib
    print("answered by", plistlib.__name__, flush=True)
"""
PATIENT = "import ci.world.ahead as world_ahead; world_ahead._MOMENTS = 60.0"


def ended(text: str) -> tuple[int, str, str]:
    """How a program ends that goes on with ``text``: its exit code, and what it wrote."""
    program = [sys.executable, "-c", ASKING + text]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


def test_one_at_work_ends_before_the_interpreter_is_taken_down() -> None:
    """It goes on when nothing else is left to do, and all that it imports is still there."""
    text = "ahead(lambda: question(0.2)); atexit.register(told.set); raise SystemExit(2)"
    assert ended(f"{PATIENT}; {text}") == (2, "answered by plistlib\n", "")


def test_one_that_never_ends_does_not_keep_the_interpreter() -> None:
    assert ended("ahead(never.wait); raise SystemExit(2)") == (2, "", "")


def test_ctrl_c_while_somebody_waits_for_one_waits_for_no_other() -> None:
    """Were it waited for, the first would have the time to answer."""
    text = f"""
{PATIENT}
ahead(lambda: question(30.0))
answer = ahead(never.wait)
try:
    threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
    answer()
except KeyboardInterrupt:
    told.set()
    raise SystemExit(130)
"""
    assert ended(text) == (130, "", "")


def test_ctrl_c_ends_the_wait_at_the_end_without_a_word() -> None:
    text = f"""
{PATIENT}
ahead(never.wait)
atexit.register(threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start)
raise SystemExit(2)
"""
    assert ended(text) == (2, "", "")


WAITS = {
    "question": "ahead(never.wait)()",
    "arrivals": "together(lambda *_: never.wait(), [(pathlib.Path('/dev/null'), 'x')], print, 1)",
    "http": "send(Request('GET', f'http://127.0.0.1:{silent.getsockname()[1]}/', timeout=Timeouts(600, 600, 600)))",
}


@pytest.mark.parametrize("wait", list(WAITS))
def test_ctrl_c_that_does_not_wake_whoever_waits_ends_the_wait(wait: str) -> None:
    """As one does not that comes in the very moment a wait begins; here another thread hears it."""
    text = f"""
import pathlib, socket
from ci.world.arrivals import together
from ci.world.http import Request, Timeouts, send
silent = socket.create_server(("127.0.0.1", 0))

def hear():
    never.wait(1)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

try:
    threading.Thread(target=hear, daemon=True).start()
    {WAITS[wait]}
except KeyboardInterrupt:
    os._exit(130)
"""
    assert ended(text) == (130, "", "")
