"""Real pip and real uv install from our index over HTTP, and never take the public CUDA wheel of the same name."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ci.wheels import growth, index
from ci.world.store import Folder
from tests import wheels
from tests.engine.conftest import ROOT, Cli
from tests.engine.test_import_budget import heavy, imported

pytestmark = pytest.mark.without_engine

JSON = "application/vnd.pypi.simple.v1+json"
PUBLIC = ("0.1.0", "0.1.0+cu129", "0.1.0.post1", "0.2.0", "9.9.9")


class Plain(SimpleHTTPRequestHandler):
    """The web server everybody has."""

    def log_message(self, *_arguments: Any) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]


class Negotiating(Plain):
    """A web server told to give the JSON sibling to those who ask for JSON."""

    def do_GET(self) -> None:
        if self.path.endswith("/") and JSON in self.headers.get("Accept", ""):
            self.path += "index.json"
        super().do_GET()

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        return JSON if str(path).endswith("index.json") else super().guess_type(path)


@contextmanager
def served(folder: Path, handler: type[Plain] = Plain) -> Iterator[tuple[str, list[str]]]:
    """The URL of ``folder``, and the paths that are asked for."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.asked  # type: ignore[attr-defined]
        finally:
            server.shutdown()


def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A program that sees no configuration of this machine's pip or uv."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    env = {**clean, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "UV_NO_CONFIG": "1", "UV_NO_CACHE": "1"}
    env |= {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    env["UV_PYTHON_DOWNLOADS"] = "never"
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 or not check, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def fresh_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with pip and nothing else."""
    folder = tmp_path_factory.mktemp("venv") / "clean"
    run(sys.executable, "-m", "venv", str(folder))
    return folder


@pytest.fixture
def venv(fresh_venv: Path, tmp_path: Path) -> Path:
    """A copy of it: its own interpreter and its own packages."""
    folder = tmp_path / "venv"
    shutil.copytree(fresh_venv, folder, symlinks=True)
    return folder


@pytest.fixture
def decoy(tmp_path: Path) -> Iterator[str]:
    """A public index, with wheels of the same name for every Python."""
    folder = tmp_path / "public"
    for version in PUBLIC:
        wheels.write(folder, version=version, files={"made_for_cuda.py": ""})
    index.make(Folder(folder), print)
    with served(folder) as (url, _):
        yield f"{url}/simple/"


def install(
    installer: str, venv: Path, line: str, public: str, *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the printed line as it is, where ``public`` is the index everybody has by default."""
    words = shlex.split(line)
    if installer == "pip":
        assert words[:2] == ["pip", "install"]
        return run(str(venv / "bin/python"), "-m", "pip", "install", "--index-url", public, *words[2:], check=check)
    assert words[:3] == ["uv", "pip", "install"]
    uv = str(Path(sys.executable).with_name("uv"))
    python = str(venv / "bin/python")
    return run(uv, "pip", "install", "--python", python, "--default-index", public, *words[3:], check=check)


def installed(venv: Path) -> str:
    """The version that is there, by asking the module itself; empty for none."""
    done = run(str(venv / "bin/python"), "-c", "import rocm_probe; print(rocm_probe.__version__)", check=False)
    return done.stdout.strip()


def printed(cli: Cli, folder: Path, url: str) -> dict[str, str]:
    """The install lines of the newest wheel of the one variant there."""
    document = cli("index", str(folder), "--url", url, "--json").json
    (way,) = document["install"]
    return {"pip": way["pip"], "uv": way["uv"]}


def knows_core_metadata(venv: Path) -> bool:
    """Whether its pip finds metadata in a JSON page: before 23.2 it asks for an older key, and fails on its value."""
    major, minor = run(str(venv / "bin/python"), "-m", "pip", "--version").stdout.split()[1].split(".")[:2]
    return (int(major), int(minor)) >= (23, 2)


@pytest.mark.parametrize("installer", ["pip", "uv"])
@pytest.mark.parametrize("handler", [Plain, Negotiating])
def test_the_printed_line_installs_our_wheel(  # noqa: PLR0917 - fixtures
    tmp_path: Path, cli: Cli, venv: Path, decoy: str, installer: str, handler: type[Plain]
) -> None:
    folder = tmp_path / "ours"
    wheels.write(folder, version="0.1.0+rocm.7.2", requires_python=">=3.11")
    with served(folder, handler) as (url, asked):
        line = printed(cli, folder, url)[installer]
        install(installer, venv, line, decoy)
    assert installed(venv) == "0.1.0+rocm.7.2"
    assert not list(venv.rglob("made_for_cuda.py"))
    assert any("/simple/rocm7.2/rocm-probe/" in path for path in asked)
    if installer == "uv" or handler is Plain or knows_core_metadata(venv):
        assert any(path.endswith(".whl.metadata") for path in asked), "metadata was read without the wheel"
    assert any("%2B" in path for path in asked if path.endswith(".whl"))


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_a_python_without_a_fitting_wheel_gets_an_error(
    tmp_path: Path, cli: Cli, venv: Path, decoy: str, installer: str
) -> None:
    folder = tmp_path / "ours"
    other = f"cp3{sys.version_info.minor + 1}"
    wheels.write(folder, version="0.1.0+rocm.7.2", tag=f"{other}-{other}-manylinux_2_28_x86_64")
    with served(folder) as (url, _):
        done = install(installer, venv, printed(cli, folder, url)[installer], decoy, check=False)
    assert done.returncode != 0
    assert "0.1.0+rocm.7.2" in done.stdout + done.stderr
    assert installed(venv) == ""


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_the_decoy_would_have_won_without_the_pin(
    tmp_path: Path, cli: Cli, venv: Path, decoy: str, installer: str
) -> None:
    """What the pin is for: this is how people get a CUDA wheel today."""
    folder = tmp_path / "ours"
    other = f"cp3{sys.version_info.minor + 1}"
    wheels.write(folder, version="0.1.0+rocm.7.2", tag=f"{other}-{other}-manylinux_2_28_x86_64")
    with served(folder) as (url, _):
        line = printed(cli, folder, url)[installer].replace("==0.1.0+rocm.7.2", "")
        more = " --index-strategy unsafe-best-match" if installer == "uv" else ""
        install(installer, venv, line + more, decoy)
    assert installed(venv) == "9.9.9"


@pytest.mark.parametrize(("python", "fits"), [("3.11", False), ("3.12", True), ("3.13", True), ("3.14", False)])
def test_other_pythons_by_download(  # noqa: PLR0917 - fixtures
    tmp_path: Path, cli: Cli, venv: Path, decoy: str, python: str, fits: bool
) -> None:
    folder, into = tmp_path / "ours", tmp_path / "into"
    for tag in ("cp312", "cp313"):
        wheels.write(folder, version="0.1.0+rocm.7.2", tag=f"{tag}-{tag}-manylinux_2_28_x86_64")
    choice = ("--python-version", python, "--only-binary=:all:", "--platform", "manylinux_2_28_x86_64", "-d", str(into))
    with served(folder) as (url, _):
        words = shlex.split(printed(cli, folder, url)["pip"])[2:]
        pip = (str(venv / "bin/python"), "-m", "pip", "download", "--index-url", decoy, *words, *choice)
        done = run(*pip, check=False)
    assert (done.returncode == 0) is fits, done.stderr
    names = [path.name for path in into.glob("*.whl")]
    tag = f"cp{python.replace('.', '')}"
    assert names == ([f"rocm_probe-0.1.0+rocm.7.2-{tag}-{tag}-manylinux_2_28_x86_64.whl"] if fits else [])


@pytest.mark.parametrize(("python", "fits"), [("3.12", True), ("3.14", False)])
def test_uv_resolves_for_other_pythons(tmp_path: Path, cli: Cli, decoy: str, python: str, fits: bool) -> None:
    folder = tmp_path / "ours"
    wheels.write(folder, version="0.1.0+rocm.7.2", tag="cp312-cp312-manylinux_2_28_x86_64")
    wanted = tmp_path / "in.txt"
    uv = str(Path(sys.executable).with_name("uv"))
    choice = ("--python-version", python, "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:")
    with served(folder) as (url, _):
        words = shlex.split(printed(cli, folder, url)["uv"])
        wanted.write_text(words[-1] + "\n")
        done = run(uv, "pip", "compile", str(wanted), "--default-index", decoy, *words[3:-1], *choice, check=False)
    assert (done.returncode == 0) is fits, done.stderr
    assert ("rocm-probe==0.1.0+rocm.7.2" in done.stdout) is fits


def test_a_yanked_wheel_and_one_for_other_pythons_are_left_alone(tmp_path: Path, venv: Path) -> None:
    folder = tmp_path / "ours"
    wheels.write(folder, version="1.0")
    yanked = wheels.write(folder, version="2.0")
    wheels.write(folder, version="3.0", requires_python=">=3.99")
    (folder / "index.yaml").write_text(f"schema: 1\nyanked: {{{yanked.name}: wrong}}\n")
    index.make(Folder(folder), print)
    with served(folder) as (url, _):
        run(str(venv / "bin/python"), "-m", "pip", "install", "--index-url", f"{url}/simple/", "rocm-probe")
    assert installed(venv) == "1.0"


def test_a_file_url_works_too(tmp_path: Path, venv: Path) -> None:
    folder = tmp_path / "with blank"
    wheels.write(folder, version="1.0+rocm.7.2")
    index.make(Folder(folder), print)
    url = f"{folder.as_uri()}/simple/"
    run(str(venv / "bin/python"), "-m", "pip", "install", "--index-url", url, "rocm-probe==1.0+rocm.7.2")
    assert installed(venv) == "1.0+rocm.7.2"


def test_a_wheel_that_was_exchanged_is_refused_by_the_installer(tmp_path: Path, venv: Path) -> None:
    folder = tmp_path / "ours"
    wheels.write(folder, version="1.0")
    index.make(Folder(folder), print)
    wheels.write(folder, version="1.0", files={"evil.py": ""})
    with served(folder) as (url, _):
        pip = (str(venv / "bin/python"), "-m", "pip", "install", "--index-url", f"{url}/simple/", "rocm-probe")
        done = run(*pip, check=False)
    assert done.returncode != 0
    assert "HASH" in done.stderr.upper()


def test_killed_while_it_indexes_and_run_again(tmp_path: Path, cli: Cli) -> None:
    """A real SIGKILL at several moments; the old index is served on, the next run ends as if nothing had been."""
    folder, twin = tmp_path / "x", tmp_path / "twin"
    for place in (folder, twin):
        for number in range(40):
            wheels.write(place, f"project-{number}", "1.0+rocm.7.2")
        cli("index", str(place))
        for number in range(40):
            wheels.write(place, f"project-{number}", "1.1+rocm.7.2")
    cli("index", str(twin))
    before, after = pages(folder), pages(twin)
    assert before != after
    for patience in (0.05, 0.1, 0.15, 0.2, 0.25):
        killed(folder, cli, patience)
        assert pages(folder) in (before, after)
    cli("index", str(folder))
    assert pages(folder) == after
    for left in (folder / ".index").glob("new-*"):  # a young one may be another run's, still at work
        os.utime(left, (0, 0))
    cli("index", str(folder))
    assert [path.name for path in (folder / ".index").glob("new-*")] == []


def killed(folder: Path, cli: Cli, patience: float) -> None:
    words = [sys.executable, "-m", "ci", "index", str(folder)]
    env = {**cli.environ, "ROCM_CI_STATE": str(cli.state), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)


def pages(folder: Path) -> dict[str, bytes]:
    base = folder / "simple"
    return {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("index.*")}


def test_two_at_once_end_in_one_index(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "x"
    for number in range(20):
        wheels.write(folder, f"project-{number}", "1.0")
    env = {**cli.environ, "ROCM_CI_STATE": str(cli.state), "PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:
        words = [sys.executable, "-m", "ci", "index", str(folder)]
        running = [
            stack.enter_context(
                subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            )
            for _ in range(3)
        ]
        outputs = [child.communicate(timeout=120) for child in running]
    assert [child.returncode for child in running] == [0, 0, 0], outputs
    assert len(json.loads((folder / "simple/index.json").read_text())["projects"]) == 20


def results(cli: Cli) -> list[tuple[str, int]]:
    """(outcome, exit code) of every run that left a result."""
    found = [json.loads(path.read_text()) for path in sorted((cli.state / "runs").glob("*/result.json"))]
    return sorted((document["outcome"], document["exit_code"]) for document in found)


def test_a_run_leaves_its_result_and_a_plan_none(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "x"
    wheels.write(folder)
    cli("index", str(folder), "--plan")
    assert not cli.state.exists()
    cli("index", str(folder))
    (folder / "notes.whl").touch()
    cli("index", str(folder), check=3)
    assert results(cli) == [("contract", 3), ("ok", 0)]
    cli("index", str(folder), check=2, ROCM_CI_TYPO="1")
    assert len(results(cli)) == 2


@pytest.mark.parametrize(
    ("spoil", "code"),
    [("", 6), ("notes.whl", 3), ("bad-1.0-py3-none-any.whl", 3)],
)
def test_exit_codes(tmp_path: Path, cli: Cli, spoil: str, code: int) -> None:
    if spoil:
        (tmp_path / spoil).touch()
    done = cli("index", str(tmp_path), check=code)
    assert "→" in done.stderr or "hint" in done.stderr or spoil in done.stderr
    cli("index", str(tmp_path / "missing"), check=2)
    cli("index", "ftp://x/y", check=2)
    assert not (tmp_path / "simple").exists()


def test_indexing_a_folder_imports_nothing_heavy(tmp_path: Path, cli: Cli) -> None:
    wheels.write(tmp_path)
    cli("index", str(tmp_path))
    assert heavy(imported(cli, "index", str(tmp_path))) == set()


def test_adding_over_the_command_line(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "x"
    wheels.write(folder, version="1.0+rocm.7.2")
    cli("index", str(folder))
    new = wheels.write(tmp_path / "new", version="1.1+rocm.7.2")
    document = cli("index", str(folder), "--add", str(new), "--json").json
    assert document["new"] == [new.name]
    assert document["install"][0]["requirement"] == "rocm-probe==1.1+rocm.7.2"
    assert growth.add(Folder(folder), [new], print).projects == 1
