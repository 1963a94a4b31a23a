"""The lexer against moby's own parser (PyPI ``dockerfile``), over awkward and generated files."""

from __future__ import annotations

import dockerfile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.recipe.dockerfile.grammar import FLAGS as KEYWORD_FLAGS
from ci.recipe.dockerfile.lexer import Lexed, Node, lex, parse_heredoc

AWKWARD = {
    "plain": "FROM a\nRUN echo hi\n",
    "no newline at the end": "FROM a\nRUN echo hi",
    "byte order mark": "\ufeffFROM a\n",
    "crlf": "FROM a\r\nRUN x \\\r\n  y\r\n\r\n# c\r\nCMD z\r\n",
    "escape directive": "# escape=`\nFROM a\nRUN dir c:\\ `\n  && x\nCOPY a` b c\n",
    "escape after a comment is no directive": "# hello\n# escape=`\nFROM a\nRUN x \\\n y\n",
    "three directives": "#syntax=docker/dockerfile:1\n# ESCAPE = \\\n# check=skip=all\nFROM a\n",
    "comments and blanks in a continuation": "FROM a\nRUN x \\\n# no\n\n   # no\n  && y \\\n\n\nCMD z\n",
    "continuation with trailing blanks": "FROM a\nRUN x \\  \t\n && y   \nRUN z\n",
    "double escape is no continuation": "FROM a\nRUN x \\\\\nRUN y\n",
    "escape alone on its line": "FROM a\nRUN x \\\n\\\n y\n",
    "continuation at the end": "FROM a\nRUN x \\\n",
    "indented": "  FROM a\n\tRUN   echo   hi  \n   # c\n",
    "lower case": "from a as B\nrun x\ncopy --from=b x y\n",
    "json": 'FROM a\nCMD ["a", "b c", "\\u00e9"]\nRUN [ "x" ]\nCOPY ["a b", "c"]\nVOLUME ["/x"]\n',
    "json that is none": "FROM a\nCMD ['a']\nRUN [ -f x ] && y\nRUN [\"a\"\nRUN [NaN]\nCOPY [a b] c\n",
    "flags": "FROM --platform=$BUILDPLATFORM a\nRUN --mount=type=cache,target=/x --network=none y --z\n",
    "quoted flags": "FROM a\nRUN --mount=type=bind,from=\"b\",'target'=/x y\nCOPY --chown=a\\ b x y\n",
    "flags end": "FROM a\nCOPY -- --a b\nRUN -- x\nRUN --\n",
    "flags over lines": "FROM a\nRUN --mount=type=cache,target=/a \\\n    --mount=type=cache,target=/b \\\n    x\n",
    "env": "FROM a\nENV a=b c=\"d e\" f='g h' i=j\\ k\nENV old value with spaces\nENV e=\nENV p=$PATH:/x\n",
    "label": 'FROM a\nLABEL a="b c" d=e \\\n  f=g\n',
    "arg": 'ARG A\nARG B=1 C="x y" D\nFROM a\nARG E=\'\'\nARG F=a\\"b\n',
    "onbuild": 'FROM a\nONBUILD RUN --mount=type=tmpfs,target=/x y z\nONBUILD COPY ["a", "b"]\n',
    "onbuild heredoc": "FROM a\nONBUILD COPY <<EOF /x\nhi\nEOF\nRUN y\n",
    "healthcheck": 'FROM a\nHEALTHCHECK --interval=5s CMD\tcurl x y\nHEALTHCHECK CMD ["a"]\nHEALTHCHECK NONE\n',
    "rest": 'FROM a\nEXPOSE 80 443/tcp\nUSER a:b\nWORKDIR /a b\nSTOPSIGNAL 9\nSHELL ["a"]\nMAINTAINER me\n',
    "heredoc": "FROM a\nRUN <<EOF\n# kept\n\n  x \\\nEOF\nCMD y\n",
    "heredoc whose mark is also indented text": "FROM a\nRUN <<EOF\n\tEOF\nEOF\nCMD y\n",
    "no escape in single quotes": "FROM a\nENV a='x\\' b=c\nARG d='\\' e\n",
    "heredoc crlf": "FROM a\r\nRUN <<EOF\r\nx\r\nEOF\r\nCMD y\r\n",
    "heredoc quoted": "FROM a\nRUN cat <<'E F' >x\n$A\nE F\nRUN <<\"B\"\nb\nB\n",
    "heredoc with tabs": "FROM a\nRUN <<-EOF\n\tx\n\t\tEOF\nCMD y\n",
    "heredocs": 'FROM a\nCOPY <<A <<"B" 5<<C /d/\n1\nA\n2\nB\n3\nC\nRUN y\n',
    "heredoc over lines": "FROM a\nRUN cat <<EOF \\\n  && y\nbody\nEOF\nCMD z\n",
    "heredoc of one's own shell": 'FROM a\nRUN sh -c "cat <<EOF"\nRUN cat <<<"x"\nRUN x $((1<<2))\n',
    "heredoc beside shell parameters": "FROM a\nRUN a=${X:=y} <<EOF\nx\nEOF\nRUN b=${X:0:2} c=${#A} <<Z\n",
    "heredoc hidden by bad quoting": "FROM a\nRUN echo it's <<EOF\nRUN x\n",
    "heredoc in json": 'FROM a\nRUN ["cat", "<<EOF"]\nRUN x\n',
    "heredoc elsewhere": "FROM a\nCMD cat <<EOF\nLABEL a=<<EOF\n",
    "odd blanks": "FROM a\u00a0\nRUN\u2003x\nRUN\tx\x0by\nENV a=b\u2003c=d\n",
    "unicode": "FROM a\nRUN echo é ✓\nENV a=é\nCOPY é ü/\n",
}


