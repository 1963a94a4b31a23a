"""An image from the archive to the verdict: every packing, every damage, every rule of its contract."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ci.audit import image, layers
from ci.audit.contract import Component, Contract, Protected, Wheels
from ci.audit.facts import Finding, Verdict
from ci.audit.image_facts import ImageAudit, ImageFacts, Tried
from ci.errors import InfraError
from ci.recipe.stack import HOME
from ci.report import audits
from tests.unit import audit_makers as make
from tests.unit.image_makers import Files, distribution, elf, layer, pieces, saved

SITE = "opt/venv/site-packages"
RECORD = "/app/protected.json"
TORCH = distribution(
    "torch",
    "2.9.0+rocm7.2",
    {
        "torch/__init__.py": b"hip = True\n",
        "torch/include/a.h": b"//",
        "torch/include/a.hpp": b"//",
        "torch/lib/libtorch.so": elf(),
        "torch/lib/libtorch.so.2.9": elf(),
    },
)
TRITON = distribution(
    "triton", "3.5.0", {"triton/a.py": b"", "triton/language.py": b"fast = 1\n", "triton/README.md": b""}
)


def read(*made: Files, contract: Contract | None = None, **options: Any) -> ImageFacts:
    found = layers.read(iter(pieces(saved(made, **options))), image.scan(contract or Contract()))
    return ImageFacts("probe:1", "sha256:0", found)


def judged(*made: Files, contract: Contract, values: Mapping[str, str] | None = None, **options: Any) -> ImageAudit:
    return image.judge(read(*made, contract=contract, **options), contract, values or {})


def findings(audit: ImageAudit, rule: str) -> list[Finding]:
    return [finding for name, finding in audit.broken if name == rule]


def verdict(audit: ImageAudit, rule: str) -> Verdict:
    return next(each for each in audit.verdicts if each.rule == rule)


# --- the archive ----------------------------------------------------------------------------


@pytest.mark.parametrize("packer", ["plain", "gzip", "zstd"])
def test_layers_are_read_however_they_are_packed(packer: str) -> None:
    facts = read({"a": b"1" * 5000, "b": b"2"}, {"b": b"333"}, packer=packer, commands=["FROM", "RUN"])
    assert [layer.size for layer in facts.saved.layers] == [5001, 3]
    assert {node.entry.path: (node.entry.size, node.layer) for node in facts.tree.files()} == {
        "a": (5000, 0),
        "b": (3, 1),
    }


def test_the_order_of_layers_is_the_manifests() -> None:
    data = saved([{"a": b"old"}, {"a": b"newer"}])
    names = json.loads(data[data.index(b'[{"Config"') : data.index(b"]}]") + 3])[0]["Layers"]
    assert len(names) == 2
    swapped = data.replace(b'"Layers": ["' + names[0].encode(), b'"Layers": ["' + names[1].encode(), 1)
    swapped = swapped.replace(b'", "' + names[1].encode() + b'"]', b'", "' + names[0].encode() + b'"]', 1)
    found = layers.read(iter([swapped]), image.scan(Contract()))
    assert [layer.size for layer in found.layers] == [5, 3]


@pytest.mark.parametrize("packer", ["plain", "gzip", "zstd"])
def test_an_archive_that_breaks_off_or_is_damaged_is_the_worlds_fault(packer: str) -> None:
    noise = hashlib.shake_256(b"noise").digest(60_000)
    data = saved([{"a": noise, "b": elf("libc.so.6")}], packer=packer)
    for part in (data[: len(data) // 2], data[:50_000], b""):
        with pytest.raises(InfraError) as caught:
            layers.read(iter(pieces(part)), image.scan(Contract()))
        assert caught.value.problems[0].reference == "engine-stream"
    for place in range(600, 3000, 400):  # in the first blob, after its own header
        damaged = data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]
        with pytest.raises(InfraError):
            layers.read(iter(pieces(damaged)), image.scan(Contract()))


def test_an_archive_that_breaks_off_is_asked_for_once_more() -> None:
    data = saved([{"a": b"1"}])
    left, warned = [data[:600], data, data[:600], data[:600]], list[str]()
    look = image.scan(Contract())
    assert len(image.read(lambda: iter(pieces(left.pop(0))), look, warned.append).layers) == 1
    assert "once more" in warned[0]
    with pytest.raises(InfraError):
        image.read(lambda: iter(pieces(left.pop(0))), look, warned.append)
    assert left == []


def test_nothing_hides_behind_the_end_of_a_layer() -> None:
    """A broken header is no end, and bytes behind the end are files to somebody else's tar."""
    whole = layer({"a": b"1", "b": b"2"})
    second = 1024  # behind a header and a block of content
    broken = whole[:second] + b"?" * 512
    for hidden in (broken + whole[second:], broken + bytes(1024), whole + whole):
        with pytest.raises(InfraError):
            layers.read(iter(pieces(saved([hidden]))), image.scan(Contract()))


