"""The bake definition: every string arrives as it is, and only what a build needs is in it."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ci.build import definition
from ci.build.inputs import Inputs
from ci.errors import Place
from ci.recipe.stack import Tier

TIER = Tier("ci-base", "Dockerfile", "ci_base", (("BASE", "base"),), (), (), Place("s.yaml"))
HARD = ("${x}", "$${x}", "$$${", "%{if}", "%%{", "$%{", '"q" \\', "a\nb\r\tc", "é\u2028😀", "$", "%", "", "a=b,c")


def inputs(*args: tuple[str, str], contexts: tuple[str, ...] = ("recipe",)) -> Inputs:
    return Inputs(TIER, "FROM x\n", args, (), {name: {} for name in contexts}, None)


def define(*args: tuple[str, str], contexts: tuple[str, ...] = ("recipe",), **changes: object) -> dict[str, object]:
    given_values: dict[str, object] = {
        "platform": "linux/amd64", "name": "a:b", "labels": {}, "parents": {}, "secrets": (), "cache": {},
    } | changes  # fmt: skip
    made = definition.define(inputs(*args, contexts=contexts), **given_values)  # type: ignore[arg-type]
    assert list(made) == ["target"]
    assert list(made["target"]) == ["ci-base"]
    target: dict[str, object] = made["target"]["ci-base"]
    return target


def unescape(text: str) -> str:
    """What HCL makes of a JSON string: a template, in which ``$${`` stands for ``${`` and ``%%{`` for ``%{``."""
    out, at = "", 0
    while at < len(text):
        if text[at : at + 3] in {"$${", "%%{"}:
            out, at = out + text[at + 1 : at + 3], at + 3
        elif text[at : at + 2] in {"${", "%{"}:
            raise AssertionError(f"a template begins at {at} of {text!r}")
        else:
            out, at = out + text[at], at + 1
    return out


@given(st.text() | st.text("$%{}x"))
def test_no_string_is_read_as_a_template(text: str) -> None:
    target = define(("A", text), labels={"l": text}, name=text, parents={"P": text})
    again = json.loads(json.dumps(target, ensure_ascii=False))
    assert unescape(again["args"]["A"]) == unescape(again["args"]["P"]) == unescape(again["labels"]["l"]) == text
    assert unescape(again["output"][0]) == f"type=image,name={text}"


def test_a_parent_beats_an_argument_of_its_name() -> None:
    target = define(("BASE", "pending"), ("A", "1"), parents={"BASE": "a:b@sha256:1"})
    assert target["args"] == {"BASE": "a:b@sha256:1", "A": "1"}


def test_the_whole_definition() -> None:
    target = define(
        ("A", ""),
        contexts=("recipe", "src"),
        labels={"x": "y"},
        secrets=("ca", "max_jobs"),
        cache={"from": ("type=registry,ref=r",), "to": ("type=registry,ref=r,mode=max",)},
    )
    assert target == {
        "context": "context/recipe",
        "dockerfile": "../../Dockerfile",
        "target": "ci_base",
        "platforms": ["linux/amd64"],
        "args": {"A": ""},
        "labels": {"x": "y"},
        "contexts": {"src": "context/src"},
        "secret": ["type=file,id=ca,src=ca.pem", "type=env,id=max_jobs,env=ROCM_CI_SECRET_MAX_JOBS"],
        "cache-from": ["type=registry,ref=r"],
        "cache-to": ["type=registry,ref=r,mode=max"],
        "output": ["type=image,name=a:b"],
    }


def test_the_dockerfile_is_two_folders_above_its_context() -> None:
    target = define()
    folder = Path("/run") / str(target["context"])
    assert (folder / str(target["dockerfile"])).resolve() == Path("/run/Dockerfile")


def test_what_is_empty_is_left_out() -> None:
    assert set(define()) == {"context", "dockerfile", "target", "platforms", "output"}


def test_no_secret_value_is_in_the_definition() -> None:
    secrets = {"ca": "PEM hunter2", "https_proxy": "http://me:hunter2@proxy"}
    assert "hunter2" not in json.dumps(define(secrets=tuple(secrets)))
    assert definition.secret_environment(secrets) == {"ROCM_CI_SECRET_HTTPS_PROXY": "http://me:hunter2@proxy"}


def test_the_files_of_a_stage_instead_of_an_image() -> None:
    target = define(stage="made", labels={})
    assert (target["target"], target["output"]) == ("made", [f"type=local,dest={definition.FILES}"])
    assert "labels" not in target


def test_a_folder_stands_in_for_a_stage() -> None:
    target = define(contexts=("recipe", "src"), given={"made": "artifact/files"})
    assert target["contexts"] == {"src": "context/src", "made": "artifact/files"}
    assert (target["target"], target["output"]) == ("ci_base", ["type=image,name=a:b"])
