"""What a step file of another project says and our form cannot: told, never dropped."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...documents import Document
from ...errors import Place


class Lost(NamedTuple):
    """One thing that was not carried over: where it stands, in which step (empty: the file), what, what to do."""

    place: Place
    step: str
    what: str
    remedy: str

    def __str__(self) -> str:
        step = f"{self.step}: " if self.step else ""
        return f"{self.place}: {step}{self.what}; {self.remedy}"

    @property
    def document(self) -> dict[str, Any]:
        """As JSON: file, line, column, step, what, remedy."""
        place = self.place
        where = {"file": place.file, "line": place.line, "column": place.column}
        return {**where, "step": self.step, "what": self.what, "remedy": self.remedy}


class Converted(NamedTuple):
    """A step file as a document in our form, its places those of the original, and what could not be said in it."""

    document: Document
    lost: tuple[Lost, ...]
    notices: tuple[str, ...]


def is_foreign(document: Document) -> bool:
    """Whether it is a step file of another project: its ``steps`` are a list, where ours have names."""
    return isinstance(document.value, dict) and isinstance(document.value.get("steps"), list)
