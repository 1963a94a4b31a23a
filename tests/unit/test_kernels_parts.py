"""The parts of a compile that need no compiler: dependency lists, toolchains, containers, output folders."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.errors import ConfigError, InfraError
from ci.kernels import depfile, diagnose, handout, sources, toolchain
from ci.kernels.cache import Cache, Digests, Entry, Hit
from ci.kernels.compile import Row
from ci.kernels.workshop import Counter
from ci.recipe import stack as stacks
from ci.world.containers import Mount, Workshop, engine_failed
from ci.world.fakes import FakeEngine, FakeRun
from ci.world.process import Command, Finished
from tests.unit.fake_compiler import Compiler, project, settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("object: a.hip\n", ("a.hip",)),
        ("object: a.hip \\\n  b.h /usr/c.h \\\n  d.h\n", ("a.hip", "b.h", "/usr/c.h", "d.h")),
        ("object: a\\ b.h c\\#d.h $$e.h\n", ("a b.h", "c#d.h", "$e.h")),
        ("object: a.h a.h\n\na.h:\n", ("a.h",)),
        ("object: a.h \\\r\n b.h\r\n", ("a.h", "b.h")),
        ("", ()),
        ("no rule", ()),
    ],
)
def test_dependency_lists(text: str, expected: tuple[str, ...]) -> None:
    assert depfile.parse(text) == expected


@given(st.lists(st.text("ab./ #$_-", min_size=1).filter(lambda name: name.strip() == name and name), unique=True))
def test_names_survive_a_dependency_list(names: list[str]) -> None:
    escaped = [name.replace("$", "$$").replace("#", "\\#").replace(" ", "\\ ") for name in names]
    assert depfile.parse("object: " + " \\\n  ".join(escaped) + "\n") == tuple(names)


def test_a_local_compiler_is_known_by_its_bytes_not_by_its_place(tmp_path: Path) -> None:
    found = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        found.append(toolchain.local(settings(tmp_path / name), ["gfx942"], tmp_path / name, Compiler().run))
    assert all(found)
    assert len({each.identity for each in found if each}) == 1
    hipcc = tmp_path / "here" / "bin" / "hipcc"
    hipcc.write_text(hipcc.read_text() + "# another build\n")
    other = toolchain.local(settings_without_writing(hipcc), ["gfx942"], tmp_path / "here", Compiler().run)
    assert other
    assert found[0]
    assert other.identity != found[0].identity


def settings_without_writing(hipcc: Path) -> Any:
    from ci.settings import Settings

    return Settings({"PATH": str(hipcc.parent)}, {})


def test_nobody_else_may_write_where_objects_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "user" / "kernels"
    entry = Entry(hashlib.sha256(b"abc").hexdigest(), 3, 0.5, ())
    Cache(folder, Digests(tmp_path)).keep("0" * 64, {}, {}, Hit(entry, b"abc"))
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_compiler_sees_no_flags_from_outside(tmp_path: Path) -> None:
    env = toolchain.environment(settings(tmp_path, HIPCC_COMPILE_FLAGS_APPEND="-O0", HOME="/home/me"))
    assert env["HOME"] == "/home/me"
    assert "HIPCC_COMPILE_FLAGS_APPEND" not in env


def test_no_compiler_an_old_one_and_a_broken_one(tmp_path: Path) -> None:
    from ci.settings import Settings

    assert toolchain.local(Settings({"PATH": "/nowhere"}, {}), ["gfx942"], tmp_path, FakeRun({})) is None
    given_settings = settings(tmp_path)
    hipcc = str(tmp_path / "bin" / "hipcc")
    asked = (hipcc, "-###", "--genco", "-c", "--offload-arch=gfx950", "-x", "hip", "/dev/null")
    old = FakeRun({(hipcc, "--version"): (0, "HIP version: 5.2", ""), asked: (1, "", "error: invalid target gfx950\n")})
    with pytest.raises(ConfigError, match="cannot compile for gfx950") as caught:
        toolchain.local(given_settings, ["gfx950"], tmp_path, old)
    assert "invalid target" in caught.value.problems[0].context
    with pytest.raises(InfraError, match="does not work"):
        toolchain.local(given_settings, ["gfx950"], tmp_path, FakeRun({(hipcc, "--version"): (127, "", "no perl")}))


def test_the_shipped_stack_names_its_toolchain_and_a_wrong_name_is_refused(tmp_path: Path) -> None:
    stack = stacks.load("local")
    assert stack.toolchain in stack.tiers
    text = stack.path.read_text().replace("toolchain: toolchain\n", "toolchain: toolchian\n")
    (tmp_path / "local.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        stacks.load(str(tmp_path / "local.yaml"))
    problem = next(each for each in caught.value.problems if each.reference == "unknown-tier")
    assert "did you mean toolchain?" in problem.hint
    (tmp_path / "local.yaml").write_text(stack.path.read_text().replace("toolchain: toolchain\n", ""))
    for name in ("Dockerfile.local",):
        (tmp_path / name).write_text((stack.recipe / name).read_text())
    with pytest.raises(ConfigError, match="names no toolchain tier"):
        toolchain.tier_of(stacks.load(str(tmp_path / "local.yaml")))


def test_a_container_has_no_network_and_nothing_to_write(tmp_path: Path) -> None:
    mounts = (Mount(tmp_path, "/src"), Mount(tmp_path / "a,b", "/out", read_only=False))
    shop = Workshop("name", "sha256:1", mounts, "1000:1000", {})
    started: list[tuple[str, ...]] = []

    def start(command: Command) -> Finished:
        started.append(command.argv)
        return Finished(command, 0, "", "")

    shop.begin(start)
    shop.end(start)
    begin, end = started
    assert {"--init", "--network=none", "--read-only", "--pull=never", "--cap-drop=ALL"} <= set(begin)
    assert f'type=bind,"source={tmp_path}",target=/src,readonly' in begin
    assert f'type=bind,"source={tmp_path}/a,b",target=/out' in begin
    assert end == ("docker", "rm", "--force", "--volumes", "name")
    assert shop.inside("/src") == ("docker", "exec", "--workdir", "/src", "name")


class Told(FakeEngine):
    """An engine that gives one answer to everything."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__()
        self.answer = status, body

    def _asked(self, method: str, path: str, patience: float) -> tuple[int, bytes]:
        del method, path, patience
        return self.answer


