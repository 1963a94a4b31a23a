"""The builder: what ``docker buildx inspect`` says of it, whether it can do a stack's work, and how to get one.

Nothing here makes, starts or removes a builder that somebody did not name, and none is made the current one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import CiError, ConfigError, InfraError, Outcome, Problem
from ..recipe.stack import Stack
from ..settings import Settings
from ..world import buildx, host, probes
from ..world.engine import Endpoint, Engine
from ..world.process import Run, run
from ..world.views import scratch

if TYPE_CHECKING:
    from .plan import Plan
    from .workspace import Workspace

OWN = "docker"
"""The driver of the builder that is part of an engine, and shares its images."""

STARTED = ("docker-container", "kubernetes")
"""Drivers whose BuildKit buildx starts when it is needed; of the others, a builder that does not run is unreachable."""

DRIVERS = ("docker-container", "remote", "kubernetes")
"""Drivers of the builders that a person makes."""

BUILDKIT_MINIMUM = (0, 16)
"""RUN takes a secret as a variable (``--mount=type=secret,env=``) from this version on."""

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_FACT = re.compile(r"^(\S[^:]*):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_SIZE = r"\s*([\d.]+)([KMGT]?i?B)$"
_KEEPS = re.compile(r"^\s+Max Used Space:" + _SIZE, re.MULTILINE)
_SPARES = re.compile(r"^\s+Min Free Space:" + _SIZE, re.MULTILINE)


class Node(NamedTuple):
    """One BuildKit of a builder; ``keeps`` is the bytes it keeps at most, None where it does not say.

    ``spares`` is the bytes of its disk below which it throws away what it keeps.
    """

    name: str
    endpoint: str
    status: str
    version: str
    platforms: tuple[str, ...]
    keeps: int | None
    error: str
    spares: int | None = None


class Builder(NamedTuple):
    """A builder as buildx shows it; ``error`` is why it could not be asked."""

    name: str
    driver: str
    nodes: tuple[Node, ...]
    error: str = ""


class Fault(NamedTuple):
    """Why a builder cannot do the work; with outcome ``ok`` it can, but somebody should know."""

    outcome: Outcome
    message: str
    hint: str


def read(text: str) -> Builder:
    """The builder that ``docker buildx inspect`` printed."""
    head, _, tail = text.partition("\nNodes:\n")
    facts = dict(_FACT.findall(head))
    blocks = re.split(r"^(?=Name:)", tail, flags=re.MULTILINE)[1:]
    return Builder(facts.get("Name", ""), facts.get("Driver", ""), tuple(map(_node, blocks)), facts.get("Error", ""))


def _node(block: str) -> Node:
    facts = dict(reversed(_FACT.findall(block)))  # the first of a name counts
    platforms = tuple(re.findall(r"\w+/[\w/]+", facts.get("Platforms", "")))
    version = facts.get("BuildKit version", "")
    name, endpoint, status = (facts.get(key, "") for key in ("Name", "Endpoint", "Status"))
    error = facts.get("Error", "")
    return Node(name, endpoint, status, version, platforms, _bytes(_KEEPS, block), error, _bytes(_SPARES, block))


def _bytes(limit: re.Pattern[str], block: str) -> int | None:
    rules = limit.findall(block)  # the last rule is for everything
    return int(float(rules[-1][0]) * _UNITS[rules[-1][1]]) if rules else None


def faults(builder: Builder, stack: Stack) -> Iterator[Fault]:
    """Everything that keeps a builder from the stack's work, or that somebody should know."""
    again = f"docker buildx inspect {builder.name} says more; correct it, or unset ROCM_CI_BUILDER"
    if builder.error or not builder.nodes:
        yield Fault(Outcome.INFRA, builder.error or "it has no node", again)
        return
    running = [node for node in builder.nodes if node.status == "running" and not node.error]
    if not running:
        yield _asleep(builder, again)
        return
    able = [node for node in running if stack.platform in node.platforms]
    if not able:
        seen = ", ".join(sorted({each for node in running for each in node.platforms})) or "no platform"
        yield Fault(Outcome.CONFIG, f"it builds for {seen}, the stack is for {stack.platform}", again)
    for node in able:
        yield from _limits(builder, node, stack)


