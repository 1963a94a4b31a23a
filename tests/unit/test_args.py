"""Build arguments: closed types, one spelling, a suggestion for every mistake."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci import settings
from ci.errors import ConfigError, Place, Problem
from ci.recipe import args as types
from ci.recipe import stack as stacks
from ci.recipe.stack import ArgSpec, Stack
from ci.recipe.values import Resolved, resolve_args
from ci.settings import capture

ARCHS = stacks.archs()
NAMES = [arch.name for arch in ARCHS]


def archs(text: str, feature: str = "") -> types.Checked:
    return types.arch_list("PYTORCH_ROCM_ARCH", text, ARCHS, feature)


@pytest.mark.parametrize("text", ["gfx942", "gfx90a;gfx942;gfx950", "gfx950;gfx942"])
def test_the_canonical_spelling_is_taken_as_it_is(text: str) -> None:
    assert archs(text) == types.Checked(text)


@pytest.mark.parametrize(
    "text",
    ["gfx942,gfx950", "gfx942 gfx950", "gfx942, gfx950", " gfx942;gfx950 ", "gfx942;;gfx950", "gfx942;gfx950;"],
)
def test_other_separators_normalise_with_one_notice(text: str) -> None:
    checked = archs(text)
    assert (checked.value, checked.problems) == ("gfx942;gfx950", ())
    assert checked.notices == (f"PYTORCH_ROCM_ARCH: {text!r} is read as 'gfx942;gfx950'",)


@pytest.mark.parametrize(
    ("text", "value", "notice"),
    [
        ("MI300X", "gfx942", "MI300X is gfx942"),
        ("mi355x", "gfx950", "mi355x is gfx950"),
        ("CDNA2,gfx942", "gfx90a;gfx942", "CDNA2 is gfx90a"),
        ("gfx942;gfx942", "gfx942", "gfx942 is named twice"),
        ("MI300X;MI300A", "gfx942", "gfx942 is named twice"),
    ],
)
def test_aliases_and_repeats_are_said(text: str, value: str, notice: str) -> None:
    checked = archs(text)
    assert (checked.value, checked.problems) == (value, ())
    assert any(notice in line for line in checked.notices)


@pytest.mark.parametrize(
    ("text", "reference", "hint"),
    [
        ("gfx94a", "unknown-arch", "did you mean gfx942 or gfx90a?"),
        ("gfx942;gfx94a", "unknown-arch", "gfx942"),
        ("native", "native-arch", "gfx942;gfx950"),
        ("gfx942:xnack-", "arch-feature", "write gfx942"),
        ("gfx90a:sramecc+:xnack-", "arch-feature", "write gfx90a"),
        ("MI300X:xnack-", "arch-feature", "write MI300X"),
        ("gfx942:", "unknown-arch", "gfx942"),
        ("GFX942", "unknown-arch", "gfx942"),
        ("gfx942|gfx950", "unknown-arch", ""),
        ("", "empty-value", "gfx942"),
        (" ; ,", "empty-value", "gfx942"),
    ],
)
def test_a_target_nobody_can_build_is_refused_with_a_suggestion(text: str, reference: str, hint: str) -> None:
    (problem,) = archs(text).problems
    assert problem.reference == reference
    assert hint in problem.hint
    assert "PYTORCH_ROCM_ARCH" in problem.message


def test_every_wrong_word_is_named() -> None:
    found = archs("gfx94a native gfx942:xnack+ gfx942").problems
    assert [problem.reference for problem in found] == ["unknown-arch", "native-arch", "arch-feature"]


def test_a_feature_narrows_the_list() -> None:
    assert archs("gfx942;gfx950", "deepep").problems == ()
    (problem,) = archs("gfx90a;gfx942", "deepep").problems
    assert (problem.reference, problem.hint) == ("unsupported-arch", "allowed: gfx942, gfx950")
    (unknown,) = archs("gfx94a", "deepep").problems
    assert "gfx90a" not in unknown.hint


@given(st.lists(st.sampled_from(NAMES), min_size=1), st.sampled_from([";", ",", " ", " ; ", ",\t"]))
def test_any_list_of_known_targets_has_one_spelling(names: list[str], separator: str) -> None:
    checked = archs(separator.join(names))
    assert checked.problems == ()
    assert checked.value.split(";") == list(dict.fromkeys(names))
    assert archs(checked.value) == types.Checked(checked.value)


def test_aliases_are_unambiguous() -> None:
    words = [alias.lower() for arch in ARCHS for alias in arch.aliases] + NAMES
    assert len(words) == len(set(words))
    assert len({arch.mach for arch in ARCHS}) == len(ARCHS)


@pytest.mark.parametrize("text", types.NIC_BACKENDS)
def test_nic_backends(text: str) -> None:
    assert types.nic_backend(text, types.NIC_BACKENDS, "any") == types.Checked(text)


@pytest.mark.parametrize(
    ("text", "reference", "hint"),
    [
        ("anic", "unknown-nic", "did you mean ainic?"),
        ("bnx", "unknown-nic", "did you mean bnxt?"),
        ("None", "unknown-nic", "did you mean none?"),
        ("ainic", "unsupported-nic", "none, bnxt"),
        ("all", "unsupported-nic", "none, bnxt"),
    ],
)
def test_a_nic_backend_that_is_not_there(text: str, reference: str, hint: str) -> None:
    (problem,) = types.nic_backend(text, ("none", "bnxt"), "local").problems
    assert problem.reference == reference
    assert hint in problem.hint


@pytest.mark.parametrize("text", ["1.117.5-a-77", "1.117.1", "2.0-b"])
@pytest.mark.parametrize("nic", ["ainic", "all"])
def test_ainic_versions(text: str, nic: str) -> None:
    assert types.ainic_version(text, nic) == types.Checked(text)


@pytest.mark.parametrize("text", ["1", "v1.2", "1.2;rm", "1.2 3", "1.2\n", ""])
def test_what_is_no_ainic_version(text: str) -> None:
    assert [p.reference for p in types.ainic_version(text, "ainic").problems] == ["wrong-value"]


@pytest.mark.parametrize("nic", ["none", "bnxt"])
def test_ainic_version_has_a_meaning_under_its_backends_only(nic: str) -> None:
    (problem,) = types.ainic_version("1.117.5", nic).problems
    assert (problem.reference, nic in problem.message) == ("unused-ainic", True)


@pytest.mark.parametrize(
    "text", ["0.0.0+rocm", "1.2.3", "1!2.0", "0.12.0rc1", "1.0.post1", "0.12.1.dev5+g0123456789ab", "1.0+rocm.7.2.3"]
)
def test_versions_in_their_canonical_spelling(text: str) -> None:
    assert types.pep440_version("X_VERSION", text) == types.Checked(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("not a version", "expected a version such as"), ("", "expected a version such as"),
        ("main", "expected a version such as"), ("1.0+", "expected a version such as"),
        ("v1", "expected 1, its"), ("0.12.0-rc1", "expected 0.12.0rc1, its"), ("1.0+ROCm", "expected 1.0+rocm, its"),
        ("1.0+rocm_7", "expected 1.0+rocm.7, its"), ("01.0", "expected 1.0, its"), (" 1.0", "expected 1.0, its"),
        ("1.0\n", "expected 1.0, its"), ("1.0-1", "expected 1.0.post1, its"),
    ],
)  # fmt: skip
def test_a_version_in_another_spelling_is_refused(text: str, hint: str) -> None:
    """A wheel's file name has the canonical one, and whatever looks for the other finds none."""
    (problem,) = types.pep440_version("X_VERSION", text).problems
    assert (problem.reference, problem.hint.startswith(hint)) == ("wrong-value", True)