def test_names_that_are_no_utf8_can_be_told() -> None:
    audit = judged({"caf\udce9/lib.so": elf("libx.so")}, contract=Contract())
    ((_, finding),) = audit.broken
    assert finding.subject == "/caf\\xe9/lib.so:libx.so"
    json.dumps(audit.to_json(), ensure_ascii=False).encode()


# --- code objects ---------------------------------------------------------------------------

DEEPEP = Component("deepep", "DEEPEP_ROCM_ARCH", ("*/deep_ep*.so", "/opt/rocshmem/lib/*"), ("deep_ep",))
NATIVE = {f"{SITE}/deep_ep_cpp.so": make.sample("two-sources.so")}


def deepep(files: Files, value: str) -> ImageAudit:
    return judged(files, contract=Contract("release", components=(DEEPEP,)), values={"DEEPEP_ROCM_ARCH": value})


def test_the_files_of_a_component_have_the_targets_of_its_argument() -> None:
    assert findings(deepep(NATIVE, "gfx942;gfx950"), "archs") == []
    (finding,) = findings(deepep(NATIVE, "gfx942;gfx1100"), "archs")
    assert finding.subject == f"/{SITE}/deep_ep_cpp.so"
    assert "no device code for gfx1100" in finding.message
    assert finding.message.endswith("DEEPEP_ROCM_ARCH is gfx942;gfx1100")


def test_device_code_of_others_does_not_count() -> None:
    other = {"opt/other/lib.so": make.sample("two-sources.so")}
    (finding,) = findings(deepep(other, "gfx942"), "archs")
    assert (finding.subject, finding.message) == (
        "deepep",
        "no native file of it is in the image: */deep_ep*.so, /opt/rocshmem/lib/*",
    )


def test_a_component_of_host_code_alone_was_built_without_a_compiler_for_gpus() -> None:
    (finding,) = findings(deepep({f"{SITE}/deep_ep_cpp.so": elf()}, "gfx942"), "archs")
    assert "no device code at all" in finding.message


def test_a_component_whose_only_file_is_damaged_is_not_called_missing() -> None:
    audit = deepep({f"{SITE}/deep_ep_cpp.so": make.sample("two-sources.so")[:9000]}, "gfx942")
    assert findings(audit, "readable")
    assert all("no native file" not in finding.message for finding in findings(audit, "archs"))


@pytest.mark.parametrize("value", ["none", ""])
def test_an_absent_component_is_passed_over_and_said(value: str) -> None:
    audit = deepep({"a": b""}, value)
    told = f"deepep is absent: DEEPEP_ROCM_ARCH is {value or 'empty'}"
    assert (verdict(audit, "archs").state, verdict(audit, "archs").why, audit.notes) == ("skipped", told, (told,))
    assert image.wanted_modules(audit.contract, {"DEEPEP_ROCM_ARCH": value}) == ()
    assert image.wanted_modules(audit.contract, {"DEEPEP_ROCM_ARCH": "gfx942"}) == ("deep_ep",)


