"""NIC userspace from a vendor's apt repository, for real: a signed one of the test, and what can be wrong with it."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from ci.recipe.stack import HOME

VERSION = "1.117.5-a-77"


@dataclass(frozen=True)
class Repository:
    """A served folder with a signed apt repository below ``url``; ``fingerprint`` is of the key it is signed with."""

    url: str
    folder: Path
    fingerprint: str


def run(*words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout


def key(home: Path, name: str) -> str:
    """A new signing key; its fingerprint."""
    home.mkdir(mode=0o700, exist_ok=True)
    gpg = ("gpg", "--homedir", str(home), "--batch", "--quiet")
    run(
        *gpg,
        "--passphrase",
        "",
        "--pinentry-mode",
        "loopback",
        "--quick-generate-key",
        name,
        "rsa2048",
        "sign",
        "never",
    )
    listing = run(*gpg, "--with-colons", "--list-keys", name)
    return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))


def package(folder: Path, name: str, version: str) -> str:
    """A package with one file, and its paragraph in the list of packages."""
    root = folder / "tree"
    (root / "DEBIAN").mkdir(parents=True)
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: t <t@example.invalid>\nDescription: t\n"
    )
    (root / "DEBIAN/control").write_text(control)
    (root / "usr/share" / name).mkdir(parents=True)
    (root / "usr/share" / name / "here").write_text(f"{version}\n")
    deb = folder / f"{name}.deb"
    run("dpkg-deb", "--root-owner-group", "--build", str(root), str(deb))
    run("rm", "-r", str(root))
    data = deb.read_bytes()
    return f"{control}Filename: {deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n\n"


def release(folder: Path, home: Path, signer: str, codename: str, packages: str) -> None:
    """The lists of one release, signed."""
    place = folder / "dists" / codename
    (place / "main/binary-amd64").mkdir(parents=True)
    (place / "main/binary-amd64/Packages").write_text(packages)
    digest = hashlib.sha256(packages.encode()).hexdigest()
    text = (
        f"Codename: {codename}\nSuite: {codename}\nArchitectures: amd64\nComponents: main\n"
        f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {digest} {len(packages)} main/binary-amd64/Packages\n"
    )
    (place / "Release").write_text(text)
    gpg = ("gpg", "--homedir", str(home), "--batch", "--quiet", "--yes", "--local-user", signer)
    run(*gpg, "--output", str(place / "InRelease"), "--clearsign", str(place / "Release"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    folder = tmp_path_factory.mktemp("apt")
    home = folder / "gpg"
    signer, other = key(home, "signer"), key(home, "other")
    for name in (signer, other):
        run(
            "gpg",
            "--homedir",
            str(home),
            "--batch",
            "--armor",
            "--output",
            str(folder / f"{name}.asc"),
            "--export",
            name,
        )
    (folder / "signer.asc").write_bytes((folder / f"{signer}.asc").read_bytes())
    (folder / "other.asc").write_bytes((folder / f"{other}.asc").read_bytes())
    versioned = folder / "ainic" / VERSION
    versioned.mkdir(parents=True)
    listed = "".join(package(versioned, name, VERSION) for name in ("libionic-dev", "ionic-common"))
    release(versioned, home, signer, "forky", listed)
    broadcom = folder / "bnxt"
    broadcom.mkdir()
    release(broadcom, home, signer, "forky", package(broadcom, "bnxt-rocelib", "235.2.86.0"))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Repository(f"http://127.0.0.1:{server.server_port}", folder, signer)
    server.shutdown()
    thread.join()
    server.server_close()


def install(toolchain: str, repository: Repository, backend: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run the script as its stage does, in a container that has no other apt source."""
    given = {
        "UBUNTU_CODENAME": "forky", "AINIC_VERSION": VERSION, "AINIC_REPO": f"{repository.url}/ainic",
        "AINIC_SIGNER_URL": f"{repository.url}/signer.asc", "AINIC_FINGERPRINT": repository.fingerprint,
        "BNXT_VERSION": "235.2.86.0", "BNXT_REPO": f"{repository.url}/bnxt",
        "BNXT_SIGNER_URL": f"{repository.url}/signer.asc", "BNXT_FINGERPRINT": repository.fingerprint,
        "APT_INSTALL": "/recipe/apt-install.sh", "APT_SOURCE": "/recipe/apt-source.sh", "APT_KEY": "/recipe/apt-key.py",
    }  # fmt: skip
    if backend not in ("ainic", "all"):
        given["AINIC_VERSION"] = ""
    settings = [word for name, value in (given | changed).items() for word in ("--env", f"{name}={value}")]
    words = ("docker", "run", "--rm", "--network=host", f"--volume={HOME / 'scripts'}:/recipe:ro", *settings, toolchain)
    script = 'rm -rf /etc/apt/sources.list*; mkdir -p /etc/apt/sources.list.d; sh /recipe/nic-vendor.sh "$1" || exit $?'
    shown = "ls /usr/share/libionic-dev /usr/share/ionic-common /usr/share/bnxt-rocelib 2>/dev/null; true"
    return subprocess.run(
        (*words, "sh", "-c", f"{script}; {shown}", "sh", backend), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("backend", "there"),
    [
        ("none", set()),
        ("ainic", {"libionic-dev", "ionic-common"}),
        ("bnxt", {"bnxt-rocelib"}),
        ("all", {"libionic-dev", "ionic-common", "bnxt-rocelib"}),
    ],
)
def test_a_backend_brings_its_packages_and_no_other(
    toolchain: str, repository: Repository, backend: str, there: set[str]
) -> None:
    ran = install(toolchain, repository, backend)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = {name for name in ("libionic-dev", "ionic-common", "bnxt-rocelib") if f"/usr/share/{name}:" in ran.stdout}
    assert found == there
    assert ran.stdout.count("Reading package lists") <= 2, "apt looks at its sources once"


