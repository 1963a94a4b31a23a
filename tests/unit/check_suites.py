"""A tiny stack with suites, pools and a source tree, for the tests of ``check``."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import NamedTuple

from ci.check import material
from ci.check.material import Given
from ci.check.rules import RULES, Finding, apply
from ci.settings import capture
from tests import recipes
from tests.unit.check_recipe import TODAY, no_git

STACK = recipes.STACK.replace("sources: [src]\n", "sources: [src]\nsuites: suites.yaml\npipeline: pipeline.yaml\n")
POOLS = """\
schema: 1
docs: [docs/, "*.md"]
pools:
  gpu: {family: MI300X, gpus: 2, memory_gb: 64}
  cpu: {memory_gb: 16, builds: true}
"""
STEP = """\
  one:
    summary: the one
    needs: {gpus: 1}
    workdir: /ws/tests
    limits: {minutes: 5}
    commands:
      - pytest: [-v, a/test_a.py]
"""
SOURCE = {
    "docs/index.md": "",
    "README.md": "",
    "lib/one.py": "ONE = 1\n",
    "pkg/core.py": "",
    "pkg/core_utils.py": "",
    "tests/conftest.py": "",
    "tests/a/test_a.py": "def test_a():\n    pass\n\n\nclass TestB:\n    def test_b(self):\n        pass\n",
    "tests/a/helper.py": "def give():\n    return 1\n",
    "tests/b/deep/test_c.py": "def test_c():\n    pass\n",
    "tests/run.sh": "#!/bin/sh\n",
}


class Looked(NamedTuple):
    """What a check found, and the text at its places."""

    folder: Path
    findings: tuple[Finding, ...]

    def of(self, rule: str) -> list[Finding]:
        return [each for each in self.findings if each.rule == rule]

    def where(self, rule: str) -> list[tuple[str, str]]:
        """Reference and the text from the place on to the end of its line, of all that a rule found."""
        return [(each.problem.reference, self._text(each)) for each in self.of(rule)]

    def hints(self, rule: str) -> list[str]:
        return [each.problem.hint for each in self.of(rule)]

    def messages(self, rule: str) -> list[str]:
        return [each.problem.message for each in self.of(rule)]

    def _text(self, finding: Finding) -> str:
        place = finding.problem.place
        assert place is not None, finding
        assert place.line, finding
        line = Path(place.file).read_text().splitlines()[place.line - 1]
        return line[max(place.column - 1, 0) :]


def look(
    folder: Path,
    steps: str = STEP,
    *,
    head: str = "runtime: rocm\nworkspace: /ws\n",
    tail: str = "",
    pools: str = POOLS,
    source: dict[str, str] | None = None,
    without: str = "",
    given: Given | None = None,
    today: date = TODAY,
) -> Looked:
    """What ``check`` finds where the stack has these ``steps``; ``without`` is a file that the source has not."""
    path = recipes.write(folder, stack=STACK)
    names = [line.strip().rstrip(":") for line in steps.splitlines() if line[:3].strip() and line.startswith("  ")]
    suites = f"schema: 1\n{head}steps:\n{steps}suites:\n  all: {{summary: all, steps: [{', '.join(names)}]}}\n{tail}"
    (path.parent / "suites.yaml").write_text(suites)
    (path.parent / "pipeline.yaml").write_text(pools)
    tree = folder / "tree"
    for name, text in {**SOURCE, **(source or {})}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if name != without:
            (tree / name).write_text(text)
    wanted = given if given is not None else Given({"src": str(tree)})
    case = material.read(capture({"--stack": str(path)}, {}), no_git, wanted, today)
    return Looked(folder, apply(case, RULES))


def step(name: str = "one", summary: str = "", **keys: str) -> str:
    """A step as ``STEP``, with values of keys (flow YAML) in the place of its own; empty leaves one out."""
    own = {
        "summary": summary or f"the {name}",
        "needs": "{gpus: 1}",
        "workdir": "/ws/tests",
        "limits": "{minutes: 5}",
        "commands": "[{pytest: [-v, a/test_a.py]}]",
    }
    lines = [f"    {key}: {value}\n" for key, value in (own | keys).items() if value]
    return f"  {name}:\n" + "".join(lines)