def test_an_absent_component_beside_one_that_is_there() -> None:
    ghost = Component("ghost", "GHOST_ARCH", ("/opt/ghost/*",))
    contract = Contract("release", components=(ghost, DEEPEP))
    audit = judged(NATIVE, contract=contract, values={"DEEPEP_ROCM_ARCH": "gfx942", "GHOST_ARCH": "none"})
    assert (findings(audit, "archs"), audit.notes) == ([], ("ghost is absent: GHOST_ARCH is none",))


# --- protected packages ---------------------------------------------------------------------

PROTECTED = Contract("test", protected=Protected(RECORD, ("torch", "triton", "pybind11")))


def installed(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / SITE


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What the recipe's own script writes in a base with torch and triton."""
    spec = importlib.util.spec_from_file_location("protected", HOME / "scripts" / "protected.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(sys, "path", [str(installed(tmp_path, {**TORCH, **TRITON}))])
    monkeypatch.setattr(script, "NAMES", ("torch", "triton"))
    script.main(["write", str(tmp_path / "protected.json")])
    return (tmp_path / "protected.json").read_bytes()


def changed(record: bytes, later: Files) -> list[Finding]:
    base: Files = {**TORCH, **TRITON, RECORD[1:]: record}
    return findings(judged(base, later, contract=PROTECTED, commands=["RUN base", "RUN later"]), "protected")


def test_the_fingerprint_is_the_one_the_base_wrote(record: bytes) -> None:
    assert json.loads(record).keys() == {"torch", "triton"}
    assert changed(record, {f"{SITE}/other.py": b"", f"{SITE}/triton/README.md": b"other words"}) == []


def test_a_changed_file_is_named_with_the_layer_it_came_in(record: bytes) -> None:
    (finding,) = changed(record, {f"{SITE}/triton/a.py": b"", f"{SITE}/triton/language.py": b"slow = 1\n"})
    assert finding.subject == f"/{SITE}/triton/language.py"
    assert finding.message.startswith("triton 3.5.0 is not as the base recorded it")
    assert finding.message.endswith("is not the one its installer recorded")
    assert finding.context == "layer 2: RUN later"


def test_a_deleted_file_is_named(record: bytes) -> None:
    (finding,) = changed(record, {f"{SITE}/torch/lib/.wh.libtorch.so": b""})
    assert (finding.subject, "is gone" in finding.message) == (f"/{SITE}/torch/lib/libtorch.so", True)


def test_another_build_of_the_same_version_is_found(record: bytes) -> None:
    (finding,) = changed(record, distribution("triton", "3.5.0", {"triton/language.py": b"slow = 1\n"}))
    assert "among those that came last" in finding.message


def test_cuda_torch_swapped_in_is_named_by_version(record: bytes) -> None:
    gone = {f"{SITE}/.wh.torch-2.9.0+rocm7.2.dist-info": b""}
    cuda = distribution("torch", "2.9.0+cu128", {"torch/__init__.py": b"cuda = True\n"})
    (finding,) = changed(record, {**gone, **cuda})
    assert "torch is 2.9.0+cu128; the base recorded 2.9.0+rocm7.2" in finding.message
    assert "--no-deps" in finding.hint


def test_a_second_copy_a_new_one_and_a_lost_one_are_found(record: bytes) -> None:
    copy = distribution("torch", "2.8.0", {"torch/__init__.py": b""}, site="usr/lib/python3/dist-packages")
    new = distribution("pybind11", "3.0", {"pybind11/__init__.py": b""})
    lost = {f"{SITE}/.wh.triton-3.5.0.dist-info": b""}
    messages = [finding.message for finding in changed(record, {**copy, **new, **lost})]
    assert messages == [
        "torch is 2.8.0; the base recorded 2.9.0+rocm7.2",
        "triton 3.5.0 of the base is gone",
        "pybind11 3.0 came in, and the base had none",
    ]


def test_a_record_that_was_written_again_proves_nothing(record: bytes) -> None:
    (finding,) = changed(record, {RECORD[1:]: record})
    assert finding.message == "a later layer wrote the record of the base again"


def test_a_missing_or_broken_record_is_a_finding() -> None:
    for files in ({"a": b""}, {RECORD[1:]: b"[]"}, {RECORD[1:]: b"{"}, {RECORD[1:]: b'{"torch": {}}'}):
        (finding,) = findings(judged(files, contract=PROTECTED), "protected")
        assert finding.subject == RECORD


def test_no_distribution_of_nvidia_comes_in_and_vendored_ones_do_not_count() -> None:
    came = distribution("nvidia_cublas-cu12", "12.8", {"nvidia/__init__.py": b""})
    vendored = distribution("nvidia-x", "1", {}, site=f"{SITE}/pip/_vendor")
    (finding,) = findings(judged({**came, **vendored}, contract=Contract("test")), "forbidden")
    assert finding.subject == f"/{SITE}/nvidia_cublas-cu12-12.8.dist-info"
    assert verdict(judged(came, contract=Contract()), "forbidden").state == "skipped"


# --- imports, sizes -------------------------------------------------------------------------


def test_an_import_that_failed_is_told_with_its_last_words() -> None:
    facts = read({"a": b""})
    tried = (Tried("torch", "python3"), Tried("vllm", "python3", "crashes (signal 11)", "Fatal Python error"))
    audit = image.judge(ImageFacts(facts.name, facts.digest, facts.saved, tried), Contract(), {})
    (finding,) = findings(audit, "imports")
    assert (finding.subject, finding.context) == ("vllm", "Fatal Python error")
    assert finding.message == "import vllm crashes (signal 11) under python3"


def test_a_budget_counts_every_layer_and_shows_the_largest() -> None:
    made = ({"a": b"1" * 600}, {".wh.a": b"", "b": b"2" * 700})
    commands = ["COPY a", "RUN rm a && curl https://me:hunter2again@host > b"]
    assert findings(judged(*made, contract=Contract(budget=1300), commands=commands), "budget") == []
    (finding,) = findings(judged(*made, contract=Contract(budget=1299), commands=commands), "budget")
    assert finding.message == "1,300 bytes; 1,299 are allowed. The largest layers:"
    assert finding.context.splitlines() == [
        "           700 layer 2: RUN rm a && curl https://****@host > b",
        "           600 layer 1: COPY a",
    ]


def test_a_wheel_that_is_too_small_to_be_real() -> None:
    contract = Contract("test", wheels=(Wheels("/opt/vllm-wheels/vllm-*.whl", 5000),))
    assert findings(judged({"opt/vllm-wheels/vllm-1.whl": b"x" * 5000}, contract=contract), "wheels") == []
    (small,) = findings(judged({"opt/vllm-wheels/vllm-1.whl": b"x" * 4999}, contract=contract), "wheels")
    assert small.message == "it has 4,999 bytes; a real one has 5,000 at least"
    (none,) = findings(judged({"opt/vllm-wheels/torch-1.whl": b"x" * 5000}, contract=contract), "wheels")
    assert none.message == "no wheel is there"


def test_the_report_says_which_contract_and_what_was_not_judged() -> None:
    contract = Contract("release", components=(DEEPEP,))
    answer = audits.of_image(judged({"a\x1b": b"x"}, contract=contract, values={"DEEPEP_ROCM_ARCH": "none"}))
    assert answer.outcome == "ok"
    assert "(contract of tier release)" in answer.text.splitlines()[0]
    assert "deepep is absent: DEEPEP_ROCM_ARCH is none" in answer.text
    broken = audits.of_image(judged({"u\x1b.so": elf("libx.so")}, contract=Contract()))
    assert broken.outcome == "contract"
    assert "BROKEN closure" in broken.text
    assert "\x1b" not in broken.text
    assert broken.document["rules"][1]["findings"][0]["message"].startswith("it needs libx.so")


def test_large_and_many_files_are_hashed_alike(record: bytes) -> None:
    """A file that is no text and no program is covered as well."""
    big = b"#" * (300 << 10)
    files = {"torch/big.py": big, "torch/include/a.h": b"//"}
    made = distribution("torch", "1", files)
    facts = read(made, contract=PROTECTED)
    node = facts.tree.at(f"{SITE}/torch/big.py")
    assert record
    assert node is not None
    assert node.kept.digest == hashlib.sha256(big).digest()
