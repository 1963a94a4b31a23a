"""A node whose GPUs are files: what is behind them is real, the command line, the leases and the containers.

    python -m tests.engine.gpu_node ROOT VERB [options]

is ``python -m ci VERB`` on the node below ROOT.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ci.__main__ import main
from ci.suites import job
from ci.suites.crewing import Crewing
from ci.world import dirty
from tests import plants
from tests.engine.conftest import ROOT, Cli, Ran, docker
from tests.nodes import SAMPLES, put, tools, tree

KFD_GROUP, RENDER_GROUP = 4101, 4102
QUESTIONS = ("list", "static", "metric", "process")


@dataclass(frozen=True)
class Machine:
    """The node of a sample below ``folder``: its ``root``, and programs that say what is in ``said``."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def path(self) -> str:
        """A PATH on which the GPU tools are this node's."""
        return f"{self.folder / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    def change(self, question: str, number: int, edit: Callable[[dict[str, Any]], object]) -> None:
        """Edit what amd-smi says of a GPU."""
        file = self.folder / "said" / f"{question}.json"
        document = json.loads(file.read_text())
        rows = document["gpu_data"] if isinstance(document, dict) else document
        edit(rows[number])
        put(file.with_suffix(".new"), json.dumps(document))
        file.with_suffix(".new").replace(file)

    def uses(self, number: int, mb: int) -> None:
        """Let that much memory of a GPU be in use."""
        self.change("metric", number, lambda row: row["mem_usage"]["used_vram"].update(value=mb))


def make(folder: Path, name: str, image: str) -> Machine:
    """Lay out a sample, its device files real ones; ``image`` has mknod."""
    machine = Machine(folder)
    tree(machine.root, name)
    for number in range(2):
        put(machine.root / f"dev/infiniband/uverbs{number}", "")
    said = folder / "said"
    said.mkdir()
    for question in QUESTIONS:
        shutil.copy(SAMPLES / name / f"{question}.json", said)
    tools(folder / "bin", name, amd_smi=f'exec cat "{said}/$1.json"')
    nodes = "for each in kfd dri/* infiniband/*; do rm $each && mknod -m 660 $each c 1 3; done"
    groups = f"chgrp {KFD_GROUP} kfd && chgrp {RENDER_GROUP} dri/*"
    mount = f"type=bind,source={machine.root / 'dev'},target=/node"
    script = f"cd /node && {nodes} && {groups}"
    docker("run", "--rm", "--network=none", "--mount", mount, "--entrypoint=sh", image, "-ec", script)
    return machine


# --- steps, and the command line with them ----------------------------------------------------------

LOOK = """
import json, os, re
status = open('/proc/self/status').read()
folder = lambda path: sorted(os.listdir(path)) if os.path.isdir(path) else []
for path in [*('/dev/dri/' + name for name in folder('/dev/dri')), *('/dev/kfd',) * os.path.exists('/dev/kfd')]:
    os.close(os.open(path, os.O_RDWR))
found = {
    'render': folder('/dev/dri'), 'kfd': os.path.exists('/dev/kfd'), 'rdma': folder('/dev/infiniband'),
    'groups': os.getgroups(), 'capabilities': int(re.search('CapEff:\\\\s*(\\\\w+)', status)[1], 16),
    'masks': {name: value for name, value in os.environ.items() if re.search('VISIBLE_DEVICES|DEVICE_ORDINAL', name)},
}
open('{results}/found.json', 'w').write(json.dumps(found))
"""
WAIT = """
import os, time
open('{results}/here', 'w').close()
while not os.path.exists('{results}/go'): time.sleep(0.05)
"""
Steps = Mapping[str, Mapping[str, Any]]


def look(gpus: int = 1, **needs: Any) -> dict[str, Any]:
    """A step that writes down what it finds."""
    return {"needs": {"gpus": gpus, **needs}, "commands": [plants.python(LOOK)]}


def wait(gpus: int) -> dict[str, Any]:
    """A step that waits for a word of ours."""
    return {"needs": {"gpus": gpus}, "commands": [plants.python(WAIT)]}


def health(script: str, seconds: float = 30) -> dict[str, Any]:
    """A health program: as a real one does, it fails in another way where every GPU is hidden."""
    hidden = 'test "$HIP_VISIBLE_DEVICES" != -1 || { echo no device; exit 4; }'
    return {"health": {"run": ["sh", "-c", f"{hidden}\n{script}"], "seconds": seconds}}


@dataclass
class Stand:
    """A machine, and the command line on it."""

    cli: Cli
    machine: Machine
    folder: Path
    image: str

    @property
    def state(self) -> Path:
        return self.cli.state

    def stack(self, steps: Steps, **more: Any) -> Path:
        return plants.write(self.folder / "plant", steps, runtime="rocm", **more)

    def argv(self, stack: Path, *options: str) -> list[str]:
        program = [sys.executable, "-m", "tests.engine.gpu_node", str(self.machine.root)]
        return [*program, "test", "all", "--stack", str(stack), *options]

    def environ(self) -> dict[str, str]:
        ours = {"PATH": self.machine.path, "ROCM_CI_STATE": str(self.state), "PYTHONPATH": str(ROOT)}
        return {**self.cli.environ, **ours}

    def run(self, stack: Path, *options: str, check: int, given: bool = True, environ: Mapping[str, str] = {}) -> Ran:
        argv = self.argv(stack, "--json", *(("--image", self.image) if given else ()), *options)
        done = subprocess.run(
            argv, cwd=ROOT, env={**self.environ(), **environ}, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Ran(done.returncode, done.stdout, done.stderr)

    def marks(self) -> dict[str, dirty.Mark]:
        return {mark.gpu: mark for mark in dirty.marks(self.state)}

    def places(self, word: str) -> list[Path]:
        """The results folders that have a file of that name."""
        return sorted(path.parent for path in (self.state / "runs").glob(f"*/steps/*/*/*/{word}"))


def perform(root: str, words: list[str]) -> int:
    """The command line, and its children's, on the node below ``root``."""
    program = (sys.executable, "-m", "tests.engine.gpu_node", root)
    job.read = partial(job.read, root=Path(root))
    job.Crewing = partial(Crewing, program=program)  # type: ignore[assignment, attr-defined]
    return main(words)


if __name__ == "__main__":
    sys.exit(perform(sys.argv[1], sys.argv[2:]))
