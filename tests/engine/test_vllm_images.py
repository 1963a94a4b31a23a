"""The images of the vllm stack on stand-ins: what a change of Python costs, what is in them, what they say they are."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ci.build.progress import Progress
from tests.engine import standins
from tests.engine.conftest import Cli, Ran, docker, remove_images
from tests.engine.own import FAMILY
from tests.engine.standin_recipe import Recipe, recipe

COMPILING = {"csrc-build", "rust_toolchain", "rust_build", "build_vllm_dependencies"}


@pytest.fixture(scope="module")
def images(toolchain: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recipe]:
    """The recipe; its images go in the end."""
    digest = docker("image", "inspect", "--format", "{{.Id}}", toolchain)
    with recipe(tmp_path_factory.mktemp("images"), toolchain, digest) as made:
        yield made
    remove_images(f"{FAMILY}/vllm")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A command line whose state lasts for all tests of this file."""
    kept = ("PATH", "HOME", "DOCKER_HOST", "SSL_CERT_FILE", "PIP_FIND_LINKS", "DOCKER_CONFIG")
    environ = {name: os.environ[name] for name in kept if name in os.environ}
    return Cli(tmp_path_factory.mktemp("state"), environ)


def built(shell: Cli, made: Recipe, verb: str, **environ: str) -> tuple[Ran, str]:
    """What the verb said, and the image of its tier; for one target, unless the environment says otherwise."""
    environ = {"PYTORCH_ROCM_ARCH": "gfx942", **environ}
    ran = replace(shell, environ={**shell.environ, **environ})(verb, *made.words)
    row = ran.json["tiers"][-1]
    return ran, str(row["reference"]).partition("@")[0]


