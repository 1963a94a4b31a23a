"""The real ``inv``, ``nox`` and ``python -m ci`` as processes: the rows of "known behaviour of the doors"."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.stand import processes as processes_of

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CI = (sys.executable, "-m", "ci")
INV = (str(BIN / "inv"),)
NOX = (str(BIN / "nox"),)
DOORS = pytest.mark.parametrize("door", [CI, INV], ids=["python -m ci", "inv"])

pytestmark = pytest.mark.without_engine


@dataclass(frozen=True)
class Door:
    """Runs a door in a clean environment; ``quiet`` fails on any traceback."""

    environ: dict[str, str]

    def __call__(self, argv: tuple[str, ...], *words: str, cwd: Path = ROOT, **streams: Any) -> Any:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        env = {**self.environ, **streams.pop("env", {})}
        done = subprocess.run([*argv, *words], cwd=cwd, env=env, text=True, timeout=120, check=False, **streams)
        assert "Traceback" not in (done.stderr or "") + (done.stdout or ""), done.stderr
        assert "Exception ignored" not in (done.stderr or "")
        return done

    def shell(self, script: str, *argv: str, env: dict[str, str] | None = None) -> Any:
        """Run ``script`` with ``argv`` as ``"$@"``, for redirections only a shell can make."""
        return self(("bash", "-c", script, "bash", *argv), env=env or {})


@pytest.fixture
def run(tmp_path: Path) -> Door:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return Door({**kept, "ROCM_CI_STATE": str(tmp_path / "state"), "COLUMNS": "120"})


# --- good and bad words


@DOORS
def test_a_verb_gives_its_result_on_stdout_and_nothing_else(run: Door, door: tuple[str, ...]) -> None:
    done = run(door, "config", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["outcome"] == "ok"
    assert run(door, "config").stdout.startswith("ROCM_CI_STACK")


@DOORS
@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--arch", "gfx94a"), "did you mean gfx942"),
        (("--stack", "locl"), "did you mean local?"),
        (("--nic-backend", "anic"), "did you mean ainic?"),
        (("--stack", ""), "give it a value"),
    ],
)
def test_bad_input_is_2_with_a_suggestion(run: Door, door: tuple[str, ...], words: tuple[str, ...], hint: str) -> None:
    done = run(door, "build-ci-base", *words, "--json", env={"DOCKER_HOST": "unix:///nonexistent.sock"})
    assert done.returncode == 2
    assert hint in done.stderr
    assert json.loads(done.stdout)["outcome"] == "config"


@DOORS
def test_no_engine_is_4(run: Door, door: tuple[str, ...]) -> None:
    done = run(door, "build-base", "--json", env={"DOCKER_HOST": "unix:///nonexistent.sock"})
    assert done.returncode == 4
    assert json.loads(done.stdout)["outcome"] == "infra"
    assert "unix:///nonexistent.sock" in done.stderr


def test_why_no_engine_answers_is_said_in_the_systems_words(run: Door) -> None:
    done = run(CI, "plan", env={"DOCKER_HOST": "tcp://127.0.0.1:1"})
    assert done.returncode == 4
    assert "no Docker Engine answers at tcp://127.0.0.1:1 (from DOCKER_HOST): Connection refused [" in done.stderr


def test_a_state_folder_that_is_a_file_is_no_bug_of_ours(run: Door, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(CI, "build-base", env={"ROCM_CI_STATE": str(tmp_path / "file")})
    assert (done.returncode, f"cannot make the state folder {tmp_path}/file" in done.stderr) == (4, True)
    assert "set ROCM_CI_STATE" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hip-compile", "--plan", "--out", "FILE"), "FILE is no folder"),
        (("wheel", "--plan", "--trial", "--out", "FILE/below"), "FILE is no folder"),
        (("wheel", "--plan", "--trial", "--import", "a b"), "--import wants a module, not 'a b'"),
        (("build-test", "--plan", "--artifact-only", "--out", "FILE"), "FILE is no folder"),
        (("test", "rocm-tests", "--image", ""), "--image was given and is empty"),
    ],
)
def test_a_wrong_option_is_said_before_any_work(
    run: Door, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "FILE").write_text("")
    full = [word.replace("FILE", f"{tmp_path}/FILE") for word in words]
    done = run(CI, *full, env={"DOCKER_HOST": "unix:///nonexistent.sock"})
    assert done.returncode == 2, done.stderr
    assert message in done.stderr


@pytest.mark.parametrize("words", [("buildx",), ("config", "--jsn"), ("explain",), ("config", "more"), ()])
def test_what_cannot_be_parsed_is_2_from_python_and_1_from_inv(run: Door, words: tuple[str, ...]) -> None:
    ours = run(CI, *words)
    assert (ours.returncode, ours.stdout) == (2, "")
    assert ours.stderr
    if words:
        theirs = run(INV, *words)
        assert (theirs.returncode, theirs.stdout) == (1, "")


def test_inv_names_the_dashed_verb(run: Door) -> None:
    done = run(INV, "build_base")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "hint: did you mean build-base or build-ci-base?",
        "No idea what 'build_base' is!",
    ]


# --- help


def test_help_of_python_m_ci(run: Door) -> None:
    done = run(CI, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^  build-ci-base +Build the CI base image", done.stdout, re.MULTILINE)
    assert "--against" in run(CI, "explain", "-h").stdout


@pytest.mark.parametrize(
    "words", [("plan", "--help"), ("--help", "plan"), ("explain", "--help"), ("explain", "-h"), ("--help", "explain")]
)
def test_help_of_inv(run: Door, words: tuple[str, ...]) -> None:
    done = run(INV, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "gfx targets, for example" in done.stdout


def test_the_list_of_inv_and_nox(run: Door) -> None:
    assert "Build the CI base image" in run(INV, "--list").stdout
    listed = run(NOX, "--list").stdout
    for session in ("* lint", "* types", "* tests", "- docs", "- faults", "- bench"):
        assert session in listed


# --- what Invoke lets through


@pytest.mark.parametrize(
    ("words", "reference"),
    [
        (("--dry", "config"), "inv-dry"),
        (("explain", "--bogus"), "option-as-value"),
        (("config", "--stack", "--push"), "option-as-value"),
        (("config", "plan", "--json"), "several-documents"),
        (("config", "--json", "plan"), "several-documents"),
    ],
)
def test_inv_refuses_before_anything_runs(run: Door, words: tuple[str, ...], reference: str) -> None:
    done = run(INV, *words)
    assert done.returncode == 2
    assert f"[{reference}]" in done.stderr
    if "--json" in words:
        assert json.loads(done.stdout)["outcome"] == "config"
    else:
        assert done.stdout == ""


def test_inv_from_a_subfolder(run: Door) -> None:
    assert run(INV, "config", cwd=ROOT / "docs").returncode == 0


def test_a_repository_with_two_lines_and_tasks_of_its_own(run: Door, tmp_path: Path) -> None:
    lines = ["from ci.invoke_door import namespace", "from invoke import task", "ns = namespace()"]
    lines += ["@task", "def plant(c):", "    print('grows')", "ns.add_task(plant)"]
    (tmp_path / "tasks.py").write_text("\n".join(lines))
    done = run(INV, "plant", "config", cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0
    assert done.stdout.startswith("grows\nROCM_CI_STACK")


# --- streams


RESULTS = pytest.mark.parametrize(
    "argv", [(*CI, "config"), (*CI, "--help"), (*INV, "config"), (*INV, "--list"), (*INV, "explain", "--help")]
)
BUFFERS = pytest.mark.parametrize("unbuffered", ["", "1"])


@RESULTS
@BUFFERS
def test_a_closed_pipe_changes_nothing(run: Door, argv: tuple[str, ...], unbuffered: str) -> None:
    env = {"PYTHONUNBUFFERED": unbuffered}
    done = run.shell('"$@" | head -0; exit ${PIPESTATUS[0]}', *argv, env=env)
    assert (done.returncode, done.stderr) == (0, "")


@RESULTS
@BUFFERS
def test_a_full_stdout_is_4_and_said(run: Door, argv: tuple[str, ...], unbuffered: str) -> None:
    done = run.shell('"$@" > /dev/full', *argv, env={"PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 4
    assert done.stderr == "error: the result could not be written: No space left on device\n"


@RESULTS
@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_closed_streams(run: Door, argv: tuple[str, ...], redirection: str) -> None:
    done = run.shell(f'"$@" {redirection}', *argv)
    assert (done.returncode, done.stderr) == (0, "")


@DOORS
def test_a_failure_with_nobody_listening_keeps_its_code(run: Door, door: tuple[str, ...]) -> None:
    bad = (*door, "plan", "--stack", "nowhere")
    for redirection in (">&- 2>&-", "> /dev/full", "2>/dev/full", "> /dev/full 2>&1"):
        assert run.shell(f'"$@" {redirection}', *bad).returncode == 2


def test_a_locale_without_unicode(run: Door) -> None:
    done = run(
        CI, "plan", "--stack", "naïve\udcff", env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    )
    assert done.returncode == 2


# --- tracebacks


def test_debug_shows_a_traceback_and_keeps_the_code() -> None:
    argv = [*CI, "plan", "--stack", "nowhere", "--debug"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


# --- stopping


def until(condition: Any, what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie nobody waits for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c_at_any_moment_of_the_start_is_quiet(run: Door) -> None:
    """During the imports, or while the verb runs: never a traceback of ours, and 130 once ``main`` is reached."""
    codes = set()
    for milliseconds in (40, 60, 80, 110):
        with subprocess.Popen(
            [*CI, "plan"], cwd=ROOT, env=run.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as child:
            time.sleep(milliseconds / 1000)
            child.send_signal(signal.SIGINT)
            _, stderr = child.communicate(timeout=30)
        codes.add(child.returncode)
        assert not [line for line in stderr.splitlines() if f'File "{ROOT}/ci/' in line]
    assert codes <= {0, 4, 130, 1, -2}


NOXFILE = """\
import importlib.util, sys
import nox
spec = importlib.util.spec_from_file_location("ours", {noxfile!r})
ours = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ours)
nox.options.default_venv_backend = "none"

