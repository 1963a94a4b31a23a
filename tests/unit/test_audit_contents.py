"""A wheel's table of contents: sizes no file can have, places outside of it, and disks that fail meanwhile."""

from __future__ import annotations

import errno
import io
import struct
from pathlib import Path

import pytest

from ci.audit import contents, wheel
from ci.errors import ContractError
from ci.wheels import wheelfile
from tests.unit import audit_makers as make


def test_many_members_that_together_fill_the_disk(tmp_path: Path) -> None:
    """None is suspicious alone, and all of them fit into the file: a sparse one of 200 MB."""
    data = bytearray(make.zipped([*make.contents().items(), *((f"probe/{number}.bin", b"x") for number in range(9))]))
    at = -1
    while (at := data.find(b"PK\x01\x02", at + 1)) >= 0:
        if b".bin" in data[at + 46 : at + 66]:
            data[at + 20 : at + 28] = struct.pack("<II", 20 << 20, 4_000_000_000)
    path = tmp_path / make.FILE
    with path.open("wb") as stream:
        stream.truncate(200 << 20)
        stream.seek(0, io.SEEK_END)
        stream.write(data)
    with pytest.raises(ContractError, match="it unpacks to 36000") as caught:
        wheel.read(path)
    assert [problem.reference for problem in caught.value.problems] == ["wheel-bomb"]


def test_a_member_before_the_beginning_of_the_file(tmp_path: Path) -> None:
    data = bytearray(make.zipped(make.contents().items()))
    end = data.rindex(b"PK\x05\x06")
    (offset,) = struct.unpack_from("<I", data, end + 16)
    struct.pack_into("<I", data, end + 16, offset + 100_000)
    path = tmp_path / make.FILE
    path.write_bytes(data)
    for read in (lambda: wheel.read(path), lambda: wheelfile.facts(str(path), lambda _: path.open("rb"))):
        with pytest.raises(ContractError) as caught:
            read()
        assert "names places outside of itself" in caught.value.problems[0].message


def test_a_failing_disk_is_no_damaged_wheel() -> None:
    data = make.zipped(make.contents().items())
    with (
        pytest.raises(OSError, match="Input/output error"),
        contents.opened(make.FILE, io.BytesIO(data), len(data)),
    ):
        raise OSError(errno.EIO, "Input/output error")
