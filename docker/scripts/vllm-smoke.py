"""Import the engine and ask it which platform it runs on; no network, no GPU."""

from __future__ import annotations

import sys

import torch
import vllm
from vllm.platforms import current_platform


def main() -> None:
    """Exit with a message unless this is vLLM for CPU on a working torch."""
    if not current_platform.is_cpu():
        raise SystemExit(f"vllm {vllm.__version__} takes this image for {current_platform.device_name!r}, not for cpu")
    total = float(torch.ones(8, 8).matmul(torch.ones(8, 8)).sum())
    if total != 512.0:
        raise SystemExit(f"torch {torch.__version__} multiplies wrongly: 512.0 expected, {total} found")
    sys.stdout.write(f"vllm {vllm.__version__} on torch {torch.__version__}: ok\n")


if __name__ == "__main__":
    main()