@nox.session
def verb(session):
    ours.run(session, "ci", "plan")

@nox.session
def suite(session):
    words = ("-p", "no:cacheprovider", "--confcutdir", {tests!r}, "-c", {config!r}, {test!r})
    ours.run(session, "pytest", *words, *session.posargs)
"""


@pytest.fixture
def silent_engine() -> Iterator[str]:
    """A port that takes connections and never answers, so that whoever asks it waits."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def noxfile(tmp_path: Path) -> Path:
    path = tmp_path / "noxfile.py"
    (tmp_path / "test_waits.py").write_text(
        "import pathlib, time\n"
        "def test_waits(tmp_path):\n"
        "    try:\n"
        f"        pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        f"        pathlib.Path({str(tmp_path / 'tidied')!r}).touch()\n"
    )
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
    path.write_text(
        NOXFILE.format(
            noxfile=str(ROOT / "noxfile.py"),
            tests=str(tmp_path),
            config=str(tmp_path / "pytest.ini"),
            test=str(tmp_path / "test_waits.py"),
        )
    )
    return path


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as a terminal gives it: a script's background job hands one down that is ignored, and Nox obeys."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_stopped_nox_takes_its_verb_along(
    run: Door, noxfile: Path, silent_engine: str, number: signal.Signals
) -> None:
    argv = [*NOX, "-f", str(noxfile), "-s", "verb"]
    env = {**run.environ, "PYTHONPATH": str(ROOT), "DOCKER_HOST": silent_engine}
    with subprocess.Popen(
        argv, cwd=noxfile.parent, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
    ) as nox:
        verb = child_of(nox.pid, b"\0-m\0ci\0")
        until(lambda: has_socket(verb), "the verb never asked the engine")
        nox.send_signal(number)
        if number == signal.SIGINT:  # a terminal sends it to the whole group; kill(1) to Nox alone
            os.kill(verb, number)
        nox.wait(timeout=60)
        until(lambda: not alive(verb), "the verb was left behind")
        assert nox.returncode == {signal.SIGINT: 130}.get(number, -number)