def record(image: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(docker("run", "--rm", "--entrypoint", "cat", image, "/app/versions.json"))
    return found


def stages(ran: Ran, tier: str) -> dict[str, tuple[int, int]]:
    """Stage to its steps and to how many of them were cached, from BuildKit's own record of the build."""
    progress = Progress()
    for line in (Path(ran.json["run_folder"]) / tier / "progress.jsonl").read_text().splitlines():
        progress.feed(line)
    return {stage.name: (stage.steps, stage.cached_steps) for stage in progress.stages}


def idle(found: dict[str, tuple[int, int]]) -> set[str]:
    """The stages of which nothing ran."""
    return {name for name, (steps, cached) in found.items() if steps == cached}


def test_an_edit_of_python_compiles_nothing(shell: Cli, images: Recipe) -> None:
    """Edits that nobody made before; three, as whatever empties a part of BuildKit's cache makes it forget all once."""
    first, before = built(shell, images, "build-test")
    assert {"csrc-build", "rust_build"} <= stages(first, "test").keys()
    ran: list[set[str]] = []
    for word in (str(secrets.randbelow(10**9)) for _ in range(3)):
        (images.sources["vllm"] / "vllm/engine.py").write_text(f"ANSWER = {word}\n")
        second, image = built(shell, images, "build-test")
        found = stages(second, "test")
        assert not {"build_vllm", "test"} & idle(found)
        assert [row["tier"] for row in second.json["tiers"] if row["decision"] == "build"] == ["test"]
        ran.append(COMPILING - idle(found))
        if not ran[-1]:
            break
    assert not ran[-1], ran
    answer = ("run", "--rm", image, "python3", "-c", "import vllm.engine; print(vllm.engine.ANSWER)")
    assert docker(*answer) == word
    kernel = "/usr/local/lib/python3.14/dist-packages/vllm/_C.so"
    sums = {docker("run", "--rm", name, "sha256sum", kernel) for name in (before, image)}
    assert len(sums) == 1
    kernel_text = standins.KERNEL.replace("2.0f", f"{secrets.randbelow(10**6)}.0f")
    (images.sources["vllm"] / "csrc/kernel.hip").write_text(kernel_text)
    third, _image = built(shell, images, "build-test")
    assert "csrc-build" not in idle(stages(third, "test")), "the record would have shown it"


def test_native_code_for_other_targets_ends_the_build_before_a_wheel_is_made_of_it(
    shell: Cli, images: Recipe, tmp_path: Path
) -> None:
    forgets = standins.VLLM.replace('["PYTORCH_ROCM_ARCH"].split(";")', '["PYTORCH_ROCM_ARCH"].split(";")[:1]')
    source = standins.vllm(tmp_path / "vllm", **{"setup.py": forgets})
    given = Recipe(images.stack, images.sources | {"vllm": source})
    base = shell("build-base", *images.words).json["tiers"][-1]["reference"]
    words = ("build-component", "csrc", *given.words, "--base-image", base, "--arch")
    shell(*words, "gfx942")
    assert "is for gfx942, wanted is gfx942 gfx950" in shell(*words, "gfx942;gfx950", check=1).stderr


UPSTREAM = {
    "VLLM_BASE_IMAGE", "MORI_NIC_BACKEND", "AINIC_VERSION", "NIXL_BRANCH", "NIXL_REPO", "UCX_BRANCH", "UCX_REPO",
    "ROCSHMEM_BRANCH", "ROCSHMEM_REPO", "DEEPEP_BRANCH", "DEEPEP_REPO", "DEEPEP_NIC", "TORCHCODEC_COMMIT",
}  # fmt: skip
IMAGE_STAGES = ("mori_base", "native", "native_lmcache_false", "final", "vllm-openai", "vllm_record_0")


def made_again(run: Path, name: str) -> str:
    """The tier of a run folder once more, with no cache for the stages of the image itself; gives the new image."""
    document = json.loads((run / "bake.json").read_text())
    document["target"]["release"] |= {"output": [f"type=image,name={name}"], "no-cache-filter": list(IMAGE_STAGES)}
    (run / "again.json").write_text(json.dumps(document))
    words = ("docker", "buildx", "bake", f"--allow=fs.read={run}", "--file=again.json", "release")
    ran = subprocess.run(words, cwd=run, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return name


def config(image: str) -> dict[str, object]:
    """What is equal for equal inputs: all of the configuration but times and the layers' own digests."""
    found = json.loads(docker("image", "inspect", image))[0]["Config"]
    steps = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image).splitlines()
    return {"config": found, "steps": steps}


def test_a_release_says_what_it_is_made_of_and_equal_inputs_say_the_same(shell: Cli, images: Recipe) -> None:
    ran, image = built(shell, images, "build-release")
    facts = record(image)
    assert facts.keys() >= UPSTREAM
    assert (facts["MORI_NIC_BACKEND"], facts["AINIC_VERSION"], facts["DEEPEP_ROCM_ARCH"]) == ("none", "", "gfx942")
    assert all(len(value) == 40 for name, value in facts.items() if name.endswith(("_BRANCH", "_COMMIT")))
    lines = docker("run", "--rm", "--entrypoint", "cat", image, "/app/versions.txt").split("\n")
    assert lines == [f"{name}: {value}" for name, value in sorted(facts.items())]
    assert docker("run", "--rm", "--entrypoint", "ls", image, "/opt/rocshmem/lib") == "librocshmem.so"
    found = config(image)
    assert "SCCACHE" not in json.dumps(found["config"]).upper()
    again = made_again(Path(ran.json["run_folder"]) / "release", f"{FAMILY}/vllm-again:1")
    assert record(again) == facts
    assert config(again) == found


def test_a_component_with_no_target_is_left_out_and_the_record_says_so(shell: Cli, images: Recipe) -> None:
    _ran, image = built(shell, images, "build-release", PYTORCH_ROCM_ARCH="gfx90a", INSTALL_LMCACHE="true")
    facts = record(image)
    assert (facts["DEEPEP_ROCM_ARCH"], facts["LMCACHE_ROCM_ARCH"], facts["INSTALL_LMCACHE"]) == ("none", "none", "true")
    assert docker("run", "--rm", "--entrypoint", "ls", image, "/opt/rocshmem") == "ABSENT"
    look = "from importlib.util import find_spec; print([bool(find_spec(x)) for x in ('vllm', 'deep_ep', 'lmcache')])"
    assert docker("run", "--rm", "--entrypoint", "python3", image, "-c", look) == "[True, False, False]"


def test_a_commit_of_vllm_is_built_without_a_file_of_this_host(shell: Cli, images: Recipe, tmp_path: Path) -> None:
    source = standins.vllm(tmp_path / "vllm.git", **{"vllm/engine.py": "ANSWER = 42\n"})
    with standins.serving(source) as (url, commit):
        for name in ("vllm/engine.py", "examples/a.py", "tests/new.py", "csrc/kernel.hip"):
            (source / name).write_text("poison\n")
        remote = {"REMOTE_VLLM": "1", "VLLM_REPO": url, "VLLM_BRANCH": commit}
        _ran, image = built(replace(shell), images.without("vllm"), "build-test", **remote)
    facts = record(image)
    assert (facts["REMOTE_VLLM"], facts["VLLM_REPO"], facts["VLLM_BRANCH"]) == ("1", url, commit)
    answer = ("run", "--rm", image, "python3", "-c", "import vllm.engine; print(vllm.engine.ANSWER)")
    assert docker(*answer) == "42"
    search = ("run", "--rm", image, "grep", "-rlx", "poison", "/vllm-workspace", "/opt/vllm-wheels", "/app")
    assert docker(*search, check=False) == ""


def exported(images: Recipe, base: str, wheels: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """The stage that exports the wheel of a release, by hand, with ``wheels`` for the base set."""
    recipe = images.stack.parent.parent
    pins = json.loads((recipe / "pins.json").read_text())
    given = pins | {"BASE_IMAGE": base, "PYTORCH_ROCM_ARCH": "gfx942", "VLLM_VERSION": "1.2.3"}
    contexts = {name: images.sources[name] for name in ("vllm", "triton-kernels")} | {"custom_wheels": wheels}
    words = [f"--build-arg={name}={value}" for name, value in given.items()]
    words += [f"--build-context={name}={path}" for name, path in contexts.items()]
    words += ["--target=export_vllm_wheel_release", f"--file={recipe / 'Dockerfile.rocm'}", f"--output={out}"]
    return subprocess.run(
        ["docker", "buildx", "build", *words, str(recipe)], capture_output=True, text=True, check=False
    )


def test_a_released_wheel_asks_for_exactly_the_wheels_beside_it(shell: Cli, images: Recipe, tmp_path: Path) -> None:
    ran = shell("build-base", *images.words)
    base, wheels = ran.json["tiers"][-1]["reference"], tmp_path / "wheels"
    wheels.mkdir()
    assert "there is no wheel to pin to" in exported(images, base, wheels, tmp_path / "none").stderr
    for name in ("torch-2.13.0+rocm7.2", "triton-3.8.0", "flash_attn-2.8"):
        (wheels / f"{name}-cp312-cp312-linux_x86_64.whl").touch()
    done = exported(images, base, wheels, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "out").iterdir()
    with zipfile.ZipFile(wheel) as opened:
        text = opened.read("vllm-1.2.3.dist-info/METADATA").decode()
    asked = [line.removeprefix("Requires-Dist: ") for line in text.splitlines() if line.startswith("Requires-Dist")]
    assert asked == ["flash-attn==2.8", "torch==2.13.0+rocm7.2", "triton==3.8.0", "numpy"]
    (images.sources["vllm"] / "requirements/common.txt").write_text("odd @ git+https://host.invalid/odd.git\n")
    refused = exported(images, base, wheels, tmp_path / "refused")
    assert refused.returncode != 0
    assert "common.txt: odd @ git+https://host.invalid/odd.git" in refused.stderr
