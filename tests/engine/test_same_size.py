"""An edit that keeps the size of a file reaches the image, whatever BuildKit remembers of a folder of that name."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ci.wheels import bundle
from tests.engine.conftest import Cli, docker

FACTS = bundle.Manifest("c" * 40, f"sha256:{'b' * 64}", (), {})


def test_an_edit_that_keeps_the_size_is_in_the_image(cli: Cli, tiny: tuple[str, ...], stack: Path) -> None:
    seen = []
    for word in ("111", "222"):
        (stack.parent / "first.txt").write_text(word)
        (stack.parent.parent / "src/lib/one.py").write_text(word)
        reference = str(cli("build-ci-base", *tiny).tier("ci-base")["reference"]).partition("@")[0]
        seen.append(docker("run", "--rm", reference, "cat", "/opt/first.txt", "/opt/lib/one.py"))
    assert seen == ["111111", "222222"]


def test_what_a_bundle_holds_is_in_the_image_made_of_it(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY --from=held wheel /wheel\n")
    seen = []
    for word in ("111", "222"):
        folder = tmp_path / word
        (folder / "in").mkdir(parents=True)
        (folder / "in/wheel").write_text(word)
        bundle.make(folder / "x.tar", {"wheel": folder / "in/wheel"}, FACTS)
        bundle.unpack(folder / "x.tar", folder / "files")
        held, out = f"--build-context=held={folder / 'files'}", f"--output=type=local,dest={folder / 'out'}"
        words = ("docker", "buildx", "build", "--quiet", held, out, f"--file={tmp_path / 'Dockerfile'}", str(tmp_path))
        subprocess.run(words, check=True, capture_output=True)
        seen.append((folder / "out/wheel").read_text())
    assert seen == ["111", "222"]
