"""The files that people bake by hand, as buildx itself resolves them, against ``inv plan``; nothing is built."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ci.check.loading import examined
from ci.recipe import pins
from ci.recipe import stack as stacks
from ci.recipe.stack import HOME, ArgSpec
from ci.recipe.values import resolve_args
from ci.settings import capture
from tests.engine.conftest import Cli

STANDINS = {"BRANCH": "a" * 40, "COMMIT": "b" * 40, "REF": "1" * 40, "DIGEST": f"sha256:{'c' * 64}",
            "SHA256": "d" * 64, "FINGERPRINT": "E" * 40, "URL": "https://host.invalid/file"}  # fmt: skip
UPSTREAM = {
    "test-rocm", "ci-base-rocm", "export-wheel-rocm", "final-rocm", "test-rocm-ci", "ci-base-rocm-ci", "csrc-rocm-ci",
    "rust-rocm-ci", "nixl-rocm-ci", "rocshmem-rocm-ci", "deepep-rocm-ci", "smoke-test-rocm-ci",
}  # fmt: skip
ALL_ARCHS = ";".join(arch.name for arch in stacks.archs())
LISTS = [
    pytest.param(name, spec, id=f"{name}:{spec.name}")
    for name in ("local", "vllm")
    for spec in stacks.load(name).args
    if spec.type == "arch-list"
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe with a lock in which every pin is resolved, to values of the test."""
    folder = tmp_path_factory.mktemp("by-hand") / "docker"
    shutil.copytree(HOME, folder)
    lock = json.loads((folder / "pins.json").read_text())
    for name, value in lock.items():
        if value.startswith(pins.MARK):
            lock[name] = STANDINS[name.rpartition("_")[2]]
    (folder / "pins.json").write_text(json.dumps(lock))
    return folder


