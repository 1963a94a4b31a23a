"""The engine under test imports, says what it is, and sees the GPUs it should."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable

import pytest
import serving


@pytest.mark.parametrize("name", ["torch", "vllm"])
def test_imports_and_says_its_version(name: str, request: pytest.FixtureRequest) -> None:
    module = importlib.import_module(name)
    version = str(module.__version__)
    request.node.user_properties.append((f"{name}_version", version))
    print(f"{name} {version}")  # noqa: T201 - a person who reads the log wants it too
    installed = importlib.metadata.version(name)
    assert version.partition("+")[0] == installed.partition("+")[0], (
        f"the module is {version}, its metadata {installed}"
    )


def test_sees_its_gpus(measure: Callable[..., None]) -> None:
    torch = importlib.import_module("torch")
    count = torch.cuda.device_count()
    measure("gpus", count)
    if not serving.has_gpu():
        assert not count, f"{count} GPUs are visible though the mask hides them, or there is no /dev/kfd"
        return
    assert count, f"there is a GPU, but torch {torch.__version__} (HIP {torch.version.hip}) sees none"
    assert torch.ones(4, device="cuda").sum().item() == 4
