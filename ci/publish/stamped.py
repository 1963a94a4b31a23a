"""The version that a release stamps on a wheel which the stack builds from a source."""

from __future__ import annotations

from dataclasses import replace

from ..build.workspace import Workspace
from ..errors import ConfigError
from ..recipe.stack import ArgSpec
from ..wheels import version
from ..world.history import described
from ..world.process import Run, run


def stamped(work: Workspace, start: Run = run) -> Workspace:
    """The workspace with each argument that is a source's version (``version_of``) as its commit says, unless given.

    Only a release does so: elsewhere equal files are to have equal identities, whatever commit they are of.  Raises
    ``ConfigError`` where nobody can tell the version.
    """
    specs = {spec.name: spec for spec in work.stack.args if spec.version_of}
    values = tuple(
        arg._replace(value=_version(work, specs[arg.name], start), source=f"source {specs[arg.name].version_of}")
        if arg.name in specs and arg.source.startswith("stack")
        else arg
        for arg in work.args.values
    )
    return replace(work, args=work.args._replace(values=values))


def _version(work: Workspace, spec: ArgSpec, start: Run) -> str:
    tree = work.trees.get(spec.version_of)
    if tree is None:
        source = work.stack.fetched.get(spec.version_of)
        start_in = f"leave {source.remote} out in" if source and source.remote else "run it inside of"
        hint = f"{start_in} a checkout, or with --source {spec.version_of}=PATH; or give {spec.name}"
        message = f"{spec.name} is the version of source {spec.version_of}, of which no checkout is here"
        raise ConfigError("no-version", message, hint=hint)
    found = described(tree.root, start)
    if found is None:
        hint = f"git fetch --unshallow --tags (in CI: fetch-depth 0), or give {spec.name}"
        raise ConfigError("no-version-tag", f"no tag of a version is behind the commit of {tree.root}", hint=hint)
    return version.scm(found)