def _asleep(builder: Builder, again: str) -> Fault:
    """No node runs: one that buildx starts may yet do, any other cannot be reached."""
    errors = "; ".join(f"{node.name}: {node.error}" for node in builder.nodes if node.error)
    if not errors and builder.driver in STARTED:
        hint = f"docker buildx inspect --bootstrap {builder.name} starts it, as the first build does"
        return Fault(Outcome.OK, "not started, so its version and platforms are not known yet", hint)
    states = ", ".join(f"{node.endpoint} is {node.status or 'silent'}" for node in builder.nodes)
    return Fault(Outcome.INFRA, errors or f"it cannot be reached: {states}", again)


def _limits(builder: Builder, node: Node, stack: Stack) -> Iterator[Fault]:
    """What one running node is too old or too small for."""
    found = None if "unknown" in node.version else re.match(r"v?(\d+)\.(\d+)", node.version)
    wanted = ".".join(map(str, BUILDKIT_MINIMUM))
    if builder.driver != OWN and not found:  # the engine's own has the engine's version
        hint = f"BuildKit {wanted} is needed; ask whoever runs it"
        yield Fault(Outcome.OK, f"{node.name} does not say its version ({node.version or 'none'})", hint)
    elif builder.driver != OWN and found and (int(found[1]), int(found[2])) < BUILDKIT_MINIMUM:
        message = f"{node.name} has BuildKit {node.version}, older than {wanted}"
        yield Fault(Outcome.INFRA, message, "upgrade its buildkitd, or choose another builder")
    if node.keeps is not None and node.keeps < stack.disk_gb * 1e9:
        message = f"{node.name} keeps {node.keeps / 1e9:.0f} GB at most, a first build takes about {stack.disk_gb} GB"
        yield Fault(Outcome.OK, message, "raise maxUsedSpace in the builder's buildkitd.toml, or builds repeat work")


def create(driver: str, name: str, stack: Stack | None) -> tuple[str, ...]:
    """The command that makes a builder of ``driver`` for a stack; words in capitals are for a person to replace."""
    platform = stack.platform if stack else "linux/amd64"
    options = {
        "docker-container": (),
        "remote": (
            "--driver-opt", "cacert=/PATH/ca.pem,cert=/PATH/cert.pem,key=/PATH/key.pem,servername=HOST",
        ),
        "kubernetes": (
            "--driver-opt", "namespace=NAMESPACE,replicas=1",
            "--driver-opt", f"requests.ephemeral-storage={stack.disk_gb if stack and stack.disk_gb else 100}Gi",
        ),
    }[driver]  # fmt: skip
    place = ("tcp://HOST:1234",) if driver == "remote" else ()
    limits = () if driver == "remote" else ("--platform", platform)
    return ("docker", "buildx", "create", "--name", name, "--driver", driver, *limits, *options, *place)


def remedy(name: str, stack: Stack | None) -> str:
    """How to get a builder of that name, one command for each driver."""
    ways = " or ".join(" ".join(create(driver, name, stack)) for driver in DRIVERS)
    return f"{ways}; or unset ROCM_CI_BUILDER"


class Chosen(NamedTuple):
    """The builder of a run: ``found`` is what buildx's files say of it, None where there is none of that name."""

    name: str
    source: str
    found: probes.Builder | None


def chosen(settings: Settings, at: Endpoint) -> Chosen:
    """The builder the settings name, else the engine's own."""
    name = buildx.builder(settings, at)
    return Chosen(name, settings.get("ROCM_CI_BUILDER").source or at.source, probes.builder(settings, name))


def driver(settings: Settings, at: Endpoint) -> str:
    """The driver of the run's builder, which ``refuse_unusable`` has seen."""
    found = chosen(settings, at).found
    return found.driver if found else OWN


def misnamed(choice: Chosen, at: Endpoint, stack: Stack | None) -> Fault | None:
    """What is wrong with the name alone, told without asking the builder."""
    if choice.found is None:
        message = f"there is no builder {choice.name!r} (from {choice.source})"
        return Fault(Outcome.CONFIG, message, remedy(choice.name, stack))
    if choice.found.driver == OWN and at.context and choice.found.endpoint != at.context:
        where = f"in another engine than the one of context {at.context}, where images are used"
        return Fault(Outcome.CONFIG, f"{choice.name} builds {where}", f"set ROCM_CI_BUILDER={at.context}")
    return None


