"""The scenes: each makes its surroundings, measures in turn, and gives what the goals ask for."""

from __future__ import annotations

import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ci import settings
from ci.build import bake, context, definition, host
from ci.build.inputs import RECIPE
from ci.build.lookup import IDENTITY
from ci.build.plan import TierPlan
from ci.build.progress import Progress
from ci.build.workspace import Workspace, open_workspace

from . import recipes
from .distant import distant
from .goals import Measured
from .measure import BenchError, Process, environment, in_turn, output

TOP = Path(__file__).resolve().parents[2]
LATENCY = 0.050
ROUNDS = 21
COLD_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Bench:
    """A folder of this run, and the stack that has its images in the engine."""

    folder: Path
    stack: str
    state: Path

    @property
    def env(self) -> dict[str, str]:
        """Environment of every child: a state of this run, as a build left it."""
        return environment(ROCM_CI_STATE=str(self.state), PYTHONPATH=str(TOP))

    def ours(self, *words: str) -> tuple[str, ...]:
        """``python -m ci`` with these words."""
        return (sys.executable, "-m", "ci", *words)

    def invoke(self, *words: str) -> tuple[str, ...]:
        """``inv`` of the same environment with these words."""
        return (str(Path(sys.executable).with_name("inv")), *words)

    def workspace(self, stack: str, goal: str) -> Workspace:
        """What a build verb would work with."""
        captured = settings.capture({"--stack": stack}, self.env)
        return open_workspace(captured, {}, (goal,), lambda _text: None)


def prepare(folder: Path) -> Bench:
    """The shipped stack where its images are here, else a small one, built now."""
    state = folder / "state"
    state.mkdir()
    ours = f"user-{os.getuid()}"
    usual = Path(settings.capture().get("ROCM_CI_STATE").value) / ours
    if usual.is_dir():
        shutil.copytree(usual, state / ours)
    shipped = Bench(folder, "local", state)
    work = shipped.workspace("local", "ci-base")
    if all(tier.decision == "reuse" for tier in work.plan(("ci-base",)).tiers):
        return shipped
    recipes.make_root()
    small = Bench(folder, str(recipes.write(folder / "small", uuid.uuid4().hex, name="small")), state)
    Process(small.ours("build-ci-base", "--stack", small.stack), TOP, small.env).seconds()
    return small


def nothing(bench: Bench) -> dict[str, Measured]:
    """Nothing to do, against a bake of the same target in which every step is cached."""
    work = bench.workspace(bench.stack, "ci-base")
    tier = _tier(work, "ci-base")
    with host.network(work.settings, bake.wanted_secrets(tier), work.engine.gateway) as network:
        replay = _replayed(work, tier, bench.folder / "replay", network.secrets)
        replay.seconds()  # where the build cache was emptied meanwhile, this fills it
    _refuse_work(replay)
    words = ("build-ci-base", "--stack", bench.stack)
    cases = {
        "module": Process(bench.ours(*words), TOP, bench.env),
        "bake": replay,
        "invoke": Process(bench.invoke(*words), TOP, bench.env),
    }
    found = in_turn(cases, ROUNDS)
    return {
        "nothing-module": Measured(found["module"], found["bake"]),
        "nothing-invoke": Measured(found["invoke"], found["bake"]),
    }


def identity(bench: Bench) -> dict[str, Measured]:
    """A process that finds an identity of 7,000 files, above one that only imports the same modules."""
    stack = str(recipes.write(bench.folder / "many", "none", files=7000))
    child = (sys.executable, "-m", "tests.bench.child")
    warm = environment(ROCM_CI_STATE=str(bench.folder / "warm"), PYTHONPATH=str(TOP))
    cold = environment(ROCM_CI_STATE=str(bench.folder / "cold"), PYTHONPATH=str(TOP))
    cases = {
        "import": Process((*child, "import", stack), TOP, warm),
        "warm": Process((*child, "explain", stack), TOP, warm),
        "cold": Process((*child, "explain", stack), TOP, cold, lambda: _remove(bench.folder / "cold")),
    }
    found = in_turn(cases, ROUNDS)
    base = found["import"]
    return {"identity-warm": Measured(found["warm"].above(base)), "identity-cold": Measured(found["cold"].above(base))}