@pytest.mark.parametrize(
    ("backend", "changed", "said"),
    [
        ("none", {"AINIC_VERSION": VERSION}, "which means nothing with NIC_BACKEND none; allowed: ainic, all"),
        ("bnxt", {"AINIC_VERSION": VERSION}, "which means nothing with NIC_BACKEND bnxt; allowed: ainic, all"),
        ("none", {"UBUNTU_CODENAME": "jammy"}, "UBUNTU_CODENAME is 'jammy', the base image is 'forky'"),
        ("mlx5", {}, "allowed: none, ainic, bnxt, all"),
    ],
)
def test_what_cannot_be_meant_ends_the_step_with_2(
    toolchain: str, repository: Repository, backend: str, changed: dict[str, str], said: str
) -> None:
    ran = install(toolchain, repository, backend, **changed)
    assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr


def test_a_source_for_another_release_than_the_image_is_refused(toolchain: str, repository: Repository) -> None:
    words = (
        "docker",
        "run",
        "--rm",
        f"--volume={HOME / 'scripts'}:/recipe:ro",
        toolchain,
        "sh",
        "/recipe/apt-source.sh",
    )
    given = ("name", repository.url, "noble", "main", f"{repository.url}/signer.asc", repository.fingerprint)
    ran = subprocess.run((*words, *given), capture_output=True, text=True, check=False)
    assert (ran.returncode, "asked for packages of 'noble', the image is 'forky'" in ran.stderr) == (2, True)


def test_the_wrong_key_is_refused_by_its_fingerprint(toolchain: str, repository: Repository) -> None:
    ran = install(toolchain, repository, "ainic", AINIC_SIGNER_URL=f"{repository.url}/other.asc")
    assert ran.returncode != 0
    assert f"pinned is {repository.fingerprint}" in ran.stderr


def hidden(good: bytes, evil: bytes) -> bytes:
    """A file in which gpgv finds both keys, and whoever takes parts for five bytes of length the first one alone."""
    return good + b"\xcb\xe9" + b"\x7f\x7f\x7f\x7f" + b"\0" * 509 + evil


def test_a_key_that_is_hidden_behind_the_pinned_one_is_refused(toolchain: str, repository: Repository) -> None:
    gpg = ("gpg", "--homedir", str(repository.folder / "gpg"), "--batch", "--export")
    good = subprocess.run((*gpg, "signer"), capture_output=True, check=True).stdout
    evil = subprocess.run((*gpg, "other"), capture_output=True, check=True).stdout
    (repository.folder / "hidden.gpg").write_bytes(hidden(good, evil))
    ran = install(toolchain, repository, "ainic", AINIC_SIGNER_URL=f"{repository.url}/hidden.gpg")
    assert ran.returncode != 0
    assert f"apt-key.py: the packet at byte {len(good)} comes in parts" in ran.stderr


@pytest.mark.parametrize("suffix", ["asc", "gpg"])
def test_gpgv_takes_the_key_that_is_written_and_no_other(repository: Repository, tmp_path: Path, suffix: str) -> None:
    gpg = ("gpg", "--homedir", str(repository.folder / "gpg"), "--batch", "--quiet")
    armour = ("--armor",) if suffix == "asc" else ()
    given, ring = tmp_path / f"key.{suffix}", tmp_path / "ring.gpg"
    run(*gpg, *armour, "--output", str(given), "--export", "signer")
    run(sys.executable, str(HOME / "scripts/apt-key.py"), str(given), repository.fingerprint, str(ring))
    (tmp_path / "text").write_text("text")
    took = {}
    for name in ("signer", "other"):
        signature = tmp_path / f"{name}.sig"
        run(*gpg, "--local-user", name, "--output", str(signature), "--detach-sign", str(tmp_path / "text"))
        words = ("gpgv", "--keyring", str(ring), str(signature), str(tmp_path / "text"))
        took[name] = subprocess.run(words, capture_output=True, check=False).returncode == 0
    assert took == {"signer": True, "other": False}


def test_a_repository_that_another_key_signed_is_refused(toolchain: str, repository: Repository) -> None:
    other = next(
        path.stem
        for path in repository.folder.glob("*.asc")
        if len(path.stem) == 40 and path.stem != repository.fingerprint
    )
    ran = install(
        toolchain, repository, "ainic", AINIC_SIGNER_URL=f"{repository.url}/other.asc", AINIC_FINGERPRINT=other
    )
    assert ran.returncode != 0
    assert (
        "not signed" in ran.stdout + ran.stderr or "NO_PUBKEY" in ran.stdout + ran.stderr or "Missing key" in ran.stderr
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"BNXT_VERSION": "999.0"}, "999.0"),
        ({"AINIC_VERSION": "9.9"}, "404"),
        ({"BNXT_REPO": "http://127.0.0.1:9/none"}, "127.0.0.1"),
        ({"BNXT_SIGNER_URL": "http://127.0.0.1:9/key"}, "127.0.0.1"),
        ({"UBUNTU_CODENAME": "jammy"}, "the base image is 'forky'"),
    ],
)
def test_what_is_missing_or_cannot_be_reached_fails_and_is_named(
    toolchain: str, repository: Repository, changed: dict[str, str], said: str
) -> None:
    ran = install(toolchain, repository, "all", **changed)
    assert ran.returncode != 0
    assert said in ran.stdout + ran.stderr
