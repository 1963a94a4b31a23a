"""Files on which every step depends, derived from what makes the images of the two real stacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ci.errors import ConfigError
from ci.pipeline import pools
from ci.pipeline.triggers import run_all
from ci.recipe import stack as stacks
from ci.recipe.values import resolve_args
from ci.settings import capture
from ci.suites import catalogue
from tests import recipes

ROOT = Path(__file__).resolve().parents[2]
STACKS = {name: stacks.load(name) for name in ("local", "vllm")}


def of(name: str, top: Path, *changed: str, **environ: str) -> Mapping[str, str]:
    stack = STACKS[name]
    args = resolve_args(stack, capture({}, environ), stacks.archs())
    return run_all(stack, args, catalogue.load(stack), pools.load(stack), top=top, changed=changed)


@pytest.fixture
def vllm(tmp_path: Path) -> Path:
    """A tree that is known as vLLM's, elsewhere than the recipe."""
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "envs.py").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "of_what"),
    [
        ("csrc/attention/paged.cu", "csrc"),
        ("csrc/cpu/attention.cpp", "csrc"),
        ("cmake/utils.cmake", "csrc"),
        ("CMakeLists.txt", "csrc"),
        ("setup.py", "csrc"),
        ("pyproject.toml", "csrc"),
        ("requirements/common.txt", "csrc"),
        ("requirements/rocm.txt", "csrc"),
        ("vllm/envs.py", "csrc"),
        ("tests/vllm_test_utils/setup.py", "ci-base"),
        ("rust/src/lib.rs", "test"),
        ("build_rust.sh", "test"),
        ("requirements/build/rust.txt", "test"),
        ("rust-toolchain.toml", "ci-base"),
        (".dockerignore", "ci-base"),
    ],
)
def test_native_code_and_the_images_above_run_all(vllm: Path, path: str, of_what: str) -> None:
    """None of these but one is there: a deleted file counts as any other."""
    found = of("vllm", vllm, path, "vllm/model_executor/models/llama.py")
    assert list(found) == [path]
    assert found[path].startswith(f"an input of {of_what} (Dockerfile.rocm:")


@pytest.mark.parametrize(
    "path",
    [
        "vllm/model_executor/models/llama.py",
        "vllm/config/model.py",
        "tests/models/test_registry.py",
        "examples/x.py",
        "benchmarks/b.py",
        ".buildkite/test-amd.yaml",
        "csrc_notes.txt",
        "setup_helper.py",
        "requirements/cuda.txt",
        "tools/lint.py",
    ],
)
def test_python_alone_is_the_business_of_each_step(vllm: Path, path: str) -> None:
    assert of("vllm", vllm, path) == {}


def test_a_tree_that_is_not_the_source_gives_nothing_to_the_images(tmp_path: Path) -> None:
    assert of("vllm", tmp_path, "csrc/a.cu") == {}
    assert list(of("vllm", tmp_path, "csrc/a.cu", "vllm/envs.py")) == [
        "csrc/a.cu",
        "vllm/envs.py",
    ]  # known by a deleted file


def test_a_source_that_is_fetched_is_no_tree_here(vllm: Path) -> None:
    assert of("vllm", vllm, "csrc/a.cu", REMOTE_VLLM="1") == {}


def test_the_submodule_or_link_on_the_way_to_an_input_counts(vllm: Path) -> None:
    assert "tests" in of("vllm", vllm, "tests")
    assert of("vllm", vllm, "tes") == {}


def test_ignored_files_are_no_input(vllm: Path) -> None:
    (vllm / ".dockerignore").write_text("csrc/**/*.md\n")
    assert list(of("vllm", vllm, "csrc/README.md", "csrc/a.cu")) == ["csrc/a.cu"]


