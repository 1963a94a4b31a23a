"""What ``amd-smi`` and ``rocm-smi`` say of the GPUs. Each question is bounded, and what hangs is left behind.

Their JSON differs by version: ``static`` and ``metric`` are a bare list up to ROCm 6.3 and stand below
``gpu_data`` later, ``list`` and ``process`` are a list in all; warnings may come before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..errors import CiError, DeadlineError, InfraError, Problem
from .gpus import Gpu, Holder
from .probes import gather
from .process import Command, Run

AMD_SMI = {
    "list": ("amd-smi", "list", "--json"),
    "static": ("amd-smi", "static", "--asic", "--vram", "--json"),
    "metric": ("amd-smi", "metric", "--mem-usage", "--json"),
    "process": ("amd-smi", "process", "--json"),
}
"""What is asked; the last three only once the first has answered."""

ROCM_SMI = (
    "rocm-smi", "--showid", "--showproductname", "--showbus", "--showuniqueid", "--showmeminfo", "vram", "--json",
)  # fmt: skip

_MIB = 1 << 20
_UNITS = {"B": 1, "KB": 1 << 10, "MB": _MIB, "GB": 1 << 30}
_PCI = re.compile(r"([0-9a-f]{4,}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])", re.IGNORECASE)
_HUNG = "the driver may hang: dmesg; the node may need a reset"


class Found(NamedTuple):
    """What one tool said. ``Gpu.render`` is not known here; ``Gpu.index`` is the tool's own number."""

    source: str
    gpus: tuple[Gpu, ...]
    holders: tuple[Holder, ...]
    problems: tuple[Problem, ...]


NOTHING = Found("none", (), (), ())


def amd_smi(start: Run, seconds: float) -> Found:
    """Ask ``amd-smi``; no problem where it is not installed."""
    said, problems = _asked(start, {"list": AMD_SMI["list"]}, seconds)
    if not _rows(said.get("list")):
        return NOTHING._replace(problems=problems)
    more, troubles = _asked(start, {name: AMD_SMI[name] for name in ("static", "metric", "process")}, seconds)
    static, metric = (_by_gpu(more.get(name)) for name in ("static", "metric"))
    gpus = []
    for row in _rows(said["list"]):
        number = _integer(row.get("gpu"))
        if number is not None:
            gpus.append(_gpu(number, row, static.get(number, {}), metric.get(number, {})))
    keys = {gpu.index: gpu.key for gpu in gpus}
    holders = [
        holder
        for number, row in _by_gpu(more.get("process")).items()
        if number in keys
        for holder in _holders(keys[number], row)
    ]
    return Found("amd-smi", tuple(gpus), tuple(holders), (*problems, *troubles))


def rocm_smi(start: Run, seconds: float) -> Found:
    """Ask ``rocm-smi``, the tool before it; no problem where it is not installed."""
    said, problems = _asked(start, {"rocm-smi": ROCM_SMI}, seconds)
    cards = said.get("rocm-smi")
    if not isinstance(cards, dict):
        return NOTHING._replace(problems=problems)
    numbered = {int(name[4:]): card for name, card in cards.items() if re.fullmatch(r"card\d+", name)}
    gpus = tuple(_card(number, card) for number, card in sorted(numbered.items()))
    return Found("rocm-smi", gpus, (), problems)


def count(start: Run) -> int | None:
    """How many GPUs ``amd-smi`` lists; None where it is not installed, its error where it fails."""
    try:
        return len(_rows(_answer(AMD_SMI["list"], start)))
    except InfraError as error:
        if error.problems[0].reference == "no-program":
            return None
        raise


# --- asking -----------------------------------------------------------------------------------


def _asked(
    start: Run, questions: Mapping[str, tuple[str, ...]], seconds: float
) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """The documents that came, and what was wrong with the others."""
    told = gather({name: partial(_answer, argv, start) for name, argv in questions.items()}, seconds + 1)
    problems = []
    for name, said in told.items():
        command = " ".join(questions[name])
        if said is None or isinstance(said, DeadlineError):
            message = f"{questions[name][0]} did not answer within {seconds:g} s: driver hung?"
            problems.append(Problem("smi-hung", message, _HUNG, command))
        elif isinstance(said, CiError):
            problems += [each for each in said.problems if each.reference != "no-program"]
        elif isinstance(said, BaseException):
            problems.append(Problem("smi-garbage", f"{command}: {said!r}", "report this line: it is a bug of ours"))
    return {name: said for name, said in told.items() if isinstance(said, (list, dict))}, tuple(problems)


