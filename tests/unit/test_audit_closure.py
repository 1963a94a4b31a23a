"""What the dynamic linker would find in an image: its paths, its configuration, its links, and nothing outside."""

from __future__ import annotations

from typing import Any

import pytest

from ci.audit import image, layers
from ci.audit.contract import Contract
from ci.audit.facts import Allowed
from ci.audit.image_facts import ImageAudit, ImageFacts
from tests.unit.image_makers import LINKER, Files, Link, elf, pieces, saved

LIBC = {"lib64/ld-linux-x86-64.so.2": elf(soname="ld-linux-x86-64.so.2"), "usr/lib/libc.so.6": elf(soname="libc.so.6")}
MUSL = "/lib/ld-musl-x86_64.so.1"


def audited(*made: Files, contract: Contract | None = None, **run: Any) -> ImageAudit:
    contract = contract or Contract()
    found = layers.read(iter(pieces(saved(made, **run))), image.scan(contract))
    return image.judge(ImageFacts("probe:1", "sha256:0", found), contract, {})


def missing(*made: Files, **run: Any) -> list[str]:
    return [finding.subject for rule, finding in audited(*made, **run).broken if rule == "closure"]


def test_a_library_that_is_missing_is_named_with_who_needs_it() -> None:
    files: Files = {**LIBC, "opt/rocshmem/lib/librocshmem.so": elf("libmpi.so.40", "libc.so.6")}
    ((rule, finding),) = audited(files).broken
    assert (rule, finding.subject) == ("closure", "/opt/rocshmem/lib/librocshmem.so:libmpi.so.40")
    assert "needs libmpi.so.40" in finding.message
    assert "copy it from the stage" in finding.hint


def test_one_that_lies_where_no_path_leads_is_told_with_its_place() -> None:
    files: Files = {"opt/a/libx.so": elf(), "usr/bin/tool": elf("libx.so", runpath="$ORIGIN/../lib")}
    ((_, finding),) = audited(files).broken
    assert "there as /opt/a/libx.so, but no path of it leads there" in finding.message
    assert "RUNPATH" in finding.hint


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"opt/a/libx.so": elf(), "opt/b/u.so": elf("libx.so", runpath="$ORIGIN/../a")}, True),
        ({"opt/a/libx.so": elf(), "opt/b/u.so": elf("libx.so", runpath="${ORIGIN}/../a")}, True),
        ({"opt/a/libx.so": elf(), "opt/b/u.so": elf("libx.so", rpath="/opt/none:/opt/a")}, True),
        ({"opt/a/libx.so": elf(), "opt/b/u.so": elf("libx.so", runpath="opt/a")}, False),
        ({"opt/a/libx.so": elf(), "opt/b/u.so": elf("/opt/a/libx.so")}, True),
        ({"opt/a/libx.so": elf(), "opt/b/u.so": elf("/opt/c/libx.so")}, False),
        ({"usr/lib/x86_64-linux-gnu/libx.so": elf(), "opt/b/u.so": elf("libx.so")}, True),
        ({"usr/lib/aarch64-linux-gnu/libx.so": elf(), "opt/b/u.so": elf("libx.so")}, False),
        ({"usr/local/lib/libx.so": elf(), "opt/b/u.so": elf("libx.so")}, False),
        ({"usr/local/lib/libx.so": elf(), "u.so": elf("libx.so"), "etc/ld.so.conf": b"/usr/local/lib # ours\n"}, True),
        ({"usr/lib/libx.so": elf(machine=183), "opt/b/u.so": elf("libx.so")}, False),
        ({"usr/lib/libx.so": b"GROUP ( libx.so.1 )", "opt/b/u.so": elf("libx.so")}, False),
        ({"u.so": elf("libx.so", machine=183)}, True),
    ],
)
def test_where_it_looks(files: Files, *, found: bool) -> None:
    """The last case is for another machine than the image's, where nothing runs it."""
    assert (missing(files) == []) is found


def test_the_linkers_configuration_is_read_with_what_it_includes() -> None:
    files: Files = {
        "etc/ld.so.conf": b"include ld.so.conf.d/*.conf\n",
        "etc/ld.so.conf.d/rocm.conf": b"/opt/rocm/lib\n",
        "etc/ld.so.conf.d/loop.conf": b"include /etc/ld.so.conf\n",
        "etc/ld.so.conf.d/off.conf.dpkg-old": b"/opt/old\n",
        "opt/rocm": Link("/etc/alternatives/rocm"),
        "etc/alternatives/rocm": Link("../../opt/rocm-7.2"),
        "opt/rocm-7.2/lib/libhsa.so.1": Link("libhsa.so.1.2"),
        "opt/rocm-7.2/lib/libhsa.so.1.2": elf(soname="libhsa.so.1"),
        "opt/old/libold.so": elf(),
        "u.so": elf("libhsa.so.1", "libold.so"),
    }
    assert missing(files) == ["/u.so:libold.so"]


def test_the_cache_is_no_witness() -> None:
    """It still names a library that is gone."""
    assert missing({"etc/ld.so.cache": b"ld.so-1.7.0 libx.so => /usr/lib/libx.so", "u.so": elf("libx.so")}) == [
        "/u.so:libx.so"
    ]