@pytest.mark.parametrize(
    ("stack", "path", "why"),
    [
        ("vllm", "docker/Dockerfile.rocm", "the Dockerfile of ci-base"),
        ("vllm", "docker/Dockerfile.rocm_base", "the Dockerfile of base"),
        ("vllm", "docker/scripts/nixl.sh", "an input of ci-base"),
        ("vllm", "docker/scripts/rust-build.sh", "an input of test"),
        ("vllm", "docker/stacks/vllm.yaml", "the stack"),
        ("vllm", "docker/suites/vllm.yaml", "the test catalogue"),
        ("vllm", "docker/pipelines/vllm.yaml", "the pipeline file"),
        ("vllm", "docker/contracts/vllm.yaml", "the contracts"),
        ("local", "docker/Dockerfile.local", "the Dockerfile of"),
        ("local", "docker/pins.json", "the pins"),
        ("local", "docker/archs.yaml", "the table of archs"),
        ("local", "docker/requirements/test.txt", "an input of test"),
        ("local", "docker/requirements/ci-base.txt", "an input of ci-base"),
        ("local", "docker/scripts/hip-proof.sh", "an input of toolchain"),
        ("local", "docker/Dockerfile.local.dockerignore", "an input of"),
        ("local", "ci/pipeline/select.py", "a part of the tool"),
        ("local", "noxfile.py", "a part of the tool"),
        ("local", "requirements/dev.txt", "a part of the tool"),
        ("local", "tests/gpu/conftest.py", "a part of the tool"),
    ],
)
def test_the_recipe_and_the_tool_run_all_in_their_own_tree(stack: str, path: str, why: str) -> None:
    found = of(stack, ROOT, path, "docs/architecture.md")
    assert list(found) == [path]
    assert found[path].startswith(why)


@pytest.mark.parametrize(
    ("stack", "path"),
    [
        ("local", "docker/Dockerfile.rocm"),
        ("local", "docker/suites/vllm.yaml"),
        ("local", "docker/scripts/nixl.sh"),
        ("vllm", "docker/Dockerfile.local"),
        ("local", "docker/channels/local.yaml"),
        ("local", "docker/Dockerfile.local.bak"),
        ("local", "tests/unit/test_args.py"),
        ("local", "ci.md"),
    ],
)
def test_what_makes_nothing_here_runs_nothing(stack: str, path: str) -> None:
    assert of(stack, ROOT, path) == {}


def test_every_tracked_input_of_the_recipe_is_a_trigger() -> None:
    """What the identities of the real tiers select of the recipe, one by one: the two can not drift."""
    from ci.build.inputs import contexts_of, reached

    stack = STACKS["local"]
    args = resolve_args(stack, capture({}, {}), stacks.archs())
    needs = [
        need for tier in stack.chain("test") for need in reached(stack, tier, args, contexts_of(stack, args, ())).files
    ]
    sources = sorted({f"docker/{source}" for need in needs if not need.context for source in need.sources})
    assert len(sources) > 5
    assert list(of("local", ROOT, *sources)) == sources


DOCKERFILE = recipes.DOCKERFILE.replace(
    "FROM ${CI_BASE_IMAGE} AS test\n",
    """\
FROM ${CI_BASE_IMAGE} AS native
COPY --from=src native /src/
FROM ${CI_BASE_IMAGE} AS whole
COPY --from=src . /src/
FROM scratch AS files
COPY --from=src data /data/
FROM ${CI_BASE_IMAGE} AS prepared
COPY --from=src conf /conf/
FROM prepared AS test
COPY --from=native /src /native/
COPY --from=whole /src /whole/
COPY --from=files / /
COPY --from=src tests /tests/
""",
)


def test_of_the_tested_image_only_what_is_built_apart_counts(tmp_path: Path) -> None:
    text = recipes.STACK.replace("    target: test\n", "    target: test\n    artifact: files\n")
    stack = stacks.load(str(recipes.write(tmp_path, DOCKERFILE, text)))
    args = resolve_args(stack, capture({}, {}), stacks.archs())
    (tmp_path / "steps.yaml").write_text(
        "schema: 1\nruntime: cpu\nsteps: {it: {summary: s, limits: {minutes: 1}, commands: [{run: [x]}]}}\n"
        "suites: {all: {summary: s, steps: [it]}}\n"
    )
    steps = catalogue.read(tmp_path / "steps.yaml", tuple(stack.tiers))
    changed = [f"{name}/x" for name in ("native", "other", "data", "conf", "tests", "lib")]
    found = run_all(stack, args, steps, pools.load(STACKS["local"]), top=tmp_path / "src", changed=changed)
    assert found == {
        "lib/x": "an input of ci-base (Dockerfile.tiny:21)",
        "native/x": "an input of test (Dockerfile.tiny:26)",
    }


