"""Root images: the engine's, else a registry's, else made from the distribution's packages.

Whatever its origin, a root enters an identity by its layers' diff-ids, and gets a name of
ours per epoch, so that it moves when the lock's epoch moves and never in between.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import CiError, InfraError
from ..names import Place
from ..recipe.stack import Root, Stack
from ..world import files, host
from ..world.engine import Engine, Image
from ..world.ledger import Ledger
from ..world.process import Command, Run, run

REPOSITORY = "rocm-ci/root"


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
    image = _from_packages(root, name, engine, ledger, start)
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
    except CiError as error:
        say(f"root: {source} cannot be pulled: {error.problems[0].message.splitlines()[0][:160]}")
        return None


def _from_packages(root: Root, name: str, engine: Engine, ledger: Ledger, start: Run) -> Image:
    """A minimal Debian made by debootstrap, imported without what differs from one run to the next."""
    debootstrap = host.require("debootstrap", f"to make root image {root.name} where no registry answers")
    if not host.is_root():
        hint = f"run as root once, or docker pull {root.image} where a registry answers"
        raise InfraError("needs-root", f"making root image {root.name} from packages needs root", hint=hint)
    tree = ledger.folder / f"root-{root.name}"
    thing = ledger.will_make("folder", str(tree))
    argv = [debootstrap, "--variant=minbase", root.debian, str(tree)]
    if mirror := host.mirror():
        argv.append(mirror)
    done = start(Command(tuple(argv), inactivity=300))
    if not done.ok:
        hint = "check the package mirror of this host (apt-get update); its log is debootstrap/debootstrap.log there"
        raise InfraError("debootstrap", f"Debian {root.debian} could not be fetched", context=done.tail(), hint=hint)
    _strip(tree)
    image = engine.bring_in(_archive(tree, start), name)
    shutil.rmtree(tree)
    ledger.gone(thing)
    return image


def _strip(tree: Path) -> None:
    """Remove caches, logs and what belongs to one host."""
    for pattern in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "var/log/*", "var/cache/apt/*.bin"):
        for path in tree.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("etc/machine-id", "etc/hostname", "etc/resolv.conf"):
        if (tree / name).exists():
            (tree / name).write_text("")


def _archive(tree: Path, start: Run) -> Iterator[bytes]:
    """The tree as a tar stream, members sorted."""
    archive = tree.with_suffix(".tar")
    argv = ("tar", "--sort=name", "--numeric-owner", "--xattrs", "-C", str(tree), "-cf", str(archive), ".")
    done = start(Command(argv))
    if not done.ok:
        raise InfraError("tar", f"cannot archive {tree}", context=done.tail(), hint="is the disk full? df -h")
    try:
        with archive.open("rb") as stream, files.disk_errors(f"cannot read {archive}"):
            while block := stream.read(1 << 20):
                yield block
    finally:
        archive.unlink()
