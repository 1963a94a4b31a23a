"""``ci/bootstrap``: the quick path, the virtualenv, the refusals, and how apt's files are read.

The copies of the checkout made here carry a lock of one local wheel, so that nothing is downloaded.
Installing an engine is not tried here: it needs a bare root and a network (see docs/how-to/bootstrap.md).
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "ci" / "bootstrap"
NOBODY = 65534
pytestmark = pytest.mark.skipif(
    not all(shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") for name in ("git", "mmdebstrap")),
    reason="git or mmdebstrap is missing: as root the script would install it",
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")


@pytest.fixture
def module() -> ModuleType:
    """The script, imported: the file has no suffix, so the loader is named."""
    loader = importlib.machinery.SourceFileLoader("bootstrap", str(SCRIPT))
    spec = importlib.util.spec_from_loader("bootstrap", loader)
    assert spec is not None
    loaded = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # or ci/ gets a bootstrapc
    try:
        loader.exec_module(loaded)
    finally:
        sys.dont_write_bytecode = before
    return loaded


def write_wheel(folder: Path, version: str) -> str:
    """A wheel of one module ``demo`` with a command; returns its requirement line."""
    wheel = folder / f"demo-{version}-py3-none-any.whl"
    meta = f"demo-{version}.dist-info"
    files = {
        "demo.py": f"import sys\ndef main():\n    print('demo {version}', sys.argv[1:])\n",
        f"{meta}/METADATA": f"Metadata-Version: 2.1\nName: demo\nVersion: {version}\n",
        f"{meta}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{meta}/entry_points.txt": "[console_scripts]\ndemo = demo:main\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{meta}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, f"{meta}/RECORD": record}.items():
            archive.writestr(name, text)
    return f"demo @ {wheel.as_uri()} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A skeleton of the checkout that any user may read, with a small lock."""
    folder = Path(tempfile.mkdtemp(prefix="bootstrap test "))  # a blank in the path, too
    folder.chmod(0o755)
    (folder / "ci").mkdir()
    (folder / "requirements").mkdir()
    shutil.copy(SCRIPT, folder / "ci" / "bootstrap")
    (folder / "requirements" / "dev.txt").write_text(write_wheel(folder, "1.0"))
    yield folder
    shutil.rmtree(folder)


Result = subprocess.CompletedProcess[str]