@pytest.mark.parametrize(
    ("source", "link", "runs"),
    [
        ("csrc/*/x.cu", "csrc/sub", True),
        ("cs*/sub/x.cu", "csrc/sub", True),
        ("csrc/a**b/x.cu", "csrc/ab", True),
        ("csrc/*/x.cu", "csrc/sub/deep", False),
        ("csrc/k[0-9]/x.cu", "csrc/sub", False),
        ("csrc/*.cu", "csrc/sub", False),
        ("other/*/x.cu", "csrc/sub", False),
    ],
)
def test_a_changed_submodule_on_the_way_of_a_copy_with_wildcards_is_an_input(
    tmp_path: Path, source: str, link: str, runs: bool
) -> None:
    text = recipes.DOCKERFILE.replace("COPY --from=src lib ", f"COPY --from=src {source} ")
    assert text != recipes.DOCKERFILE
    stack = stacks.load(str(recipes.write(tmp_path, text)))
    args = resolve_args(stack, capture({}, {}), stacks.archs())
    local = STACKS["local"]
    asked = (stack, args, catalogue.load(local), pools.load(local))
    assert bool(run_all(*asked, top=tmp_path / "src", changed=[link], links=[link])) is runs
    assert not run_all(*asked, top=tmp_path / "src", changed=[link])


def test_a_rule_of_the_pipeline_file_says_so(tmp_path: Path) -> None:
    stack = STACKS["local"]
    args = resolve_args(stack, capture({}, {}), stacks.archs())
    rules = pools.load(stack)._replace(run_all=("shared/", "!shared/notes.txt"))
    steps = catalogue.load(stack)
    found = run_all(stack, args, steps, rules, top=tmp_path, changed=["shared/a", "shared/notes.txt", "b"])
    assert found == {"shared/a": "run_all of local.yaml has shared/"}
    rules = rules._replace(run_all=("third/*/x.cc",))
    assert run_all(stack, args, steps, rules, top=tmp_path, changed=["third/lib"]) == {}
    found = run_all(stack, args, steps, rules, top=tmp_path, changed=["third/lib"], links=["third/lib"])
    assert found == {"third/lib": "run_all of local.yaml has third/*/x.cc, which may lie below it"}
    with pytest.raises(ConfigError) as caught:
        run_all(stack, args, steps, rules._replace(run_all=("/a",)), top=tmp_path, changed=["b"])
    assert caught.value.problems[0].reference == "bad-pattern"


@pytest.mark.parametrize(("name", "asked"), [("steps.yaml", "./steps.yaml"), ("local.yaml", "local.yaml")])
def test_another_catalogue_is_a_trigger_by_its_own_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, asked: str
) -> None:
    """Also one that is called as the stack's own is."""
    stack = STACKS["local"]
    (tmp_path / name).write_text((stack.recipe / stack.suites).read_text())
    monkeypatch.chdir(tmp_path)
    steps = catalogue.load(stack, asked)
    args = resolve_args(stack, capture({}, {}), stacks.archs())
    found = run_all(stack, args, steps, pools.load(stack), top=tmp_path, changed=[name, "other.yaml"])
    assert found == {name: "the test catalogue"}


@pytest.mark.parametrize(
    ("asked", "triggers"), [("areas", []), ("areas/", []), ("./areas", ["areas/a.yaml"]), ("", ["areas/a.yaml"])]
)
def test_a_folder_of_step_files_is_none_where_its_steps_name_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, triggers: list[str]
) -> None:
    """By a name that no glob can have, it is one: a step too many, never one too few."""
    (tmp_path / "areas").mkdir()
    (tmp_path / "areas/a.yaml").write_text("steps: [{label: A, command: x, source_file_dependencies: [core]}]\n")
    monkeypatch.chdir(tmp_path)
    stack = STACKS["local"]
    steps = catalogue.load(stack, asked or str(tmp_path / "areas"))
    args = resolve_args(stack, capture({}, {}), stacks.archs())
    found = run_all(stack, args, steps, pools.load(stack), top=tmp_path, changed=["areas/a.yaml", "other.yaml"])
    assert list(found) == triggers
    assert ("areas/a.yaml" in steps.step("a").sources) is not bool(triggers)


def test_nothing_changed_and_no_tree_give_nothing() -> None:
    assert of("local", ROOT) == {}
    stack = STACKS["local"]
    args = resolve_args(stack, capture({}, {}), stacks.archs())
    assert run_all(stack, args, catalogue.load(stack), pools.load(stack), top=None, changed=["ci/x.py"]) == {}


def test_names_that_are_no_text_are_taken_as_they_are(vllm: Path) -> None:
    odd = b"csrc/\xff\n.cu".decode("utf-8", "surrogateescape")
    assert list(of("vllm", vllm, odd)) == [odd]
