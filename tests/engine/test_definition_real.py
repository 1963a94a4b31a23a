"""The bake definition against the real ``docker buildx bake``; it asks no engine."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from ci.build import definition
from ci.build.inputs import Inputs
from ci.errors import Place
from ci.recipe.stack import Tier
from tests.unit.test_definition import HARD

TIER = Tier("ci-base", "Dockerfile", "ci_base", (), (), (), Place("s.yaml"))


def bake(folder: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        ["docker", "buildx", "bake", "--print", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    targets: dict[str, dict[str, Any]] = json.loads(done.stdout)["target"]
    return targets


def test_bake_takes_every_string_as_it_is(tmp_path: Path) -> None:
    """``--print`` escapes again what it prints, so bake itself hashes what it read."""
    args = tuple((f"A{number}", text) for number, text in enumerate(HARD))
    made = definition.define(
        Inputs(TIER, "", args, (), {"recipe": {}, "src": {}}, None),
        platform="linux/amd64",
        name="a:b",
        labels={"org.rocm-ci.tier": "ci-base"},
        parents={"BASE": "team/base:v1@sha256:" + "1" * 64},
        secrets=("ca", "max_jobs"),
        cache={"from": ("type=registry,ref=localhost:5000/a:b",)},
    )
    (tmp_path / "bake.json").write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
    probes = "".join(f"  {name} = sha256(target.ci-base.args.{name})\n" for name, _ in args)
    (tmp_path / "probe.hcl").write_text(f'target "probe" {{\n args = {{\n{probes} }}\n}}\n')
    found = bake(tmp_path, "-f", "bake.json", "-f", "probe.hcl", "probe")["probe"]["args"]
    assert found == {name: hashlib.sha256(text.encode()).hexdigest() for name, text in args}
    (tmp_path / definition.CA_FILE).write_text("")
    target = bake(tmp_path, "-f", "bake.json", "ci-base")["ci-base"]
    assert target["args"]["BASE"] == "team/base:v1@sha256:" + "1" * 64
    assert target["contexts"] == {"src": "context/src"}
    assert (target["target"], target["dockerfile"]) == ("ci_base", "../../Dockerfile")


def test_bake_reads_nothing_from_the_environment(tmp_path: Path) -> None:
    """A variable of the host with the name of an argument changes nothing."""
    made = definition.define(
        Inputs(TIER, "", (("HOME", "${HOME}"),), (), {"recipe": {}}, None),
        platform="linux/amd64", name="a:b", labels={}, parents={}, secrets=(), cache={},
    )  # fmt: skip
    (tmp_path / "bake.json").write_text(json.dumps(made))
    assert bake(tmp_path, "-f", "bake.json", "ci-base")["ci-base"]["args"] == {"HOME": "$${HOME}"}