def latency(bench: Bench) -> dict[str, Measured]:
    """All tiers looked up in a registry that has none of them and is 50 ms away."""
    with distant(LATENCY) as host:
        words = ("plan", "--stack", bench.stack, "--registry", f"{host}/bench")
        cases = {
            "module": Process(bench.ours(*words), TOP, bench.env),
            "invoke": Process(bench.invoke(*words), TOP, bench.env),
        }
        found = in_turn(cases, ROUNDS)
    return {"plan-module": Measured(found["module"]), "plan-invoke": Measured(found["invoke"])}


def cold(bench: Bench) -> dict[str, Measured]:
    """A build in which no step is cached, against a bake of the same definition; every round has its own stamp."""
    recipes.make_root()
    stack = recipes.write(bench.folder / "work", uuid.uuid4().hex)
    Process(bench.ours("build-base", "--stack", str(stack)), TOP, bench.env).seconds()  # gets the root
    plain = bench.folder / "plain"
    work = bench.workspace(str(stack), "base")
    process = _replayed(work, _tier(work, "base"), plain, {})

    def new_stack() -> None:
        recipes.remove_built()
        stack.write_text(recipes.stack(uuid.uuid4().hex, "work"))

    def new_definition() -> None:
        recipes.remove_built()
        document = json.loads((plain / "bake.json").read_text())
        document["target"]["base"]["args"]["STAMP"] = uuid.uuid4().hex
        (plain / "bake.json").write_text(json.dumps(document))

    cases = {
        "ours": Process(bench.ours("build-base", "--stack", str(stack)), TOP, bench.env, new_stack),
        "bake": Process(process.argv, process.cwd, process.env, new_definition),
    }
    found = in_turn(cases, COLD_ROUNDS, warm_ups=1)
    return {"cold": Measured(found["ours"], found["bake"])}


SCENES: Mapping[str, Callable[[Bench], dict[str, Measured]]] = {
    "nothing": nothing,
    "identity": identity,
    "latency": latency,
    "cold": cold,
}


def _tier(work: Workspace, name: str) -> TierPlan:
    return next(item for item in work.plan((name,), everything=True).tiers if item.name == name)


def _replayed(work: Workspace, plan: TierPlan, folder: Path, secrets: Mapping[str, str]) -> Process:
    """The bake of one tier as we would start it, its context in ``folder``."""
    folder.mkdir()
    trees = {name: work.trees[name].root for name in plan.inputs.selected}
    context.materialise(folder / "context", plan.inputs.selected, trees)
    (folder / "context" / RECIPE).mkdir(parents=True, exist_ok=True)
    (folder / "Dockerfile").write_text(plan.inputs.text)
    (folder / definition.CA_FILE).write_text(secrets.get("ca", ""))
    (folder / "bake.json").write_text(json.dumps(_definition(work, plan, tuple(secrets))))
    argv = (
        "docker", "buildx", "--builder", "default", "bake", "--file", "bake.json", "--progress", "rawjson",
        "--metadata-file", "metadata.json", "--allow", f"fs.read={folder}", plan.name,
    )  # fmt: skip
    return Process(argv, folder, environment(**definition.secret_environment(secrets)))


def _definition(work: Workspace, plan: TierPlan, secrets: tuple[str, ...]) -> dict[str, object]:
    parents = {}
    for parent in plan.inputs.parents:
        image = work.engine.image(parent.reference)
        if image is None:
            raise BenchError(f"{parent.reference} is not in the engine")
        parents[parent.argument] = f"{parent.reference}@{image.id}"
    return definition.define(
        plan.inputs,
        platform=work.stack.platform,
        name=f"{recipes.REPOSITORY}/replayed:{plan.name}",
        labels={IDENTITY: plan.identity},
        parents=parents,
        secrets=secrets,
        cache={},
    )


def _refuse_work(process: Process) -> None:
    """Raise unless every step of the bake is cached: a bake that works would flatter us."""
    progress = Progress()
    for line in output(["sh", "-c", '"$@" 2>&1', "bake", *process.argv], process.cwd, process.env).splitlines():
        progress.feed(line)
    if not progress.stages or any(stage.cached_steps < stage.steps for stage in progress.stages):
        raise BenchError(f"the bake of {process.argv[-1]} is not cached: {progress.stages}")


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
