"""Planted defects in real images: each is caught before any tag is given; and images that nobody here built."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ci.recipe.stack import HOME
from tests.engine.conftest import ROOT, Cli, Ran, docker, remove_images
from tests.engine.own import FAMILY
from tests.unit import audit_makers as make
from tests.unit.image_makers import distribution, elf

REPOSITORY = f"{FAMILY}/audited"
SITE = "opt/venv/site-packages"
STACK = """\
schema: 1
name: audited
summary: one tier with a contract
repository: {repository}
platform: linux/amd64
contracts: contract.yaml
args:
  PYTORCH_ROCM_ARCH: {{type: arch-list, default: gfx90a;gfx942;gfx950}}
roots:
  audited: {{image: "{root}"}}
tiers:
  base: {{dockerfile: Dockerfile.audited, target: base, parents: {{ROOT: audited}}}}
"""
CONTRACT: dict[str, Any] = {
    "schema": 1,
    "components": {"kernel": {"archs": "PYTORCH_ROCM_ARCH", "files": ["/opt/kernel/*.so"], "modules": ["alone"]}},
    "protected": {"record": "/app/protected.json", "packages": ["torch", "triton"]},
    "tiers": {
        "base": {
            "most_mb": 4,
            "protected": True,
            "components": ["kernel"],
            "python": "/bin/python",
            "wheels": [{"files": "/wheels/*.whl", "least_kb": 20}],
        }
    },
    "allow": [{"rule": "closure", "patterns": ["/opt/kernel/*"], "why": "its HIP runtime is the node's"}],
}
DOCKERFILE = """\
ARG ROOT=x
FROM ${ROOT} AS base
ARG PYTORCH_ROCM_ARCH
COPY --chmod=755 base/ /
COPY later/ /
"""
PYTHON = """\
#!/bin/sh
case "$2" in
"import alone") [ "$(echo /sys/class/net/*)" = /sys/class/net/lo ] || { echo "there is a network"; exit 1; } ;;
"import crash") kill -SEGV $$ ;;
*) echo "ImportError: $2" >&2; exit 1 ;;
esac
"""
KEY = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" * 4 + "\n-----END PRIVATE KEY-----\n"
TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3
TORCH = distribution("torch", "2.9.0+rocm7.2", {"torch/__init__.py": b"hip = True\n"})
TRITON = distribution("triton", "3.5.0", {"triton/language.py": b"fast = 1\n"})
BASE: Mapping[str, bytes] = {
    **TORCH,
    **TRITON,
    "bin/python": PYTHON.encode(),
    "opt/kernel/kernel.so": make.sample("two-sources.so"),
    "wheels/probe-1.0-py3-none-any.whl": bytes(range(256)) * 100,
}


class Recipe:
    """A stack of one image, its files in ``base`` and, over them, in ``later``."""

    def __init__(self, folder: Path, cli: Cli, root: str) -> None:
        self.folder, self.cli = folder, cli
        self.contract = json.loads(json.dumps(CONTRACT))
        self.lines: list[str] = []
        (folder / "audited.yaml").write_text(STACK.format(repository=REPOSITORY, root=root))
        self.put("base", BASE)
        self.put("later", {"later.txt": b"later\n"})
        self.put("base", {"app/protected.json": recorded(folder)})

    def put(self, part: str, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            path = self.folder / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def build(self, *options: str, check: int) -> Ran:
        (self.folder / "contract.yaml").write_text(json.dumps(self.contract))
        (self.folder / "Dockerfile.audited").write_text(DOCKERFILE + "".join(f"{line}\n" for line in self.lines))
        return self.cli("build-base", "--stack", str(self.folder / "audited.yaml"), "--json", *options, check=check)


def recorded(folder: Path) -> bytes:
    """The record of the recipe's own script."""
    script, target = HOME / "scripts" / "protected.py", folder / "protected.json"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder / "base" / SITE)}
    subprocess.run([sys.executable, "-S", str(script), "write", str(target)], env=env, check=True)
    return target.read_bytes()


