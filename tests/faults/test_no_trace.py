"""The host's network settings and their passwords reach a step, and leave no trace anywhere else."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from tests.faults.stand import DOCKERFILE, Stand, processes

WORD = "s3cr3t-of-the-host"
"""In every password below; nothing that outlives the build may contain it."""

SECRETS = {
    "http_proxy": f"http://user:{WORD}@127.0.0.1:9/",
    "https_proxy": f"http://user:{WORD}@127.0.0.1:9/",
    "no_proxy": "localhost,127.0.0.1,host-behind.invalid",
    "PIP_INDEX_URL": f"https://user:{WORD}@index.invalid/simple",
    "PIP_EXTRA_INDEX_URL": f"https://user:{WORD}@extra.invalid/simple",
}
JOBS = "31"

# What a step sees is told by its exit code: the log must not have it.
SEES = """\
RUN --network=none \\
    --mount=type=secret,id=https_proxy,env=https_proxy --mount=type=secret,id=no_proxy,env=NO_PROXY \\
    --mount=type=secret,id=pip_conf,target=/run/pip.conf --mount=type=secret,id=ca,target=/run/ca.pem \\
    --mount=type=secret,id=max_jobs,env=MAX_JOBS \\
    case "$https_proxy$NO_PROXY" in *WORD*WORD*) ;; *) exit 3;; esac; \\
    case "$(cat /run/pip.conf)" in *WORD*extra.invalid*) ;; *) exit 4;; esac; \\
    case "$(cat /run/ca.pem)" in *BEGIN*-OF-THE-HOST*) ;; *) exit 5;; esac; \\
    test "$MAX_JOBS" = JOBS || exit 6; ENDING
"""


def recipe(ending: str) -> str:
    step = SEES.replace("WORD", WORD).replace("JOBS", JOBS).replace("ENDING", ending)
    # the word must not be in the Dockerfile itself: any of its passwords would do
    step = step.replace(f"*{WORD}*{WORD}*", "*user:*invalid*").replace(f"*{WORD}*extra", "*user:*extra")
    plain = "RUN --network=none cat /opt/first.txt\n"
    assert plain in DOCKERFILE
    return DOCKERFILE.replace(plain, step)


def settings(folder: Path) -> dict[str, str]:
    bundle = folder / "bundle.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nCERTIFICATE-OF-THE-HOST\n-----END CERTIFICATE-----\n")
    return {**SECRETS, "SSL_CERT_FILE": str(bundle), "MAX_JOBS": JOBS}


def texts(stand: Stand) -> dict[str, bytes]:
    """Everything on disk that the runs wrote."""
    found = {str(path): path.read_bytes() for path in stand.state.rglob("*") if path.is_file()}
    assert any(name.endswith("bake.json") for name in found)
    assert any(name.endswith("progress.jsonl") for name in found)
    return found


def exported(stand: Stand, tag: str) -> dict[str, bytes]:
    """Everything in ``docker save``, the layers' files taken out as well."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(stand.docker("save", tag))) as archive:
        for member in archive.getmembers():
            opened = archive.extractfile(member)
            if opened is None:
                continue
            found[member.name] = data = opened.read()
            try:
                with tarfile.open(fileobj=io.BytesIO(data)) as layer:
                    inner = {each.name: layer.extractfile(each) for each in layer.getmembers() if each.isfile()}
                    found |= {f"{member.name}/{name}": file.read() for name, file in inner.items() if file}
            except tarfile.TarError:
                continue
    return found


def check(found: dict[str, bytes], *words: str) -> None:
    for word in (WORD, *words):
        assert [name for name, data in found.items() if word.encode() in data] == [], word


def test_a_build_leaves_no_trace(stand: Stand) -> None:
    env = settings(stand.folder)
    stand.write(recipe("true"))
    shown: dict[str, bytes] = {}
    for verb, options in {
        "build-base": ("--json",),
        "plan": ("--json",),
        "explain": ("base",),
        "config": (),
        "build-ci-base": ("--plan", "--json"),
    }.items():
        ended = stand.run(verb, *options, **env)
        assert ended.code == 0, ended.err
        shown |= {f"{verb} out": ended.out.encode(), f"{verb} err": ended.err.encode()}
    check(shown)
    tag = stand.tag("base")
    image = {"history": stand.docker("history", "--no-trunc", tag), "config": json.dumps(stand.inspect(tag)).encode()}
    files = exported(stand, tag)
    assert any(name.endswith("opt/first.txt") for name in files)
    check(image | files, "CERTIFICATE-OF-THE-HOST", f"MAX_JOBS={JOBS}", "host-behind")
    check(texts(stand))
    assert processes(WORD) == {}


def test_a_failed_build_leaves_no_trace(stand: Stand) -> None:
    env = settings(stand.folder)
    stand.write(recipe("echo it breaks; false"))
    ended = stand.run("build-base", "--debug", **env)
    assert ended.code == 1, ended.err
    check({"out": ended.out.encode(), "err": ended.err.encode()})
    check(texts(stand))


def test_other_settings_are_no_other_image(stand: Stand) -> None:
    """Passwords change; what they helped to fetch does not."""
    env = settings(stand.folder)
    stand.write(recipe("true"))
    assert stand.run("build-base", **env).code == 0
    changed = {name: value.replace(WORD, "another") for name, value in env.items()} | {"MAX_JOBS": "2"}
    assert stand.json("build-base", **changed).decisions == {"base": "reuse"}