def test_an_engine_that_fails_is_no_compile_error() -> None:
    command = Command(("docker", "exec"))
    gone = Finished(command, 1, "", "Error response from daemon: No such container: x\n")
    assert engine_failed(gone)
    assert not engine_failed(Finished(command, 1, "", "a.hip:1:1: error: x\n"))
    error = diagnose.error([diagnose.Failure("a.hip", "gfx942", gone)], contained=True)
    assert isinstance(error, InfraError)
    full = Finished(command, 1, "", "error: unable to open output file: No space left on device\n")
    assert diagnose.error([diagnose.Failure("a.hip", "gfx942", full)], contained=False).problems[0].reference == "disk"
    assert Told(200, b'{"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]}').is_rootless()
    assert not Told(200, b'{"SecurityOptions": ["name=seccomp,profile=builtin"]}').is_rootless()
    assert not Told(200, b"{}").is_rootless()
    for status, body in ((500, b"{}"), (200, b"no JSON")):
        with pytest.raises(InfraError):
            Told(status, body).is_rootless()
    shop = Workshop("name", "image", (), "0:0", {})
    removal = ("docker", "rm", "--force", "--volumes", "name")
    shop.end(FakeRun({removal: (1, "", "Error response from daemon: No such container: name")}))
    with pytest.raises(InfraError):
        shop.end(FakeRun({removal: (1, "", "Cannot connect to the Docker daemon")}))


def test_the_wrappers_rates(tmp_path: Path) -> None:
    local = toolchain.Local("hipcc", "id", "hipcc", "/usr/bin/ccache", {})
    counter = Counter(local, tmp_path, FakeRun({}))
    assert (counter.rate().hits, counter.rate().misses) == (0, 0)
    log = "# a.hip\ndirect_cache_hit\nlocal_hit\n# b.hip\ncache_miss\npreprocessed_cache_miss\n"
    (tmp_path / "ccache.log").write_text(log)
    assert (counter.rate().hits, counter.rate().misses) == (1, 1)
    asked = ("/usr/bin/sccache", "--show-stats", "--stats-format", "json")

    def stats(hits: int, misses: int) -> tuple[int, str, str]:
        shown = {"cache_hits": {"counts": {"HIP": hits}}, "cache_misses": {"counts": {"HIP": misses}}}
        return 0, json.dumps({"stats": shown}), ""

    local = toolchain.Local("hipcc", "id", "hipcc", "/usr/bin/sccache", {})
    rate = Counter(local, tmp_path, FakeRun({asked: [stats(5, 7), stats(9, 8)]})).rate()
    assert (rate.name, rate.hits, rate.misses) == ("sccache", 4, 1)
    silent = Counter(local, tmp_path, FakeRun({asked: (1, "", "no server")})).rate()
    assert (silent.hits, silent.misses) == (0, 0)


def test_an_output_folder_of_a_newer_version_is_left_alone_and_no_list_leads_out(tmp_path: Path) -> None:
    found = sources.find(project(tmp_path))
    out = tmp_path / "out"
    out.mkdir()
    outside = tmp_path / "precious.hsaco"
    outside.write_text("x")
    (out / "notes.txt").write_text("x")
    listed = [{"file": "../precious.hsaco"}, {"file": "notes.txt"}]
    (out / handout.LIST).write_text(json.dumps({"schema": 1, "objects": listed}))
    row = Row("src/one.hip", "gfx942", False, 0.5, 3, "0" * 64, ())
    assert handout.hand_out(out, found, [row], [b"abc"], "id") == 1
    assert handout.hand_out(out, found, [row], [b"abc"], "id") == 0
    assert outside.exists()
    assert (out / "notes.txt").exists()
    assert (out / "gfx942/one.hsaco").stat().st_mode & 0o777 == 0o644
    assert [each["file"] for each in json.loads((out / handout.LIST).read_text())["objects"]] == ["gfx942/one.hsaco"]
    (out / handout.LIST).write_text(json.dumps({"schema": 2}))
    with pytest.raises(ConfigError, match="newer version"):
        handout.hand_out(out, found, [row], [b"abc"], "id")
