"""Checks of what builds and keeps images: engine, store, buildx, builder, disk, roots, registry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from ..build import builder, roots
from ..errors import Outcome
from ..names import Place
from ..report.units import size
from ..world import buildx, host, probes
from ..world.engine import DEFAULT_HOST, Endpoint, endpoint
from ..world.registry import Denied, Granted, Permission, Registry, Unknown
from .findings import Case, Finding, State, space

ENGINE_MINIMUM = (28, 0)
BUILDX_MINIMUM = (0, 17)
"""What ``ci/bootstrap`` installs at least, which a unit test compares."""

_ASKING = 2.0  # seconds for a registry or a credential helper: less than the check has, so that it can say why
_SKEW = 30.0
_POLICY = "free some: docker system df; or set defaultMinFreeSpace of builder.gc in /etc/docker/daemon.json"


def where(case: Case) -> str:
    """The engine's address, and what named it."""
    at = case.engine().at
    return f"{at.host} ({at.source})"


def look_at_engine(case: Case) -> Iterator[Finding]:
    """Whether it answers, what named it, its version and platform."""
    data = case.engine().version()
    version = str(data.get("Version", ""))
    engine = f"{version} at {where(case)}"
    if _numbers(version) < ENGINE_MINIMUM:
        yield _old("engine", engine, ENGINE_MINIMUM, "upgrade the engine; ./ci/bootstrap true installs one")
        return
    yield Finding("engine", "ok", engine)
    platform = f"{data.get('Os')}/{data.get('Arch')}"
    if case.stack and platform != case.stack.platform:
        message = f"{engine} is {platform}, the stack is for {case.stack.platform}: builds would be emulated"
        yield Finding("engine", "warn", message, "point DOCKER_HOST or a docker context to another engine")


def look_at_image_store(case: Case) -> Iterator[Finding]:
    """Whether images are kept with their digests; by the way, the engine's clock."""
    info = case.engine().info()
    driver = str(info.get("Driver", ""))
    if any(pair[-1] == "io.containerd.snapshotter.v1" for pair in info.get("DriverStatus") or ()):
        yield Finding("image-store", "ok", f"containerd, {driver}")
    else:
        remedy = 'put {"features":{"containerd-snapshotter":true}} into /etc/docker/daemon.json, restart the engine'
        message = f"{driver} is the engine's old store, in which images have no digest until they are pushed"
        yield Finding("image-store", "fail", message, remedy, Outcome.INFRA)
    stamp = str(info.get("SystemTime", ""))
    if re.match(r"\d{4}-", stamp):
        ahead = (datetime.fromisoformat(stamp) - case.clock.now()).total_seconds()
        yield _skew("the engine", ahead)


def look_at_buildx(case: Case) -> Iterator[Finding]:
    """Whether the plugin is there and new enough."""
    env = buildx.environment(case.settings, Endpoint(DEFAULT_HOST, "default"))
    version = buildx.version(env, case.start)
    if _numbers(version) < BUILDX_MINIMUM:
        yield _old("buildx", version, BUILDX_MINIMUM, "upgrade docker-buildx; ./ci/bootstrap true installs one")
    else:
        yield Finding("buildx", "ok", version)


def _old(check: str, version: str, minimum: tuple[int, int], remedy: str) -> Finding:
    wanted = ".".join(map(str, minimum))
    return Finding(check, "fail", f"{version} is older than {wanted}", remedy, Outcome.INFRA)


def _numbers(version: str) -> tuple[int, int]:
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def look_at_builder(case: Case) -> Iterator[Finding]:
    """Whether ROCM_CI_BUILDER exists, builds where images are used, and can do the stack's work."""
    at = endpoint(case.settings)
    choice = builder.chosen(case.settings, at)
    if wrong := builder.misnamed(choice, at, case.stack):
        yield Finding("builder", "fail", wrong.message, wrong.hint, wrong.outcome)
        return
    if choice.found is None or choice.found.driver == builder.OWN or case.stack is None:
        yield Finding("builder", "ok", f"{choice.name} ({choice.source}), driver {builder.OWN}")
        return
    told = builder.asked(choice, case.settings, at, case.start)
    name = f"{choice.name} ({choice.source}), driver {choice.found.driver}"
    found = tuple(builder.faults(told, case.stack))
    if not found:
        node = told.nodes[0]
        yield Finding("builder", "ok", f"{name}, BuildKit {node.version} for {', '.join(node.platforms)}")
    for fault in found:
        state: State = "warn" if fault.outcome is Outcome.OK else "fail"
        yield Finding("builder", state, f"{name}: {fault.message}", fault.hint, fault.outcome)


