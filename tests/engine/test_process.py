"""The process runner with real processes: what it hands on, what it stops, and that nothing is left."""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ci.errors import DeadlineError, InfraError, Interrupted
from ci.world import process
from ci.world.fakes import FakeClock
from ci.world.process import Command, run

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, **options: object) -> Command:
    return Command((sys.executable, "-c", code), **options)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that has to happen; how long it takes is nobody's business."""
    end = time.monotonic() + 60
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"never happened: {what}")
        time.sleep(0.02)


def pids(file: Path, count: int) -> list[int]:
    """The process numbers that a script writes down, one per line."""
    until(lambda: file.exists() and len(file.read_text().splitlines()) >= count, f"{count} processes")
    return [int(line) for line in file.read_text().splitlines()]


# --- what it hands on -----------------------------------------------------------------------


def test_arguments_arrive_untouched() -> None:
    odd = ("", " ", "a b", "$HOME", "`id`", "*", "'\"\\", "a\nb", "é😀", "--", "-x", ";exit 1")
    done = run(Command((sys.executable, "-c", "import sys; print(ascii(sys.argv[1:]))", *odd)))
    assert done.ok
    assert done.stdout == ascii(list(odd)) + "\n"


def test_streams_are_kept_apart_and_whole() -> None:
    done = run(python("import sys\nfor n in range(5000): print(n); print(-n, file=sys.stderr)\nsys.exit(3)"))
    assert (done.ok, done.code) == (False, 3)
    assert done.stdout.splitlines() == [str(n) for n in range(5000)]
    assert done.stderr.splitlines() == [str(-n) for n in range(5000)]
    assert done.tail(2) == "-4998\n-4999"


def test_lines_come_while_it_runs(tmp_path: Path) -> None:
    """The child waits for a file that only the arrival of its line makes."""
    flag = tmp_path / "seen"
    code = (
        "import pathlib, sys, time\nprint('first', flush=True)\n"
        f"while not pathlib.Path({str(flag)!r}).exists(): time.sleep(0.01)\n"
        "print('second', file=sys.stderr)\nprint('third', end='')"
    )
    lines: list[tuple[str, str]] = []

    def on_line(stream: str, line: str) -> None:
        lines.append((stream, line))
        flag.touch()

    done = run(python(code, deadline=60), on_line)
    assert lines[0] == ("stdout", "first")
    assert sorted(lines[1:]) == [("stderr", "second"), ("stdout", "third")]
    assert done.stdout == "first\nthird\n"


def test_a_long_log_keeps_its_end_only() -> None:
    seen: list[str] = []
    done = run(python("for n in range(1000): print(n)"), lambda _stream, line: seen.append(line))
    assert len(seen) == 1000
    assert done.stdout.splitlines() == [str(n) for n in range(800, 1000)]


def test_bytes_that_are_no_text() -> None:
    code = r"import sys; sys.stdout.buffer.write(b'a\xff\r\nb\r\0c')"
    assert run(python(code)).stdout == "a\ufffd\nb\r\0c\n"
    exact = run(python(code, exact=True)).stdout
    assert os.fsencode(exact) == b"a\xff\r\nb\r\0c\n"


def test_stdin_is_closed() -> None:
    """Whatever our own stdin holds, the child sees none of it and cannot wait for more."""
    child = (sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))")
    done = subprocess.run(
        [sys.executable, "-c", OURS, *child], cwd=ROOT, input="ours", capture_output=True, text=True, check=True
    )
    assert done.stdout == "''\n"


def test_environment_and_folder(tmp_path: Path) -> None:
    code = "import os; print(sorted(os.environ), os.getcwd())"
    done = run(python(code, cwd=tmp_path, env={"ONLY": "1", "LC_CTYPE": "C.UTF-8"}))
    assert done.stdout == f"['LC_CTYPE', 'ONLY'] {tmp_path}\n"


def test_a_child_ended_by_a_signal_has_a_negative_code() -> None:
    assert run(python("import os; os.kill(os.getpid(), 9)")).code == -9


# --- what cannot be started -----------------------------------------------------------------


def test_a_missing_program_says_what_to_install() -> None:
    with pytest.raises(InfraError) as caught:
        run(Command(("no-such-program-here", "x")))
    problem = caught.value.problems[0]
    assert (problem.reference, "install no-such-program-here" in problem.hint) == ("no-program", True)


