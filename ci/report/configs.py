"""Every setting with its value and where it came from."""

from __future__ import annotations

from ..answer import Answer
from ..build.workspace import Workspace
from ..errors import Outcome
from ..settings import HOST_NAMES, KNOWN, Setting


def answer(work: Workspace) -> Answer:
    """Our settings, the stack's build arguments, the trees, and the host variables we honour."""
    rows = [work.settings.get(known.name) for known in KNOWN if known.name.startswith("ROCM_CI_")]
    rows += [Setting(arg.name, arg.value, arg.source) for arg in work.args.values]
    rows += [Setting(f"source {name}", str(tree.root), "tree") for name, tree in work.trees.items()]
    rows.append(Setting("engine", work.engine.at.host, work.engine.at.source))
    rows.append(Setting("trust", work.scope.trust, work.scope.why))
    rows += [
        Setting(name, str(place), "trust") for name, place in (("reads", work.place), ("writes", work.writes)) if place
    ]
    hidden = {"PATH", "HOME", "USER", "TERM", "COLUMNS", "LANG", "LC_ALL", "LC_CTYPE"}
    environ = work.settings.environ
    rows += [
        Setting(name, environ[name], "environment") for name in HOST_NAMES if name in environ and name not in hidden
    ]
    width = max(len(row.name) for row in rows)
    lines = [f"{row.name:{width}}  {row.shown or '-'}  ({row.source or 'not set'})" for row in rows]
    document = {"schema": 1, "outcome": Outcome.OK, "settings": {row.name: [row.shown, row.source] for row in rows}}
    return Answer(Outcome.OK, "\n".join(lines), document)
