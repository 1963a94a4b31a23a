"""A catalogue in our own form, and what of another project's step file is not in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..answer import Answer
from ..errors import Outcome
from ..suites.catalogue import Catalogue
from ..suites.dialects.lost import Lost


def converted(found: Catalogue) -> Answer:
    """The file as YAML that reads back as the same steps; ``lost`` is in the document, one entry for each place."""
    value = found.document.value
    lost = [each.document for each in found.lost]
    document = {"schema": 1, "outcome": Outcome.OK, "catalogue": value, "lost": lost, "notices": list(found.notices)}
    head = f"# Made from {found.file}; {len(lost)} things of it are not carried over.\n"
    return Answer(Outcome.OK, head + _yaml(value).rstrip("\n"), document)


def told(lost: Sequence[Lost]) -> tuple[str, ...]:
    """One line for what was lost in the same way in one file, with the lines of all its places."""
    alike: dict[tuple[str, str, str], list[Lost]] = {}
    for each in lost:
        alike.setdefault((each.place.file, each.what, each.remedy), []).append(each)
    return tuple(_told(found) for found in alike.values())


def _told(found: Sequence[Lost]) -> str:
    first = found[0]
    if len(found) == 1:
        return str(first)
    lines = ", ".join(str(each.place.line) for each in found[1:])
    return f"{first.place}: {first.what}; {first.remedy} (also on line {lines})"


def _yaml(value: Any) -> str:
    """``value`` as YAML: what is made of plain values alone on one line, nothing by ``*alias``."""
    import yaml

    class Dumper(yaml.CSafeDumper):
        def ignore_aliases(self, _data: Any) -> bool:
            return True

    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None))
