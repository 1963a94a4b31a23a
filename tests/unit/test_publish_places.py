"""Where a channel stands: what it names itself wins, and an option that is empty means nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ci.errors import ConfigError, ContractError
from ci.publish import channel
from ci.publish.manifest import Standing
from ci.publish.places import open_places
from ci.recipe import stack
from ci.settings import capture
from ci.world.fakes import FakeClock
from ci.world.store_lease import Holder


def work(environ: dict[str, str]) -> Any:
    local = stack.load("local")
    return SimpleNamespace(
        settings=capture({}, environ), stack=local, place=None, clock=FakeClock(), registry=None, state=Path("/x")
    )


def opened(tmp_path: Path, own: str, given: str) -> str:
    channels = channel.load(stack.load("local"))
    named = {
        **channels.channels,
        "nightly": replace(channels.channels["nightly"], store=own, registry="localhost:5000"),
    }
    environ = {"ROCM_CI_STORE": given} if given else {}
    found = open_places(work(environ), replace(channels, channels=named), "nightly", tmp_path, print)
    return found.whole.name


def test_a_store_of_its_own_wins(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "given").mkdir()
    own, given = str(tmp_path / "own"), str(tmp_path / "given")
    assert opened(tmp_path, own, given) == own
    assert opened(tmp_path, "", given) == given
    with pytest.raises(ConfigError, match="no store for wheels"):
        opened(tmp_path, "", "")


def test_a_channel_without_a_registry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has images and no registry"):
        open_places(
            work({"ROCM_CI_STORE": str(tmp_path)}), channel.load(stack.load("local")), "nightly", tmp_path, print
        )


def test_a_release_without_wheels_cannot_be_meant(tmp_path: Path) -> None:
    (tmp_path / "channels.yaml").write_text(
        "schema: 1\nnamed_after: x\nimages: {main: test}\nchannels:\n  dev:\n    summary: s\n"
        "    tags: {moving: dev, fixed: commit}\n    index: current\n    retain: {keep: 1, days: 1}\n"
    )
    local = replace(stack.load("local"), recipe=tmp_path, channels="channels.yaml")
    with pytest.raises(ConfigError, match="no wheel is released"):
        channel.load(local)


POINTERS = """\
schema: 1
channels:
  ci:
    summary: what other jobs begin from
    images: {base: base, ci_base: ci-base}
    tags: {fixed: commit}
    retain: {keep: 1, days: 1}
"""


def loaded(tmp_path: Path, text: str) -> channel.Channels:
    (tmp_path / "channels.yaml").write_text(text)
    return channel.load(replace(stack.load("local"), recipe=tmp_path, channels="channels.yaml"))


def test_a_channel_of_images_moves_tags_that_are_called_after_them(tmp_path: Path) -> None:
    found = loaded(tmp_path, POINTERS)
    ci = found.channel("ci")
    assert found.images_of(ci) == {"base": "base", "ci_base": "ci-base"}
    assert [str(ci.moving(name)) for name in ci.images] == ["base", "ci_base"]
    assert str(ci.staying("ci_base", "c" * 40, "")) == f"ci_base-{'c' * 40}"
    local = channel.load(stack.load("local"))
    assert local.images_of(local.channel("nightly")) == local.images


@pytest.mark.parametrize(
    ("old", "new", "reference"),
    [
        ("fixed: commit", "moving: x, fixed: commit", "wrong-images"),
        ("fixed: commit", "fixed: version", "wrong-images"),
        ("base: base, ci", "main: base, ci", "wrong-images"),
        ("    retain", "    index: current\n    retain", "wrong-images"),
        ("    retain", "    promoted: true\n    git_tag: v{version}\n    retain", "wrong-images"),
        ("ci-base}", "ci-bass}", "unknown-tier"),
        ("    images: {base: base, ci_base: ci-base}\n", "", "missing-key"),
    ],
)
def test_what_a_channel_of_images_cannot_be(tmp_path: Path, old: str, new: str, reference: str) -> None:
    assert old in POINTERS
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, POINTERS.replace(old, new))
    assert reference in {problem.reference for problem in caught.value.problems}


def test_two_channels_cannot_share_a_pointer_of_images(tmp_path: Path) -> None:
    again = POINTERS.partition("channels:\n")[2].replace("  ci:", "  cd:")
    with pytest.raises(ConfigError, match="both move the tag base") as caught:
        loaded(tmp_path, POINTERS + again)
    assert len(caught.value.problems) == 2
    loaded(tmp_path, POINTERS + again.replace("    retain", "    repository: a/b\n    retain"))


def test_what_ships_can_be_read() -> None:
    for name in stack.shipped():
        found = channel.load(stack.load(name))
        assert found.channels["ci"].images == {"base": "base", "ci_base": "ci-base"}
        assert {"dev", "nightly", "release"} <= found.channels.keys()
        assert found.channels["release"].promoted
        assert found.channels["nightly"].suites


@pytest.mark.parametrize(("name", "value"), [("sequence", "1"), ("at", 5), ("commit", None), ("listed", [1])])
def test_a_standing_with_the_wrong_types_is_no_bug_of_ours(name: str, value: object) -> None:
    good = Standing(1, "run", "release", "2026-01-01T00:00:00Z", "a" * 40, "b" * 64)
    document = json.loads(good.encode())
    assert Standing.decode(json.dumps(document).encode(), "x") == good
    with pytest.raises(ContractError, match="x is not what this tool writes"):
        Standing.decode(json.dumps({**document, name: value}).encode(), "x")


@pytest.mark.parametrize(("name", "value"), [("lasts", "x"), ("count", None), ("pid", "1")])
def test_a_lease_with_the_wrong_types_is_no_bug_of_ours(name: str, value: object) -> None:
    good = Holder("run", 1, 300.0, 1, 2, "boot", "space")
    document = json.loads(good.encode())
    assert Holder.decode(json.dumps(document).encode(), "x") == good
    with pytest.raises(ContractError, match="x is not what this tool writes"):
        Holder.decode(json.dumps({**document, name: value}).encode(), "x")
