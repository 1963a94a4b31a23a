"""``python -m rocm_probe``: run the probes on every GPU present.

Exit codes: 0 all numbers right, 1 wrong numbers or a failed call, 2 usage, 3 no code object for
the device, 4 no runtime or no device, 6 nothing could be run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from . import hip, objects

KERNELS = ("vector_add", "bandwidth", "peer_copy", "expert_parallel")
CODES = {"ok": 0, "failed": 1, "contract": 3, "infra": 4, "empty": 6}


def main(argv: Sequence[str] | None = None, library: Any = None) -> int:
    """Run; returns the exit code. ``library`` stands in for libamdhip64 in tests."""
    parser = argparse.ArgumentParser(prog="rocm-probe", description="Run small kernels on the GPUs present.")
    parser.add_argument("--kernel", action="append", choices=KERNELS, help="only this one; may be repeated")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--size", type=int, default=1 << 26, help="float32 numbers of a large array")
    chosen = parser.parse_args(argv)
    try:
        runtime = hip.Hip(library if library is not None else hip.load())
        from . import probes  # noqa: PLC0415 - it brings NumPy, which a machine without a device need not have

        results = probes.run(runtime, chosen.kernel or KERNELS, size=chosen.size)
    except hip.NoRuntime as error:
        return _refused(chosen.json, "infra", str(error))
    except objects.NoObject as error:
        return _refused(chosen.json, "contract", str(error))
    except hip.HipError as error:
        return _refused(chosen.json, "failed", str(error))
    outcome = probes.verdict(results)
    document: dict[str, Any] = {"outcome": outcome, "results": [result.to_json() for result in results]}
    _say(json.dumps(document, indent=2) if chosen.json else "\n".join(_line(row) for row in document["results"]))
    return CODES[outcome]


def _line(row: dict[str, Any]) -> str:
    speed = f"{row['gb_per_s']:.1f} GB/s" if row["gb_per_s"] else ""
    shown = (f"{row['verdict']:7}", f"device {row['device']}", row["arch"], f"{row['kernel']:16}", speed, row["detail"])
    error = "" if row["verdict"] != "wrong" else f"largest relative error {row['worst']:g}"
    return "  ".join(part for part in (*shown, error) if part)


def _refused(as_json: bool, outcome: str, text: str) -> int:
    if as_json:
        _say(json.dumps({"outcome": outcome, "error": text, "results": []}, indent=2))
    sys.stderr.write(f"rocm-probe: {text}\n")
    return CODES[outcome]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