def test_ubuntu_codenames() -> None:
    assert types.ubuntu_codename("noble") == types.Checked("noble")
    (problem,) = types.ubuntu_codename("nobel").problems
    assert (problem.reference, problem.hint) == ("wrong-value", "did you mean noble?")


# --- all arguments of a stack ---------------------------------------------------------------


def spec(name: str, kind: str, default: str = "", feature: str = "") -> ArgSpec:
    return ArgSpec(
        name, kind, default, feature, types.NIC_BACKENDS if kind == "nic-backend" else (), Place("s.yaml", 9, 3),
        nic=types.NEEDS_AINIC if kind == "ainic-version" else (),
    )  # fmt: skip


STACK = replace(
    stacks.load("local"),
    name="whole",
    args=(
        spec("PYTORCH_ROCM_ARCH", "arch-list", "gfx942"),
        spec("DEEPEP_ROCM_ARCH", "arch-list", "gfx942;gfx950", "deepep"),
        spec("NIC_BACKEND", "nic-backend", "none"),
        spec("AINIC_VERSION", "ainic-version", "1.117.5-a-77"),
        spec("UBUNTU_CODENAME", "ubuntu-codename", "jammy"),
        spec("COLOUR", "text", "blue"),
        spec("PINNED", "text"),
    ),
    pins={"PINNED": "abc", "OTHER": "x"},
)