def look_at_disk(case: Case) -> Iterator[Finding]:
    """Free space where the engine keeps its data, if that is on this host."""
    folder = builder.room(case.engine())
    if isinstance(folder, str):
        yield Finding("disk", "ok", f"not measured: {folder}")
        return
    needed = case.stack.disk_gb if case.stack else 0
    yield space("disk", folder, needed, "free some: docker system df, then docker image prune")


def look_at_cache(case: Case) -> Iterator[Finding]:
    """Whether the engine's own builder has the room to keep what it built: else it repeats work, and says nothing."""
    at = endpoint(case.settings)
    choice = builder.chosen(case.settings, at)
    folder = builder.room(case.engine())
    if isinstance(folder, str) or choice.found is None or choice.found.driver != builder.OWN:
        yield Finding("cache", "ok", "not measured: the builder's disk is not known here")
        return
    told = builder.asked(choice, case.settings, at, case.start)
    spares = max((node.spares or 0 for node in told.nodes), default=0)
    free = host.free_disk(folder)
    if told.error:
        yield Finding("cache", "warn", f"buildx cannot tell what it keeps: {told.error}", _POLICY)
    elif free < spares:
        message = f"{size(free)} free at {folder}, and the builder throws its cache away below {size(spares)}"
        yield Finding("cache", "warn", f"{message}: finished steps run again", _POLICY)
    else:
        yield Finding("cache", "ok", f"kept while {size(spares)} are free" if spares else "kept")


def look_at_roots(case: Case) -> Iterator[Finding]:
    """Whether the root images are here, or this host can make them."""
    if case.stack is None:
        return
    engine = case.engine()
    stack = case.stack
    missing = [root for root in stack.roots.values() if roots.find(stack, root, engine) is None]
    names = ", ".join(root.name for root in missing)
    means = {"root": host.is_root(), "debootstrap": probes.installed("debootstrap")}
    if not missing:
        yield Finding("roots", "ok", f"{', '.join(stack.roots) or 'none'} in the engine")
    elif not any(root.debian for root in missing):
        yield Finding("roots", "ok", f"{names} not here: to be pulled")
    elif all(means.values()):
        yield Finding("roots", "ok", f"{names} not here: to be pulled, or made by debootstrap")
    else:
        lacks = " and ".join(what for what, there in means.items() if not there)
        message = f"{names} not here: to be pulled; where no registry answers, making it needs {lacks}"
        remedy = f"apt-get install debootstrap and run as root once, or docker pull {missing[0].image}"
        yield Finding("roots", "warn", message, remedy)


def look_at_registry(case: Case) -> Iterator[Finding]:
    """Whether the registry answers and lets us push; by the way, its clock. Nothing is stored."""
    text = case.settings.get("ROCM_CI_REGISTRY").value
    if not text.strip():
        yield Finding(
            "registry", "ok", "none given: images are looked up in the engine, and where a policy says so (see trust)"
        )
        return
    from ..world.credentials import docker_credentials

    place = Place.parse(text)
    notes: list[str] = []
    dated = probes.Dated(case.send, case.clock)
    login = docker_credentials(notes.append, seconds=_ASKING)
    registry = Registry(place.host, send=dated, clock=case.clock, credentials=login, attempts=1, deadline=_ASKING)
    said = registry.ping()
    repository = place.repository(case.stack.repository) if case.stack else None
    if isinstance(said, Granted) and repository:
        said = registry.can_push(repository.path)
    finding = _permission(said, place.host, str(repository or text))
    yield finding
    yield from (Finding("registry", finding.state, note, outcome=finding.outcome) for note in notes)
    if dated.ahead is not None:
        yield _skew(f"registry {place.host}", dated.ahead)


def _permission(said: Permission, name: str, repository: str) -> Finding:
    match said:
        case Granted():
            return Finding("registry", "ok", f"{repository} can be pushed to")
        case Denied(reason):
            return Finding("registry", "warn", f"{repository} cannot be pushed to: {reason}", f"docker login {name}")
        case Unknown(reason):
            remedy = "check the address, the proxy and the CA of the registry, or leave --registry out"
            return Finding("registry", "fail", reason, remedy, Outcome.INFRA)


def _skew(who: str, ahead: float) -> Finding:
    if abs(ahead) <= _SKEW:
        return Finding("clock", "ok", f"agrees with {who}")
    message = f"{who} is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this host"
    return Finding("clock", "warn", message, "set the clock: timedatectl set-ntp true")
