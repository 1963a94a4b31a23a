"""The process whose time is the identity's: ``child.py explain STACK`` against ``child.py import STACK``.

It does what ``explain`` does without an engine: stack, tree, manifest, identity. Both import the same.
"""

from __future__ import annotations

import sys

import yaml  # noqa: F401 - imported by whoever reads the first document

from ci import settings
from ci.build import plan as planning
from ci.build.lookup import Absent
from ci.build.roots import Made
from ci.build.workspace import open_workspace
from ci.one_shot import spare_the_collector


def explain(stack: str) -> str:
    """The identity of the stack's ``base``; the hash cache is kept for the next time."""
    captured = settings.capture({"--stack": stack})
    work = open_workspace(captured, {}, ("base",), lambda _text: None)
    roots = {name: Made(name, "sha256:0", "bench") for name in work.stack.roots}
    plan = planning.make(
        work.stack, ("base",), work.args, work.trees, roots=roots, lookup=lambda *_: Absent(), last=lambda _: None
    )
    for tree in work.trees.values():
        if tree.learned:
            work.records.save_hashes(tree.root, tree.hashes)
    return plan.tiers[0].identity


if __name__ == "__main__":
    spare_the_collector()
    if sys.argv[1] == "explain" and not explain(sys.argv[2]):
        sys.exit("there is no identity")