@pytest.mark.parametrize("kind", ["folder", "text", "not executable"])
def test_what_is_no_program(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "folder":
        path.mkdir()
    else:
        path.write_text("neither script nor binary")
        path.chmod(0o755 if kind == "text" else 0o644)
    with pytest.raises(InfraError, match="cannot start"):
        run(Command((str(path),)))


def test_a_missing_folder_is_not_called_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(InfraError) as caught:
        run(python("pass", cwd=tmp_path / "gone"))
    assert caught.value.problems[0].reference == "no-folder"


# --- limits ---------------------------------------------------------------------------------

WRITES_ITS_NUMBER = "import os, pathlib, sys, time\nwith open(sys.argv[1], 'a') as f: f.write(f'{os.getpid()}\\n')\n"


def with_file(file: Path, code: str, **options: object) -> Command:
    return Command((sys.executable, "-c", WRITES_ITS_NUMBER + code, str(file)), **options)  # type: ignore[arg-type]


class HourPasses(FakeClock):
    """An hour passes as soon as a script has written its number to ``file``."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def monotonic(self) -> float:
        return 3600.0 if self.file.exists() and self.file.read_text() else 0.0


def test_past_its_deadline_it_is_ended(tmp_path: Path) -> None:
    """It talks all the time, so only the deadline can end it."""
    talk = "while True: print('x', flush=True); time.sleep(0.05)"
    clock = FakeClock()
    command = with_file(tmp_path / "pids", talk, deadline=60.0, inactivity=600.0)
    with pytest.raises(DeadlineError) as caught:
        run(command, lambda _stream, _line: clock.advance(20), clock)
    assert caught.value.problems[0].reference == "deadline"
    assert not alive(pids(tmp_path / "pids", 1)[0])


def test_a_silent_one_is_ended(tmp_path: Path) -> None:
    clock = HourPasses(tmp_path / "pids")
    with pytest.raises(DeadlineError) as caught:
        run(with_file(tmp_path / "pids", "time.sleep(600)", deadline=9000.0, inactivity=60.0), clock=clock)
    assert caught.value.problems[0].reference == "inactivity"
    assert not alive(pids(tmp_path / "pids", 1)[0])


def test_closing_its_streams_does_not_lift_the_deadline(tmp_path: Path) -> None:
    with pytest.raises(DeadlineError):
        run(with_file(tmp_path / "pids", "os.close(1); os.close(2); time.sleep(600)", deadline=10.0))
    assert not alive(pids(tmp_path / "pids", 1)[0])


def test_time_is_the_clocks(tmp_path: Path) -> None:
    """An hour's deadline passes at once where the clock says so."""
    clock = FakeClock()

    def on_line(_stream: str, _line: str) -> None:
        clock.advance(3601)

    with pytest.raises(DeadlineError):
        run(with_file(tmp_path / "pids", "print('x', flush=True); time.sleep(600)", deadline=3600), on_line, clock)


def test_an_error_of_the_listener_ends_the_child(tmp_path: Path) -> None:
    def on_line(_stream: str, _line: str) -> None:
        raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        run(with_file(tmp_path / "pids", "print('x', flush=True); time.sleep(600)"), on_line)
    assert not alive(pids(tmp_path / "pids", 1)[0])


def test_a_daemon_left_behind_does_not_hold_us(tmp_path: Path) -> None:
    """It keeps the pipes open; the command itself has ended."""
    code = (
        "import subprocess\nsubprocess.Popen([sys.executable, '-c', sys.argv[2], sys.argv[1]], start_new_session=True)"
    )
    daemon = WRITES_ITS_NUMBER + "time.sleep(600)"
    command = Command((*with_file(tmp_path / "pids", code).argv, daemon), deadline=120)
    assert run(command).ok
    for pid in pids(tmp_path / "pids", 2)[1:]:
        os.kill(pid, signal.SIGKILL)


# --- the ladder -----------------------------------------------------------------------------


def ladder(monkeypatch: pytest.MonkeyPatch, ends_at: set[int]) -> None:
    """Rungs with little patience where the child goes on, and with much where it ends."""
    ends = {*ends_at, signal.SIGKILL}
    steps = tuple((number, 30.0 if number in ends else 2.0) for number, _ in process.LADDER)
    monkeypatch.setattr(process, "LADDER", steps)


def test_the_ladder_is_int_term_kill_with_patience() -> None:
    assert [number for number, _ in process.LADDER] == [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
    assert all(patience > 0 for _, patience in process.LADDER)


NOTES = """\
import signal
def note(number, frame):
    with open(sys.argv[1] + '.signals', 'a') as f: f.write(f'{number}\\n')
    if number in END: sys.exit(7)
for number in (2, 15): signal.signal(number, note)
print('ready', flush=True)
while True: time.sleep(0.05)
"""


@pytest.mark.parametrize(("ends_at", "got"), [({2}, ["2"]), ({15}, ["2", "15"]), (set(), ["2", "15"])])
def test_each_rung_is_tried_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_at: set[int], got: list[str]
) -> None:
    ladder(monkeypatch, ends_at)

    def on_line(_stream: str, _line: str) -> None:
        raise RuntimeError("stop it")

    with pytest.raises(RuntimeError):
        run(with_file(tmp_path / "pids", NOTES.replace("END", repr(tuple(ends_at)))), on_line)
    assert (tmp_path / "pids.signals").read_text().split() == got
    assert not alive(pids(tmp_path / "pids", 1)[0])


# --- signals to us --------------------------------------------------------------------------

OURS = """\
import sys
from ci.errors import CiError
from ci.world import process
process.LADDER = tuple((number, 2.0) for number, _ in process.LADDER)
try:
    with process.listen():
        process.run(process.Command(tuple(sys.argv[1:])), lambda stream, line: print(line, flush=True))
except CiError as error:
    print(type(error).__name__, error.problems[0].hint, flush=True)
    sys.exit(error.exit_code)
"""

FAMILY = """\
import subprocess
subprocess.Popen([sys.executable, '-c', sys.argv[2], sys.argv[1]])
while len(open(sys.argv[1]).read().split()) < 2: time.sleep(0.01)
print('ready', flush=True)
time.sleep(600)
"""

DEAF = "import signal\nsignal.signal(2, signal.SIG_IGN)\n"


class Us:
    """A process of ours that runs a child with a grandchild; ``numbers`` are theirs."""

    def __init__(self, file: Path, child: str, grandchild: str) -> None:
        argv = (sys.executable, "-c", OURS, sys.executable, "-c", WRITES_ITS_NUMBER + child, str(file))
        self.process = subprocess.Popen(
            [*argv, WRITES_ITS_NUMBER + grandchild],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self.numbers = pids(file, 2)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def end(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output

    def clean(self) -> None:
        for pid in (self.process.pid, *self.numbers):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate(timeout=60)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("deaf", [False, True])
def test_a_signal_to_us_ends_the_whole_family(tmp_path: Path, number: int, code: int, deaf: bool) -> None:
    """A child that ignores SIGINT gets SIGTERM; a grandchild is never left, however deaf."""
    child = (DEAF if deaf else "") + FAMILY
    grandchild = DEAF + "signal.signal(15, signal.SIG_IGN)\ntime.sleep(600)" if deaf else "time.sleep(600)"
    us = Us(tmp_path / "pids", child, grandchild)
    try:
        us.process.send_signal(number)
        ended, output = us.end()
        assert (ended, "Interrupted run the same command again" in output) == (code, True)
        until(lambda: not any(alive(pid) for pid in us.numbers), "the end of the family")
    finally:
        us.clean()


def test_more_signals_do_not_disturb_the_end(tmp_path: Path) -> None:
    us = Us(tmp_path / "pids", DEAF + FAMILY, "time.sleep(600)")
    try:
        us.process.send_signal(signal.SIGTERM)
        for _ in range(5):
            time.sleep(0.05)
            us.process.send_signal(signal.SIGINT)
        assert us.end()[0] == 143
        until(lambda: not any(alive(pid) for pid in us.numbers), "the end of the family")
    finally:
        us.clean()


def test_a_signal_to_our_group_does_not_reach_the_child_before_us(tmp_path: Path) -> None:
    """Ctrl-C goes to a terminal's whole group; the child is in one of its own, so it is we who stop it."""
    us = Us(tmp_path / "pids", FAMILY, "time.sleep(600)")
    try:
        assert os.getpgid(us.numbers[0]) == us.numbers[0] != os.getpgid(us.process.pid)
        os.killpg(us.process.pid, signal.SIGINT)
        assert us.end()[0] == 130
    finally:
        us.clean()


def test_kill_9_of_us_ends_the_child(tmp_path: Path) -> None:
    us = Us(tmp_path / "pids", FAMILY, "time.sleep(600)")
    try:
        us.process.kill()
        until(lambda: not alive(us.numbers[0]), "the end of the child")
    finally:
        us.clean()


def test_listen_gives_the_handlers_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with process.listen():
        assert signal.getsignal(signal.SIGINT) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_run_works_outside_of_the_main_thread() -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(run(python("print(1)")).stdout))
    thread.start()
    thread.join(60)
    assert found == ["1\n"]


def test_it_leaves_no_open_file_behind() -> None:
    gc.collect()  # what earlier tests left open is not to be closed meanwhile
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        run(python("pass"))
        with pytest.raises(InfraError):
            run(Command(("no-such-program-here",)))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_signal_in_a_clean_up_is_heard_when_it_is_over() -> None:
    done: list[str] = []

    def clean_up() -> None:
        with process.listen(), process.holding_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            done.append("cleaned up")

    with pytest.raises(Interrupted) as stopped:
        clean_up()
    assert done == ["cleaned up"]
    assert stopped.value.exit_code == 143


def test_a_clean_up_in_another_thread_does_not_hold_a_signal_up() -> None:
    """It could not raise it where it would be heard."""
    entered, leave = threading.Event(), threading.Event()

    def clean_up() -> None:
        with process.holding_signals():
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=clean_up)
    thread.start()
    entered.wait(60)
    try:
        with pytest.raises(Interrupted):
            _told_to_stop()
    finally:
        leave.set()
        thread.join(60)


def _told_to_stop() -> None:
    with process.listen():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)


class _Finalized:
    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass


def _finalize_and_wait() -> None:
    with process.listen():
        _Finalized()
        threading.Event().wait(10)


def test_a_signal_heard_where_python_ignores_errors_comes_again() -> None:
    with pytest.raises(Interrupted) as caught:
        _finalize_and_wait()
    assert caught.value.signal == signal.SIGTERM


@pytest.mark.parametrize("feed", [b"", b"one\n\xff", b"x" * (1 << 20)])
def test_a_child_reads_what_it_is_fed_to_its_end(feed: bytes) -> None:
    finished = run(python("import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())", feed=feed))
    assert finished.stdout.strip() == hashlib.sha256(feed).hexdigest()