@pytest.fixture
def recipe(tmp_path: Path, cli: Cli, sandbox_image: str) -> Iterator[Recipe]:
    folder = tmp_path / "recipe"
    folder.mkdir()
    yield Recipe(folder, cli, sandbox_image)
    remove_images(REPOSITORY)


def refused(recipe: Recipe, *options: str) -> list[dict[str, Any]]:
    """The findings of a build that is refused; nothing of it has a tag, and no container is left."""
    ran = recipe.build(*options, check=3)
    assert docker("images", "--format", "{{.Tag}}", REPOSITORY) == ""
    problems: list[dict[str, Any]] = ran.json["problems"]
    assert {problem["reference"] for problem in problems} == {"image-contract"}
    (report,) = recipe.cli.state.glob("runs/*/base/audit.json")
    assert json.loads(report.read_text())["outcome"] == "contract"
    assert docker("ps", "-aq", "--filter", f"label=org.rocm-ci.run={report.parents[1].name}") == ""
    return problems


def only(recipe: Recipe, rule: str) -> str:
    (problem,) = refused(recipe)
    assert problem["message"].startswith(f"base: {rule}: ")
    assert problem["hint"]
    return str(problem["message"])


def test_an_image_that_keeps_its_contract_gets_its_tag_and_is_audited_once(recipe: Recipe) -> None:
    first = recipe.build(check=0).tier("base")
    assert first["decision"] == "build"
    (report,) = recipe.cli.state.glob("runs/*/base/audit.json")
    rules = {row["rule"]: row["state"] for row in json.loads(report.read_text())["rules"]}
    assert rules == dict.fromkeys(
        ("readable", "closure", "archs", "imports", "protected", "forbidden", "budget", "wheels", "secrets"), "kept"
    )
    again = recipe.build(check=0).tier("base")
    assert (again["decision"], again["digest"]) == ("reuse", first["digest"])
    assert list(recipe.cli.state.glob("runs/*/base/audit.json")) == [report]

    stack = ("--stack", str(recipe.folder / "audited.yaml"))
    for name in (first["reference"].partition("@")[0], first["reference"]):
        document = recipe.cli("audit", name, "--tier", "base", *stack, "--json").json
        assert (document["tier"], document["digest"]) == ("base", first["digest"])
    ran = recipe.cli("audit", first["reference"], "--tier", "base", *stack, "--arch", "gfx942;gfx1100", check=3)
    assert "no device code for gfx1100" in ran.stdout


def test_a_library_that_is_missing(recipe: Recipe) -> None:
    recipe.put("later", {"opt/rocshmem/lib/librocshmem.so": elf("libmpi.so.40")})
    assert "/opt/rocshmem/lib/librocshmem.so:libmpi.so.40" in only(recipe, "closure")


def test_a_code_object_of_one_target_that_is_missing(recipe: Recipe) -> None:
    recipe.put("later", {"opt/kernel/kernel.so": make.bundle([make.HOST, ("gfx942", make.sample("gfx942.hsaco"))])})
    message = only(recipe, "archs")
    assert "/opt/kernel/kernel.so: no device code for gfx90a, gfx950" in message
    assert "PYTORCH_ROCM_ARCH is gfx90a;gfx942;gfx950" in message


def test_cuda_torch_swapped_in(recipe: Recipe) -> None:
    cuda = distribution("torch", "2.9.0+cu128", {"torch/__init__.py": b"cuda = True\n"})
    driver = distribution("nvidia-cublas-cu12", "12.8.4", {"nvidia/__init__.py": b""})
    recipe.put("later", {**cuda, **driver})
    recipe.lines.append(f"RUN rm -r /{SITE}/torch-2.9.0+rocm7.2.dist-info")
    messages = [problem["message"] for problem in refused(recipe)]
    assert any("torch is 2.9.0+cu128; the base recorded 2.9.0+rocm7.2" in message for message in messages)
    assert any("nvidia-cublas-cu12 12.8.4 is installed" in message for message in messages)
    assert len(messages) == 2


