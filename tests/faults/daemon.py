"""A Docker Engine of a test's own: killed, stopped and filled up without harm to anybody's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.faults.stand import soon


class Daemon:
    """One dockerd below ``folder``, with its own containerd, state and socket; no network of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.socket = folder / "docker.sock"
        self.host = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None
        self._mounted: list[Path] = []

    def small_disk(self, megabytes: int) -> None:
        """Put the engine's data on a disk of this size."""
        image = self.folder / "disk.img"
        with image.open("wb") as stream:
            stream.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image)], check=True)
        self.data.mkdir(exist_ok=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(self.data)], check=True)
        self._mounted.append(self.data)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        (self.folder / "daemon.json").write_text('{"features": {"containerd-snapshotter": true}}')
        argv = [  # a network namespace of its own: with --bridge none dockerd removes the machine's docker0
            "unshare", "--net", "--", "dockerd", "--config-file", str(self.folder / "daemon.json"),
            "--data-root", str(self.data), "--exec-root", str(self.folder / "exec"),
            "--pidfile", str(self.folder / "pid"), "--host", self.host,
            "--bridge", "none", "--iptables=false", "--ip6tables=false", "--shutdown-timeout", "5",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        soon(self.answers, (self.folder / "log").read_text()[-3000:])

    def answers(self) -> bool:
        """Whether it answers."""
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
        argv = ["docker", "--host", self.host, "version"]
        with suppress(subprocess.TimeoutExpired):
            return subprocess.run(argv, capture_output=True, check=False, timeout=5).returncode == 0
        return False

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal; without its end, unless the signal is one that ends it."""
        assert self.process is not None
        self.process.send_signal(number)
        if number not in {signal.SIGSTOP, signal.SIGCONT}:
            self.process.wait(30)
            self._end_rest()

    def remove(self) -> None:
        """End it with all it started, unmount what it mounted, and remove its folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
            self.process.kill()
            self.process.wait()
        self._end_rest()
        for target in self._mounts():
            subprocess.run(["umount", "--lazy", str(target)], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end_rest(self) -> None:
        """End containerd, shims and steps that outlived the daemon: each names our folder."""
        for _ in range(50):
            left = self._processes()
            if not left:
                return
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def _processes(self) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                inside = str(entry.joinpath("root").readlink()) + (entry / "mountinfo").read_text().split("\n")[0]
                program = line.partition("\0")[0].rpartition("/")[2]
                ours = str(self.folder) in line and program in {"containerd", "containerd-shim-runc-v2", "runc"}
                if ours or str(self.folder) in inside:
                    found.append(int(entry.name))
        return found

    def _mounts(self) -> list[Path]:
        rows = Path("/proc/self/mountinfo").read_text().splitlines()
        points = [row.split()[4] for row in rows]
        return [Path(point) for point in sorted(points, reverse=True) if point.startswith(str(self.folder))]
