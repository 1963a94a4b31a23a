"""The shipped stack for real: vLLM from the built test image answers, and the toolchain compiles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import ROOT, docker

SERVE = (
    "python /gpu/tiny_model.py /tmp/tiny && exec vllm serve /tmp/tiny --dtype float32 --load-format dummy"
    " --enforce-eager --max-model-len 256 --gpu-memory-utilization 0.2 --served-model-name tiny --port 8000"
)
ASK = """
import json, urllib.request
body = json.dumps({"model": "tiny", "prompt": "hello", "max_tokens": 5, "temperature": 0}).encode()
ask = urllib.request.Request("http://127.0.0.1:8000/v1/completions", body, {"Content-Type": "application/json"})
print(urllib.request.urlopen(ask, timeout=60).read().decode())
"""


def build(verb: str) -> dict[str, dict[str, str]]:
    """Build with the host's own state folder, so that what a user has built already is reused."""
    command = [sys.executable, "-m", "ci", verb, "--json", "--stack", "local"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr[-4000:]
    return {row["tier"]: row for row in json.loads(done.stdout)["tiers"]}


@pytest.fixture
def server() -> Iterator[str]:
    """vLLM serving a model made on the spot, in a container without a network."""
    image = build("build-test")["test"]["reference"].partition("@")[0]
    name = f"rocm-ci-test-vllm-{uuid.uuid4().hex[:8]}"
    docker(
        "run", "-d", "--init", "--name", name, "--shm-size=4g", "--network=none",
        "-v", f"{ROOT / 'tests/gpu'}:/gpu:ro", "-e", "VLLM_CPU_KVCACHE_SPACE=1", "-e", "HF_HUB_OFFLINE=1",
        image, "sh", "-ec", SERVE,
    )  # fmt: skip
    try:
        yield name
    finally:
        docker("rm", "-f", name, check=False)


def test_vllm_from_the_test_image_answers(server: str) -> None:
    health = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=5)"
    end = time.monotonic() + 300
    while subprocess.run(
        ["docker", "exec", server, "python", "-c", health], capture_output=True, check=False
    ).returncode:
        running = docker("inspect", "--format", "{{.State.Running}}", server)
        if running != "true" or time.monotonic() > end:
            pytest.fail("vLLM is not up:\n" + docker("logs", "--tail", "40", server, check=False))
        time.sleep(1)
    answer = json.loads(docker("exec", server, "python", "-c", ASK))
    assert answer["object"] == "text_completion"
    assert answer["usage"]["completion_tokens"] == 5


def test_the_toolchain_compiles_for_every_arch_without_a_gpu(tmp_path: Path) -> None:
    tiers = build("build-ci-base")
    image = tiers["toolchain"]["reference"].partition("@")[0]
    source = tmp_path / "add.hip"
    source.write_text(
        "#include <hip/hip_runtime.h>\n"
        "__global__ void add(float* a, const float* b) { a[threadIdx.x] += b[threadIdx.x]; }\n"
    )
    archs = ("gfx90a", "gfx942", "gfx950")
    targets = [f"--offload-arch={arch}" for arch in archs]
    docker("run", "--rm", "-v", f"{tmp_path}:/w", image, "hipcc", *targets, "-c", "/w/add.hip", "-o", "/w/add.o")
    made = (tmp_path / "add.o").read_bytes()
    assert all(f"amdgcn-amd-amdhsa--{arch}".encode() in made for arch in archs)
    os.unlink(tmp_path / "add.o")  # noqa: PTH108 - made by root in the container
