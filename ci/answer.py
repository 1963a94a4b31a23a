"""What a verb has to say when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .errors import Outcome


class Answer(NamedTuple):
    """Text for people, a document for programs, and a page of a CI in Markdown where that is more than the text."""

    outcome: Outcome
    text: str
    document: Mapping[str, Any]
    page: str = ""
