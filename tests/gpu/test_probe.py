"""The kernels of rocm-probe give the right numbers on every GPU that can be used."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import detached
import pytest
import serving

NO_DEVICE = 4
LIMIT = 300.0


def run_probe(kernel: str, logs: Path) -> dict[str, Any]:
    """What the probe says of one kernel; skips where there is no probe or no device."""
    if importlib.util.find_spec("rocm_probe") is None:
        pytest.skip("this image has no module rocm_probe")
    told = detached.ask([sys.executable, "-m", "rocm_probe", "--json", f"--kernel={kernel}"], LIMIT)
    (logs / "probe.txt").write_text(told.text, encoding="utf-8")
    assert told.code is not None, f"the probe did not end within {LIMIT:g} s: the driver may hang\n{told.text[-2000:]}"
    if told.code == NO_DEVICE and not serving.has_gpu():
        pytest.skip(f"no GPU can be used here: {told.text.strip().splitlines()[-1]}")
    begin = told.text.find("{")
    assert begin >= 0, f"the probe ended with {told.code} and printed no JSON:\n{told.text[-2000:]}"
    document: dict[str, Any] = json.JSONDecoder().raw_decode(told.text[begin:])[0]
    assert told.code == 0 or document["results"], f"the probe ended with {told.code}:\n{told.text[-2000:]}"
    return document


@pytest.mark.parametrize("kernel", ["vector_add", "bandwidth", "peer_copy", "expert_parallel"])
def test_kernel(kernel: str, logs: Path, measure: Callable[..., None]) -> None:
    document = run_probe(kernel, logs)
    rows = document["results"]
    wrong = [row for row in rows if row["verdict"] == "wrong"]
    assert not wrong, "\n".join(map(str, wrong))
    ran = [row for row in rows if row["verdict"] == "ok"]
    for number, row in enumerate(row for row in ran if row["gb_per_s"]):
        measure(f"{kernel}_{number}_device_{row['device']}", row["gb_per_s"], "GB/s")
    if not ran:
        pytest.skip("; ".join(sorted({row["detail"] for row in rows})) or "the probe found nothing to run it on")
