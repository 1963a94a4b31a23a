"""The sections of the evidence: each gives rows, one at a time, so that a section that hangs keeps what it had."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import detached
import processes

Row = dict[str, Any] | str

PROC, CGROUP, SHARED, SYS = Path("/proc"), Path("/sys/fs/cgroup"), Path("/dev/shm"), Path("/sys/class")
GPU_TOOLS = {
    "amd-smi": (("version",), ("metric", "--json"), ("process", "--json"), ("bad-pages", "--json")),
    "rocm-smi": (("--showuse", "--showmeminfo", "vram", "--showpids", "--showtemp", "--json"),),
}
HERE = Path(__file__).resolve().parent
KERNEL_LINES = 100


def text(path: Path) -> str:
    """A small file's text; empty if it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def tree(_seconds: float) -> Iterator[Row]:
    """Every process with its state and where in the kernel it waits; threads in uninterruptible sleep by name."""
    for folder in numbered(PROC):
        stat = text(folder / "stat")
        if not stat:
            continue
        name, _, rest = stat.partition(" (")[2].rpartition(") ")
        fields = rest.split()
        row: dict[str, Any] = {
            "pid": int(folder.name),
            "parent": int(fields[1]),
            "session": int(fields[3]),
            "state": fields[0],
            "name": name,
            "waits_in": text(folder / "wchan"),
            "rss_mb": int(fields[21]) * os.sysconf("SC_PAGE_SIZE") >> 20,
            "threads": int(fields[17]),
        }
        stuck = sleeping(folder)
        yield row | ({"uninterruptible": stuck} if stuck else {})


def sleeping(folder: Path) -> list[str]:
    """The threads of a process in state D, each with the place in the kernel where it waits."""
    found = []
    for thread in numbered(folder / "task"):
        short, _, rest = text(thread / "stat").rpartition(") ")
        if rest.startswith("D"):
            found.append(f"{thread.name} {short.partition(' (')[2]} in {text(thread / 'wchan') or '?'}")
    return found


def numbered(folder: Path) -> list[Path]:
    """The entries whose names are numbers, in order."""
    try:
        return sorted((each for each in folder.iterdir() if each.name.isdigit()), key=lambda each: int(each.name))
    except OSError:
        return []


def commands(_seconds: float) -> Iterator[Row]:
    """Command lines; those of processes in state D last, because reading them may hang."""
    rows = ((text(folder / "stat").rpartition(") ")[2][:1] == "D", folder) for folder in numbered(PROC))
    for _, folder in sorted(rows, key=lambda row: (row[0], int(row[1].name))):
        words = text(folder / "cmdline").replace("\0", " ").strip()
        if words:
            yield {"pid": int(folder.name), "command": words[:1000]}


def stacks(_seconds: float) -> Iterator[Row]:
    """Asks each Python process of this sandbox that listens; its stacks go to its standard error, hence into its log.

    Of this sandbox is what has our ``site`` folder in its environment, and what was started by it: where
    the sandbox is no container, somebody else's process may mean another thing by SIGUSR1.
    """
    ours, seen = os.getppid(), processes.table()
    inside = processes.family(seen, None, processes.marked(seen, str(HERE / "site")))
    pids = [process.pid for process in inside if ours not in {process.pid, process.parent}]
    told = processes.ask_for_stacks(pids)
    yield {"asked": list(told), "where": "on the standard error of each, hence in the log of its command"}
    deaf = [pid for pid in pids if processes.runs_python(pid) and not processes.hears(pid, signal.SIGUSR1)]
    yield {"python_without_a_handler": deaf}


