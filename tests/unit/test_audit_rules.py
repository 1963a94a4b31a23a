"""Every rule, kept and broken, on wheels made for it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ci.audit import examine as examining
from ci.audit.examine import examine, exceptions
from ci.audit.facts import Audit, Facts, Verdict, Wanted
from ci.audit.inspect import HostElf, Inspection
from ci.errors import ConfigError, ContractError, EmptyError, InfraError
from ci.world.fakes import FakeRun
from ci.world.process import Command, Finished
from tests.unit import audit_makers as make

OBJECT = make.sample("gfx942.hsaco")
THREE = ("gfx90a", "gfx942", "gfx950")
TORCH = "Metadata-Version: 2.4\nName: probe\nVersion: {}\nRequires-Dist: torch{}\n"


def never(_command: Command) -> Finished:
    raise AssertionError("no process is needed")


def audited(path: Path, wanted: Wanted | None = None, allow: Mapping[str, str] | None = None) -> Audit:
    return examine(path, wanted or Wanted(), exceptions((allow or {}).items()), never, {})


def verdict(audit: Audit, rule: str) -> Verdict:
    return next(each for part in audit.parts for each in part.verdicts if each.rule == rule)


def broken(audit: Audit) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for rule, finding in audit.broken:
        found.setdefault(rule, []).append(finding.subject)
    return found


def test_a_good_wheel_keeps_every_rule(tmp_path: Path) -> None:
    extra = {f"probe/vadd-{arch}.hsaco": make.bundle([(arch, OBJECT)]) for arch in ("gfx942",)}
    audit = audited(make.wheel(tmp_path, extra), Wanted(("gfx942",), 10_000_000))
    assert audit.broken == ()
    states = {each.rule: each.state for part in audit.parts for each in part.verdicts}
    assert set(states) == set(examining.NAMES)
    skipped = {"built-with", "glibc", "resolves", "imports"}
    assert states == {rule: "skipped" if rule in skipped else "kept" for rule in examining.NAMES}


def test_unreadable_binaries_are_named(tmp_path: Path) -> None:
    audit = audited(make.wheel(tmp_path, {"probe/a.so": b"", "probe/b.hsaco": OBJECT[:100]}))
    assert broken(audit) == {"readable": ["probe/a.so", "probe/b.hsaco"]}


# --- record -------------------------------------------------------------------------------


def recorded(tmp_path: Path, edit: Mapping[str, str]) -> Audit:
    files = make.contents({"probe/x.py": b"x = 1\n"})
    record = files[f"{make.INFO}/RECORD"].decode()
    for old, new in edit.items():
        assert old in record
        record = record.replace(old, new)
    files[f"{make.INFO}/RECORD"] = record.encode()
    path = tmp_path / make.FILE
    path.write_bytes(make.zipped(files.items()))
    return audited(path)


LINE = f"probe/x.py,{make.digest(b'x = 1' + bytes([10]))},6\n"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({LINE: ""}, "not in RECORD"),
        ({LINE: LINE * 2}, "twice"),
        ({LINE: LINE.replace(",6", ",7")}, "has 6 bytes"),
        ({LINE: f"probe/x.py,{make.digest(b'other')},6\n"}, "hash is not the one"),
        ({LINE: "probe/x.py,md5=abc,6\n"}, "no usable hash"),
        ({LINE: "probe/x.py,,\n"}, "no usable hash: none"),
        ({LINE: LINE + f"probe/gone.py,{make.digest(b'')},0\n"}, "not there"),
    ],
)
def test_record(tmp_path: Path, edit: Mapping[str, str], message: str) -> None:
    audit = recorded(tmp_path, edit)
    assert [rule for rule, _ in audit.broken] == ["record"]
    assert message.partition(":")[0] in audit.broken[0][1].message


def test_record_may_leave_out_sizes_and_use_a_longer_hash(tmp_path: Path) -> None:
    long = "sha512=" + base64.urlsafe_b64encode(hashlib.sha512(b"x = 1\n").digest()).decode()
    assert recorded(tmp_path, {LINE: f"probe/x.py,{long},\n"}).broken == ()


# --- archs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "subjects", "message"),
    [
        ({"probe/lib.so": make.sample("two-sources.so")}, [], ""),
        ({"probe/a.hipfb": make.sample("zstd3.hipfb")}, [], ""),
        ({"probe/a.hipfb": make.sample("zstd2.hipfb")}, ["probe/a.hipfb"], "gfx942, gfx950; it has gfx90a"),
        ({"probe/gfx942.hsaco": OBJECT}, ["probe/{target}.hsaco"], "gfx90a, gfx950; it has gfx942"),
        ({"probe/readme.txt": b"no code"}, [make.FILE], "no device code at all"),
        (
            {"probe/a.hipfb": make.sample("zstd3.hipfb") + make.bundle([("gfx942", OBJECT)])},
            ["probe/a.hipfb"],
            "gfx90a, gfx950 in 1 of 2 bundles",
        ),
    ],
)
def test_archs(tmp_path: Path, extra: Mapping[str, bytes], subjects: Sequence[str], message: str) -> None:
    audit = audited(make.wheel(tmp_path, extra), Wanted(THREE))
    assert broken(audit) == ({"archs": list(subjects)} if subjects else {})
    assert all(message in finding.message for _, finding in audit.broken)


def test_files_of_one_target_each_are_judged_together(tmp_path: Path) -> None:
    for arch, mach in {"gfx90a": 0x3F, "gfx942": 0x4C}.items():
        data = bytearray(OBJECT.replace(b"amdhsa--gfx942", b"amdhsa--" + arch.encode()))
        data[48] = mach
        (tmp_path / f"vadd.{arch}.hsaco").write_bytes(data)
    assert audited(tmp_path, Wanted(("gfx90a", "gfx942"))).broken == ()
    assert broken(audited(tmp_path, Wanted(THREE))) == {"archs": ["vadd.{target}.hsaco"]}


# --- forbidden, budget --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "metadata", "subject", "word"),
    [
        (
            {"probe.libs/libamdhip64-1a2b.so.7": make.sample("two-sources.so")},
            "",
            "probe.libs/libamdhip64-1a2b.so.7",
            "HIP",
        ),
        ({"probe/libcudart.so.12": make.sample("two-sources.so")}, "", "probe/libcudart.so.12", "CUDA"),
        ({}, "Requires-Dist: NVIDIA_cublas-cu12 ==12.4; platform_system == 'Linux'\n", "METADATA", "NVIDIA"),
    ],
)
def test_forbidden(tmp_path: Path, extra: Mapping[str, bytes], metadata: str, subject: str, word: str) -> None:
    audit = audited(make.wheel(tmp_path, extra, metadata=make.METADATA + metadata))
    assert broken(audit) == {"forbidden": [subject]}
    assert word in audit.broken[0][1].message


def test_an_innocent_name_is_not_forbidden(tmp_path: Path) -> None:
    extra = {"probe/libcurl.so.4": make.sample("two-sources.so"), "probe/libnvme.so": make.sample("two-sources.so")}
    assert audited(make.wheel(tmp_path, extra)).broken == ()


def test_a_budget_names_the_ten_largest(tmp_path: Path) -> None:
    noise = hashlib.shake_256(b"noise").digest(12_000)  # does not deflate
    extra = {f"probe/{index:02}.bin": noise[: 1000 * (index + 1)] for index in range(12)}
    audit = audited(make.wheel(tmp_path, extra), Wanted(budget=20_000))
    ((rule, finding),) = audit.broken
    lines = finding.context.splitlines()
    assert (rule, len(lines)) == ("budget", 10)
    assert [line.split()[-1] for line in lines[:2]] == ["probe/11.bin", "probe/10.bin"]
    assert audited(make.wheel(tmp_path, extra), Wanted(budget=200_000)).broken == ()


# --- names, tags, torch -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("probe-2.0-py3-none-linux_x86_64.whl", {}, {"names": ["probe-2.0-py3-none-linux_x86_64.whl"]}),
        (
            "other-1.0+rocm.7.0-py3-none-linux_x86_64.whl",
            {},
            {"names": ["other-1.0+rocm.7.0-py3-none-linux_x86_64.whl"]},
        ),
        ("probe.whl", {}, {"names": ["probe.whl"]}),
        (make.FILE, {"metadata": "Metadata-Version: 2.4\nName: probe\nVersion: one\n"}, {"names": ["METADATA"]}),
        (make.FILE, {"metadata": "Metadata-Version: 2.4\n"}, {"names": ["METADATA"]}),
        (make.FILE, {"metadata": make.METADATA + "Requires-Dist: ?\n"}, {"names": ["METADATA"]}),
        (
            make.FILE,
            {"metadata": make.METADATA.replace("1.0", "1.1")},
            {"names": [make.FILE, make.INFO]},
        ),
        (make.FILE, {"tags": "Wheel-Version: 1.0\nTag: py3-none-any\n"}, {"tags": ["WHEEL"]}),
        (make.FILE, {"tags": "Wheel-Version: 1.0\n"}, {"tags": ["WHEEL"]}),
    ],
)
def test_names_and_tags(
    tmp_path: Path, name: str, options: Mapping[str, str], found: Mapping[str, Sequence[str]]
) -> None:
    assert broken(audited(make.wheel(tmp_path, None, name=name, **options))) == found


@pytest.mark.parametrize(
    ("platform", "found"),
    [
        ("any", {"tags": [1]}),
        ("linux_aarch64", {"tags": [1]}),
        ("manylinux_2_17_x86_64.manylinux2014_x86_64", {}),
        ("manylinux1_x86_64", {}),
        ("linux_x86_64", {}),
    ],
)
def test_a_platform_fits_the_files(tmp_path: Path, platform: str, found: Mapping[str, object]) -> None:
    name = f"probe-1.0+rocm.7.0-py3-none-{platform}.whl"
    tags = "Wheel-Version: 1.0\n" + "".join(f"Tag: py3-none-{each}\n" for each in platform.split("."))
    audit = audited(make.wheel(tmp_path, {"probe/lib.so": make.sample("two-sources.so")}, name=name, tags=tags))
    assert set(broken(audit)) == set(found)


def with_host(monkeypatch: pytest.MonkeyPatch, hosts: Mapping[str, HostElf]) -> None:
    """Make every wheel seem to have these ELF files: what a compiler links is not ours to choose."""
    real = examining._of_wheel

    def faked(path: Path) -> Facts:
        files = tuple(Inspection(Path(name), "host", (), host) for name, host in hosts.items())
        return replace(real(path), files=files)

    monkeypatch.setattr(examining, "_of_wheel", faked)


def host(
    *needed: str, paths: tuple[str, ...] = (), inherited: bool = False, needs: tuple[tuple[str, str], ...] = ()
) -> HostElf:
    return HostElf("shared", 62, "", needed, paths, inherited, needs)


@pytest.mark.parametrize(
    ("version", "pin", "found"),
    [
        ("1.0+rocm.7.0", "", {"built-with": ["torch"]}),
        ("1.0+rocm.7.0", " >=2.9", {"built-with": ["torch"]}),
        ("1.0+rocm.7.0", " ==2.9.*", {"built-with": ["torch"]}),
        ("1.0+rocm.7.0", " ==2.9.1", {}),
        ("1.0+rocm.7.0.torch.2.9.1", "", {}),
    ],
)
def test_the_torch_it_was_built_with_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, pin: str, found: Mapping[str, Sequence[str]]
) -> None:
    with_host(monkeypatch, {"probe/_C.so": host("libtorch_hip.so", "libc10.so")})
    audit = audited(make.wheel(tmp_path, metadata=TORCH.format(version, pin)))
    assert {rule: subjects for rule, subjects in broken(audit).items() if rule != "names"} == found


def test_what_torch_merely_brings_along_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_host(monkeypatch, {"probe/_C.so": host("libgomp.so.1")})
    assert audited(make.wheel(tmp_path, metadata=TORCH.format("1.0+rocm.7.0", ""))).broken == ()


# --- the dynamic linker -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "fits"),
    [
        ("GLIBC_2.28", True),
        ("GLIBC_2.3.4", True),
        ("GLIBC_2.29", False),
        ("GLIBC_ABI_DT_RELR", False),
        ("GLIBCXX_3.4.30", True),
    ],
)
def test_glibc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, symbol: str, fits: bool) -> None:
    needs = (("libc.so.6", "GLIBC_2.2.5"), ("libc.so.6", symbol))
    with_host(monkeypatch, {"probe/_C.so": host("libc.so.6", needs=needs)})
    name = "probe-1.0+rocm.7.0-py3-none-manylinux_2_28_x86_64.whl"
    tags = "Wheel-Version: 1.0\nTag: py3-none-manylinux_2_28_x86_64\n"
    assert broken(audited(make.wheel(tmp_path, name=name, tags=tags))) == ({} if fits else {"glibc": ["probe/_C.so"]})


@pytest.mark.parametrize(
    ("needed", "paths", "fits"),
    [
        ("libc.so.6", (), True),
        ("libamdhip64.so.7", (), True),
        ("libtorch.so", (), True),
        ("libhelp.so.1", ("$ORIGIN/../probe.libs",), True),
        ("libhelp.so.1", ("${ORIGIN}/../probe.libs/",), True),
        ("libhelp.so.1", (), False),
        ("libhelp.so.1", ("$ORIGIN",), False),
        ("libmissing.so", ("$ORIGIN/../probe.libs",), False),
    ],
)
def test_resolves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needed: str, paths: tuple[str, ...], fits: bool
) -> None:
    for subject in ("probe/_C.so", "probe-1.0+rocm.7.0.data/platlib/probe/_C.so"):
        with monkeypatch.context() as patch:
            with_host(patch, {subject: host(needed, paths=paths), "probe.libs/libhelp.so.1": host()})
            audit = audited(make.wheel(tmp_path, metadata=TORCH.format("1.0+rocm.7.0", " ==2.9.1")))
            assert broken(audit) == ({} if fits else {"resolves": [subject]})


LIBS = ("$ORIGIN/../probe.libs",)


@pytest.mark.parametrize(
    ("user", "fits"),
    [
        (host("liba.so", paths=LIBS, inherited=True), True),
        (host("liba.so", paths=LIBS), False),
        (host("liba.so", "libb.so", paths=LIBS), True),
        (host(paths=LIBS, inherited=True), False),
    ],
)
def test_what_a_user_finds_serves_what_it_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: HostElf, fits: bool
) -> None:
    with_host(monkeypatch, {"probe/_C.so": user, "probe.libs/liba.so": host("libb.so"), "probe.libs/libb.so": host()})
    assert broken(audited(make.wheel(tmp_path))) == ({} if fits else {"resolves": ["probe.libs/liba.so"]})


def test_a_preload_counts_only_where_it_is_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_host(monkeypatch, {"probe/_C.so": host("libc10.so")})
    assert "resolves" in broken(audited(make.wheel(tmp_path)))


# --- exceptions ---------------------------------------------------------------------------


def test_an_exception_has_a_reason_and_is_shown(tmp_path: Path) -> None:
    path = make.wheel(tmp_path, {"probe/a.hipfb": make.sample("zstd2.hipfb")})
    audit = audited(path, Wanted(THREE), {"archs:probe/*": "only a test", "archs:other": "stale"})
    assert audit.broken == ()
    ((finding, by),) = verdict(audit, "archs").waived
    assert (finding.subject, by.reason) == ("probe/a.hipfb", "only a test")
    assert [each.pattern for each in audit.unused] == ["other"]


@pytest.mark.parametrize(
    ("key", "reference"), [("archs", "bad-exception"), ("arch:x", "unknown-rule"), ("archs:", "bad-exception")]
)
def test_exceptions_that_cannot_be_meant(key: str, reference: str) -> None:
    with pytest.raises(ConfigError) as caught:
        exceptions([(key, "why")])
    assert caught.value.problems[0].reference == reference


# --- import -------------------------------------------------------------------------------


class Steps(FakeRun):
    """Commands end with these codes, in this order: their arguments name a folder made on the spot."""

    def __init__(self, *codes: int) -> None:
        super().__init__({})
        self.codes = list(codes)

    def _next(self, command: Command) -> tuple[int, str, str]:
        assert self.codes, command
        return self.codes.pop(0), "", "what it said"


def imported(path: Path, run: FakeRun) -> Audit:
    return examine(path, Wanted(module="probe"), (), run, {"PATH": "/bin"})


def test_import_in_a_clean_environment(tmp_path: Path) -> None:
    run = Steps(0, 0, 0, 0)
    assert imported(make.wheel(tmp_path), run).broken == ()
    commands = [command.argv for command in run.commands]
    assert commands[0][1:3] == ("-m", "venv")
    assert "--no-deps" in commands[1]
    assert commands[3][1:] == ("-I", "-c", "import probe")
    assert all(command.env == {"PATH": "/bin"} for command in run.commands)
    assert not Path(commands[0][3]).parent.exists()


@pytest.mark.parametrize(("codes", "word"), [((0, 1), "pip does not install"), ((0, 0, 0, 1), "import probe fails")])
def test_an_import_that_fails_is_a_finding(tmp_path: Path, codes: Sequence[int], word: str) -> None:
    ((rule, finding),) = imported(make.wheel(tmp_path), Steps(*codes)).broken
    assert (rule, finding.context) == ("imports", "what it said")
    assert word in finding.message


@pytest.mark.parametrize(("codes", "reference"), [((1,), "no-venv"), ((0, 0, 1), "no-requirements")])
def test_an_import_that_could_not_be_tried_is_the_world(tmp_path: Path, codes: Sequence[int], reference: str) -> None:
    with pytest.raises(InfraError) as caught:
        imported(make.wheel(tmp_path), Steps(*codes))
    assert caught.value.problems[0].reference == reference


@pytest.mark.parametrize("module", ["a b", "os; x", "a.", "1"])
def test_a_module_that_is_none(tmp_path: Path, module: str) -> None:
    with pytest.raises(ConfigError):
        examine(make.wheel(tmp_path), Wanted(module=module), (), never, {})


# --- targets ------------------------------------------------------------------------------


def test_a_folder_of_wheels_and_files(tmp_path: Path) -> None:
    make.wheel(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.hsaco").write_bytes(OBJECT)
    (tmp_path / "sub" / "link.hsaco").symlink_to("a.hsaco")
    (tmp_path / "sub" / "cut.hsaco").write_bytes(OBJECT[:500])
    (tmp_path / "notes.txt").write_text("x")
    audit = audited(tmp_path)
    assert [part.facts.name for part in audit.parts] == [make.FILE, tmp_path.name]
    assert [str(file.path) for file in audit.parts[1].facts.files] == ["sub/a.hsaco"]
    assert broken(audit) == {"readable": ["sub/cut.hsaco"]}


def test_nothing_to_audit_is_not_ok(tmp_path: Path) -> None:
    with pytest.raises(EmptyError):
        audited(tmp_path)


def test_nothing_to_import_is_not_ok(tmp_path: Path) -> None:
    path = tmp_path / "a.hsaco"
    path.write_bytes(OBJECT)
    with pytest.raises(ConfigError) as caught:
        audited(path, Wanted(module="probe"))
    assert caught.value.problems[0].reference == "nothing-to-import"


def test_a_single_file_that_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "a.hsaco"
    path.write_bytes(OBJECT[:-1])
    with pytest.raises(ContractError):
        audited(path)