def child_of(pid: int, words: bytes) -> int:
    """The child of ``pid`` that has ``words`` in its command line, once there is one."""
    found: list[int] = []

    def look() -> bool:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(OSError):
                if words in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
        return bool(found)

    until(look, f"no child with {words!r}")
    return found[0]


def has_socket(pid: int) -> bool:
    """Whether a process holds a socket."""
    for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(OSError):
            if str(descriptor.readlink()).startswith("socket:"):
                return True
    return False


@pytest.mark.parametrize("processes", [(), ("--numprocesses=1",)], ids=["one process", "several"])
def test_a_stopped_nox_takes_pytest_along_and_fixtures_clean_up(
    run: Door, noxfile: Path, processes: tuple[str, ...]
) -> None:
    env = {**run.environ, "PYTHONPATH": str(ROOT)}
    argv = [*NOX, "-f", str(noxfile), "-s", "suite", "--", *processes]
    with subprocess.Popen(
        argv, cwd=noxfile.parent, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
    ) as nox:
        until((noxfile.parent / "ready").exists, "the test never began")
        suite = child_of(nox.pid, b"pytest")
        nox.send_signal(signal.SIGTERM)
        nox.wait(timeout=60)
        until((noxfile.parent / "tidied").exists, "the test was not unwound")
        until(lambda: not alive(suite), "pytest was left behind")
        until(lambda: not processes_of(str(noxfile.parent)), "a process of its tests was left behind")


def test_a_parent_that_died_before_we_could_ask_ends_us(run: Door) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    done = run(CI, "config", env={"NOX_CURRENT_SESSION": "x", "NOX_PID": str(gone.pid)})
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")


def test_nox_ends_with_1_and_shows_the_verbs_own_code(run: Door, noxfile: Path) -> None:
    env = {"PYTHONPATH": str(ROOT), "ROCM_CI_STACK": "nowhere"}
    done = run(NOX, "-f", str(noxfile), "-s", "verb", cwd=noxfile.parent, env=env)
    assert done.returncode == 1
    assert "exit code 2" in done.stderr