def _answer(argv: tuple[str, ...], start: Run) -> Any:
    """The JSON a tool prints, warnings before it passed over."""
    done = start(Command(argv))
    command = " ".join(argv)
    if not done.ok:
        raise InfraError("smi-failed", f"{command} ends with {done.code}", hint=_HUNG, context=done.tail(5))
    found = document(done.stdout)
    if found is None:
        hint = f"run {command} by hand; reinstall {argv[0]} where it prints no JSON"
        raise InfraError("smi-garbage", f"{command} prints no JSON", hint=hint, context=done.tail(5))
    return found


def document(text: str) -> Any:
    """The first line that begins a JSON list or object, and all that belongs to it; None where there is none."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"^\s*[\[{]", text, re.MULTILINE):
        try:
            return decoder.raw_decode(text, match.end() - 1)[0]
        except ValueError:
            continue
    return None


# --- reading ----------------------------------------------------------------------------------


def _rows(said: Any) -> list[Mapping[str, Any]]:
    rows = said.get("gpu_data") if isinstance(said, dict) else said
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _by_gpu(said: Any) -> dict[int, Mapping[str, Any]]:
    numbered = ((_integer(row.get("gpu")), row) for row in _rows(said))
    return {number: row for number, row in numbered if number is not None}


def _integer(value: object) -> int | None:
    """A number, however it is written; the tools write N/A for what they do not know."""
    try:
        return int(str(value), 0)
    except ValueError:
        return None


def _part(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = row.get(name)
    return part if isinstance(part, dict) else {}


def _mb(quantity: object) -> int | None:
    """MiB of ``{"value": 196592, "unit": "MB"}``; the tools say MB and mean MiB."""
    if not isinstance(quantity, dict):
        return None
    value = _integer(quantity.get("value"))
    return None if value is None else value * _UNITS.get(str(quantity.get("unit")), 0) // _MIB


def _known(value: object) -> str:
    text = str(value or "").strip()
    return "" if text.upper() == "N/A" else text


def _address(text: object, partition: int) -> str:
    """The address of the physical device: for a partition the tools put its number in place of the function."""
    match = _PCI.fullmatch(str(text))
    if match is None:
        return _known(text)
    domain, bus, device, function = (part.lower() for part in match.groups())
    if partition and int(function) == partition:
        function = "0"
    return f"{domain}:{bus}:{device}.{function}"


def _arch(text: object) -> str:
    """The target; an old library writes its stepping in decimal."""
    name = _known(text).lower().replace("gfx9010", "gfx90a")
    return name if re.fullmatch(r"gfx[0-9a-f]+", name) else ""


def _uuid(serial: object) -> str:
    """As the runtime names the device, from the number the driver calls its unique id."""
    number = _integer(serial)
    return f"GPU-{number:016x}" if number else ""


def _gpu(number: int, row: Mapping[str, Any], static: Mapping[str, Any], metric: Mapping[str, Any]) -> Gpu:
    asic, memory = _part(static, "asic"), _part(metric, "mem_usage")
    partition = _integer(row.get("partition_id")) or 0
    size = _mb(_part(static, "vram").get("size"))
    return Gpu(
        number,
        _address(row.get("bdf"), partition),
        _arch(asic.get("target_graphics_version")),
        _known(asic.get("market_name")),
        _mb(memory.get("total_vram")) if size is None else size,
        _mb(memory.get("used_vram")),
        None,
        _uuid(asic.get("asic_serial")),
        partition,
        _integer(row.get("kfd_id")) or 0,
    )


def _holders(key: str, row: Mapping[str, Any]) -> list[Holder]:
    """The processes with memory of that device; the tool also lists some that only looked."""
    listed = row.get("process_list")
    held = []
    for entry in listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ():
        info = entry.get("process_info") if isinstance(entry, dict) else None
        if not isinstance(info, dict):
            continue  # "No running processes detected"
        pid, usage = _integer(info.get("pid")), _part(info, "memory_usage").get("vram_mem", info.get("mem_usage"))
        nothing = isinstance(usage, dict) and _integer(usage.get("value")) == 0
        if pid is not None and not nothing:
            held.append(Holder(pid, _known(info.get("name")), key, _mb(usage)))
    return held


def _card(number: int, card: Mapping[str, Any]) -> Gpu:
    """A card of ``rocm-smi``; its words changed their case between versions."""
    facts = {name.lower(): value for name, value in card.items()}
    total, used = (_integer(facts.get(f"vram total {word}memory (b)")) for word in ("", "used "))
    return Gpu(
        number,
        _address(facts.get("pci bus"), 0),
        _arch(facts.get("gfx version")),
        _known(facts.get("card series")) or _known(facts.get("device name")),
        None if total is None else total // _MIB,
        None if used is None else used // _MIB,
        None,
        _uuid(facts.get("unique id")),
        0,
        _integer(facts.get("guid")) or 0,
    )