def asked(choice: Chosen, settings: Settings, at: Endpoint, start: Run = run, *, boot: bool = False) -> Builder:
    """The builder as buildx shows it, ``error`` set where it does not; with ``boot``, started first."""
    env = buildx.environment(settings, at)
    if choice.found and choice.found.driver == OWN:
        with scratch("what buildx keeps") as folder:  # it makes its folders to answer, and a look leaves nothing behind
            done = buildx.inspect(choice.name, env | {"BUILDX_CONFIG": str(folder)}, start)
    else:
        done = buildx.inspect(choice.name, env, start, boot=boot)
    return read(done.stdout) if done.ok else Builder(choice.name, "", (), done.tail(1))


def refuse_unusable(work: Workspace, plan: Plan, *, push: bool, warn: Callable[[str], None], start: Run = run) -> None:
    """Raise ``ConfigError`` or ``InfraError`` for a builder that cannot do what the plan will ask of it."""
    at = work.engine.at
    choice = chosen(work.settings, at)
    wrong = misnamed(choice, at, work.stack) or _blind(choice, plan, shared=push and work.writes is not None)
    if wrong:
        raise _error(choice.name, [wrong])
    if choice.found is None or choice.found.driver == OWN:  # version and platform are the engine's, which was asked
        _warn_of_space(work, warn)
        return
    builder = asked(choice, work.settings, at, start)
    if builder.driver in STARTED and not any(node.status == "running" or node.error for node in builder.nodes):
        builder = asked(choice, work.settings, at, start, boot=True)
    found = list(faults(builder, work.stack))
    if fatal := [fault for fault in found if fault.outcome is not Outcome.OK]:
        raise _error(choice.name, fatal)
    for fault in found:
        warn(f"builder {choice.name}: {fault.message}; {fault.hint}")


def room(engine: Engine) -> Path | str:
    """The folder of this host in which the engine keeps what is built, or why there is none to measure."""
    if not engine.at.host.startswith("unix://"):
        return f"the engine is on another host ({engine.at.host})"
    info = engine.info()
    folders = [Path(str(info.get("DockerRootDir") or "/"))]
    if (info.get("Containerd") or {}).get("Address") == "/run/containerd/containerd.sock":
        folders.append(Path("/var/lib/containerd"))  # of a containerd that the engine did not start
    here = [folder for folder in folders if folder.exists()]
    return min(here, key=host.free_disk) if here else f"the engine's {folders[0]} is not on this host"


def _warn_of_space(work: Workspace, warn: Callable[[str], None]) -> None:
    """No refusal: how much of a build is there already, only BuildKit knows."""
    folder = room(work.engine)
    if isinstance(folder, Path) and (free := host.free_disk(folder)) < work.stack.disk_gb * 1e9 / 4:
        needs = f"a first build takes about {work.stack.disk_gb} GB"
        warn(f"{free / 1e9:.1f} GB free at {folder}, {needs}; free some: docker system df, then docker image prune")


def _blind(choice: Chosen, plan: Plan, *, shared: bool) -> Fault | None:
    """Parents that such a builder cannot see, because only the engine has them; ``shared`` ones are in a registry."""
    if choice.found is None or choice.found.driver == OWN:
        return None
    parents = {parent for tier in plan.tiers if tier.decision != "reuse" for parent in tier.inputs.parents}
    roots = sorted({each.name for each in parents if each.is_root and not plan.stack.roots[each.name].digest})
    tiers = sorted({each.name for each in parents if not each.is_root and not shared})
    if not (roots or tiers):
        return None
    hints = ["pin the digest of the root in the stack"] if roots else []
    hints += ["give --registry and --push, so that it can pull them"] if tiers else []
    message = f"it does not see the engine's images, and only the engine has {', '.join((*roots, *tiers))}"
    return Fault(Outcome.CONFIG, message, f"{'; '.join(hints)}; or unset ROCM_CI_BUILDER")


def _error(name: str, found: list[Fault]) -> CiError:
    kind = ConfigError if any(fault.outcome is Outcome.CONFIG for fault in found) else InfraError
    return kind.of(Problem("builder", f"builder {name}: {fault.message}", fault.hint) for fault in found)