def run(folder: Path, *arguments: str, env: dict[str, str] | None = None, prefix: tuple[str, ...] = ()) -> Result:
    """Run the copy in ``folder``, with stdin closed as in CI."""
    full = {**os.environ, "DOCKER_HOST": "tcp://engine.invalid:2375", **(env or {})}
    return subprocess.run(
        [*prefix, str(folder / "ci" / "bootstrap"), *arguments],
        env={key: value for key, value in full.items() if value},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A skeleton that is set up already; tests that use it change nothing in it."""
    folder = tmp_path_factory.mktemp("ready")
    (folder / "ci").mkdir()
    (folder / "requirements").mkdir()
    shutil.copy(SCRIPT, folder / "ci" / "bootstrap")
    (folder / "requirements" / "dev.txt").write_text(write_wheel(folder, "1.0"))
    made = run(folder, "--no-engine", "true")
    assert made.returncode == 0, made.stderr
    return folder


class TestQuickPath:
    def test_says_nothing_and_changes_nothing(self, ready: Path) -> None:
        before = sorted((str(p), p.lstat().st_mtime_ns) for p in ready.rglob("*"))
        done = run(ready, "true")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert sorted((str(p), p.lstat().st_mtime_ns) for p in ready.rglob("*")) == before

    @pytest.mark.parametrize("code", [0, 1, 3, 42, 124])
    def test_exit_code_is_the_commands(self, ready: Path, code: int) -> None:
        assert run(ready, "sh", "-c", f"exit {code}").returncode == code

    def test_arguments_arrive_untouched(self, ready: Path) -> None:
        odd = ["two words", "", "it's", '"quoted"', "$HOME `id` *", "--no-engine", "--", "-x", "új\n"]
        done = run(ready, "python", "-c", "import sys; print(sys.argv[1:])", *odd)
        assert done.stdout == f"{odd}\n"

    def test_the_venv_is_first_on_path(self, ready: Path) -> None:
        assert run(ready, "demo", "a b").stdout == "demo 1.0 ['a b']\n"
        assert run(ready, "sh", "-c", 'echo "$VIRTUAL_ENV"').stdout == f"{ready / '.venv'}\n"

    def test_the_working_directory_stays(self, ready: Path) -> None:
        script = str(ready / "ci" / "bootstrap")
        done = subprocess.run([script, "--no-engine", "pwd"], cwd="/usr", capture_output=True, check=True)
        assert done.stdout == b"/usr\n"

    def test_through_a_link(self, ready: Path, tmp_path: Path) -> None:
        (tmp_path / "ci").mkdir()
        (tmp_path / "ci" / "bootstrap").symlink_to(ready / "ci" / "bootstrap")
        assert run(tmp_path, "demo").stdout == "demo 1.0 []\n"

    def test_the_command_gets_default_signals(self, ready: Path) -> None:
        done = run(ready, "sh", "-c", "kill -PIPE $$")
        assert done.returncode == -signal.SIGPIPE


class TestUsage:
    @pytest.mark.parametrize("arguments", [[], ["--no-engine"], ["--"], ["--engine", "true"], [""]])
    def test_misuse_is_2(self, ready: Path, arguments: list[str]) -> None:
        done = run(ready, *arguments)
        assert done.returncode == 2
        assert "usage: ./ci/bootstrap [--no-engine] COMMAND" in done.stderr

    def test_help_is_on_stdout(self, ready: Path) -> None:
        done = run(ready, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert "COMMAND" in done.stdout

    def test_no_such_command_is_2(self, ready: Path) -> None:
        done = run(ready, "nonesuch")
        assert done.returncode == 2
        assert "'nonesuch'" in done.stderr
        assert "likely cause" in done.stderr

    def test_no_python_is_2_and_says_what_to_install(self, checkout: Path) -> None:
        tools = checkout / "tools"
        tools.mkdir()
        (tools / "readlink").symlink_to(str(shutil.which("readlink")))
        old = tools / "python3"  # too old for the version test, as Python 3.6 would be
        old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.6.9\nexit 1\n')
        old.chmod(0o755)
        done = run(checkout, "true", env={"PATH": str(tools)})
        assert done.returncode == 2
        assert "3.6.9" in done.stderr
        assert "apt-get install python3" in done.stderr
        assert "Traceback" not in done.stderr


class TestVenv:
    def test_another_lock_is_installed(self, checkout: Path) -> None:
        assert run(checkout, "demo").stdout == "demo 1.0 []\n"
        (checkout / "requirements" / "dev.txt").write_text(write_wheel(checkout, "2.0"))
        done = run(checkout, "demo")
        assert done.stdout == "demo 2.0 []\n"
        assert "makes .venv" not in done.stderr  # in place
        assert run(checkout, "demo").stderr == ""

    def test_a_lock_that_fails_leaves_the_old_packages_and_is_tried_again(self, checkout: Path) -> None:
        assert run(checkout, "true").returncode == 0
        good = write_wheel(checkout, "2.0")
        (checkout / "requirements" / "dev.txt").write_text(good[:-9] + "00000000\n")
        done = run(checkout, "demo")
        assert (done.returncode, done.stdout) == (4, "")
        assert "likely cause: the index serves other files than the lock names" in done.stderr
        log = Path(done.stderr.rpartition("log: ")[2].strip())
        assert "DO NOT MATCH THE HASHES" in log.read_text()
        log.unlink()
        assert subprocess.check_output([checkout / ".venv" / "bin" / "demo"]) == b"demo 1.0 []\n"
        (checkout / "requirements" / "dev.txt").write_text(good)
        assert run(checkout, "demo").stdout == "demo 2.0 []\n"

    def test_a_half_made_one_is_made_again(self, checkout: Path) -> None:
        (checkout / ".venv" / "bin").mkdir(parents=True)
        (checkout / ".venv" / ".bootstrap-stamp").write_text("half-made\n")
        (checkout / ".venv" / "bin" / "python").symlink_to("/nonesuch")
        assert run(checkout, "demo").stdout == "demo 1.0 []\n"

    def test_one_made_by_hand_is_used(self, checkout: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
        (checkout / ".venv" / "mine").touch()
        done = run(checkout, "demo")
        assert done.stdout == "demo 1.0 []\n"
        assert "makes .venv" not in done.stderr
        assert (checkout / ".venv" / "mine").exists()

    def test_a_moved_one_is_made_again(self, checkout: Path) -> None:
        assert run(checkout, "true").returncode == 0
        moved = checkout.with_name(checkout.name + " moved")
        try:
            shutil.copytree(checkout, moved, symlinks=True)
            done = run(moved, "sh", "-c", "command -v demo && demo")
            assert done.stdout == f"{moved}/.venv/bin/demo\ndemo 1.0 []\n"
            assert "makes .venv" in done.stderr
        finally:
            shutil.rmtree(moved)

    def test_a_folder_that_is_no_virtualenv_is_not_removed(self, checkout: Path) -> None:
        (checkout / ".venv").mkdir()
        (checkout / ".venv" / "thesis.txt").touch()
        done = run(checkout, "true")
        assert done.returncode == 4
        assert "next: mv" in done.stderr
        assert (checkout / ".venv" / "thesis.txt").exists()

    def test_three_at_once(self, checkout: Path) -> None:
        results: list[Result] = []
        threads = [threading.Thread(target=lambda: results.append(run(checkout, "demo"))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [done.stdout for done in results] == ["demo 1.0 []\n"] * 3
        assert sum("makes .venv" in done.stderr for done in results) == 1


def hidden_engine(user: int = NOBODY) -> tuple[str, ...]:
    """A command prefix: a user on a machine without dockerd and without its socket, by mounts of its own."""
    script = """
        for path in /usr/sbin/dockerd /usr/local/bin/dockerd /usr/bin/dockerd /usr/local/sbin/dockerd; do
            [ ! -e "$path" ] || mount --bind /dev/null "$path" || exit 99
        done
        mount -t tmpfs none /run || exit 99
        exec setpriv --reuid="$0" --regid="$0" --clear-groups "$@"
    """
    return ("unshare", "--mount", "sh", "-c", script, str(user))


ENV = {"DOCKER_HOST": "", "DOCKER_CONTEXT": "", "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"}


@needs_root
class TestWithoutRights:
    @pytest.fixture
    def theirs(self, checkout: Path) -> Path:
        if subprocess.run([*hidden_engine(0), "true"], capture_output=True, check=False).returncode:
            pytest.skip("mount namespaces are not allowed here")
        for path in [checkout, *checkout.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        return checkout

    def test_no_engine_is_4_and_says_what_to_ask_for(self, theirs: Path) -> None:
        done = run(theirs, "true", env=ENV, prefix=hidden_engine())
        assert done.returncode == 4
        assert "no Docker Engine; as root: " in done.stderr
        assert "Docker Engine 28.0 and buildx 0.17" in done.stderr
        assert "DOCKER_HOST" in done.stderr
        assert "--no-engine" in done.stderr
        assert "Traceback" not in done.stderr

    def test_an_engine_elsewhere_is_fine(self, theirs: Path) -> None:
        done = run(theirs, "demo", env={**ENV, "DOCKER_HOST": "ssh://builder"}, prefix=hidden_engine())
        assert (done.returncode, done.stdout) == (0, "demo 1.0 []\n"), done.stderr

    def test_no_engine_leaves_the_machine_alone(self, theirs: Path) -> None:
        """As root, on a machine that lacks the engine and git: not even apt is called."""
        spy = theirs / "spy"
        spy.write_text(f"#!/bin/sh\necho called >{theirs}/called\nexit 1\n")
        spy.chmod(0o755)
        script = (
            "for tool in apt-get dpkg dockerd; do path=$(PATH=$PATH:/usr/sbin command -v $tool) || continue;"
            f' mount --bind "{spy}" "$path" || exit 99; done;'
            ' mount --bind /dev/null "$(command -v git)" || exit 99; exec "$@"'
        )
        prefix = (*hidden_engine(0), "sh", "-c", script, "sh")
        done = run(theirs, "--no-engine", "demo", env=ENV, prefix=prefix)
        assert (done.returncode, done.stdout) == (0, "demo 1.0 []\n"), done.stderr
        assert "missing: git" in done.stderr
        assert not (theirs / "called").exists()


DEB822 = """\
# the mirror of the house
Types: deb deb-src
URIs: http://mirror.example/debian/ http://second.example/debian
Suites: bookworm bookworm-updates
# a comment inside
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main
"""

EMBEDDED = """\
Types: deb
URIs: http://mirror.example/debian
Suites: stable
Components: main
Trusted: yes
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----
"""

ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb [ arch=amd64 signed-by=/k.gpg ] http://third.example/debian bookworm main  # theirs
deb-src http://mirror.example/debian bookworm main
deb [signed-by=/a.gpg Check-Valid-Until=no] http://mirror.example/debian bookworm main contrib

nonsense
deb http://plain.example/debian trixie main
"""

BASE_FILES = "base-files | 12.4 | http://mirror.example/debian {}/main amd64 Packages\n"


class TestAptSources:
    @pytest.fixture
    def etc(self, module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "sources.list.d").mkdir()
        monkeypatch.setattr(module, "APT_ETC", tmp_path)
        monkeypatch.setattr(module, "SOURCES_FILE", tmp_path / "sources.list.d" / "rocm-ci-engine.sources")
        return tmp_path

    def test_deb822(self, module: ModuleType, etc: Path) -> None:
        (etc / "sources.list.d" / "debian.sources").write_text(DEB822)
        (source,) = module.read_sources()  # neither the disabled one nor the one of sources only
        offers = module.parse_madison(BASE_FILES.format("bookworm"))
        assert module.own_archive(offers, [source]) == {
            "uris": "http://mirror.example/debian",
            "signed-by": "/usr/share/keyrings/debian-archive-keyring.gpg",
        }

    def test_one_line(self, module: ModuleType, etc: Path) -> None:
        (etc / "sources.list").write_text(ONE_LINE)
        sources = module.read_sources()
        assert [source["uris"] for source in sources] == [
            "http://third.example/debian",
            "http://mirror.example/debian",
            "http://plain.example/debian",
        ]
        offers = module.parse_madison(BASE_FILES.format("bookworm"))
        assert module.sources_text(module.own_archive(offers, sources)).splitlines()[1:] == [
            "Types: deb",
            "URIs: http://mirror.example/debian",
            "Suites: forky",
            "Components: main",
            "Signed-By: /a.gpg",
            "Check-Valid-Until: no",
        ]

    def test_an_embedded_key_is_carried_over_whole(self, module: ModuleType, etc: Path) -> None:
        (etc / "sources.list.d" / "debian.sources").write_text(EMBEDDED)
        archive = module.own_archive(module.parse_madison(BASE_FILES.format("stable")), module.read_sources())
        (ours,) = module.parse_deb822(module.sources_text(archive))
        (theirs,) = module.parse_deb822(EMBEDDED)
        assert ours["signed-by"] == theirs["signed-by"]
        assert ours["trusted"] == "yes"

    def test_several_files_and_not_our_own(self, module: ModuleType, etc: Path) -> None:
        parts = etc / "sources.list.d"
        (parts / "debian.sources").write_text(EMBEDDED)
        (parts / "more.list").write_text("deb cdrom:[Debian_12]/ bookworm main\n" + ONE_LINE)
        (parts / "rocm-ci-engine.sources").write_text(DEB822)
        (parts / "old.list.save").write_text(ONE_LINE)
        assert len(module.read_sources()) == 4 + 1

    def test_no_archive_is_an_error_with_ways_out(self, module: ModuleType) -> None:
        with pytest.raises(module.Stop) as caught:
            module.own_archive([], [])
        assert caught.value.code == 4
        assert "likely cause" in caught.value.lines[1]
        assert "DOCKER_HOST" in caught.value.lines[-1]


class TestVersions:
    @pytest.mark.parametrize(
        ("version", "minimum", "expected"),
        [
            ("28.5.2+dfsg4-5", (28, 0), True),
            ("28.0-1", (28, 0), True),
            ("1:28.0.1", (28, 0), True),
            ("28.2.2-0ubuntu1~24.04.1", (28, 0), True),
            ("27.9.9", (28, 0), False),
            ("100.1", (28, 0), True),
            ("20.10.24+dfsg1-1+deb12u1+b6", (28, 0), False),
            ("0.29.1+ds1-4", (0, 17), True),
            ("0.17~rc1", (0, 17), True),
            ("0.9.1", (0, 17), False),
            ("1.0", (0, 17), True),
            ("", (0, 17), False),
            ("(none)", (0, 17), False),
            ("28", (28, 0), False),
        ],
    )
    def test_at_least(self, module: ModuleType, version: str, minimum: tuple[int, int], expected: bool) -> None:
        assert module.at_least(version, minimum) is expected

    def test_policy(self, module: ModuleType) -> None:
        text = "docker.io:\n  Installed: (none)\n  Candidate: 28.5.2\n  Version table:\n     28.5.2 500\n"
        text += "docker-buildx:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n"
        assert module.parse_policy(text) == {"docker.io": "28.5.2"}

    def test_ubuntu_takes_its_own_packages(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        answers = {
            "policy": "docker.io:\n  Candidate: 28.2.2-0ubuntu1\ndocker-buildx:\n  Candidate: 0.21.3-0ubuntu1\n",
            "madison": "docker.io | 28.2.2-0ubuntu1 | http://m.example/ubuntu noble-updates/universe amd64 Packages\n",
        }
        said: list[str] = []
        monkeypatch.setattr(module, "query", lambda verb, *_: answers[verb])
        monkeypatch.setattr(module, "say", said.append)
        monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": "ubuntu", "NAME": "Ubuntu"})
        assert module.engine_packages() == ["docker.io", "docker-buildx", "iptables"]
        assert said == ["takes Docker Engine 28.2.2-0ubuntu1, buildx 0.21.3-0ubuntu1 from Ubuntu noble-updates"]

    def test_ubuntu_with_old_packages_is_4(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "query", lambda *_: "docker.io:\n  Candidate: 24.0.5-0ubuntu1\n")
        monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": "ubuntu"})
        with pytest.raises(module.Stop) as caught:
            module.engine_packages()
        assert caught.value.code == 4
        assert "engine 24.0.5-0ubuntu1, buildx (none)" in caught.value.lines[0]


class TestEngine:
    @pytest.mark.parametrize(
        ("variables", "config", "expected"),
        [
            ({}, None, False),
            ({"DOCKER_HOST": "ssh://builder"}, None, True),
            ({"DOCKER_HOST": "unix:///var/run/docker.sock", "DOCKER_CONTEXT": "far"}, None, False),
            ({"DOCKER_CONTEXT": "far"}, None, True),
            ({"DOCKER_CONTEXT": "default"}, '{"currentContext": "far"}', False),
            ({}, '{"currentContext": "far"}', True),
            ({}, '{"currentContext": "default"}', False),
            ({}, '{"auths": {}}', False),
            ({}, "not json", False),
        ],
    )
    def test_points_elsewhere(
        self,
        module: ModuleType,
        tmp_path: Path,
        variables: dict[str, str],
        config: str | None,
        expected: bool,
    ) -> None:
        if config is not None:
            (tmp_path / "config.json").write_text(config)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "environ", {"DOCKER_CONFIG": str(tmp_path), **variables})
            assert module.points_elsewhere() is expected

    @pytest.mark.parametrize(
        ("reply", "expected"),
        [(b"HTTP/1.0 200 OK\r\n\r\nOK", "answers"), (b"HTTP/1.0 503 No\r\n\r\n", "silent"), (b"", "silent")],
    )
    def test_ping(self, module: ModuleType, tmp_path: Path, reply: bytes, expected: str) -> None:
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()

            def serve() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(reply)

            thread = threading.Thread(target=serve)
            thread.start()
            assert module.ping(path) == expected
            thread.join()
        assert module.ping(path) == "dead"  # the file is still there
        assert module.ping(str(tmp_path / "none")) == "dead"

    def test_what_a_killed_engine_left_is_cleared(
        self, module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ours = tmp_path / "docker.pid"
        gone = tmp_path / "containerd.pid"
        dead = tmp_path / "containerd.sock"
        ours.write_text(str(os.getpid()))  # a living process, but no dockerd: the number was used again
        gone.write_text("not a number")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(dead))
        monkeypatch.setattr(module, "ENGINE_PID", ours)
        monkeypatch.setattr(module, "CONTAINERD_PID", gone)
        monkeypatch.setattr(module, "CONTAINERD_SOCKET", str(dead))
        module.clear_remains()
        assert not any(path.exists() for path in (ours, gone, dead))

    def test_a_living_process_keeps_its_pid_file(self, module: ModuleType, tmp_path: Path) -> None:
        file = tmp_path / "pid"
        file.write_text(f"{os.getpid()}\n")
        assert module.owner(file, module.process_name(os.getpid())) == os.getpid()

    def test_a_start_that_fails_shows_the_log(
        self, module: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        daemon = checkout / "dockerd"
        daemon.write_text("#!/bin/sh\necho starting level=info\necho iptables not found\nenv\nexit 1\n")
        daemon.chmod(0o755)
        log = checkout / "dockerd.log"
        log.write_text("of an earlier run\n")
        for name in ("ENGINE_PID", "CONTAINERD_PID", "CONTAINERD_SOCKET", "SOCKET", "DAEMON_JSON"):
            value = checkout / name.lower()
            monkeypatch.setattr(module, name, str(value) if name.endswith("SOCKET") else value)
        monkeypatch.setattr(module, "ENGINE_LOG", log)
        monkeypatch.setattr(module, "find", lambda _: str(daemon))
        monkeypatch.setattr(module.ping, "__defaults__", (str(checkout / "none"),))
        monkeypatch.setenv("A_TOKEN", "hunter2")
        with pytest.raises(module.Stop) as caught:
            module.start_engine()
        text = "\n".join(caught.value.lines)
        assert caught.value.code == 4
        assert "likely cause: iptables is missing; as root: apt-get install iptables" in text
        assert "earlier run" not in text
        assert "hunter2" not in log.read_text()  # secrets of this shell stay out of the daemon
        assert str(log) in text


def test_every_line_we_print_fits_a_log(module: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert module.main([]) == 2
    assert all(line.startswith("bootstrap: ") for line in capsys.readouterr().err.splitlines())