def test_a_changed_triton_file(recipe: Recipe) -> None:
    recipe.put("later", {f"{SITE}/triton/language.py": b"slow = 1\n"})
    assert f"/{SITE}/triton/language.py: triton 3.5.0 is not as the base recorded it" in only(recipe, "protected")


def test_a_secret_in_an_env_is_told_and_never_shown(recipe: Recipe) -> None:
    recipe.lines.append(f"ENV GITHUB_TOKEN={TOKEN}")
    problems = refused(recipe)
    subjects = {problem["message"].split(": ")[2] for problem in problems}
    assert "ENV GITHUB_TOKEN" in subjects
    assert any(subject.startswith("history ") for subject in subjects)
    assert TOKEN not in json.dumps(problems)
    (report,) = recipe.cli.state.glob("runs/*/base/audit.json")
    assert TOKEN not in report.read_text()


def test_a_secret_that_a_later_layer_deletes(recipe: Recipe) -> None:
    recipe.put("later", {"root/.ssh/id_ed25519": KEY.encode()})
    recipe.lines.append("RUN rm /root/.ssh/id_ed25519")
    message = only(recipe, "secrets")
    assert "/root/.ssh/id_ed25519: layer 3 of 4 has a private key" in message
    assert "a later layer hides it" in message


def test_a_wheel_of_4_kb(recipe: Recipe) -> None:
    recipe.put("later", {"wheels/probe-1.0-py3-none-any.whl": bytes(4096)})
    assert "it has 4,096 bytes; a real one has 20,000 at least" in only(recipe, "wheels")


def test_an_image_that_is_too_large_and_it_is_not_published(recipe: Recipe, registry: str) -> None:
    recipe.put("later", {"data": bytes(4_000_000)})
    (problem,) = refused(recipe, "--push", "--registry", registry)
    assert problem["message"].startswith("base: budget: ")
    assert "layer 3: COPY later/ /" in problem["context"].splitlines()[0]
    assert not list((recipe.folder.parent / "registry").glob("**/tags/base-v1-*"))


def test_imports_are_tried_without_a_network_and_a_crash_is_a_finding(recipe: Recipe) -> None:
    recipe.contract["tiers"]["base"]["imports"] = ["crash", "nothing"]
    messages = [problem["message"] for problem in refused(recipe)]
    assert messages == [
        "base: imports: crash: import crash crashes (signal 11) under /bin/python",
        "base: imports: nothing: import nothing fails (exit 1) under /bin/python",
    ]


def test_a_mistake_in_the_contract_costs_no_build(recipe: Recipe) -> None:
    recipe.contract["tiers"]["bse"] = {}
    ran = recipe.build(check=2)
    assert [problem["reference"] for problem in ran.json["problems"]] == ["unknown-tier"]
    assert not list(recipe.cli.state.glob("runs/*/base"))


def test_an_image_of_somebody_else(cli: Cli, sandbox_image: str) -> None:
    ran = cli("audit", sandbox_image)
    assert "(general rules)" in ran.stdout.splitlines()[0]
    assert not (cli.state / "runs").exists()
    assert "BROKEN budget" in cli("audit", sandbox_image, "--budget-mb", "0.1", check=3).stdout
    assert "no device code at all" in cli("audit", sandbox_image, "--arch", "gfx942", check=3).stdout
    missing = cli("audit", sandbox_image, "--import", "ssl", check=3).stdout
    assert "import ssl cannot be tried, there is no such program, under python3" in missing
    assert "[no-target]" in cli("audit", "rocm-ci-audited/nothing:1", check=2).stderr
    assert "[bad-image-name]" in cli("audit", "rocm-ci-audited/NOTHING:1", check=2).stderr


def test_a_real_image_keeps_the_contract_that_ships(cli: Cli) -> None:
    """The smallest one; what `python -m ci build-test` builds has been held to its own."""
    plan = cli("plan", "--json", "--stack", "local", cwd=ROOT)
    row = plan.tier("base")
    assert row["decision"] == "reuse", "no base image is here: python -m ci build-ci-base"
    assert cli("audit", row["tag"], "--tier", "base", "--stack", "local", "--json").json["outcome"] == "ok"