def moby(text: str) -> list[dict[str, object]]:
    """What moby's parser makes of ``text``."""
    return [
        {
            "keyword": command.cmd.upper(),
            "flags": command.flags,
            "words": command.value,
            "json": command.json,
            "lines": (command.start_line, command.end_line),
            "heredocs": tuple((doc.name, doc.content, doc.file_descriptor) for doc in command.heredocs),
        }
        for command in dockerfile.parse_string(text)
    ]


def ours(lexed: Lexed) -> list[dict[str, object]]:
    """The same of ours, in moby's form: an ONBUILD shows the words of what it triggers, no heredocs."""
    return [
        {
            "keyword": node.keyword.upper(),
            "flags": node.flags,
            "words": _inner(node).words or (() if node.keyword.upper() in KNOWN else ("",)),
            "json": _inner(node).is_json,
            "lines": (node.start, node.end),
            "heredocs": () if node.trigger else tuple((d.name, d.content, d.descriptor) for d in node.heredocs),
        }
        for node in lexed.nodes
    ]


KNOWN = set(KEYWORD_FLAGS)


def _inner(node: Node) -> Node:
    return node.trigger or node


@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD)
def test_awkward_files_are_read_as_moby_reads_them(text: str) -> None:
    try:
        expected = moby(text)
    except dockerfile.GoParseError:
        assert lex(text).errors
    else:
        assert not lex(text).errors
        assert ours(lex(text)) == expected


WORDS = st.text("ab${}:-='\"\\<#/é,[", min_size=1, max_size=6).filter(lambda word: not word.endswith("<<"))
FLAGS = st.builds("--{}={}".format, st.sampled_from(["mount", "from", "chown"]), st.text("ab,=\"'\\", max_size=5))
GAPS = st.sampled_from([" ", "  ", "\t", " \\\n", " \\ \n  ", " \\\n# note\n\n"])
DOC = st.sampled_from(["<<EOF", "<<-EOF", "<<'EOF'", '2<<"EOF"'])
KEYWORDS = ["RUN", "COPY", "ADD", "ENV", "ARG", "LABEL", "CMD", "ENTRYPOINT", "EXPOSE", "USER", "VOLUME", "onbuild RUN"]


@st.composite
def instructions(draw: st.DrawFn, escape: str) -> str:
    """One instruction of anything but sense; with a heredoc now and then."""
    keyword = draw(st.sampled_from(KEYWORDS))
    words = draw(st.lists(WORDS, min_size=1, max_size=4))
    # In flags, the parser of the PyPI package knows no other escape character yet.
    flags = draw(st.lists(FLAGS, max_size=2)) if escape == "\\" else []
    words = flags + [word if escape == "\\" else word.lstrip("-") or "a" for word in words]
    if keyword in {"ENV", "LABEL"}:
        words = [f"k{number}={word}" for number, word in enumerate(words)]
    body = ""
    if keyword in {"RUN", "COPY", "ADD", "onbuild RUN"} and draw(st.booleans()):
        words.append(draw(DOC))
        body = draw(st.sampled_from(["x\n", "", "\tx \\\n#y\n", "EO\n\n"])) + "EOF\n"
    text = keyword
    for word in words:
        text += draw(GAPS).replace("\\", escape) + word
    return text + draw(st.sampled_from(["\n", "  \n", "\r\n"])) + body


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file with or without the escape directive."""
    escape = draw(st.sampled_from("\\\\`"))
    head = "# escape=`\n" if escape == "`" else draw(st.sampled_from(["", "# x\n"]))
    return head + "FROM a\n" + "".join(draw(st.lists(instructions(escape), min_size=1, max_size=4)))


@settings(max_examples=200, deadline=None)
@given(files())
def test_generated_files_are_read_as_moby_reads_them(text: str) -> None:
    try:
        expected = moby(text)
    except dockerfile.GoParseError:
        return  # refused there: BuildKit never builds it, so there is nothing to agree on
    lexed = lex(text)
    if not any("ASCII" in why for _, why in lexed.errors):
        assert not lexed.errors
        assert ours(lexed) == expected


def test_directives_and_the_syntax_line() -> None:
    assert (
        lex("# syntax = docker/dockerfile:1@sha256:ab  \n# escape=`\nFROM a").syntax == "docker/dockerfile:1@sha256:ab"
    )
    assert lex("#!/usr/bin/env x\n#syntax=y/z\nFROM a").syntax == "y/z"
    assert lex("# note\n#syntax=y/z\nFROM a").syntax is None
    assert lex("# escape=`\nFROM a").escape == "`"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# escape=x\nFROM a\n", 1),
        ("# escape=`\n# escape=`\nFROM a\n", 2),
        ("FROM a\n\nRUN <<EOF\nx\n", 3),
        ("FROM a\nCMD [1]\n", 2),
        ("FROM a\nENV b\n", 2),
        ("FROM a\nRUN --mount=é x\n", 2),
    ],
)
def test_what_cannot_be_read_is_named_by_line(text: str, line: int) -> None:
    assert [number for number, _ in lex(text).errors] == [line]


def test_a_blank_may_follow_the_angles() -> None:
    # Newer than the parser in the PyPI package; the engine tests build such a file.
    assert [node.heredocs[0].content for node in lex("RUN cat << EOF >x\n1\nEOF\n").nodes] == ["1\n"]


@pytest.mark.parametrize(
    ("word", "expand"), [("<<EOF", True), ("<<'EOF'", False), ('<<-E"O"F', False), ("<<E\\OF", True)]
)
def test_a_quoted_delimiter_stops_expansion(word: str, expand: bool) -> None:
    heredoc = parse_heredoc(word)
    assert heredoc is not None
    assert (heredoc.name, heredoc.expand) == ("EOF", expand)
