"""A real Slurm on this machine: a controller and three nodes, each a daemon of its own, in a folder of their own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from ci.world.process import die_with_parent

NODES = ("n1", "n2", "n3")
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch")
FOLDERS = "/usr/sbin:/usr/bin:/sbin:/bin"

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SchedulerType=sched/builtin
MpiDefault=none
ReturnToService=2
SlurmdTimeout=60
KillWait=2
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """The daemons by name, and the environment in which Slurm's programs find them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ: Mapping[str, str] = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "SLURM_CONF": str(folder / "slurm.conf"),
        }  # fmt: skip
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def ask(self, *argv: str) -> str:
        """The output of one of Slurm's programs."""
        done = subprocess.run(argv, env=self.environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout.strip()

    def start(self, name: str) -> None:
        """Start ``munged``, ``slurmctld`` or the daemon of a node."""
        argv = {
            "munged": ("munged", "--foreground", "--force", "--num-threads=2", *self._munge_files()),
            "slurmctld": ("slurmctld", "-D"),
        }.get(name, ("slurmd", "-D", "-N", name))
        program = shutil.which(argv[0], path=f"{os.environ['PATH']}:{FOLDERS}")
        assert program
        with (self.folder / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                (program, *argv[1:]),
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - a killed pytest leaves no daemons
            )

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        """End one daemon."""
        daemon = self._daemons.pop(name, None)
        if daemon is not None:
            daemon.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=20)
            daemon.kill()
            daemon.wait()

    @contextmanager
    def watchful(self) -> Iterator[None]:
        """Miss a node soon; else nobody does because this machine stood still."""
        self._configure("SlurmdTimeout=60", "SlurmdTimeout=6")
        yield
        self._configure("SlurmdTimeout=6", "SlurmdTimeout=60")

    def _configure(self, old: str, new: str) -> None:
        path = self.folder / "slurm.conf"
        path.write_text(path.read_text().replace(f"{old}\n", f"{new}\n"))
        self.ask("scontrol", "reconfigure")

    def jobs(self) -> list[str]:
        """The names of the jobs that wait or work."""
        return self.ask("squeue", "--noheader", "--states=PENDING,RUNNING", "--format=%j").splitlines()

    def until_idle(self) -> None:
        """Wait until all nodes are there and free; start what a test had stopped."""
        for name in ("slurmctld", *NODES):
            if name not in self._daemons:
                self.start(name)
        until(self._idle, f"three idle nodes; look into {self.folder}")

    def answers(self) -> bool:
        """Whether the controller does."""
        return subprocess.run(["scontrol", "ping"], env=self.environ, capture_output=True, check=False).returncode == 0

    def _idle(self) -> bool:
        done = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%N %T"],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.splitlines() == [f"{name} idle" for name in NODES]

    def end(self) -> None:
        """End all jobs, then all daemons, then whatever still has our configuration in its environment."""
        for name in ("slurmctld", *NODES):
            if name not in self._daemons:
                self.start(name)
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self.ask("scancel", f"--user={getpass.getuser()}")
            until(lambda: not self.jobs(), "no jobs")
        for name in (*NODES, "slurmctld", "munged"):
            self.stop(name)
        for pid in self.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self.left(), f"the end of {self.left()}")

    def left(self, variable: bytes = b"") -> list[int]:
        """Processes of this cluster that still run, those of its jobs too; with ``variable`` those that have it."""
        mark = f"SLURM_CONF={self.environ['SLURM_CONF']}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                environ = path.read_bytes().split(b"\0")
                if mark in environ and any(each.startswith(variable) for each in environ):
                    found.append(int(path.parent.name))
        return found

    def write(self) -> None:
        """Its configuration, with ports that are free now."""
        with ExitStack() as opened:
            sockets = [opened.enter_context(socket.socket()) for _ in range(1 + len(NODES))]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            controller, *ports = (each.getsockname()[1] for each in sockets)
        host = socket.gethostname().partition(".")[0]
        lines = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=100"
            for name, port in zip(NODES, ports, strict=True)
        ]
        text = CONF.format(
            host=host, controller=controller, user=getpass.getuser(), folder=self.folder, nodes="\n".join(lines)
        )
        (self.folder / "slurm.conf").write_text(text)
        for name in ("munge", "state"):
            (self.folder / name).mkdir()
        key = self.folder / "munge" / "key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))

    def _munge_files(self) -> tuple[str, ...]:
        names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
        return tuple(f"--{option}={self.folder}/munge/{name}" for option, name in names.items())


@contextmanager
def running() -> Iterator[Cluster]:
    """A cluster with idle nodes; nothing of it is left afterwards."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:{FOLDERS}")]
    if missing:
        line = "apt-get install --no-install-recommends slurmctld slurmd slurm-client munge"
        pytest.fail(f"Slurm is not installed ({', '.join(missing)}): {line}")
    folder = Path(tempfile.mkdtemp(prefix="rocm-ci-slurm-"))  # short: a socket's path has 107 characters at most
    folder.chmod(0o755)
    cluster = Cluster(folder)
    try:
        cluster.write()
        cluster.start("munged")
        until((folder / "munge" / "socket").exists, "munge's socket")
        cluster.until_idle()
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that has to happen; how long it takes is nobody's business."""
    end = time.monotonic() + 180
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"never happened: {what}")
        time.sleep(0.1)
