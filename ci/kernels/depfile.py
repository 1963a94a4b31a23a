"""The list of files a compile really read, as compilers write it for make."""

from __future__ import annotations

import re

_WORD = re.compile(r"(?:\\[ #\\]|\$\$|[^\s\\]|\\(?!\n))+")
_ESCAPE = re.compile(r"\\([ #\\])|\$(\$)")


def parse(text: str) -> tuple[str, ...]:
    """The prerequisites of the first rule, each once, in order; empty where ``text`` is no rule."""
    joined = text.replace("\\\r\n", " ").replace("\\\n", " ")
    head, colon, rest = joined.partition(": ")
    if not colon or "\n" in head:
        return ()
    line = rest.partition("\n")[0]
    words = (_ESCAPE.sub(lambda match: match[1] or match[2], word) for word in _WORD.findall(line))
    return tuple(dict.fromkeys(words))