def resolved(environ: dict[str, str] | None = None, stack: Stack = STACK, **flags: str) -> Resolved:
    named = {"--" + name.replace("_", "-"): value for name, value in flags.items()}
    return resolve_args(stack, capture(named, environ or {}), ARCHS)


def test_defaults_know_their_place() -> None:
    found = resolved()
    assert (found.problems, found.notices) == ((), ())
    assert {arg.name: (arg.value, arg.source) for arg in found.values} == {
        "PYTORCH_ROCM_ARCH": ("gfx942", "stack s.yaml:9:3"),
        "DEEPEP_ROCM_ARCH": ("gfx942;gfx950", "stack s.yaml:9:3"),
        "NIC_BACKEND": ("none", "stack s.yaml:9:3"),
        "UBUNTU_CODENAME": ("jammy", "stack s.yaml:9:3"),
        "COLOUR": ("blue", "stack s.yaml:9:3"),
        "PINNED": ("abc", "pins.json"),
    }


def test_flag_beats_environment() -> None:
    found = resolved({"PYTORCH_ROCM_ARCH": "gfx90a", "UBUNTU_CODENAME": "noble"}, arch="gfx950")
    sources = {arg.name: (arg.value, arg.source) for arg in found.values}
    assert sources["PYTORCH_ROCM_ARCH"] == ("gfx950", "flag --arch")
    assert sources["UBUNTU_CODENAME"] == ("noble", "environment")


@pytest.mark.parametrize(("nic", "there"), [("none", False), ("bnxt", False), ("ainic", True), ("all", True)])
@pytest.mark.parametrize("pinned", [False, True])
def test_the_default_ainic_version_is_an_argument_only_where_it_counts(nic: str, there: bool, pinned: bool) -> None:
    stack = STACK
    if pinned:
        bare = spec("AINIC_VERSION", "ainic-version")
        args = tuple(bare if arg.name == bare.name else arg for arg in STACK.args)
        stack = replace(STACK, args=args, pins={"AINIC_VERSION": "1.117.5-a-77"})
    found = resolved({"NIC_BACKEND": nic}, stack)
    assert found.problems == ()
    assert found.get("AINIC_VERSION") == ("1.117.5-a-77" if there else "")


def test_a_given_ainic_version_without_its_backend_is_refused() -> None:
    assert [p.reference for p in resolved({"AINIC_VERSION": "1.2"}).problems] == ["unused-ainic"]
    assert resolved({"AINIC_VERSION": "1.2"}, nic_backend="all").problems == ()


def test_a_standard_name_that_the_stack_does_not_have_is_refused() -> None:
    bare = replace(STACK, args=(spec("NIC_BACKEND", "nic-backend", "ainic"),), pins={})
    given_names = {"PYTORCH_ROCM_ARCH": "gfx942", "UBUNTU_CODENAME": "noble", "AINIC_VERSION": "1.2"}
    found = resolved(given_names, bare).problems
    assert [p.reference for p in found] == ["unused-arg"] * 3
    assert all(
        name in problem.message for name, problem in zip(sorted(given_names), sorted_by_name(found), strict=True)
    )


def sorted_by_name(problems: tuple[Problem, ...]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.message.rpartition(" ")[2])


def test_all_wrong_arguments_at_once() -> None:
    environ = {"PYTORCH_ROCM_ARCH": "gfx94a", "DEEPEP_ROCM_ARCH": "gfx90a", "UBUNTU_CODENAME": "x"}
    found = resolved(environ, nic_backend="anic").problems
    assert [p.reference for p in found] == ["unknown-arch", "unsupported-arch", "unknown-nic", "wrong-value"]


def test_a_problem_says_where_the_value_comes_from() -> None:
    wrong = replace(STACK, args=(spec("PYTORCH_ROCM_ARCH", "arch-list", "gfx94a"),))
    (in_stack,) = resolved(stack=wrong).problems
    assert str(in_stack.place) == "s.yaml:9:3"
    (in_flag,) = resolved(stack=wrong, arch="native").problems
    assert (in_flag.place, "flag --arch" in in_flag.context) == (None, True)


def test_what_is_set_but_empty_is_told_once() -> None:
    given = capture({}, {"NIC_BACKEND": "", "AINIC_VERSION": " "})
    both = (*settings.problems(given), *resolve_args(STACK, given, ARCHS).problems)
    told = [problem for problem in ConfigError.of(both).problems if problem.reference == "empty-value"]
    assert sorted(problem.message.split()[2] for problem in told) == ["AINIC_VERSION", "NIC_BACKEND"]


def test_values_of_one_name() -> None:
    assert (resolved().get("COLOUR"), resolved().get("NOTHING")) == ("blue", "")
