"""Root images: the engine's, else a registry's, else made from the distribution's packages.

Whatever its origin, a root enters an identity by its layers' diff-ids, and gets a name of
ours per epoch, so that it moves when the lock's epoch moves and never in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import DeadlineError, InfraError
from ..names import Place
from ..recipe.stack import Root, Stack
from ..world import files, host
from ..world.engine import Engine, Image
from ..world.ledger import Ledger
from ..world.process import Command, Run, run

REPOSITORY = "rocm-ci/root"
_TIME = "315532800"
"""1980-01-01: the newest time a file of a root may carry, so that the day it was made does not count."""
_OWN = ("hostname", "resolv.conf", "machine-id", "apt/apt.conf.d/99mmdebstrap")
_HOOKS = ("--customize-hook=rm -f " + " ".join(f"$1/etc/{name}" for name in _OWN),)
"""What belongs to the host it was made on goes, apt options (a proxy with its password) among it."""


@dataclass(frozen=True, slots=True)
class Made:
    """A root that is here: its name in the engine, its layers, and where it came from."""

    reference: str
    layers: str
    origin: str


def reference(stack: Stack, root: Root) -> str:
    """The name a root has in the engine and in our registry."""
    epoch = stack.pins.get("EPOCH", "0")
    salt = hashlib.sha256(f"{root.image}\n{root.debian}\n{stack.platform}".encode()).hexdigest()[:8]
    return f"{REPOSITORY}:{root.name}-{epoch}-{salt}"


def find(stack: Stack, root: Root, engine: Engine) -> Made | None:
    """The root as the engine has it, under our name; None where it has to be fetched or made."""
    name = reference(stack, root)
    image = engine.image(name)
    return Made(name, layers(image), "engine") if image else None


def layers(image: Image) -> str:
    """How a root enters an identity: ``docker import`` gives new digests each time, diff-ids are bytes."""
    return ",".join(image.layers)


def ensure(
    stack: Stack,
    root: Root,
    engine: Engine,
    *,
    registry: Place | None,
    ledger: Ledger,
    say: Callable[[str], None],
    start: Run = run,
) -> Made:
    """Get the root: from the engine, a registry or packages, in that order, each attempt said."""
    if found := find(stack, root, engine):
        return found
    name = reference(stack, root)
    for source in _served_as(root, name, registry):
        image = engine.image(source) or _pull(engine, source, stack.platform, say)
        if image:
            engine.tag(source, name)
            say(f"root {root.name}: {source} ({image.id[:19]})")
            return Made(name, layers(image), source)
    if not root.debian:
        hint = "log in or name a mirror: docker login, --registry; or docker pull it by hand"
        raise InfraError("no-root", f"no registry answered for root image {root.image}", hint=hint)
    say(f"root {root.name}: no registry has it; making it from Debian {root.debian} packages")
    image = _from_packages(root, name, engine, ledger, say=say, start=start)
    return Made(name, layers(image), f"Debian {root.debian} packages")


def _served_as(root: Root, name: str, registry: Place | None) -> Iterator[str]:
    if registry:
        path, _, tag = name.partition(":")
        yield f"{registry.repository(path)}:{tag}"
    yield root.image


def _pull(engine: Engine, source: str, platform: str, say: Callable[[str], None]) -> Image | None:
    """The image, or None with the reason said: a root has a further source, so this is a stated fallback."""
    try:
        return engine.pull(source, platform)
    except InfraError as error:
        say(f"root: {source} cannot be pulled: {error.problems[0].message.splitlines()[0][:160]}")
        return None


def _from_packages(
    root: Root, name: str, engine: Engine, ledger: Ledger, *, say: Callable[[str], None], start: Run
) -> Image:
    """A minimal Debian made by mmdebstrap: equal package versions give equal bytes, on any host."""
    program = host.require("mmdebstrap", f"to make root image {root.name} where no registry answers")
    archive = ledger.folder / f"root-{root.name}.tar"
    thing = ledger.will_make("file", str(archive))
    mirror = [found] if (found := host.mirror()) and "@" not in found else []  # it stays in the image's sources
    options = [f'--aptopt={key} "{value}"' for key, value in host.apt_options(host.APT_KEYS).items()]
    argv = (program, "--quiet", "--variant=minbase", *options, *_HOOKS, root.debian, str(archive), *mirror)
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SOURCE_DATE_EPOCH": _TIME}
    try:
        done = start(Command(argv, env=env, inactivity=600))
        if not done.ok:
            hint = "check this host's package mirror (apt-get update); on Ubuntu install debian-archive-keyring"
            message = f"Debian {root.debian} could not be made from packages"
            raise InfraError("mmdebstrap", message, context=done.tail(), hint=hint)
        return engine.bring_in(files.blocks(archive), name)
    except DeadlineError as error:
        # its context is the command line, and apt options hold passwords
        raise DeadlineError("mmdebstrap", error.problems[0].message, hint="check this host's package mirror") from None
    finally:
        ledger.clear(thing, lambda: files.remove(archive), say)
