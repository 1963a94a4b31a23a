"""What a command line asks an audit for, understood and checked before anything is looked at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from .. import documents
from ..errors import Problem
from ..recipe.args import Checked, arch_list
from ..recipe.stack import archs
from ..settings import Settings
from ..settings import problems as known_problems
from ..world import files, process
from ..world.ledger import Ledger
from .examine import examine, exceptions
from .facts import Audit, Wanted

Begin = Callable[[Path], Ledger]
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,6})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Examination:
    """An audit as it was asked for; ``notices`` say what was read differently from how it was written."""

    target: Path
    wanted: Wanted
    notices: tuple[str, ...]
    environ: Mapping[str, str]
    state: Path

    def perform(self, allow: Mapping[str, str], begin: Begin, warn: Callable[[str], None]) -> Audit:
        """Do it, with the exceptions ``allow`` (``RULE:PATTERN`` to reason).

        ``begin`` opens the ledger of this run; it is called only where something must be made.
        """

        def scratch(_purpose: str) -> AbstractContextManager[Path]:
            return _environment(begin(self.state), warn)

        allowed = exceptions(allow.items())
        return examine(self.target, self.wanted, allowed, process.run, self.environ, scratch=scratch)


@contextmanager
def _environment(ledger: Ledger, warn: Callable[[str], None]) -> Iterator[Path]:
    folder = ledger.folder / "environment"
    thing = ledger.will_make("folder", str(folder))
    try:
        with files.disk_errors(f"cannot make {folder}"):
            folder.mkdir()
        yield folder
    finally:
        ledger.clear(thing, lambda: files.remove(folder), warn)


def requested(settings: Settings, target: str, budget: str, module: str) -> Examination:
    """What a command line asks for; raises ``ConfigError`` with everything about it that cannot be meant."""
    problems = list(known_problems(settings))
    asked = settings.get("PYTORCH_ROCM_ARCH")
    checked = arch_list(asked.source, asked.value, archs()) if asked.source else Checked("")
    problems += checked.problems
    most = limit(budget, problems)
    documents.refuse(problems)
    wanted = Wanted(tuple(filter(None, checked.value.split(";"))), most, module)
    state = Path(settings.get("ROCM_CI_STATE").value)
    return Examination(Path(target), wanted, checked.notices, settings.environ, state)


def limit(budget: str, problems: list[Problem]) -> int:
    """``--budget-mb`` in bytes, 0 where it was not given; what cannot be meant goes to ``problems``."""
    found = Decimal(budget) if _NUMBER.fullmatch(budget) else Decimal(0)
    if budget and not found:
        problems.append(Problem("wrong-value", f"--budget-mb cannot be {budget!r}", "give megabytes, for example 250"))
    return int(found * 1_000_000)