def bake(
    recipe: Path, *arguments: str, lock: bool = True, stack: str = "vllm", **environ: str
) -> subprocess.CompletedProcess[str]:
    """``docker buildx bake`` as a person calls it, in the folder above the recipe and a scrubbed environment."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG") if name in os.environ}
    names = stacks.load(stack).bake[0 if lock else 1 :]
    files = [word for name in names for word in ("-f", f"{recipe.name}/{name}")]
    return subprocess.run(
        ["docker", "buildx", "bake", *files, "--progress", "quiet", *arguments],
        cwd=recipe.parent, env={**kept, **environ}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def printed(recipe: Path, stack: str = "vllm", **environ: Any) -> dict[str, Any]:
    done = bake(recipe, "--print", "*", stack=stack, **environ)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    document["target"] = {name: each for name, each in document["target"].items() if not name.startswith("_")}
    return document


def by_stage(targets: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Mapping[str, Any]]]:
    """The targets by what they build; CI's differ from a person's in where they go."""
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for name, target in targets.items():
        found.setdefault((target["dockerfile"], target.get("target", "")), {})[name] = target
    return found


VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"NIC_BACKEND": "all", "INSTALL_LMCACHE": "true", "USE_SCCACHE": "1", "VLLM_VERSION": "1.2.3+rocm"},
    {"NIC_BACKEND": "bnxt", "PYTORCH_ROCM_ARCH": "gfx90a", "ROCSHMEM_OPTIONS": "-DX=1"},
    {"PYTORCH_ROCM_ARCH": ALL_ARCHS, "FA_ROCM_ARCH": "gfx950", "AITER_ROCM_ARCH": "gfx942", "MORI_ROCM_ARCH": "gfx950"},
    {"REMOTE_VLLM": "1", "VLLM_BRANCH": "f" * 40, "NIC_BACKEND": "ainic", "DEEPEP_ROCM_ARCH": "gfx942"},
)


@pytest.mark.parametrize("environ", VARIANTS, ids=lambda environ: ",".join(environ) or "plain")
def test_arguments_are_those_of_the_plan(cli: Cli, recipe: Path, environ: dict[str, Any]) -> None:
    path = str(recipe / "stacks/vllm.yaml")
    rows = {row["tier"]: row for row in cli("plan", "--stack", path, "--json", **environ).json["tiers"]}
    parents = {argument: row["args"][argument] for row in rows.values() for argument in row["parents"]}
    parents |= {"BASE_IMAGE": rows["test"]["args"]["BASE_IMAGE"], "TOOLS_IMAGE": "tools:1"}
    found = by_stage(printed(recipe, **parents, **environ)["target"])
    for name, row in rows.items():
        targets = found[row["dockerfile"], row["target"]]
        assert targets, f"no target builds tier {name}"
        for target in targets.values():
            assert target.get("args") == row["args"], name
            assert target["context"] == recipe.name
    stack = stacks.load(path)
    for inputs in examined(stack, resolve_args(stack, capture({}, environ), stacks.archs())):
        if component := stack.components.get(inputs.tier.name):
            (made,) = found[component.dockerfile, component.target].items()
            assert made[0] == f"{component.name}-rocm-ci"
            assert made[1]["args"] == {**dict(inputs.args), component.base: parents[component.base]}


def test_upstreams_targets_and_groups_are_there(recipe: Path) -> None:
    document = printed(recipe)
    assert set(document["target"]) >= UPSTREAM
    groups = {name: group["targets"] for name, group in document["group"].items()}
    components = ["nixl-rocm-ci", "rocshmem-rocm-ci", "deepep-rocm-ci"]
    assert groups["ci-base-rocm-ci-with-deps"] == [*components, "ci-base-rocm-ci"]
    artifacts = ["rust-rocm-ci", "csrc-rocm-ci", "export-wheel-rocm"]
    assert groups["test-rocm-ci-with-artifacts"] == artifacts
    assert groups["test-rocm-ci-with-wheel"] == [*artifacts, "test-rocm-ci", "smoke-test-rocm-ci"]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"NIC_BACKEND": "mlx5"}, "NIC_BACKEND is none, ainic, bnxt or all"),
        ({"PYTORCH_ROCM_ARCH": ""}, "PYTORCH_ROCM_ARCH cannot be ''"),
        ({"AITER_ROCM_ARCH": ";"}, "AITER_ROCM_ARCH cannot be ';'"),
        ({"PYTORCH_ROCM_ARCH": "gfx942", "DEEPEP_ROCM_ARCH": "gfx950"}, "DEEPEP_ROCM_ARCH has a gfx target"),
        ({"DEEPEP_ROCM_ARCH": "gfx90a", "refused_archs": ""}, "DEEPEP_ROCM_ARCH cannot be 'gfx90a'"),
        ({"PYTORCH_ROCM_ARCH": "gfx942", "FA_ROCM_ARCH": "gfx950"}, "FA_ROCM_ARCH has a gfx target"),
        ({"UBUNTU_CODENAME": "noble"}, "UBUNTU_CODENAME is jammy"),
        ({"REMOTE_VLLM": "yes"}, "REMOTE_VLLM is 0 or 1"),
        ({"USE_SCCACHE": "true"}, "USE_SCCACHE is 0 or 1"),
        ({"ROCM_FINAL_CACHE_TO_MODE": "all"}, "ROCM_FINAL_CACHE_TO_MODE is min or max"),
    ],
)
def test_what_cannot_be_meant_is_refused(recipe: Path, environ: dict[str, Any], message: str) -> None:
    done = bake(recipe, "--print", "test-rocm", **environ)
    assert done.returncode
    assert message in done.stderr


def supporting(spec: ArgSpec) -> list[str]:
    """The targets that ``inv`` allows in a list."""
    return [arch.name for arch in stacks.archs() if not spec.feature or spec.feature in arch.supports]


@pytest.mark.parametrize(("stack", "spec"), LISTS)
def test_a_list_of_targets_may_be_what_the_table_of_targets_allows(recipe: Path, stack: str, spec: ArgSpec) -> None:
    allowed = supporting(spec)
    given: dict[str, Any] = {"PYTORCH_ROCM_ARCH": ALL_ARCHS, spec.name: ";".join(allowed)}
    targets = printed(recipe, stack, **given)["target"].values()
    assert {target.get("args", {}).get(spec.name) for target in targets} - {None} == {given[spec.name]}
    others = [arch.name for arch in stacks.archs() if arch.name not in allowed]
    for wrong in (*others, "gfx94a", "none", allowed[0].upper()):
        text = f"{allowed[0]};{wrong}"
        done = bake(recipe, "--print", "*", stack=stack, **{**given, spec.name: text})
        assert done.returncode, wrong
        assert f"{spec.name} cannot be '{text}'; allowed: {', '.join(allowed)}, joined by ;" in done.stderr


def test_every_list_that_cannot_be_is_told_at_once(recipe: Path) -> None:
    wrong: dict[str, Any] = {"DEEPEP_ROCM_ARCH": "gfx90a", "LMCACHE_ROCM_ARCH": "gfx942,gfx950"}
    said = bake(recipe, "--print", "test-rocm", PYTORCH_ROCM_ARCH="gfx942", MORI_ROCM_ARCH="gfx950", **wrong).stderr
    assert all(f"{name} cannot be '{value}'" in said for name, value in wrong.items())
    assert "MORI_ROCM_ARCH has a gfx target that PYTORCH_ROCM_ARCH has not" in said


def test_an_unresolved_pin_ends_the_build_that_needs_it_and_no_other() -> None:
    done = bake(HOME, "base-rocm")
    assert done.returncode
    assert "PYTORCH_BRANCH" in done.stderr
    assert "inv pins" in done.stderr
    targets = printed(HOME)["target"]
    assert targets["nixl-rocm-ci"]["context"] == HOME.name
    lock = json.loads((HOME / "pins.json").read_text())
    for name, target in targets.items():
        lacking = [arg for arg, value in target.get("args", {}).items() if value.startswith(pins.MARK)]
        root = "final" if name.startswith("base-") else ""
        if lacking or (root and lock["BASE_IMAGE_DIGEST"].startswith(pins.MARK)):
            assert target["context"].startswith("not resolved: "), name
            assert all(arg in target["context"] for arg in lacking), name
        else:
            assert target["context"] == HOME.name, name


def test_without_the_lock_nothing_is_built(recipe: Path) -> None:
    done = bake(recipe, "nixl-rocm-ci", lock=False)
    assert done.returncode
    assert "EPOCH" in done.stderr
    assert "-f pins.json" in done.stderr


def test_nothing_is_written_unless_a_variable_says_where(recipe: Path) -> None:
    for name, target in printed(recipe)["target"].items():
        assert not target.get("cache-to"), name
        assert not target.get("cache-from"), name
        assert "registry" not in json.dumps(target.get("output", "")), name


def test_caches_are_few_and_none_can_fail_a_build(recipe: Path) -> None:
    said = {"DOCKERHUB_CACHE_REPO": "host.invalid/cache", "BUILDKITE_COMMIT": "1" * 40, "PARENT_COMMIT": "2" * 40}
    said |= {"VLLM_MERGE_BASE_COMMIT": "3" * 40, "ROCM_CACHE_BRANCH_TAG": "mine"}
    said |= {"CSRC_CACHE_KEY": "k", "NIXL_CACHE_KEY": "n", "ROCSHMEM_CACHE_KEY": "r", "DEEPEP_CACHE_KEY": "d"}
    targets = printed(recipe, **said, IMAGE_TAG="host.invalid/a:b", CI_BASE_IMAGE_TAG="host.invalid/c:d")["target"]
    for name, target in targets.items():
        assert len(target.get("cache-from", [])) <= 3, name
        assert all(cache["ignore-error"] == "true" for cache in target.get("cache-to", [])), name
    assert targets["test-rocm-ci"]["tags"] == ["host.invalid/a:b"]
    assert targets["test-rocm-ci"]["output"] == [{"type": "registry"}]
    assert targets["ci-base-rocm-ci"]["tags"] == ["host.invalid/c:d"]
    assert [cache["ref"] for cache in targets["nixl-rocm-ci"]["cache-from"]] == ["host.invalid/cache:nixl-rocm-n"]
    assert len(targets["ci-base-rocm-ci"]["cache-from"]) == 3


def test_jobs_and_credentials_are_secrets_and_no_arguments(recipe: Path) -> None:
    target = printed(recipe, MAX_JOBS="3", CI_MAX_JOBS="5", AWS_SECRET_ACCESS_KEY="hidden")["target"]["test-rocm"]
    assert {"id": "max_jobs", "env": "CI_MAX_JOBS"} in target["secret"]
    assert {"id": "aws_secret_access_key", "env": "AWS_SECRET_ACCESS_KEY"} in target["secret"]
    assert not {"MAX_JOBS", "CI_MAX_JOBS", "max_jobs"} & set(target["args"])
    assert "hidden" not in json.dumps(target)


# --- an overlay -----------------------------------------------------------------------------------

SAME = 'variable "MINE" { default = "1" }\ntarget "test-rocm" {\n  tags = ["host.invalid/mine:${MINE}"]\n}\n'
OTHER = """\
target "nixl-rocm-ci" {
  args = { NIXL_BRANCH = "main", EXTRA = "1" }
}
target "ci-base-rocm" {
  contexts = { rocshmem = "/elsewhere" }
}
target "mine" {
  target = "nowhere"
}
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """An address at which the files of ``tmp_path`` are, and every path somebody asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_words: object) -> None:
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.mark.parametrize("stack", ["local", "vllm"])
def test_the_files_that_ship_say_what_the_plan_says(cli: Cli, tmp_path: Path, stack: str) -> None:
    (tmp_path / "empty.hcl").write_text("# nothing\n")
    found = cli("check", "--stack", stack, "--overlay", str(tmp_path / "empty.hcl"), "--json").json
    assert [each for each in found["findings"] if each["level"] == "error"] == []
    assert "overlay" in found["rules"]


def test_an_overlay_that_changes_no_argument_is_fine(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "over.hcl").write_text(SAME)
    cli(
        "check", "--stack", str(recipe / "stacks/vllm.yaml"), "--overlay", str(tmp_path / "over.hcl"), NIC_BACKEND="all"
    )


def test_an_overlay_is_told_by_target_and_argument(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "over.hcl").write_text(OTHER)
    stack = str(recipe / "stacks/vllm.yaml")
    ran = cli("check", "--stack", stack, "--overlay", str(tmp_path / "over.hcl"), "--json", check=2)
    messages = [each["message"] for each in ran.json["findings"] if each["rule"] == "overlay"]
    commit = json.loads((recipe / "pins.json").read_text())["NIXL_BRANCH"]
    assert f"target nixl-rocm-ci: NIXL_BRANCH is 'main', in the plan of nixl {commit!r}" in messages
    assert "target nixl-rocm-ci: EXTRA is '1', without the overlay not set" in messages
    assert any(message.startswith("target ci-base-rocm: contexts is ") for message in messages)
    assert "target mine is none of the stack's" in messages


def test_an_overlay_that_buildx_refuses_is_told_with_its_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "over.hcl").write_text('target "x" {\n  args = {\n')
    ran = cli("check", "--overlay", str(tmp_path / "over.hcl"), "--json", check=2)
    (finding,) = [each for each in ran.json["findings"] if each["rule"] == "overlay"]
    assert finding["reference"] == "bake-file"
    assert "overlay.hcl:" in finding["context"]


@pytest.mark.parametrize(("stack", "spec"), LISTS)
def test_an_overlay_cannot_ask_for_a_target_that_a_component_has_not(
    cli: Cli, tmp_path: Path, stack: str, spec: ArgSpec
) -> None:
    """A variable that is declared anew loses its own validation; what is refused stays refused."""
    (tmp_path / "over.hcl").write_text(f'variable "{spec.name}" {{ default = "gfx94a" }}\n')
    ran = cli("check", "--stack", stack, "--overlay", str(tmp_path / "over.hcl"), "--json", check=2)
    (finding,) = [each for each in ran.json["findings"] if each["rule"] == "overlay"]
    assert finding["reference"] == "bake-file"
    assert f"{spec.name} cannot be 'gfx94a'; allowed: {', '.join(supporting(spec))}, joined" in finding["context"]


def test_an_overlay_by_url_needs_its_hash_and_has_to_be_it(
    cli: Cli, tmp_path: Path, served: tuple[str, list[str]]
) -> None:
    (tmp_path / "over.hcl").write_text("# nothing\n")
    address, asked = served
    url = f"{address}/over.hcl"
    assert "unpinned-overlay" in cli("check", "--overlay", url, check=2).stderr
    assert asked == []
    right = hashlib.sha256(b"# nothing\n").hexdigest()
    cli("check", "--overlay", f"{url}#sha256={right}")
    wrong = cli("check", "--overlay", f"{url}#sha256={'0' * 64}", check=3)
    assert right in wrong.stderr
    assert asked == ["/over.hcl", "/over.hcl"]
    cli("check", "--overlay", f"http://127.0.0.1:1/over.hcl#sha256={right}", check=4)
