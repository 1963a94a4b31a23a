"""Contracts as files: those that ship, everything that can be wrong with one, and what a command line may ask."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci import command_line, settings
from ci.audit import contract, image_request, image_rules, trying
from ci.audit.contract import Contract
from ci.audit.image_facts import Tried
from ci.errors import ConfigError, DeadlineError, InfraError
from ci.recipe import stack as stacks
from ci.recipe.stack import HOME, Stack
from ci.world.process import Command, Finished
from tests import recipes

CONTRACT = """\
schema: 1
components:
  probe: {archs: PYTORCH_ROCM_ARCH, files: ["/opt/*.so"], modules: [probe]}
protected: {record: /app/protected.json, packages: [torch]}
tiers:
  base: {}
  ci-base: {most_mb: 2, python: /opt/python, imports: [torch], protected: true}
  test: {components: [probe], wheels: [{files: /w/*.whl, least_kb: 5}]}
allow:
  - {rule: closure, patterns: ["*:libcuda.so.1", "*:libnccl.so"], why: nobody loads it}
  - {rule: secrets, patterns: [/etc/key], why: a snake oil key, tiers: [test]}
"""


def tiny(folder: Path, text: str = CONTRACT) -> Stack:
    path = recipes.write(folder)
    path.write_text(path.read_text() + "contracts: contract.yaml\n")
    (path.parent / "contract.yaml").write_text(text)
    return stacks.load(str(path))


def of(stack: Stack, tier: str) -> Contract:
    found = contract.of_tier(stack, tier, image_rules.NAMES)
    assert found is not None
    return found


def test_a_tier_gets_its_own_part(tmp_path: Path) -> None:
    stack = tiny(tmp_path)
    base, ci_base, test = (of(stack, tier) for tier in ("base", "ci-base", "test"))
    assert (base.budget, base.modules, base.components, base.protected) == (0, (), (), None)
    assert (ci_base.budget, ci_base.python, ci_base.modules) == (2_000_000, "/opt/python", ("torch",))
    assert ci_base.protected == contract.Protected("/app/protected.json", ("torch",))
    assert test.components == (contract.Component("probe", "PYTORCH_ROCM_ARCH", ("/opt/*.so",), ("probe",)),)
    assert test.wheels == (contract.Wheels("/w/*.whl", 5000),)
    assert [each.pattern for each in base.allowed] == ["*:libcuda.so.1", "*:libnccl.so"]
    assert [each.pattern for each in test.allowed][-1] == "/etc/key"


def test_a_stack_without_contracts_and_a_component_alone_have_none(tmp_path: Path) -> None:
    stack = tiny(tmp_path)
    assert contract.of_tier(replace(stack, contracts=""), "base", image_rules.NAMES) is None
    component = stacks.Component("probe", "Dockerfile.tiny", "base", "ROOT", (), stack.tiers["base"].place)
    assert contract.of_tier(replace(stack, components={"probe": component}), "probe", image_rules.NAMES) is None


@pytest.mark.parametrize(
    ("old", "new", "reference"),
    [
        ("  base: {}\n", "", "no-contract"),
        ("  base: {}\n", "  base: {}\n  bse: {}\n", "unknown-tier"),
        ("PYTORCH_ROCM_ARCH", "PYTORCH_ROCM_ARCHS", "unknown-arg"),
        ("[probe], wheels", "[prob], wheels", "unknown-component"),
        ("rule: closure", "rule: closures", "unknown-rule"),
        ("tiers: [test]", "tiers: [tests]", "unknown-tier"),
        ("why: nobody loads it", "who: nobody", "missing-key"),
        ("most_mb: 2", "most_mb: many", "wrong-type"),
        ("most_mb", "least_mb", "unknown-key"),
        ("files: /w/*.whl", "files: w/*.whl", "wrong-value"),
        ("protected: {record: /app/protected.json, packages: [torch]}\n", "", "no-protected"),
    ],
)
def test_what_is_wrong_with_a_contract_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, reference: str
) -> None:
    assert old in CONTRACT
    stack = tiny(tmp_path, CONTRACT.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        contract.of_tier(stack, "test", image_rules.NAMES)
    problem = next(each for each in caught.value.problems if each.reference == reference)
    assert problem.place is not None
    assert problem.place.line


@pytest.mark.parametrize("name", stacks.shipped())
def test_every_shipped_stack_has_a_contract_for_every_tier(name: str) -> None:
    stack = stacks.load(name)
    for tier in stack.tiers:
        found = of(stack, tier)
        assert found.budget, f"{name}: {tier} has no budget"
        for module in found.modules:
            trying.check_name(module)


def test_every_image_with_deepep_has_its_runtime_and_what_it_was_compiled_against() -> None:
    stack = stacks.load("vllm")
    for tier in ("ci-base", "test", "release"):
        found = of(stack, tier)
        assert {"rocshmem", "deepep", "torch"} <= {each.name for each in found.components}
        assert {each.archs for each in found.components if each.name in {"rocshmem", "deepep"}} == {"DEEPEP_ROCM_ARCH"}
        assert found.protected is not None
        assert set(found.protected.packages) == {"torch", "triton", "torchvision", "torchaudio", "pybind11"}


def test_the_schema_and_its_reader_know_the_same_rules() -> None:
    import jsonschema

    schema = json.loads((HOME / "contracts" / "contract.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)


# --- imports --------------------------------------------------------------------------------


def asked(*ends: Finished | BaseException) -> tuple[list[Sequence[str]], trying.Ask]:
    left, seen = list(ends), []

    def ask(argv: Sequence[str], _seconds: float) -> Finished:
        seen.append(argv)
        end = left.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end

    return seen, ask


def ended(code: int, said: str = "") -> Finished:
    return Finished(Command(("docker",)), code, "", said)


def test_imports_tell_how_they_ended() -> None:
    late = DeadlineError("deadline", "too late")
    seen, ask = asked(ended(0), ended(1, "ImportError: no"), ended(139), late, ended(127, "OCI runtime exec failed"))
    found = trying.imports(ask, "python3", ("a", "b", "c", "d", "e"), 7)
    assert seen[0] == ("python3", "-c", "import a")
    assert found == (
        Tried("a", "python3"),
        Tried("b", "python3", "fails (exit 1)", "ImportError: no"),
        Tried("c", "python3", "crashes (signal 11)"),
        Tried("d", "python3", "does not end within 7 s"),
        Tried("e", "python3", "cannot be tried, there is no such program,", "OCI runtime exec failed"),
    )


def test_an_engine_that_fails_is_no_finding() -> None:
    _, ask = asked(ended(1, "Error response from daemon: gone"))
    with pytest.raises(InfraError):
        trying.imports(ask, "python3", ("a",))


# --- the command line -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "image"),
    [
        ("ubuntu", True),
        ("rocm/vllm:0.1", True),
        ("sha256:abc", True),
        ("registry.example:5000/a/b@sha256:abc", True),
        ("./dist", False),
        ("/dist", False),
        ("lib.so", False),
        ("libx.so.1.2", False),
        ("a.whl", False),
    ],
)
def test_what_is_taken_for_an_image(target: str, *, image: bool) -> None:
    assert image_request.is_image(target) is image


def test_a_path_that_exists_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ubuntu").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not image_request.is_image("ubuntu")


def requested(**words: Any) -> image_request.Asked:
    flags = words.pop("flags", {})
    texts = {"target": "rocm/probe:1", "budget": "", "module": "", "tier": ""} | words
    return image_request.requested(settings.capture(flags), **texts)


def test_options_make_a_contract_for_an_image_of_somebody_else() -> None:
    found = requested(budget="2.5", module="torch", flags={"--arch": "MI300X,gfx950"})
    assert (found.contract.tier, found.contract.budget, found.contract.modules) == ("", 2_500_000, ("torch",))
    assert found.contract.components[0].files == ("*",)
    assert found.values[found.contract.components[0].archs] == "gfx942;gfx950"
    assert requested().contract == Contract()


def test_a_tier_brings_its_contract_and_the_arguments_of_its_stack() -> None:
    found = requested(tier="release", flags={"--stack": "vllm", "--arch": "gfx90a"})
    assert found.contract == of(stacks.load("vllm"), "release")
    assert (found.values["PYTORCH_ROCM_ARCH"], found.values["DEEPEP_ROCM_ARCH"]) == ("gfx90a", "none")


@pytest.mark.parametrize(
    ("words", "reference"),
    [
        ({"tier": "test", "budget": "5"}, "contract-and-option"),
        ({"tier": "test", "module": "torch"}, "contract-and-option"),
        ({"tier": "tests"}, "unknown-tier"),
        ({"budget": "many"}, "wrong-value"),
        ({"module": "a-b"}, "bad-module"),
        ({"flags": {"--arch": "gfx94a"}}, "unknown-arch"),
    ],
)
def test_what_cannot_be_meant(words: dict[str, Any], reference: str) -> None:
    with pytest.raises(ConfigError) as caught:
        requested(**words)
    assert reference in {problem.reference for problem in caught.value.problems}


def test_a_stack_without_contracts_has_no_tier_to_judge_by(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        requested(tier="base", flags={"--stack": str(recipes.write(tmp_path))})
    assert caught.value.problems[0].reference == "no-contract"


def test_a_tier_is_no_word_about_a_path(tmp_path: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    assert command_line.run(["audit", str(tmp_path), "--tier", "test"], out, err) == 2
    assert "[not-an-image]" in err.getvalue()
