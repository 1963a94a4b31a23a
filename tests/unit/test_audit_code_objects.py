"""Device code in every container: samples of a real compiler, containers made around them, damage of all kinds."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci.audit import bundles, elf
from ci.audit.inspect import Inspection, claims, inspect, look
from ci.errors import CiError, ConfigError, ContractError
from tests.unit import audit_makers as make

OBJECT = make.sample("gfx942.hsaco")


def looked(data: bytes, name: str = "some.hsaco") -> Inspection:
    return look(memoryview(data), Path(name), name)


def refused(data: bytes, name: str = "some.hsaco") -> str:
    with pytest.raises(CiError) as caught:
        looked(data, name)
    problem = caught.value.problems[0]
    assert problem.place is not None
    assert problem.place.file == name
    assert problem.hint
    assert isinstance(caught.value, ContractError)
    return problem.reference


@pytest.mark.parametrize(
    ("name", "kind", "ids", "kernels", "forms"),
    [
        ("gfx942.hsaco", "code-object", ["gfx942"], {"lds"}, {"elf"}),
        ("zstd2.hipfb", "bundle", ["gfx90a:xnack+", "gfx90a:xnack-"], {"vadd"}, {"elf"}),
        ("zstd3.hipfb", "bundle", ["gfx90a", "gfx942", "gfx950"], {"vadd"}, {"elf"}),
        ("two-sources.so", "host", ["gfx90a", "gfx942", "gfx950"] * 2, {"vadd", "lds"}, {"elf"}),
        ("one.o", "host", ["gfx90a", "gfx942", "gfx950"], {"vadd"}, {"elf"}),
        ("rdc.bc", "bundle", ["gfx942"], set(), {"bitcode"}),
        ("rdc.o", "host", ["gfx942"], set(), {"bitcode"}),
        ("new.o", "host", ["gfx942"], set(), {"bitcode"}),
    ],
)
def test_what_a_real_compiler_made(name: str, kind: str, ids: list[str], kernels: set[str], forms: set[str]) -> None:
    found = looked(make.sample(name), name)
    assert found.kind == kind
    assert [each.target_id for each in found.objects] == ids
    assert {kernel.name for each in found.objects for kernel in each.kernels} == kernels
    assert {each.form for each in found.objects} == forms
    assert found.size == len(make.sample(name))


def test_every_number_of_a_kernel() -> None:
    (found,) = looked(OBJECT).objects
    assert (found.target, found.features, found.version, found.size) == ("gfx942", "", 6, len(OBJECT))
    (kernel,) = found.kernels
    assert (kernel.name, kernel.lds, kernel.scratch, kernel.vgpr_spills, kernel.sgpr_spills) == ("lds", 256, 0, 0, 0)
    assert kernel.vgprs > 0
    assert kernel.sgprs > 0
    assert kernel.agprs == 0


def test_a_shared_library_as_the_linker_sees_it() -> None:
    host = looked(make.sample("two-sources.so")).host
    assert host is not None
    assert (host.kind, host.machine) == ("shared", 62)
    assert "libamdhip64.so.6" in host.needed
    assert ("libc.so.6", "GLIBC_2.2.5") in host.needs


def test_the_second_source_of_a_library_is_a_second_bundle() -> None:
    found = looked(make.sample("two-sources.so"))
    assert {each.origin for each in found.objects} == {".hip_fatbin", ".hip_fatbin#1"}
    assert all(each.compressed for each in found.objects)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_zlib_bundles_of_each_version_one_after_the_other(version: int) -> None:
    one = make.compressed(make.bundle([make.HOST, ("gfx942", OBJECT)]), version)
    plain = make.bundle([("gfx942", OBJECT)])
    found = looked(one + b"\0" * 4096 + plain + one, "many.hipfb") if version > 1 else looked(one)
    assert [each.target for each in found.objects] == ["gfx942"] * (3 if version > 1 else 1)


def test_two_bundles_of_version_1_which_do_not_say_where_they_end() -> None:
    one = make.compressed(make.bundle([("gfx942", OBJECT)]), 1)
    assert len(looked(one + one).objects) == 2


@pytest.mark.parametrize("version", [1, 2])
def test_offload_binaries(version: int) -> None:
    targets = [("gfx942", OBJECT)] if version == 1 else [("gfx942", OBJECT), ("gfx90a", b"BC\xc0\xde....")]
    found = looked(make.packaged(targets, version))
    assert [(each.target, each.form) for each in found.objects] == [
        (target, "elf" if data is OBJECT else "bitcode") for target, data in targets
    ]


@pytest.mark.parametrize("bsd", [False, True])
def test_archives(bsd: bool) -> None:
    members = {"rdc.o": make.sample("rdc.o"), "a_name_of_more_than_15.o": make.sample("one.o"), "text": b"hello"}
    found = looked(make.archive(members, bsd=bsd), "lib.a")
    assert [each.target for each in found.objects] == ["gfx942", "gfx90a", "gfx942", "gfx950"]
    assert found.objects[0].origin == "rdc.o(__CLANG_OFFLOAD_BUNDLE__)"
    assert found.objects[1].origin == "a_name_of_more_than_15.o(.hip_fatbin)"


def test_an_entry_without_bytes_is_not_there() -> None:
    assert looked(make.bundle([("gfx950", b""), ("gfx942", OBJECT)])).targets == ("gfx942",)


def test_spirv_and_unknown_machines_have_names() -> None:
    found = looked(make.bundle([("hip-spirv64-amd-amdhsa--amdgcnspirv", b"\x03\x02\x23\x07...."), ("gfx942", OBJECT)]))
    assert [(each.target, each.form) for each in found.objects] == [("amdgcnspirv", "spirv"), ("gfx942", "elf")]
    other = bytearray(OBJECT.replace(b"amdhsa--gfx942", b"amdhsa--gfx906"))
    other[48] = 0x2F
    assert looked(bytes(other)).targets == ("gfx906",)


def patched(offset: int, new: bytes, data: bytes = OBJECT) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def test_a_reader_that_is_not_installed_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "elftools.elf.elffile", None)
    for read in (elf.read, elf.linked):
        with pytest.raises(ImportError):
            read(memoryview(OBJECT))


PLAIN = make.bundle([("gfx942", OBJECT)])
GOOD = make.compressed(PLAIN)
DAMAGE = {
    "empty": (b"", "not-a-binary"),
    "text": (b"hello", "not-a-binary"),
    "half an ELF": (OBJECT[: len(OBJECT) // 2], "broken-binary"),
    "an ELF header only": (OBJECT[:64], "broken-binary"),
    "another target in the ELF than in its metadata": (patched(48, b"\x3f"), "broken-binary"),
    "an ELF of no device OS in a bundle": (make.bundle([("gfx942", patched(7, b"\0"))]), "broken-binary"),
    "another target than its container says": (make.bundle([("gfx950", OBJECT)]), "wrong-target"),
    "no metadata": (OBJECT.replace(b"AMDGPU\0\0", b"AMDGPX\0\0"), "no-metadata"),
    "metadata that is no msgpack": (OBJECT.replace(b"\xaeamdhsa.kernels", b"\xc1amdhsa.kernels"), "broken-binary"),
    "a number of registers that is none": (OBJECT.replace(b".vgpr_count\x03", b".vgpr_count\xc0"), "broken-binary"),
    "bytes between bundles": (PLAIN + b"garbage", "broken-binary"),
    "device code that is nothing": (make.bundle([("gfx942", b"what is this")]), "broken-binary"),
    "the same target twice": (make.bundle([("gfx942", OBJECT), ("gfx942", OBJECT)]), "broken-binary"),
    "an entry without a target": (make.bundle([("hipv4-amdgcn", OBJECT)]), "broken-binary"),
    "an offset past the end": (patched(32, struct.pack("<Q", 1 << 62), PLAIN), "broken-binary"),
    "too many entries": (patched(24, struct.pack("<Q", 1 << 60), PLAIN), "broken-binary"),
    "a hash that differs": (make.compressed(PLAIN, digest=1), "broken-binary"),
    "a size too small": (make.compressed(PLAIN, size=len(PLAIN) - 1), "broken-binary"),
    "a size too large": (make.compressed(PLAIN, size=len(PLAIN) + 1), "broken-binary"),
    "a bomb by its own word": (make.compressed(PLAIN, size=3 << 30), "bundle-bomb"),
    "a bundle of a later version": (patched(4, b"\x09", GOOD), "unknown-bundle"),
    "a method of a later version": (patched(6, b"\x09", GOOD), "unknown-bundle"),
    "zstd that is none": (patched(6, b"\x01", GOOD), "broken-binary"),
    "a compressed bundle of something else": (make.compressed(b"no bundle"), "broken-binary"),
    "an offload binary of a later version": (
        patched(4, b"\x09", make.packaged([("gfx942", OBJECT)])),
        "unknown-bundle",
    ),
    "an offload binary without a target": (make.packaged([("", OBJECT)]), "broken-binary"),
    "an offload binary without a size": (patched(8, bytes(8), make.packaged([("gfx942", OBJECT)])), "broken-binary"),
    "a thin archive": (b"!<thin>\n", "thin-archive"),
    "an archive member cut off": (make.archive({"one.o": OBJECT})[:-9], "broken-binary"),
    "an archive header that is none": (make.archive({"one.o": OBJECT}) + b"x" * 60, "broken-binary"),
    "a member's name that is not there": (make.archive({"/77": OBJECT}).replace(b"/77/", b"/77 "), "broken-binary"),
}


@pytest.mark.parametrize(("data", "reference"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_a_broken_contract(data: bytes, reference: str) -> None:
    assert refused(data) == reference


@pytest.mark.parametrize("name", ["gfx942.hsaco", "zstd2.hipfb", "zstd3.hipfb", "two-sources.so", "one.o", "rdc.o"])
def test_a_file_cut_off_anywhere_is_never_whole(name: str) -> None:
    data = make.sample(name)
    for size in sorted({*range(1, len(data), max(1, len(data) // 150)), len(data) - 1}):
        with pytest.raises(ContractError):
            looked(data[:size], name)


@pytest.mark.parametrize("name", make.NAMES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_samples_raise_nothing_of_their_own(name: str, data: st.DataObject) -> None:
    damaged = bytearray(make.sample(name))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(damaged) - 1) | st.integers(0, min(200, len(damaged) - 1)))
        damaged[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))
    try:
        looked(bytes(damaged[:cut]), name)
    except CiError as error:
        assert error.problems[0].message  # noqa: PT017 - anything else fails by itself


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(bundles.MAGICS), st.binary(max_size=200))
def test_bytes_behind_a_magic_raise_nothing_of_their_own(magic: bytes, rest: bytes) -> None:
    try:
        looked(magic + rest)
    except CiError as error:
        assert error.problems[0].message  # noqa: PT017


@pytest.mark.parametrize(
    ("name", "expected"),
    [("libx.so", True), ("libx.so.1.2", True), ("x.hsaco", True), ("x.so.txt", False), ("x.py", False), ("so", False)],
)
def test_what_a_name_claims(name: str, expected: bool) -> None:
    assert claims(name) is expected


def test_files_on_disk(tmp_path: Path) -> None:
    good = tmp_path / "good.hsaco"
    good.write_bytes(OBJECT)
    assert inspect(good).targets == ("gfx942",)
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    for path, reference in ((text, "cannot-audit"), (tmp_path / "none.so", "no-file"), (tmp_path, "not-a-file")):
        with pytest.raises(ConfigError) as caught:
            inspect(path)
        assert caught.value.problems[0].reference == reference
