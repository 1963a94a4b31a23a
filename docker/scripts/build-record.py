"""build-record.py FILE KEY=VALUE...: add lines to versions.txt and the same facts to the JSON record beside it.

``@PATH`` stands for the lines of a file, each a KEY=VALUE.

A parent of the form name:tag@digest is kept without its digest: two builds of one identity have two.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path


def spread(words: list[str]) -> Iterator[str]:
    """The pairs, those of files included."""
    for word in words:
        if word.startswith("@"):
            yield from filter(None, Path(word[1:]).read_text().splitlines())
        else:
            yield word


def main(arguments: list[str]) -> None:
    """Later values of a key replace earlier ones; the record is sorted, so that equal facts are equal bytes."""
    text, *pairs = arguments
    record = Path(text).with_suffix(".json")
    facts: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    for pair in spread(pairs):
        key, _, value = pair.partition("=")
        facts[key] = value.partition("@sha256:")[0]
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
    Path(text).write_text("".join(f"{key}: {value}\n" for key, value in sorted(facts.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
