"""What a target reaches: stages, arguments, images, files, remotes; and what is refused by line."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from ci.errors import ConfigError
from ci.recipe.dockerfile import FileNeed, ImageNeed, Reach, RemoteNeed, parse, reach

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def reached(
    text: str,
    target: str | None = None,
    args: Mapping[str, str] | None = None,
    *,
    platform: str = "linux/amd64",
    contexts: Collection[str] = (),
) -> Reach:
    return reach(parse(text, "D"), target, args or {}, platform=platform, contexts=contexts)


def refused(text: str, **options: object) -> list[tuple[int, str]]:
    """(line, reference) of every problem of reading and reaching ``text``."""
    with pytest.raises(ConfigError) as raised:
        reached(text, **options)  # type: ignore[arg-type]
    assert all(problem.place and problem.place.file == "D" for problem in raised.value.problems)
    return [(problem.place.line if problem.place else 0, problem.reference) for problem in raised.value.problems]


def sources(found: Reach) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(need.context, need.how, need.sources) for need in found.files]


STAGES = """\
ARG BASE=debian:13
FROM $BASE AS a
COPY one /
FROM scratch AS unused
COPY never /
FROM a AS b
RUN --mount=type=bind,from=c,target=/x true
FROM busybox AS c
COPY --from=0 /one /
FROM scratch
COPY --from=B / /
RUN --mount=type=cache,from=c,target=/y,source=/z true
"""


def test_stages_are_reached_by_from_copy_and_mounts() -> None:
    fixed = STAGES.replace("from=c,target=/x", "from=a,target=/x")
    found = reached(fixed)
    assert found.stages == ("a", "b", "c", "#4")
    assert found.target == "#4"
    assert [image.ref for image in found.images] == ["debian:13", "busybox"]
    assert reached(fixed, "UNUSED").stages == ("unused",)
    assert sources(reached(fixed, "b")) == [("", "copy", ("one",))]


def test_a_base_is_never_a_stage_that_comes_later() -> None:
    found = reached("FROM debian AS debian\nFROM late AS x\nFROM debian AS late\nCOPY --from=x a b\n")
    assert found.stages == ("debian", "x", "late")
    assert [image.ref for image in found.images] == ["debian", "late"]


def test_a_later_stage_cannot_be_a_source() -> None:
    assert refused(STAGES) == [(7, "dockerfile-later-stage")]
    assert refused("FROM a AS x\nCOPY --from=x a b\n") == [(2, "dockerfile-later-stage")]
    assert refused("FROM a\nCOPY --from=7 a b\n") == [(2, "dockerfile-no-stage")]


def test_instructions_are_canonical_and_an_argument_is_one_change() -> None:
    text = 'ARG V=1\nFROM a:$V AS x\n# c\nARG N="1 2" M\n\nRUN a \\\n  # c\n\n  b  \nCOPY <<E /e\n# kept \n\nE\n'
    found = reached(text)
    assert found.instructions == (
        ("x", 2, "FROM a:$V AS x"),
        ("x", 4, "ARG N M"),
        ("x", 6, "RUN a   b"),
        ("x", 10, "COPY <<E /e\n# kept \n\nE"),
    )
    assert found.args == (("N", "1 2"), ("V", "1"))
    assert found.unset == ("M",)
    changed = reached(text.replace('"1 2"', "3"))
    assert changed.instructions == found.instructions
    assert changed.args == (("N", "3"), ("V", "1"))


@pytest.mark.parametrize(
    ("text", "passed", "args", "unset"),
    [
        ("ARG A=1\nFROM x\nARG A\n", {}, {"A": "1"}, ()),
        ("ARG A=1\nFROM x\nARG A=2\n", {}, {"A": "2"}, ()),
        ("ARG A=1\nFROM x\nARG A=2\n", {"A": "3"}, {"A": "3"}, ()),
        ("ARG A=1\nFROM x\n", {"A": "3"}, {}, ()),
        ("ARG A\nFROM x:${A:-9}\nARG A\n", {}, {}, ("A",)),
        ("ARG A=1\nARG B=$A.2\nFROM x:$B\n", {}, {"A": "1", "B": "1.2"}, ()),
        ("FROM x\nARG A=1\nARG B=$A.2 C=${B}.3\n", {}, {"A": "1", "B": "1.2", "C": "1.2.3"}, ()),
        ("FROM x\nARG A=1\nENV A=2\nARG B=$A\n", {}, {"A": "1", "B": "2"}, ()),
        ("FROM x\nENV A=1 B=$A\nENV C=$B\nARG D=$A\n", {}, {"D": "1"}, ()),
        ("FROM x AS y\nARG A=1\nENV B=2\nFROM y\nARG C=$A$B\n", {}, {"A": "1", "C": "12"}, ()),
        ("FROM x AS y\nARG A=1\nFROM z\nCOPY --from=y a b\nARG A=1\n", {}, {"A": "1"}, ()),
        ("ARG A=0\nFROM x:$A AS y\nARG A=1\nFROM y\nARG A\n", {}, {"A@FROM": "0", "A@y": "1", "A@#1": "0"}, ()),
        ("FROM x AS y\nARG A=1\nARG A=2\nFROM y\nARG A\n", {}, {"A@y": "1", "A@y#2": "2"}, ("A@#1",)),
        ("FROM x\nARG A=''\n", {}, {"A": ""}, ()),
        ("FROM x\nARG TARGETARCH TARGETVARIANT TARGETPLATFORM\n", {}, "arm", ()),
        ("FROM x\nARG TARGETARCH=mine\n", {}, {"TARGETARCH": "mine"}, ()),
    ],
)
def test_argument_scopes(text: str, passed: dict[str, str], args: dict[str, str] | str, unset: tuple[str, ...]) -> None:
    found = reached(text, args=passed, platform="linux/arm64/v8")
    if args == "arm":
        args = {"TARGETARCH": "arm64", "TARGETPLATFORM": "linux/arm64", "TARGETVARIANT": ""}
    assert dict(found.args) == args
    assert list(found.args) == sorted(found.args)
    assert found.unset == unset


def test_declared_names_what_may_be_passed() -> None:
    text = "ARG A=1\nARG B=$A\nARG NO=1\nFROM x:$B AS y\nARG C\nFROM z AS other\nARG NO2\nFROM y\nCOPY --from=img a b\n"
    assert reached(text).declared == {"A", "B", "C"}


def test_images_with_their_platform_and_how_they_are_used() -> None:
    text = (
        "ARG V=1\nFROM --platform=$BUILDPLATFORM a:$V AS x\nCOPY --from=b:1 /a /b\n"
        "RUN --mount=type=bind,from=c,target=/c true\nFROM scratch\nCOPY --from=x / /\n"
    )
    assert reached(text).images == (
        ImageNeed("a:1", "linux/amd64", "x", 2, "from"),
        ImageNeed("b:1", None, "x", 3, "copy"),
        ImageNeed("c", None, "x", 4, "mount"),
    )


def test_named_contexts_stand_in_for_stages_and_images() -> None:
    text = (
        "FROM base AS one\nCOPY a /\nFROM docker.io/library/debian:latest AS two\nCOPY --from=one x /\n"
        "COPY --from=src y z/../w /\nRUN --mount=type=bind,from=src,source=./q,target=/q true\nFROM one\n"
    )
    found = reached(text, "two", contexts={"one", "src", "debian"})
    assert found.stages == ("two",)
    assert found.images == ()
    assert found.contexts == ("debian",)
    assert sources(found) == [("one", "copy", ("x",)), ("src", "copy", ("y", "w")), ("src", "bind", ("q",))]
    assert reached(text, contexts={"one", "src"}).contexts == ("one",)
    assert reached(text, "one", contexts={"one"}).stages == ()


def test_file_needs() -> None:
    text = (
        "FROM scratch\nARG D=dir\nENV E=$D/sub\nWORKDIR /nowhere\n"
        'COPY --chown=1 --exclude=*.o --exclude=x "$E" ./$D/../b /c/ ../../up /to/\n'
        'ADD ["a b", "*.tar", "/to"]\n'
        "RUN --mount=target=/all --mount=type=bind,src=${D}/f,dst=/f,rw --mount=type=cache,target=/k true\n"
        "COPY --parents ./a/./b/*.c x/../y /p/\n"
        "COPY --link <<A $D/z <<'B' /h/\nA\nB\n"
    )
    assert reached(text).files == (
        FileNeed("", ("dir/sub", "b", "c", "up"), 5, "copy", ("*.o", "x"), False, "D"),
        FileNeed("", ("a b", "*.tar"), 6, "add", (), False, "D"),
        FileNeed("", (".",), 7, "bind", (), False, "D"),
        FileNeed("", ("dir/f",), 7, "bind", (), False, "D"),
        FileNeed("", ("a/./b/*.c", "y"), 8, "copy", (), True, "D"),
        FileNeed("", ("dir/z",), 9, "copy", (), False, "D"),
    )


def test_onbuild_applies_to_the_child_stage() -> None:
    text = (
        "ARG REMOTE=0\nFROM base AS fetch_0\nONBUILD ARG W=1\nONBUILD COPY --from=tools /t /t\n"
        "ONBUILD COPY d$W e/\nFROM base AS fetch_1\nRUN git clone x\n"
        "FROM alpine AS tools\nFROM fetch_${REMOTE} AS fetch\nFROM scratch\nCOPY --from=fetch / /\n"
    )
    assert "tools" not in reached(text, "fetch_0").stages
    assert reached(text, "fetch_0").files == ()
    assert refused(text.replace("FROM alpine AS tools\n", "") + "FROM a AS tools\n", target="fetch") == [
        (4, "dockerfile-later-stage")
    ]
    found = reached(text)
    assert found.stages == ("fetch_0", "tools", "fetch", "#4")
    assert sources(found) == [("", "copy", ("d1",))]
    assert ("fetch_0", 3, "ONBUILD ARG W=1") in found.instructions
    assert dict(found.args) == {"REMOTE": "0", "W": "1"}
    assert reached(text, args={"REMOTE": "1"}).stages == ("fetch_1", "fetch", "#4")


def test_remotes() -> None:
    text = (
        f"FROM a\nARG R={COMMIT}\nADD https://x/y.tgz /\nADD --checksum=sha256:12 https://x/z.tgz?a=b /\n"
        "ADD https://h/r.git#$R:sub /a\nADD git@h:o/r.git#v1 /b\n"
        f"ADD --checksum=$R https://h/r.git?tag=v1 /c\nADD https://h/r.git?ref={COMMIT}&subdir=s /d\n"
        "ADD github.com/o/r /e\n"
    )
    found = reached(text)
    assert found.remotes == (
        RemoteNeed("https://x/y.tgz", None, None, False, "#0", 3),
        RemoteNeed("https://x/z.tgz?a=b", "sha256:12", None, False, "#0", 4),
        RemoteNeed(f"https://h/r.git#{COMMIT}:sub", None, COMMIT, True, "#0", 5),
        RemoteNeed("git@h:o/r.git#v1", None, None, True, "#0", 6),
        RemoteNeed("https://h/r.git?tag=v1", COMMIT, COMMIT, True, "#0", 7),
        RemoteNeed(f"https://h/r.git?ref={COMMIT}&subdir=s", None, COMMIT, True, "#0", 8),
    )
    assert sources(found) == [("", "add", ("github.com/o/r",))]


@pytest.mark.parametrize(
    "line",
    [
        "COPY $HOME/x /",
        "ADD ${X:-a} /",
        "RUN --mount=type=bind,source=$X,target=/x true",
        "ENV P=$PATH\nCOPY $P /",
        "ARG X\nCOPY $X /",
        "ARG X=$HOME\nCOPY $X /",
        "COPY --from=ctx $X /",
    ],
)
def test_a_value_the_base_image_may_set_is_never_guessed(line: str) -> None:
    text = f"FROM base\n{line}\n"
    assert refused(text, contexts={"ctx"}) == [(text.count("\n"), "unknown-variable")]
    # Nothing can set it where there is no base image; and what a stage copies needs no guess.
    reached(text.replace("base", "scratch"), contexts={"ctx"})
    reached("FROM base AS ctx\nFROM base\nCOPY --from=ctx $X /\n")


def test_a_default_the_base_image_decides_stays_in_the_text() -> None:
    found = reached("FROM base\nARG P=/opt:$PATH\n")
    assert found.instructions[1][2] == "ARG P=/opt:$PATH"
    assert found.args == (("P", "/opt:$PATH"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [(0, "dockerfile-empty")]),
        ("RUN x\nFROM a\n", [(1, "dockerfile-no-stage")]),
        ("FROM a\nCOPPY a b\nFROM\nRUN --mout=x y\n", [
            (2, "dockerfile-unknown-instruction"), (3, "dockerfile-from"), (4, "dockerfile-flag")]),
        ("FROM a AS 1x\nFROM a b c\n", [(1, "dockerfile-from"), (2, "dockerfile-from")]),
        ("FROM a AS x\nFROM b AS X\n", [(2, "dockerfile-stage-twice")]),
        ("FROM a AS Base\nFROM Base\n", [(2, "dockerfile-from-case")]),
        ("ARG V\nFROM $V\n", [(2, "dockerfile-from-empty")]),
        ("ARG V=${A!}\nFROM a\n", [(1, "dockerfile-expansion")]),
        ("FROM ${A^}\n", [(1, "dockerfile-expansion")]),
        ("FROM a\nCOPY --from=$X a b\nCOPY a\nCOPY a <<E\nE\n", [
            (2, "dockerfile-copy-from"), (3, "dockerfile-copy"), (4, "dockerfile-copy")]),
        ("FROM a\nCOPY --link=maybe a b\nCOPY --link --link a b\nCOPY --chown a b\n", [
            (2, "dockerfile-flag"), (3, "dockerfile-flag"), (4, "dockerfile-flag")]),
        ("FROM a\nRUN --mount=type=bnd,target=/x y\nRUN --mount=tget=/x y\nRUN --mount=from=$X,target=/x y\n", [
            (2, "dockerfile-mount"), (3, "dockerfile-mount"), (4, "dockerfile-mount")]),
        ("FROM a\nRUN --mount=from=0,target=/x y\nRUN --mount=type=tmpfs,from=b,target=/x y\n", [
            (2, "dockerfile-mount"), (3, "dockerfile-mount")]),
        ("FROM a\nRUN --mount=source y\nRUN --mount='source=\\\"a\\\"' y\n", [
            (2, "dockerfile-mount"), (3, "dockerfile-mount")]),
        ("FROM a\nONBUILD FROM b\nONBUILD\nARG\nARG =1\nENV =1\n", [
            (2, "dockerfile-onbuild"), (3, "dockerfile-onbuild"), (4, "dockerfile-arg"), (5, "dockerfile-arg"),
            (6, "dockerfile-env")]),
        ("FROM a\nRUN <<E\nx\n", [(2, "dockerfile-syntax")]),
        ("FROM a\nCOPY 'x /\nCOPY https://x /y\nADD ftp://x /y\nENV $A=b\nENV A=${B^}\n", [
            (2, "dockerfile-expansion"), (3, "dockerfile-source"), (4, "dockerfile-source"),
            (5, "unknown-variable"), (6, "dockerfile-expansion")]),
    ],
)  # fmt: skip
def test_what_cannot_be_modelled_is_refused_by_line(text: str, expected: list[tuple[int, str]]) -> None:
    assert refused(text) == expected


def test_suggestions() -> None:
    with pytest.raises(ConfigError) as raised:
        reached("FROM a AS ci-base\n", "ci-bse")
    assert raised.value.problems[0].hint == "Did you mean ci-base?"
    with pytest.raises(ConfigError) as raised:
        parse("FROM a\nRNU x\n", "D")
    assert "RUN" in raised.value.problems[0].hint


def test_directives_are_on_the_file() -> None:
    parsed = parse("# syntax=x/y@sha256:1\n# escape=`\nFROM a\n", "D")
    assert (parsed.syntax, parsed.escape) == ("x/y@sha256:1", "`")


def test_a_child_stage_sees_the_env_of_its_parent_above_an_arg_of_the_same_name() -> None:
    text = "FROM scratch AS s0\nENV A=1\nARG A='x y'\nFROM s0 AS s1\nARG B=$A\nLABEL b=$B\n"
    found = reach(parse(text, "Dockerfile"), "s1", {}, platform="linux/amd64", contexts=())
    assert dict(found.args)["B"] == "1"
