"""The Dockerfile model against BuildKit itself: arguments, stages, copied files, ignored files.

Everything is FROM scratch, so nothing is pulled.  A file's content is its own path: what a
build wrote tells which files it took, wherever they ended up.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci.errors import ConfigError
from ci.recipe.dockerfile import FileNeed, Ignore, parse, reach, select

PLATFORM = "linux/amd64"
PATHS = sorted(
    path + name
    for path, names in {
        "": ["Dockerfile", "top.txt", "top.md"],
        "a/": ["b/deep.txt", "b/deep.o", "one.txt", "two.md"],
        "docs/": ["x.md", "sub/y.md", "sub/more/z.md"],
        "ab/": ["three.txt"],
        "w[x]y/": ["odd"],
        ".hidden/": ["h"],
    }.items()
    for name in names
)


def buildx(*argv: str, cwd: Path, stdin: str | None = None) -> str:
    """One ``docker buildx build``; its output, or a failed test with what it said."""
    command = ["docker", "buildx", "build", *argv]
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    """These run wherever an engine answers."""
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "version"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker engine answers")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("context")
    for path in PATHS:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    return root


def called(text: str, call: str, args: Mapping[str, str], *argv: str) -> dict[str, list[dict[str, str]]]:
    """What ``--call=outline`` or ``targets`` says of a Dockerfile, without a context."""
    flags = [f"--build-arg={name}={value}" for name, value in args.items()]
    with TemporaryDirectory() as empty:
        (Path(empty) / "Dockerfile").write_text(text)
        found = json.loads(buildx(f"--call={call},format=json", *flags, *argv, ".", cwd=Path(empty)))
    assert isinstance(found, dict)
    return found


NAMES = st.sampled_from(["A", "B", "C"])
VALUES = st.sampled_from([None, "1", "'x y'", "$A", "${B:-d}", "${C:+e}$A", "p${A%1}", "\\$A"])
ARG = st.builds(lambda name, value: f"ARG {name}" + ("" if value is None else f"={value}"), NAMES, VALUES)
LINE = st.one_of(
    ARG, st.builds("ENV {}={}".format, NAMES, st.sampled_from(["1", "'x y'", "$A", "${B:-d}"])), st.just("WORKDIR /x")
)


@st.composite
def stages(draw: st.DrawFn) -> str:
    """A file of a few stages that build on each other and on scratch."""
    lines = [*draw(st.lists(ARG, max_size=3)), "ARG BASE=scratch"]
    for number in range(draw(st.integers(1, 3))):
        earlier = [f"s{n}" for n in range(number)]
        base = draw(st.sampled_from(["scratch", "$BASE", "${BASE:-${A}}", *earlier]))
        lines.append(f"FROM {base} AS s{number}")
        lines += draw(st.lists(LINE, max_size=4))
        lines += [f"COPY --from={name} / /" for name in earlier if draw(st.integers(0, 2)) == 0]
    return "\n".join(lines) + "\n"


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(stages(), st.dictionaries(NAMES, st.sampled_from(["", "9"]), max_size=1))
def test_arguments_and_stages_are_those_buildkit_reports(text: str, args: dict[str, str]) -> None:
    model = parse(text, "Dockerfile")
    found = reach(model, None, args, platform=PLATFORM, contexts=())
    reported = called(text, "outline", args).get("args") or []
    # A global ARG that a FROM looks at and that has no value is ours alone: passing it would matter.
    assert found.declared - {arg["name"] for arg in reported} <= set(found.unset)
    assert {arg["name"] for arg in reported} <= found.declared
    ours = dict(found.args)
    for arg in reported:  # BuildKit shows one value of a name that has several
        values = {value for label, value in ours.items() if label.partition("@")[0] == arg["name"]} or {""}
        unset = {""} if any(label.partition("@")[0] == arg["name"] for label in found.unset) else set()
        assert arg.get("value", "") in values | unset
    targets = called(text, "targets", args)["targets"]
    assert [(stage.name, stage.base) for stage in model.stages] == [(t["name"], t["base"]) for t in targets]


COPIES = [
    "COPY . /to/",
    "COPY top.txt /to/",
    "COPY a ./docs/ /to/",
    "COPY /a/b/../one.txt ../top.md /to/",
    "COPY top.* nothing*.x /to/",
    "COPY */*.md /to/",
    "COPY **/*.txt /to/",
    "COPY a? /to/",
    "COPY d*/sub /to/",
    "COPY [a-d]*/[^b]*.md /to/",
    "COPY --exclude=**/*.md --exclude=a/b . /to/",
    "COPY --exclude=*.md --exclude=top.txt top.* docs /to/",
    "COPY --exclude=** --exclude=!sub/more docs top.md /to/",
    'COPY ["w[[]x]y", "top.md", "/to/"]',
    "ADD a/*.txt ab /to/",
    "ARG D=docs\nENV E=${D%s}s/sub\nCOPY $E /to/",
    "COPY <<EOF top.md /to/\nnot a path\nEOF",
    "RUN cat << EOF\nnever run\nEOF\nCOPY top.md /to/",
]


def test_copies_take_what_buildkit_takes(context: Path, tmp_path: Path) -> None:
    """All lines in one build, a stage each; a last stage brings them together."""
    text = "".join(f"FROM scratch AS s{number}\n{line}\n" for number, line in enumerate(COPIES))
    copies = "".join(f"COPY --from=s{number} /to /s{number}/\n" for number in range(len(COPIES)))
    copies_only = text.replace("RUN cat << EOF\nnever run\nEOF\n", "")
    buildx(
        "-f-", f"--output=type=local,dest={tmp_path}", ".", cwd=context, stdin=copies_only + "FROM scratch\n" + copies
    )
    model = parse(text + "FROM scratch\n" + copies, "Dockerfile")
    called(text, "outline", {}, "--target=s17")
    for number, line in enumerate(COPIES):
        written = {path.read_text() for path in (tmp_path / f"s{number}").rglob("*") if path.is_file()}
        needs = reach(model, f"s{number}", {}, platform=PLATFORM, contexts=()).files
        ours = {path for need in needs for path in select(need, PATHS, named_only=())}
        assert ours == written - {"not a path\n"}, line


@pytest.mark.parametrize("source", ["nope", "a/nope*.c", "top.txt/x"])
def test_a_missing_source_is_never_accepted_here(source: str) -> None:
    with pytest.raises(ConfigError, match=r"names nothing"):
        select(FileNeed("", (source,), 1, "copy"), PATHS, named_only=())


PARTS = st.sampled_from(["a", "b", "ab", "docs", "sub", "*", "**", "*.md", "?", "top.txt", "[a-d]*", "w\\[x\\]y", "."])
PATTERN = st.builds(
    lambda sign, slash, parts, end: sign + slash + "/".join(parts) + end,
    st.sampled_from(["", "", "!", "! "]),
    st.sampled_from(["", "", "/", "./"]),
    st.lists(PARTS, min_size=1, max_size=3),
    st.sampled_from(["", "/", "/**"]),
)


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(PATTERN, min_size=1, max_size=5))
def test_dockerignore_lets_through_what_buildkit_lets_through(context: Path, patterns: list[str]) -> None:
    text = "\n".join(patterns) + "\n"
    try:
        ignore = Ignore.parse(text)
    except ConfigError:
        assert "/." in text  # BuildKit too refuses a "!" with nothing behind it
        return
    with TemporaryDirectory() as folder:
        file = Path(folder) / "D"
        file.write_text("FROM scratch\nCOPY . /\n")
        file.with_name("D.dockerignore").write_text(text)
        out = Path(folder) / "out"
        buildx("-f", str(file), f"--output=type=local,dest={out}", ".", cwd=context)
        written = {path.read_text() for path in out.rglob("*") if path.is_file()}
    assert {path for path in PATHS if not ignore.ignored(path)} == written, text
