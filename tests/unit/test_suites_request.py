"""What somebody asks of ``test``, as typed; and the model cache a step asks for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ci.build.perform import Shown
from ci.build.scope import ALONE, Scope, Trust
from ci.errors import CiError, ConfigError
from ci.recipe import stack as stacks
from ci.settings import capture
from ci.suites import models
from ci.suites.images import Bundle
from ci.suites.job import Job, handed_over
from ci.suites.plan import Wish
from ci.suites.request import Request, read


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Request("all", Wish())),
        ({"only": ["a", "b"], "require-gpu": True}, Request("all", Wish(("a", "b"), True))),
        ({"deadline": "90"}, Request("all", Wish(deadline=5400.0))),
        ({"deadline": "0.5"}, Request("all", Wish(deadline=30.0))),
        ({"jobs": "auto"}, Request("all", Wish(), jobs=0)),
        ({"jobs": "3"}, Request("all", Wish(), jobs=3)),
        ({"jobs": "1", "shard": "2/4"}, Request("all", Wish(), (2, 4))),
        ({"shard": "4/4", "durations": "d.json"}, Request("all", Wish(), (4, 4), durations="d.json")),
        ({"image": "r:t"}, Request("all", Wish(), image="r:t")),
        ({"handoff": "a.json", "source": ["a=b"]}, Request("all", Wish(), handoff="a.json", sources=("a=b",))),
        ({"artifact": "dist", "allow-fallback": True}, Request("all", Wish(), bundle=Bundle("dist", True))),
    ],
)
def test_what_can_be_meant(values: Mapping[str, Any], expected: Request) -> None:
    assert read("all", values, "docker") == expected


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "1000", "AUTO", " 2", "\u0663"])
def test_jobs_that_are_no_number(text: str) -> None:
    with pytest.raises(ConfigError, match="--jobs cannot be"):
        read("all", {"jobs": text}, "docker")


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "1/2/3", "-1/4", "01/4", "1/4\n"])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--shard cannot be"):
        read("all", {"shard": text}, "docker")


@pytest.mark.parametrize("text", ["0", "0.0", "-5", "1h", "1e3", "123456", "nan"])
def test_deadlines_that_are_no_minutes(text: str) -> None:
    with pytest.raises(ConfigError, match="--deadline cannot be"):
        read("all", {"deadline": text}, "docker")


@pytest.mark.parametrize(
    ("values", "runtime"),
    [
        ({"image": "r:t"}, "native"),
        ({"jobs": "2"}, "native"),
        ({"jobs": "auto"}, "native"),
        ({"artifact": "dist"}, "native"),
        ({"jobs": "2", "shard": "1/2"}, "docker"),
        ({"image": "r:t", "artifact": "dist"}, "docker"),
        ({"allow-fallback": True}, "docker"),
        ({"handoff": "buildkite"}, "native"),
        ({"handoff": "buildkite", "image": "r:t"}, "docker"),
        ({"handoff": "buildkite", "artifact": "dist"}, "docker"),
    ],
)
def test_options_that_mean_nothing_together(values: Mapping[str, Any], runtime: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read("all", values, runtime)
    wanted = "fallback-without-artifact" if "allow-fallback" in values else "unused-option"
    assert caught.value.problems[0].reference == wanted
    assert caught.value.problems[0].hint


# --- the model cache --------------------------------------------------------------------------------

MODEL = "Qwen/Qwen1.5-MoE-A2.7B"


def cache(folder: Path, *, weights: bool = True, partly: bool = False) -> Path:
    """A model cache as the hub's client lays it out."""
    model = folder / "hub/models--Qwen--Qwen1.5-MoE-A2.7B"
    (model / "blobs").mkdir(parents=True)
    (model / "snapshots/abc").mkdir(parents=True)
    if weights:
        (model / "blobs/123").write_text("weights")
    if partly:
        (model / "blobs/456.incomplete").write_text("wei")
    (model / "snapshots/abc/model.safetensors").symlink_to("../../blobs/123")
    return folder


def test_a_cache_that_has_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models.check(str(cache(tmp_path / "cache")), [MODEL]) == tmp_path / "cache"
    monkeypatch.chdir(tmp_path)
    assert models.check("cache", [MODEL]) == tmp_path / "cache", "a container's mount has to be absolute"


@pytest.mark.parametrize(
    ("made", "models_", "reference", "message"),
    [
        ({}, ["other/model"], "no-model", "lacks other/model"),
        ({}, [MODEL, "other/model"], "no-model", "lacks other/model"),
        ({"weights": False}, [MODEL], "no-model", f"lacks {MODEL}"),  # a link whose blob is gone
        ({"partly": True}, [MODEL], "no-model", f"{MODEL} (a download of it broke off)"),
    ],
)
def test_a_cache_that_lacks_a_model(
    tmp_path: Path, made: Mapping[str, bool], models_: list[str], reference: str, message: str
) -> None:
    with pytest.raises(CiError) as caught:
        models.check(str(cache(tmp_path, **made)), models_)
    (problem,) = caught.value.problems
    assert (problem.reference, message in problem.message, caught.value.exit_code) == (reference, True, 4)
    assert f"hf download {'other/model' if 'other' in message else MODEL}" in problem.hint


def test_a_cache_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CiError) as unset:
        models.check("", [MODEL])
    assert (unset.value.exit_code, MODEL in str(unset.value)) == (2, True)
    with pytest.raises(CiError) as unmounted:
        models.check(str(tmp_path), [MODEL])
    assert (unmounted.value.exit_code, "has no folder hub" in str(unmounted.value)) == (4, True)


class Heard:
    """What a run says, and nothing else of a screen."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    warn = say

    def build(self, tier: str, progress: object) -> AbstractContextManager[Shown]:
        raise AssertionError(tier, progress)


def test_a_trusted_run_hands_over_the_secrets_of_its_environment() -> None:
    heard = Heard()
    assert handed_over(ALONE, capture({}, {"HF_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "s"}), heard) == {"HF_TOKEN": "t"}
    assert heard.lines == []


def test_an_untrusted_run_hands_over_nothing_and_says_so() -> None:
    heard, stranger = Heard(), Scope(Trust.UNTRUSTED, "a pull request from a fork")
    assert handed_over(stranger, capture({}, {"HF_TOKEN": "t"}), heard) == {}
    assert heard.lines == ["no step gets HF_TOKEN: untrusted: a pull request from a fork"]
    assert handed_over(stranger, capture({}, {}), heard) == {}
    assert len(heard.lines) == 1


def outlook(tiers: tuple[str, ...], bundle: Bundle) -> dict[str, str]:
    """The images that the plan of a run tells of, every tier of the local stack being there."""
    local = stacks.load("local")
    there = [SimpleNamespace(name=name, tag=f"rocm-ci/local:{name}", decision="reuse") for name in tiers]
    work: Any = SimpleNamespace(stack=local, plan=lambda _tiers: SimpleNamespace(tiers=there))
    nothing: Any = None
    plan: Any = SimpleNamespace(tiers=tiers)
    return Job(Request("all", Wish(), bundle=bundle), work, nothing, nothing, plan).outlook()


def test_the_plan_tells_of_the_bundle_an_image_would_be_made_of() -> None:
    reused = {"base": "rocm-ci/local:base (reuse)", "test": "rocm-ci/local:test (reuse)"}
    assert outlook(("base", "test"), Bundle()) == reused
    made = "made of its parents and the bundle in dist"
    assert outlook(("base", "test"), Bundle("dist")) == {**reused, "test": made}
    with pytest.raises(ConfigError, match="none of its tiers has an artifact stage"):
        outlook(("base",), Bundle("dist"))
