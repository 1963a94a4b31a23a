"""Slurm from outside: its own programs, each given an argument list and asked for plain columns.

A job is held by a batch script that only waits; what it is for runs as steps in it, one ``srun`` each,
whose exit status is that of the one task it has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError, DeadlineError, InfraError
from ..settings import Settings
from .probes import gather
from .process import Command, Finished, Run, run

PREFIX = "rocm-ci-"
"""How the names of our jobs begin."""

_PATIENCE = 90.0
"""Seconds for one question: the programs themselves give up on a silent controller after some tens."""

_HOLD = "sleep infinity"
"""The batch script: the same for every job, so there is nothing in it to quote."""

_JOBS = "%i|%T|%N|%r"
_SACCT = "JobID,JobName,State,ExitCode,DerivedExitCode,NodeList,Start,End"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_REFUSED = re.compile(
    r"invalid (?:partition|account|qos|feature|generic|node|time)|unrecognized option|node configuration"
    r"|more processors|node count|gres|time ?limit",
    re.IGNORECASE,
)


class JobSeen(NamedTuple):
    """A job as the queue shows it: ``state`` in capitals (``RUNNING``), ``nodes`` as Slurm writes them (``n[1-3]``)."""

    id: str
    state: str
    nodes: str
    reason: str


class NodeSeen(NamedTuple):
    """A node: its name, the address Slurm itself reaches it at, its states (``IDLE``, ``DRAIN``) and their reason."""

    name: str
    address: str
    states: frozenset[str]
    reason: str


def job_name(run_name: str, step: str) -> str:
    """The name of the job for a step of a run: unique, so that a job whose number we never heard of is found by it."""
    name = f"{PREFIX}{run_name}-{step}"
    if not _NAME.fullmatch(name):
        raise ConfigError("bad-job-name", f"{step!r} cannot be part of a job's name", hint="use letters, digits, . _ -")
    return name


def is_job_of(name: str, run_name: str) -> bool:
    """Whether ``name`` is that of a job of this run: anybody may write a ledger, root may read it."""
    return name.startswith(f"{PREFIX}{run_name}-") and bool(_NAME.fullmatch(name))


def client_environment(settings: Settings) -> Mapping[str, str]:
    """What Slurm's programs need of the caller's environment."""
    names = ("PATH", "HOME", "USER", "SLURM_CONF")
    return {name: settings.host(name) for name in names if settings.host(name)}


@dataclass(frozen=True)
class Slurm:
    """The cluster that this machine's Slurm programs talk to."""

    environ: Mapping[str, str]
    run: Run = run

    def version(self) -> str:
        """What Slurm calls itself; ``InfraError`` where its programs are not installed."""
        return self._start("sbatch", "--version").stdout.strip()

    def submit(self, name: str, nodes: int, minutes: int, expires: int, options: Sequence[str]) -> str:
        """Ask for ``nodes`` nodes, one task each; gives the job's number.

        ``minutes`` is what Slurm itself allows the job, and a job that has not begun ``expires`` seconds from
        now is dropped by Slurm: what holds when nobody of ours is left.  Raises ``ConfigError`` where the
        request can never be met, ``InfraError`` where it was not heard; a job may exist even then.
        """
        argv = (
            "sbatch", "--parsable", *options, f"--job-name={name}", f"--nodes={nodes}", "--ntasks-per-node=1",
            "--no-requeue", f"--time={minutes}", f"--deadline=now+{expires + 60 * minutes}", "--chdir=/",
            "--output=/dev/null", f"--wrap={_HOLD}",
        )  # fmt: skip
        done = self._start(*argv)
        number = done.stdout.strip().partition(";")[0]
        if done.ok and number.isdigit():
            return number
        said = done.tail(3)
        if not done.ok and _REFUSED.search(said):
            raise never_given(said)
        raise InfraError("slurm-submit", "Slurm did not take the job", hint="look at sinfo", context=said)

    def look(self, name: str, number: str) -> JobSeen | None:
        """The job as it is; None when Slurm knows it no more."""
        text = self._ask("squeue", "--noheader", "--states=all", f"--name={name}", f"--format={_JOBS}")
        return next((job for job in jobs(text) if job.id == number), None)

    def nodes(self, names: str) -> tuple[NodeSeen, ...]:
        """The nodes in a list as Slurm writes it, in its order."""
        order = self._ask("scontrol", "show", "hostnames", names).split()
        found = {node.name: node for node in node_records(self._ask("scontrol", "--oneliner", "show", "node", names))}
        missing = [name for name in order if name not in found]
        if missing or not order:
            raise InfraError("slurm-nodes", f"Slurm does not describe the nodes {names}", context=" ".join(missing))
        return tuple(found[name] for name in order)

    def cancel(self, name: str) -> None:
        """End every job of that name, and have its nodes back; there may be none."""
        self._ask("scancel", f"--name={name}")

    def signal(self, number: str, signal: str) -> Command:
        """The command that sends ``INT``, ``TERM`` or ``KILL`` to all steps of a job; ``KILL`` ends the job too."""
        return Command(("scancel", f"--signal={signal}", number), env=self.environ)

    def step(self, number: str, node: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> Command:
        """The command that runs ``argv`` on one node of a job, with ``env`` and whatever the node has of the rest.

        All of the node's share in the job is the step's: memory, GPUs, and every core (one task alone is
        otherwise bound to one).
        """
        options = (
            f"--jobid={number}", f"--nodelist={node}", "--nodes=1", "--ntasks=1", "--overlap", "--mem=0",
            "--cpu-bind=none", "--mpi=none", "--input=none", "--export=ALL", f"--chdir={cwd}",
        )  # fmt: skip
        short = 0.5  # at a single SIGINT srun does no more than ask for a second one
        return Command(("srun", *options, *argv), env={**self.environ, **env}, patience=short)

    def once(self, number: str, node: str, argv: Sequence[str]) -> str:
        """Run a short program on one node of a job; gives its output, raises ``InfraError`` where it fails."""
        command = self.step(number, node, argv, {}, Path("/"))
        done = self._start(*command.argv)
        if not done.ok:
            hint = f"try it there: srun --nodelist={node} true"
            raise InfraError("slurm-node", f"cannot run a program on {node}", hint=hint, context=done.tail(3))
        return done.stdout.strip()

    def evidence(self, name: str, number: str, names: str, seconds: float) -> tuple[str, ...]:
        """What Slurm says of a job and its nodes, line by line; what has no answer within ``seconds`` says so."""
        questions: tuple[tuple[str, ...], ...] = (
            ("squeue", "--states=all", f"--name={name}", f"--format={_JOBS}"),
            ("scontrol", "--oneliner", "show", "job", number),
            ("scontrol", "--oneliner", "show", "node", names),
            ("sacct", f"--jobs={number}", "--parsable2", f"--format={_SACCT}"),
        )
        answers = gather({str(Command(argv)): partial(self._start, *argv) for argv in questions}, seconds)
        lines: list[str] = []
        for question, answer in answers.items():
            said = answer.stdout + answer.stderr if isinstance(answer, Finished) else str(answer or "no answer")
            lines += [f"$ {question}", *said.splitlines()]
        return tuple(lines)

    def _ask(self, *argv: str) -> str:
        done = self._start(*argv)
        if not done.ok:
            raise _unreachable(argv[0], done.tail(3))
        return done.stdout

    def _start(self, *argv: str) -> Finished:
        try:
            return self.run(Command(argv, env=self.environ, deadline=_PATIENCE))
        except DeadlineError as error:
            raise _unreachable(argv[0], str(error)) from None


def never_given(context: str) -> ConfigError:
    """A request that no amount of waiting fulfils."""
    hint = "compare the nodes and options of the step with sinfo"
    return ConfigError("slurm-refused", "Slurm cannot give such a job", hint=hint, context=context)


def _unreachable(program: str, context: str) -> InfraError:
    message = f"{program} got no answer from Slurm"
    return InfraError("slurm-unreachable", message, hint="ask the controller: scontrol ping", context=context)


def jobs(text: str) -> tuple[JobSeen, ...]:
    """The rows of ``squeue``; the reason is last, as it alone may hold any character."""
    rows = (line.split("|", 3) for line in text.splitlines())
    return tuple(JobSeen(*map(str.strip, row)) for row in rows if len(row) == 4)


def node_records(text: str) -> tuple[NodeSeen, ...]:
    """The nodes of ``scontrol --oneliner show node``; states are joined by ``+``, a ``*`` is for no answer."""
    found = []
    for line in text.splitlines():
        fields: dict[str, str] = dict(re.findall(r"(?:^|\s)(\w+)=(\S*)", line))
        if "NodeName" not in fields:
            continue
        written = fields.get("State", "")
        states = {re.sub(r"[^A-Z_]", "", each) for each in written.split("+")}
        if "*" in written:
            states.add("NOT_RESPONDING")
        reason = "".join(re.findall(r"\sReason=(.*?)(?:\s\w+=|$)", line)[:1]).strip()
        address = fields.get("NodeAddr", fields["NodeName"])
        found.append(NodeSeen(fields["NodeName"], address, frozenset(states), reason))
    return tuple(found)