def memory(_seconds: float) -> Iterator[Row]:
    """The limit of this container and what it uses, in bytes, and how often the kernel killed for it."""
    old = CGROUP / "memory"
    for name, paths in {
        "current": (CGROUP / "memory.current", old / "memory.usage_in_bytes"),
        "max": (CGROUP / "memory.max", old / "memory.limit_in_bytes"),
        "peak": (CGROUP / "memory.peak", old / "memory.max_usage_in_bytes"),
        "events": (CGROUP / "memory.events", old / "memory.oom_control"),
        "pids": (CGROUP / "pids.current", CGROUP / "pids/pids.current"),
        "pids_max": (CGROUP / "pids.max", CGROUP / "pids/pids.max"),
    }.items():
        found = next((said for path in paths if (said := text(path))), "")
        yield {name: found.replace("\n", ", ") or "unknown"}
    wanted = re.compile(r"^(MemTotal|MemAvailable|Shmem|SwapFree):", re.MULTILINE)
    yield {"host": ", ".join(line for line in text(PROC / "meminfo").splitlines() if wanted.match(line))}


def shared_memory(_seconds: float) -> Iterator[Row]:
    """How full ``/dev/shm`` is, and its largest segments, in bytes."""
    room = os.statvfs(SHARED)
    yield {"size": room.f_blocks * room.f_frsize, "free": room.f_bavail * room.f_frsize}
    sizes = sorted(((each.stat().st_size, each.name) for each in SHARED.iterdir()), reverse=True)
    for size, name in sizes[:50]:
        yield {"name": name, "bytes": size}


def ports(_seconds: float) -> Iterator[Row]:
    """Listening TCP ports, and the process that listens where that can be seen."""
    owners = socket_owners()
    for name in ("tcp", "tcp6"):
        for line in text(PROC / "net" / name).splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                yield {"port": int(fields[1].rpartition(":")[2], 16), "kind": name, "pid": owners.get(fields[9])}


def socket_owners() -> dict[str, int]:
    """Pids by the inode of each socket they hold."""
    found = {}
    for folder in numbered(PROC):
        for descriptor in numbered(folder / "fd"):
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                found[target[8:-1]] = int(folder.name)
    return found


def limits(_seconds: float) -> Iterator[Row]:
    """The resource limits that commands here inherit."""
    yield from text(PROC / "self/limits").splitlines()


def mounts(_seconds: float) -> Iterator[Row]:
    """What is mounted, and the room in the folders that tests write to."""
    yield from text(PROC / "self/mounts").splitlines()
    for folder in ("/", "/tmp"):
        room = os.statvfs(folder)
        yield {"folder": folder, "free": room.f_bavail * room.f_frsize, "free_inodes": room.f_favail}


def gpus(seconds: float) -> Iterator[Row]:
    """What the driver's files say, and then its tools, each with a deadline of its own."""
    for path in sorted(SYS.glob("drm/card*/device/mem_info_vram_used")):
        yield {"card": path.parts[-3], "vram_used": text(path), "vram": text(path.with_name("mem_info_vram_total"))}
    for path in sorted(SYS.glob("kfd/kfd/proc/*/vram_*")):
        yield {"holder": int(path.parent.name), "gpu": path.name.removeprefix("vram_"), "bytes": text(path)}
    tool = next((name for name in GPU_TOOLS if shutil.which(name)), None)
    if tool is None:
        yield "neither amd-smi nor rocm-smi is installed"
        return
    yield from asked([(tool, *words) for words in GPU_TOOLS[tool]], seconds)


def asked(questions: Sequence[Sequence[str]], seconds: float) -> Iterator[Row]:
    """The answers of several programs, asked at once."""
    started = [(words, detached.start(words, seconds)) for words in questions]
    for words, each in started:
        told = detached.finish(each)
        code = "did not end in time" if told.code is None else told.code
        yield {"asked": " ".join(words), "code": code, "said": told.text[:20000]}


def kernel(_seconds: float) -> Iterator[Row]:
    """The end of the kernel's log, where we may read it."""
    size = 1 << 18
    buffer = ctypes.create_string_buffer(size)
    got = ctypes.CDLL(None, use_errno=True).klogctl(3, buffer, size)
    if got < 0:
        yield f"cannot be read: {os.strerror(ctypes.get_errno())}"
        return
    yield from buffer.raw[:got].decode(errors="replace").splitlines()[-KERNEL_LINES:]


SECTIONS: dict[str, Callable[[float], Iterator[Row]]] = {
    section.__name__: section
    for section in (tree, commands, stacks, memory, shared_memory, ports, limits, mounts, gpus, kernel)
}
