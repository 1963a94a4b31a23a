"""Commands in a container and beside us: what comes back, what they see, and what cannot be begun."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from ci.errors import ContractError, InfraError
from ci.world.containers import Mount
from ci.world.sandbox import Passed
from tests.engine.conftest import docker
from tests.engine.sandboxes import Box, marked
from tests.faults.stand import processes, soon

# --- what comes back --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 1", 1), ("exit 5", 5), ("kill -9 $$", -9), ("kill -15 $$", -15)]
)
def test_how_it_ended(box: Box, script: str, code: int) -> None:
    box.begin()
    ended = box.run(script)
    assert ended._replace(seconds=0) == (code, 0, "", "", False, ())
    assert box.sandbox.end() == ()
    assert box.said == []


def test_a_program_that_is_not_there(box: Box) -> None:
    box.begin()
    ended = box.run("no-such-program", "x")
    assert (ended.code, ended.lost) == (127, "")
    assert "no-such-program" in box.text()[-1]


def test_every_line_of_both_streams(box: Box) -> None:
    box.begin()
    box.run(r"echo out; echo err >&2; printf 'a\377\r\nb\tc\nno end'")
    assert sorted(line for stream, line in box.lines if stream == "stdout") == ["a\ufffd", "b\tc", "no end", "out"]
    assert [line for stream, line in box.lines if stream == "stderr"] == ["err"]


def test_arguments_arrive_untouched(box: Box) -> None:
    odd = (" ", "a b", "$HOME", "`id`", "*", "'\"\\", "é😀", "--", "-x", ";exit 1")
    box.begin()
    box.run("sh", "-c", 'for one; do echo "$one"; done', "name", *odd)
    assert box.text() == list(odd)


def test_several_commands_one_after_the_other(box: Box) -> None:
    box.begin()
    assert [box.run(f"exit {code}").code for code in (0, 3, 0)] == [0, 3, 0]


def test_a_child_that_holds_the_pipes_does_not_hold_us(box: Box) -> None:
    seconds = marked()
    box.begin()
    ended = box.run(f"sleep {seconds} & echo last")
    assert (ended.code, box.text()) == (0, ["last"])
    assert processes(f"sleep\0{seconds}") or processes(f"sleep {seconds}")
    assert box.sandbox.end(30) == ("SIGTERM",)
    assert not processes(f"sleep {seconds}")


# --- what it sees -----------------------------------------------------------------------------


def test_the_environment_is_an_allow_list(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_TOKEN", "of this host")
    box.begin(env={"OURS": "1", "BOTH": "sandbox"}, secrets={"SECRET": "hush"})
    box.run("env", env={"BOTH": "command", "DOCKER_HOST": "untouched"})
    seen = dict(line.partition("=")[::2] for line in box.text())
    assert set(seen) - {"PATH", "HOME", "LANG", "PWD", "SHLVL", "OLDPWD", "HOSTNAME", "_"} == {
        "OURS", "BOTH", "SECRET", "DOCKER_HOST"
    }  # fmt: skip
    assert (seen["OURS"], seen["BOTH"], seen["SECRET"]) == ("1", "command", "hush")


def test_probes_are_told_no_secrets(box: Box) -> None:
    box.begin(env={"OURS": "1"}, secrets={"SECRET": "hush"})
    shown = box.sandbox.probe(("busybox", "env"), 30).stdout
    assert "OURS=1" in shown
    assert "hush" not in shown


def test_the_folder_it_starts_in(box: Box) -> None:
    box.begin(workdir="/tmp")
    box.run("pwd")
    box.run("pwd", cwd="/opt")
    assert box.text() == ["/tmp", "/opt"]
    assert box.sandbox.probe(("sh", "-c", "pwd"), 30).stdout == "/tmp\n"


def test_nothing_can_be_typed(box: Box) -> None:
    box.begin()
    assert box.run("cat; echo read").code == 0
    assert box.text() == ["read"]


def test_secrets_are_in_no_inspect_and_no_command_line(container: Box) -> None:
    """Looked at while the command runs: it waits for us."""
    secret = "hush-" + marked()
    seen: list[str] = []

    def look(_line: str) -> None:
        name = container.sandbox.name
        lines = [line for line in processes(name).values() if "exec" in line]
        seen.extend([docker("inspect", name), *lines])
        docker("exec", name, "busybox", "touch", "/done")

    container.on_line = look
    container.begin(secrets={"SECRET": secret})
    container.run('echo "$SECRET"; until [ -e /done ]; do sleep 0.05; done')
    assert container.text() == [secret]
    assert len(seen) > 1
    assert all(secret not in text for text in seen)


def test_mounts(container: Box, tmp_path: Path) -> None:
    for name in ("suite", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "suite" / "file").write_text("here\n")
    mounts = (Mount(tmp_path, "/all"), Mount(tmp_path / "results", "/results", read_only=False))
    container.begin(mounts=mounts)
    inside = container.sandbox.inside
    assert (inside(tmp_path / "suite"), inside(tmp_path / "results" / "1")) == ("/all/suite", "/results/1")
    with pytest.raises(InfraError, match="is not mounted"):
        inside(Path("/elsewhere"))
    ended = container.run("cat /all/suite/file; echo 1 > /results/1; echo 2 > /all/suite/2 || echo refused")
    assert (ended.code, [line for stream, line in container.lines if stream == "stdout"]) == (0, ["here", "refused"])
    assert (tmp_path / "results" / "1").read_text() == "1\n"


def test_the_walls_of_a_container(container: Box) -> None:
    container.begin(shm_mb=17, memory_mb=96, pids=40, user="1234:1235", group_ids=(4242,))
    container.run(
        "ulimit -c; ulimit -H -c; ls /sys/class/net; cat /proc/1/cmdline | busybox tr '\\0' ' '; echo; "
        "busybox grep -E '^(Uid|Gid|Groups|NoNewPrivs|CapEff)' /proc/self/status; busybox grep shm /proc/mounts"
    )
    core, hard, net, init, *rest = container.text()
    facts = {name: value.split() for name, _, value in (line.partition(":") for line in rest[:-1])}
    assert (core, hard, net, init.split()[0]) == ("0", "0", "lo", "/sbin/docker-init")
    assert (facts["Uid"][1], facts["Gid"][1], facts["NoNewPrivs"]) == ("1234", "1235", ["1"])
    assert "4242" in facts["Groups"]
    assert int(facts["CapEff"][0], 16) == 0
    assert "size=17408k" in rest[-1]
    host = json.loads(docker("inspect", container.sandbox.name))[0]["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (96 << 20, 96 << 20, 40)
    assert (host["IpcMode"], host["LogConfig"]["Type"], host["Privileged"]) == ("private", "none", False)


def test_the_host_side_of_a_container(container: Box) -> None:
    labels = {"org.rocm-ci.run": "r", "org.rocm-ci.step": "s"}
    container.begin(
        labels=labels,
        network="host",
        ipc="host",
        capabilities=("IPC_LOCK",),
        devices=(Passed("/dev/null", "/dev/null"), Passed("/dev/full", "/dev/plain")),
    )
    found = json.loads(docker("inspect", container.sandbox.name))[0]
    host = found["HostConfig"]
    assert labels.items() <= found["Config"]["Labels"].items()
    assert (host["NetworkMode"], host["IpcMode"], host["CapAdd"]) == ("host", "host", ["IPC_LOCK"])
    assert [row["PathInContainer"] for row in host["Devices"]] == ["/dev/null", "/dev/plain"]


def test_a_proxy_of_the_docker_command_line_stays_outside(
    container: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has one in their docker configuration has it for themselves: it may hold a password."""
    config = {"proxies": {"default": {"httpProxy": "http://user:password@proxy:1"}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    container.begin()
    container.run("env")
    assert "password" not in "".join(container.text())


# --- what cannot be begun ---------------------------------------------------------------------


def test_an_image_that_is_not_here_is_not_pulled(container: Box) -> None:
    container.image = "rocm-ci-test/absent:1"
    with pytest.raises(InfraError) as caught:
        container.begin()
    assert caught.value.problems[0].reference == "no-image"


@pytest.mark.parametrize("missing", ["sh", "sleep"])
def test_an_image_that_cannot_hold_tests(container: Box, missing: str) -> None:
    """It may fall over while we look or a moment later, when the first command comes."""
    container.image = container.image.replace("busy-", f"no-{missing}-")
    archive = io.BytesIO()
    shell = shutil.which("dash") or "/bin/bash"  # busybox's has a sleep of its own
    words = subprocess.run(["ldd", shell], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
        tar.add(shell, "bin/other" if missing == "sh" else "bin/sh")
        for library in (word for word in words if word.startswith("/")):
            tar.add(library, library.removeprefix("/"))
    docker("import", "-", "--change", "ENV PATH=/bin", container.image, stdin=archive.getvalue())
    with pytest.raises(ContractError) as caught:
        _begin_and_run(container)
    assert caught.value.problems[0].reference == "no-shell"


def _begin_and_run(container: Box) -> None:
    container.begin()
    soon(lambda: docker("ps", "--quiet", "--filter", f"name={container.sandbox.name}") == "", "it stays up")
    container.run("true")


def test_a_device_that_is_not_here(container: Box) -> None:
    with pytest.raises(InfraError) as caught:
        container.begin(devices=(Passed("/dev/kfd-nowhere", "/dev/kfd"),))
    (problem,) = caught.value.problems
    assert problem.reference == "no-container"
    assert "kfd-nowhere" in problem.context


def test_the_end_of_what_is_not_ready(container: Box, tmp_path: Path) -> None:
    """Its shell dies of a signal it cannot hear yet; nothing was left behind, and nothing held."""
    shell = tmp_path / "sh"
    shell.write_text("#!/bin/busybox sh\nexec sleep 600\n")
    shell.chmod(0o755)
    container.begin(env={"PATH": "/late:/bin"}, mounts=(Mount(tmp_path, "/late"),))
    assert container.sandbox.end(5) == ()
    assert container.said == []


def test_the_end_of_what_never_began_or_is_gone(container: Box) -> None:
    container.begin()
    assert container.sandbox.end() == ()
    assert container.sandbox.end() == ()
