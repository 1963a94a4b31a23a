"""What pip and uv are told of this host, and which Python a wheel is tried with."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ci.errors import InfraError
from ci.publish import pythons
from ci.publish.installers import Installer, environ, finding, installers
from ci.publish.manifest import WheelRow
from ci.wheels.install import Line
from ci.world.fakes import FakeRun
from tests.staging import settings

ASK = "import sys; print(sys.executable)"
HERE = f"cp{sys.version_info[0]}{sys.version_info[1]}"
NO_PROGRAM = InfraError("no-program", "not on PATH")


def row(tag: str, requires_python: str = "") -> WheelRow:
    return WheelRow("probe", "1.0", f"probe-1.0-{tag}.whl", "0" * 64, 1, requires_python, "0" * 64, "key")


def test_no_credential_reaches_an_installer(tmp_path: Path) -> None:
    secret = {
        "AWS_SECRET_ACCESS_KEY": "s", "HF_TOKEN": "s", "DOCKER_CONFIG": "s", "SSH_AUTH_SOCK": "s", "HOME": "/home/s",
        "XDG_CONFIG_HOME": "s", "PIP_CONFIG_FILE": os.devnull, "PATH": "/bin", "https_proxy": "http://proxy",
    }  # fmt: skip
    told = environ(settings(secret), tmp_path, "http://ours/simple/")
    assert told["PATH"] == "/bin"
    assert told["https_proxy"] == "http://proxy"
    assert told["HOME"] == str(tmp_path)
    assert "s" not in told.values()
    assert not told.keys() & {"AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "DOCKER_CONFIG", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME"}
    assert set(finding(settings(secret))) == {"PATH", "HOME", "https_proxy", "UV_PYTHON_DOWNLOADS", "UV_NO_CONFIG"}


def test_both_are_told_what_pip_is_told(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://mirror.test/simple\nextra-index-url = file:///a file:///b\n")
    given = {"PIP_CONFIG_FILE": str(config), "PIP_FIND_LINKS": "/wheels /more", "HOME": str(tmp_path)}
    told = environ(settings(given), tmp_path, "http://ours/simple/")
    assert told["PIP_INDEX_URL"] == told["UV_DEFAULT_INDEX"] == "https://mirror.test/simple"
    assert told["PIP_EXTRA_INDEX_URL"] == told["UV_EXTRA_INDEX_URL"] == "file:///a file:///b"
    assert told["PIP_FIND_LINKS"] == "/wheels /more"
    assert told["UV_FIND_LINKS"] == "/wheels,/more"
    assert told["PIP_CONFIG_FILE"] == os.devnull, "its own look at the files would find the caller's home"


@pytest.mark.parametrize(("word", "forbidden"), [("1", True), ("true", True), ("false", False), ("0", False)])
def test_where_no_index_is_allowed_ours_is_the_only_one(tmp_path: Path, word: str, forbidden: bool) -> None:
    given = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": word, "PIP_EXTRA_INDEX_URL": "https://mirror.test"}
    told = environ(settings(given), tmp_path, "http://ours/simple/")
    assert (told.get("PIP_INDEX_URL") == told.get("UV_DEFAULT_INDEX") == "http://ours/simple/") is forbidden
    assert ("PIP_EXTRA_INDEX_URL" in told) is not forbidden
    assert "PIP_NO_INDEX" not in told


def test_the_loopback_is_never_asked_through_a_proxy(tmp_path: Path) -> None:
    given = {"PIP_CONFIG_FILE": os.devnull, "no_proxy": "intern.test"}
    assert environ(settings(given), tmp_path, "")["NO_PROXY"] == "intern.test,127.0.0.1"


def test_uv_beside_our_python_or_on_the_path(tmp_path: Path) -> None:
    beside, path = tmp_path / "venv" / "uv", tmp_path / "bin" / "uv"
    for program in (beside, path):
        program.parent.mkdir()
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    asked = settings({"PATH": str(path.parent)})
    assert installers(asked, str(tmp_path / "venv" / "python"))[1].program == str(beside)
    assert installers(asked, str(tmp_path / "python"))[1].program == str(path)
    with pytest.raises(InfraError) as caught:
        installers(settings({"PATH": str(tmp_path)}), str(tmp_path / "python"))
    assert caught.value.problems[0].reference == "no-uv"
    assert "pip install 'uv>=" in caught.value.problems[0].hint


def test_the_printed_line_is_what_runs() -> None:
    line = Line("probe==1.0+rocm.7", "http://ours/simple/rocm7/")
    pip = Installer("pip", "").printed(line, "/env/python")
    assert pip == ("/env/python", "-m", "pip", "install", "--extra-index-url", line.url, line.requirement)
    uv = Installer("uv", "/bin/uv").printed(line, "/env/python")
    assert uv == ("/bin/uv", "pip", "install", "--python", "/env/python", "--index", line.url, line.requirement)


@pytest.mark.parametrize("tag", ["py3-none-any", f"{HERE}-{HERE}-linux_x86_64", "cp38-abi3-linux_x86_64"])
def test_our_own_python_where_it_fits(tag: str) -> None:
    assert pythons.grouped([row(tag)], FakeRun({}), "uv", {}).keys() == {sys.executable}


def test_another_python_is_asked_where_it_really_is() -> None:
    """A name on PATH may be a shim that ends with an error: uv is asked then."""
    run = FakeRun(
        {
            ("python3.12", "-I", "-c", ASK): (127, "", "shim: command not found"),
            ("uv", "python", "find", "--no-project", "3.12"): (0, "/opt/3.12/bin/python\n", ""),
            ("python3.13", "-I", "-c", ASK): (0, "/opt/3.13/bin/python\n", ""),
        }
    )
    rows = [row("cp312-cp312-linux_x86_64"), row("py3-none-any"), row("cp313-cp313-linux_x86_64")]
    rows.append(row("cp312-cp312-any"))
    groups = pythons.grouped(rows, run, "uv", {})
    assert groups == {
        "/opt/3.12/bin/python": [rows[0], rows[3]],
        sys.executable: [rows[1]],
        "/opt/3.13/bin/python": [rows[2]],
    }
    assert len(run.commands) == 3, "each version is looked for once"


def test_no_python_that_fits() -> None:
    run = FakeRun(
        {
            ("python3.12", "-I", "-c", ASK): NO_PROGRAM,
            ("uv", "python", "find", "--no-project", "3.12"): (2, "", "No interpreter found"),
        }
    )
    with pytest.raises(InfraError) as caught:
        pythons.grouped([row("cp312-cp312-linux_x86_64")], run, "uv", {})
    (problem,) = caught.value.problems
    assert problem.reference == "no-python"
    assert "3.12" in problem.message
    assert "uv python install 3.12" in problem.hint


def test_a_range_of_pythons_counts_too() -> None:
    run = FakeRun(
        {
            ("python3.30", "-I", "-c", ASK): NO_PROGRAM,
            ("uv", "python", "find", "--no-project", "3.30"): (2, "", ""),
            ("python3.29", "-I", "-c", ASK): (0, "/opt/3.29\n", ""),
        }
    )
    assert pythons.grouped([row("py3-none-any", ">=3.29")], run, "uv", {}).keys() == {"/opt/3.29"}


@pytest.mark.parametrize("tag", ["py3-none-win_amd64", "py3-none-manylinux_2_99_x86_64"])
def test_a_platform_that_this_machine_is_not(tag: str) -> None:
    with pytest.raises(InfraError) as caught:
        pythons.grouped([row(tag)], FakeRun({}), "uv", {})
    assert caught.value.problems[0].reference == "no-platform"
