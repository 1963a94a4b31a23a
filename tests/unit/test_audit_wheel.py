"""Opening a wheel that means harm or was damaged: every reason at once, never an error that is a bug."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci.audit import wheel
from ci.errors import CiError, ConfigError, ContractError
from tests.unit import audit_makers as make

EXTRA = {"probe/gfx942.hsaco": make.sample("gfx942.hsaco"), "probe/lib.so": make.sample("two-sources.so")}


def test_a_good_wheel(tmp_path: Path) -> None:
    found = wheel.read(make.wheel(tmp_path, {**EXTRA, "probe/data.txt": b"hello"}))
    assert [str(each.path) for each in found.binaries] == ["probe/gfx942.hsaco", "probe/lib.so"]
    assert found.binaries[1].targets == ("gfx90a", "gfx942", "gfx950")
    assert found.metadata["Name"] == "probe"
    assert found.dist_info == make.INFO
    assert {row.path for row in found.rows} == {member.name for member in found.members}
    assert found.problems == ()
    assert not list(tmp_path.glob("*/"))


def test_a_binary_that_is_none_is_a_problem_not_an_end(tmp_path: Path) -> None:
    found = wheel.read(make.wheel(tmp_path, {"probe/a.so": b"", "probe/b.hsaco": EXTRA["probe/gfx942.hsaco"][:999]}))
    assert [problem.reference for problem in found.problems] == ["not-a-binary", "broken-binary"]
    assert [str(problem.place).partition(":")[2] for problem in found.problems] == ["probe/a.so", "probe/b.hsaco"]


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("probe/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def device() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("probe/null")
    info.external_attr = (stat.S_IFCHR | 0o666) << 16
    return info


def with_extra(*extra: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    return make.zipped([*make.contents().items(), *extra])


def without(name: str) -> bytes:
    return make.zipped((key, data) for key, data in make.contents().items() if not key.endswith(name))


def changed(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new)


def encrypted(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02")
    return data[: at + 8] + b"\x01\x00" + data[at + 10 :]


def with_method(data: bytes, method: int) -> bytes:
    at = data.index(b"PK\x01\x02")
    return data[: at + 10] + struct.pack("<H", method) + data[at + 12 :]


def claiming(data: bytes, packed: int, size: int) -> bytes:
    at = data.index(b"PK\x01\x02")
    return data[: at + 20] + struct.pack("<II", packed, size) + data[at + 28 :]


GOOD = make.zipped(make.contents().items())
HARM = {
    "0 bytes": (b"", "empty-wheel"),
    "text": (b"this is not a zip archive", "not-a-zip"),
    "a zip cut off": (GOOD[:-30], "not-a-zip"),
    "a zip of nothing": (make.zipped([]), "no-dist-info"),
    "a zip that is no wheel": (make.zipped([("a.txt", b"a")]), "no-dist-info"),
    "two dist-info folders": (with_extra(("other-1.dist-info/METADATA", b"")), "no-dist-info"),
    "no RECORD": (without("/RECORD"), "no-record"),
    "no METADATA": (without("/METADATA"), "no-metadata"),
    "no WHEEL": (without("/WHEEL"), "no-wheel"),
    "an empty RECORD": (
        make.zipped([*list(make.contents().items())[:-1], (f"{make.INFO}/RECORD", b"")]),
        "broken-record",
    ),
    "a RECORD that is no text": (
        make.zipped([*list(make.contents().items())[:-1], (f"{make.INFO}/RECORD", b"\xff\xfe")]),
        "broken-record",
    ),
    "a path that leaves": (with_extra(("../../etc/cron.d/x", b"")), "unsafe-path"),
    "a path that leaves in the middle": (with_extra(("probe/../../x", b"")), "unsafe-path"),
    "an absolute path": (with_extra(("/etc/passwd", b"")), "unsafe-path"),
    "a path of another system": (with_extra(("C:/x", b"")), "unsafe-path"),
    "a backslash": (changed(with_extra(("probe/x!y", b"")), b"probe/x!y", b"probe/x\\y"), "unsafe-path"),
    "a line break in a path": (with_extra(("probe/a\nb", b"")), "unsafe-path"),
    "a symbolic link": (with_extra((link(), b"/etc/passwd")), "unsafe-member"),
    "a device": (with_extra((device(), b"")), "unsafe-member"),
    "encrypted": (encrypted(GOOD), "unsafe-member"),
    "a method installers do not know": (with_method(GOOD, 93), "unsafe-member"),
    "a bomb": (with_extra(("probe/zeros", bytes(80 << 20))), "wheel-bomb"),
    "a bomb by its own word": (claiming(GOOD, 900, 4_294_967_294), "wheel-bomb"),
    "members on top of each other": (claiming(GOOD, 4_000_000, 8_000_000), "wheel-bomb"),
    "bytes that are not what was packed": (changed(GOOD, b"PK\x03\x04\x14", b"PK\x03\x05\x14"), "broken-wheel"),
}


@pytest.mark.parametrize(("data", "reference"), HARM.values(), ids=HARM)
def test_harm_is_a_broken_contract(tmp_path: Path, data: bytes, reference: str) -> None:
    path = tmp_path / make.FILE
    path.write_bytes(data)
    with pytest.raises(ContractError) as caught:
        wheel.read(path)
    problem = caught.value.problems[0]
    assert problem.reference == reference, problem
    assert problem.hint
    assert problem.place is not None
    assert problem.place.file == str(path)
    assert [each.name for each in tmp_path.iterdir()] == [make.FILE]


def test_a_file_twice(tmp_path: Path) -> None:
    path = tmp_path / make.FILE
    with pytest.warns(UserWarning, match="Duplicate name"):
        path.write_bytes(with_extra(("probe/x.py", b"a"), ("probe/x.py", b"b")))
    with pytest.raises(ContractError) as caught:
        wheel.read(path)
    assert caught.value.problems[0].reference == "duplicate-member"


def test_every_reason_at_once(tmp_path: Path) -> None:
    path = tmp_path / make.FILE
    path.write_bytes(with_extra(("../a", b""), (link(), b"x"), ("/b", b"")))
    with pytest.raises(ContractError) as caught:
        wheel.read(path)
    assert [each.reference for each in caught.value.problems] == ["unsafe-path", "unsafe-member", "unsafe-path"]


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        wheel.read(tmp_path / "none.whl")
    assert caught.value.problems[0].reference == "no-file"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_wheels_raise_nothing_of_their_own(tmp_path: Path, data: st.DataObject) -> None:
    damaged = bytearray(make.zipped(make.contents({"probe/gfx942.hsaco": EXTRA["probe/gfx942.hsaco"]}).items()))
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1) | st.integers(max(0, len(damaged) - 600), len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path / make.FILE
    path.write_bytes(bytes(damaged[: data.draw(st.just(len(damaged)) | st.integers(0, len(damaged)))]))
    try:
        wheel.read(path)
    except CiError as error:
        assert error.problems[0].message  # noqa: PT017 - anything else fails by itself