def test_a_library_that_a_later_layer_deletes_is_missing() -> None:
    first: Files = {
        "usr/lib/libx.so": elf(),
        "opt/a/liby.so": elf(),
        "u.so": elf("libx.so", "liby.so", runpath="/opt/a"),
    }
    assert missing(first) == []
    assert missing(first, {"usr/lib/.wh.libx.so": b""}) == ["/u.so:libx.so"]
    assert missing(first, {"opt/.wh.a": b""}) == ["/u.so:liby.so"]
    assert missing(first, {"opt/a/.wh..wh..opq": b""}) == ["/u.so:liby.so"]
    assert missing(first, {"opt/a/.wh..wh..opq": b"", "opt/a/liby.so": elf()}) == []
    assert missing(first, {"opt/a": b"a file now"}) == ["/u.so:liby.so"]


def test_links_never_lead_out_of_the_image() -> None:
    files: Files = {
        "usr/lib/libx.so": Link("../../../../../opt/libx.so.1"),
        "opt/libx.so.1": elf(),
        "u.so": elf("libx.so"),
    }
    assert missing(files) == []
    loop: Files = {"usr/lib/libx.so": Link("liby.so"), "usr/lib/liby.so": Link("libx.so"), "u.so": elf("libx.so")}
    assert missing(loop) == ["/u.so:libx.so"]


def test_another_name_of_a_file_is_the_file() -> None:
    files: Files = {
        "usr/lib/libx.so.1": elf(),
        "usr/lib/libx.so": Link("usr/lib/libx.so.1", hard=True),
        "u.so": elf("libx.so"),
    }
    assert missing(files) == []


def test_the_environment_of_the_image_counts() -> None:
    files: Files = {"opt/a/libx.so": elf(), "u.so": elf("libx.so")}
    assert missing(files, Env=["PATH=/bin", "LD_LIBRARY_PATH=/opt/b:/opt/a"]) == []


def test_a_program_needs_its_linker() -> None:
    assert missing({"bin/tool": elf(interpreter=LINKER)}) == [f"/bin/tool:{LINKER}"]
    assert missing({**LIBC, "bin/tool": elf("libc.so.6", interpreter=LINKER)}) == []


def test_musl_looks_in_its_own_folders() -> None:
    files: Files = {
        MUSL[1:]: elf(soname="libc.so"),
        "usr/local/lib/libx.so": elf(),
        "u.so": elf("libx.so", "libc.musl-x86_64.so.1"),
    }
    assert missing(files) == []
    assert missing({**files, "etc/ld-musl-x86_64.path": b"/opt/lib\n"}) == ["/u.so:libx.so"]


def test_what_loads_a_library_serves_it() -> None:
    """A DT_RPATH is handed down, a DT_RUNPATH is not; what the user has loaded by then is there."""
    libs = {"opt/a/libx.so": elf(), "opt/p/libplugin.so": elf("libx.so", soname="libplugin.so")}
    assert missing({**libs, "bin/t": elf("libplugin.so", rpath="/opt/p:/opt/a")}) == []
    assert missing({**libs, "bin/t": elf("libplugin.so", runpath="/opt/p:/opt/a")}) == ["/opt/p/libplugin.so:libx.so"]
    assert missing({**libs, "bin/t": elf("libx.so", "libplugin.so", runpath="/opt/p:/opt/a")}) == []


def test_a_declared_preload_serves_its_own_site_only() -> None:
    torch = {"opt/venv/lib/site-packages/torch/lib/libtorch.so": elf(soname="libtorch.so")}
    here = {"opt/venv/lib/site-packages/vllm/_C.so": elf("libtorch.so")}
    assert missing({**torch, **here}) == []
    assert missing(here) == ["/opt/venv/lib/site-packages/vllm/_C.so:libtorch.so"]
    elsewhere = {"usr/lib/python3/dist-packages/vllm/_C.so": elf("libtorch.so")}
    assert missing({**torch, **elsewhere}) == ["/usr/lib/python3/dist-packages/vllm/_C.so:libtorch.so"]


def test_an_exception_covers_one_library_of_one_file() -> None:
    allowed = (Allowed("closure", "/opt/*.so:libcuda.so.1", "UCX asks for it where there is one"),)
    files: Files = {"opt/ucx.so": elf("libcuda.so.1", "libx.so"), "usr/u.so": elf("libcuda.so.1")}
    found = audited(files, contract=Contract(allowed=allowed))
    assert [finding.subject for _, finding in found.broken] == ["/opt/ucx.so:libx.so", "/usr/u.so:libcuda.so.1"]
    (verdict,) = [each for each in found.verdicts if each.waived]
    assert verdict.waived[0].by.reason == "UCX asks for it where there is one"


def test_a_program_that_is_cut_off_is_a_finding_and_ends_nothing() -> None:
    ((rule, finding),) = audited({"opt/a.so": elf("libc.so.6")[:-20], "usr/lib/libc.so.6": elf()}).broken
    assert (rule, finding.subject) == ("readable", "/opt/a.so")


def test_an_image_without_programs_is_told_so() -> None:
    (verdict,) = [each for each in audited({"torch.whl": b"PK"}).verdicts if each.rule == "closure"]
    assert verdict.state == "skipped"
