"""The walls of the house, read from the syntax tree: who may import whom, and what must stay lazy."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CI = ROOT / "ci"
ROOMS = (
    "errors", "printable", "yaml_text", "yaml_values", "documents", "settings", "names", "providers", "recipe",
    "identity", "answer", "audit", "build", "kernels", "wheels", "artifact", "suites", "publish", "pins",
    "pipeline", "report", "call", "reap", "doctor", "check", "door", "options", "verbs", "command_line",
    "one_shot", "invoke_door", "__main__",
)  # fmt: skip
"""Top to bottom: a room may use any room above it, and ``world``; never one below."""

HEAVY = {"docker", "git", "requests", "rich", "urllib3", "invoke", "nox", "obstore", "yaml",
         "elftools", "msgpack", "packaging", "zstandard"}  # fmt: skip
"""Never imported when a module is: only inside the function that needs them."""

WORLD_ONLY = {"docker", "git", "requests", "subprocess", "socket", "urllib3", "fcntl", "selectors"}


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    for path in sorted(CI.rglob("*.py")):
        relative = path.relative_to(CI).with_suffix("")
        name = ".".join(relative.parts).removesuffix(".__init__")
        yield name, path, ast.parse(path.read_text())


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, int, str]]:
    """(statement, level, dotted module) of every import, ``if TYPE_CHECKING`` blocks left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((node, 0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level and not module:
                yield from ((node, node.level, alias.name) for alias in node.names)
            elif node.level:
                yield node, node.level, module
                yield from ((node, node.level, f"{module}.{alias.name}") for alias in node.names)
            else:
                yield node, 0, module
        else:
            yield from imports(node)


def room(name: str) -> str:
    return name.split(".", maxsplit=1)[0] if name else "__init__"


def resolve(module: str, path: Path, level: int, target: str) -> str:
    """The room a relative import leads to."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    base = package[: len(package) - (level - 1)]
    return room(".".join([*base, target]))


def test_every_room_has_its_place_in_the_order() -> None:
    found = {room(name) for name, _, _ in modules()} - {"", "__init__", "world"}
    assert found <= set(ROOMS), found - set(ROOMS)


def test_no_room_uses_one_below_it() -> None:
    below = []
    for name, path, tree in modules():
        for node, level, target in imports(tree):
            if not level or room(name) in {"", "__init__"}:
                continue
            other = resolve(name, path, level, target)
            if other not in ROOMS or room(name) not in ROOMS:
                continue
            if ROOMS.index(other) > ROOMS.index(room(name)):
                below.append(f"{path}:{node.lineno} {name} uses {other}")
    assert below == []


def test_world_knows_only_plain_words() -> None:
    """``world`` is below everything: it may use errors, settings, documents and names, nothing that knows a recipe."""
    allowed = {"errors", "settings", "documents", "names", "world"}
    wrong = [
        f"{path}:{node.lineno}"
        for name, path, tree in modules()
        if room(name) == "world"
        for node, level, target in imports(tree)
        if level and resolve(name, path, level, target) not in allowed
    ]
    assert wrong == []


def test_imports_inside_are_relative() -> None:
    wrong = [
        f"{path}:{node.lineno}"
        for _, path, tree in modules()
        for node, level, target in imports(tree)
        if not level and room(target) in {"ci", "rocm_ci"}
    ]
    assert wrong == []


def test_only_the_world_reaches_outside() -> None:
    wrong = [
        f"{path}:{node.lineno} {target}"
        for name, path, tree in modules()
        if room(name) != "world"
        for node, level, target in imports(tree)
        if not level and room(target) in WORLD_ONLY
    ]
    assert wrong == []


def test_heavy_imports_are_lazy() -> None:
    wrong = []
    for name, path, tree in modules():
        if name == "invoke_door":  # it is only imported by Invoke
            continue
        for node in tree.body:
            for statement, level, target in imports(ast.Module([node], [])):
                at_top = isinstance(node, (ast.Import, ast.ImportFrom))
                if at_top and not level and room(target) in HEAVY:
                    wrong.append(f"{path}:{statement.lineno} {target}")
    assert wrong == []


def test_the_noxfile_and_gpu_tests_know_nothing_of_ours() -> None:
    files = [ROOT / "noxfile.py", *sorted((ROOT / "tests" / "gpu").glob("*.py"))]
    for path in files:
        targets = {room(target) for _, _, target in imports(ast.parse(path.read_text()))}
        assert not targets & {"ci", "rocm_ci", "tests", "tasks"}, path


def test_the_recipe_is_no_python_package() -> None:
    assert not list((ROOT / "docker").rglob("__init__.py")), "it would shadow the Docker SDK"


def test_nothing_in_ci_names_a_framework() -> None:
    pattern = re.compile(r"\b(vllm|sglang|pytorch)\b", re.IGNORECASE)
    wrong = [
        f"{path}:{number}"
        for path in sorted(CI.rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line.replace("PYTORCH_ROCM_ARCH", ""))
    ]
    assert wrong == []


def test_exit_codes_are_one_per_outcome() -> None:
    from ci.errors import EXIT_CODES, CiError, Interrupted, Outcome

    codes = [code for outcome, code in EXIT_CODES.items() if outcome is not Outcome.SKIPPED]
    assert len(codes) == len(set(codes))
    assert set(EXIT_CODES) == set(Outcome)
    outcomes = [kind.outcome for kind in CiError.__subclasses__()]
    assert len(outcomes) == len(set(outcomes))
    assert (Interrupted(2).exit_code, Interrupted(15).exit_code) == (130, 143)


def references() -> Iterator[tuple[str, str]]:
    """Every literal reference given to an error or a problem."""
    from ci import errors

    kinds = {name for name in vars(errors) if name.endswith("Error")} | {"Problem"}
    for _, path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if node.func.id in kinds and isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value, f"{path}:{node.lineno}"


def test_error_references_are_kebab_case() -> None:
    found = list(references())
    assert len(found) > 50
    assert [item for item in found if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", item[0])] == []


@pytest.mark.parametrize("name", ["stacks/stack.schema.json"])
def test_schemas_use_only_the_keywords_we_check(name: str) -> None:
    from ci.documents import SCHEMA_KEYWORDS

    def keywords(schema: object) -> Iterator[str]:
        if not isinstance(schema, dict):
            return
        for key, value in schema.items():
            yield key
            if key in {"properties", "$defs"}:
                for child in value.values():
                    yield from keywords(child)
            elif key in {"items", "additionalProperties"}:
                yield from keywords(value)

    schema = json.loads((ROOT / "docker" / name).read_text())
    assert set(keywords(schema)) <= SCHEMA_KEYWORDS


def test_version_and_changelog_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
