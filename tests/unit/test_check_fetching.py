"""``check`` on what a build fetches: downloads, sources, packages, keys, frontends."""

from __future__ import annotations

import json

import pytest

from ci.recipe import pins
from tests import recipes
from tests.unit.check_recipe import PLANTED, Check, shown

SUM = '&& echo "${X_SHA256}  /x" | sha256sum -c -'


@pytest.mark.parametrize(
    "line",
    [
        "RUN curl -fsSL https://host/x -o /x",
        "RUN curl -fsSL https://host/x | sh",
        "RUN wget https://host/x",
        "RUN apt-get update && sudo -E wget -qO- https://host/x | tar xz",
        'RUN bash -c "curl https://host/x -o /x"',
        'RUN ["curl", "-o", "/x", "https://host/x"]',
        'RUN ["curl", "-o", "/x", "https://host/x"]\n# comment',
        "RUN <<EOF\ncurl https://host/x -o /x\nEOF",
        "RUN x=$(curl https://host/x)",
        "ONBUILD RUN curl https://host/x -o /x",
        "RUN /usr/lib/apt/apt-helper download-file https://host/x /x",
        f"RUN curl https://host/x -o /y {SUM}",
        f"RUN curl https://host/x -o /x && sha256sum /x {SUM.replace('-c -', '')}",
        "RUN curl https://host/x -o /x && curl https://host/sums -o sums && sha256sum -c sums",
        "RUN echo one | sha256sum -c - && curl https://host/x -o /x",
        "RUN curl https://host/x -o /x && gpg --verify /y",
    ],
)
def test_a_download_that_nothing_checks(check: Check, line: str) -> None:
    got = shown(check(line + "\n"))
    assert {(rule, reference) for rule, reference, _ in got} == {("downloads", "unchecked-download")}, line


@pytest.mark.parametrize(
    "script",
    [
        'eval "curl https://host/x -o /x"',
        "bash -cl 'curl https://host/x -o /x'",
        "bash -c -e 'curl https://host/x -o /x'",
        "su bob -c 'curl https://host/x -o /x'",
        "trap 'curl https://host/x -o /x' EXIT",
        "function get { curl https://host/x -o /x; }; get",
        "xargs curl -O < urls",
        "cat urls | xargs -n 1 -I {} wget {}",
        "wget -i urls",
        "wget --input-file=urls",
        "curl --config=urls",
        "bash <<< 'curl https://host/x -o /x'",
        "cat <<EOF | sh\ncurl https://host/x -o /x\nEOF",
        "echo 'curl https://host/x -o /x' | sh",
        "printf 'true\\ncurl https://host/x -o /x\\n' | bash -e",
        "sudo -u bob curl https://host/x -o /x",
        "env -u X busybox wget https://host/x",
        "find . -name x -exec curl https://host/x -o /x \\;",
        "flock /lock chroot /root curl https://host/x -o /x",
    ],
)
def test_a_download_that_another_program_starts(check: Check, script: str) -> None:
    for got in (check(f"RUN <<END\n{script}\nEND\n"), check(files={"scripts/a.sh": f"#!/bin/sh\n{script}\n"})):
        assert {(rule, reference) for rule, reference, _ in shown(got)} == {("downloads", "unchecked-download")}


@pytest.mark.parametrize(
    ("end", "plain", "errexit"),
    [
        ("CHECK", True, True),
        ("CHECK && tar x", True, True),
        ("CHECK || exit 1; tar x", True, True),
        ("CHECK || { echo bad; exit 1; }; tar x", True, True),
        ("die() { echo bad; exit 1; }\nCHECK || die; tar x", True, True),
        ("die()\n{\n echo bad\n exit 1\n}\nCHECK || die; tar x", True, True),
        ("die()\n{\n echo bad\n}\nCHECK || die; exit 1", False, False),
        ("function die() { echo bad; exit 1; }\nCHECK || die; tar x", True, True),
        ("function die {\n echo bad\n exit 1\n}\nCHECK || die; tar x", True, True),
        ("function get { curl -o /y; CHECK; }\nget && tar x", True, True),
        ("die() { echo bad; exit; }\nCHECK || die; tar x", False, False),
        (". /lib.sh\nCHECK || die; tar x", True, True),
        ("if ! CHECK; then exit 1; fi; tar x", True, True),
        ("CHECK; test $? = 0 || exit 1; tar x", True, True),
        ("get() { curl -o /y; CHECK; }\nget && tar x", True, True),
        ("(CHECK) && tar x", True, True),
        ("case $1 in a) CHECK ;; b) tar x ;; esac", True, True),
        ("if true; then CHECK; else tar x; fi", True, True),
        ("set -o pipefail; CHECK | tee log", True, True),
        ("CHECK; tar x", False, True),
        ("CHECK\ntar x", False, True),
        ("for x in a b; do CHECK; done", False, True),
        ("if true; then CHECK; tar x; fi", False, True),
        ("CHECK && tar x; true", False, False),
        ("CHECK || true", False, False),
        ("CHECK || :", False, False),
        ("CHECK || echo bad", False, False),
        ("CHECK || { echo bad; exit 0; }", False, False),
        ("die() { echo bad; }\nCHECK || die", False, False),
        ("{ CHECK; } || true", False, False),
        ("{ CHECK; tar x; } || true", False, False),
        ("(CHECK; tar x) || true", False, False),
        ("CHECK && tar x || true", False, False),
        ("! CHECK", False, False),
        ("CHECK | tee log", False, False),
        ("CHECK & wait", False, False),
        ("set +e; CHECK; tar x", False, False),
        ("set +o errexit\nCHECK\ntar x", False, False),
        ("bash -c 'CHECK; tar x'", False, False),
        ("bash -ec 'CHECK; tar x'", True, True),
        ("bash -c 'CHECK' || true", False, False),
        ("sh <<EOF\nCHECK\ntar x\nEOF", False, False),
        ("sh -e <<EOF\nCHECK\ntar x\nEOF", True, True),
        ("eval 'CHECK; tar x'", False, True),
    ],
)
def test_a_check_that_fails_ends_the_step(check: Check, end: str, plain: bool, errexit: bool) -> None:
    text = "curl https://host/x -o /x\n" + end.replace("CHECK", "sha256sum -c /run/pinned.txt") + "\n"
    for first, clean in (("#!/bin/sh\n", plain), ("#!/bin/sh\nset -eu\n", errexit), ("#!/bin/sh -e\n", errexit)):
        got = check(files={"scripts/a.sh": first + text})
        assert [each.problem.reference for each in got] == ([] if clean else ["unchecked-download"]), first
        assert all("the step goes on" in each.problem.message for each in got)
    assert (check(f"RUN <<END\n{text}END\n") == ()) is plain
    for start in ("", "ARG X\nFROM unreached AS other\n"):
        got = check(f'SHELL ["/bin/bash", "-eu", "-c"]\n{start}RUN <<END\n{text}END\n')
        assert (got == ()) is errexit, start


@pytest.mark.parametrize(
    "line",
    [
        f"RUN curl -fsSL https://host/x -o /x {SUM}",
        f"RUN wget -O /x https://host/x {SUM}",
        f"RUN curl https://host/x > /x {SUM}",
        f"RUN curl https://host/x | tee /x {SUM}",
        "RUN curl -O https://host/x && sha256sum --check <<EOF\n${X_SHA256}  x\nEOF",
        "RUN curl https://host/x -o /x && sha256sum -c /run/pinned.txt",
        "RUN curl https://host/x -o /x && gpgv --keyring /k /x.sig /x",
        "RUN apt-get install -y curl wget && command -v curl && curl --version",
        "RUN echo curl https://host/x",
        "RUN curl -sf http://localhost:8000/health",
        "RUN curl -I https://host/x",
        "# RUN curl https://host/x | sh",
        "RUN true \\\n    # curl https://host/x | sh\n    && true",
    ],
)
def test_a_download_that_is_checked_and_what_is_none(check: Check, line: str) -> None:
    assert check(line + "\n") == (), line


def test_a_finding_has_file_line_and_column(check: Check) -> None:
    (one, two) = check(
        "RUN true \\\n    # a comment\n    && true && curl https://host/x -o /x \\\n    && wget https://host/y\n"
    )
    assert [str(each.problem.place).rpartition("/")[2] for each in (one, two)] == [
        f"Dockerfile.tiny:{PLANTED + 2}:16",
        f"Dockerfile.tiny:{PLANTED + 3}:8",
    ]
    assert "https://host/x" in one.problem.message
    assert "ADD --checksum" in one.problem.hint


def test_scripts_that_a_stage_takes_are_looked_at_and_no_others(check: Check) -> None:
    script = "#!/bin/sh\nset -e\nif true; then\n  curl https://host/x -o /x\nfi\n"
    files = {"scripts/a.sh": script, "lists/other.sh": script, "lists/needs.txt": "curl https://host/x -o /x\n"}
    assert shown(check(files=files)) == [("downloads", "unchecked-download", "a.sh:4:3")]


@pytest.mark.parametrize(
    ("line", "reference"),
    [
        ("ADD https://host/x /x", "unchecked-download"),
        ("ARG X_SHA256\nADD --checksum=sha256:${X_SHA256} https://host/x /x", "unchecked-download"),
        ("ADD --link \\\n    https://host/x /x", "unchecked-download"),
        ("ADD https://host/x.git#main /x", "moving-source"),
        ("ADD https://host/x.git /x", "moving-source"),
        ("ARG X_BRANCH=main\nADD https://host/x.git#${X_BRANCH} /x", "moving-source"),
        ("ARG X_REPO\nADD ${X_REPO}#v1 /x", "moving-source"),
    ],
)
def test_an_addition_that_can_move(check: Check, line: str, reference: str) -> None:
    lock = json.dumps({"EPOCH": "1", "X_REPO": "https://host/x.git"})
    (got,) = [each for each in shown(check(line, files={"pins.json": lock})) if each[0] == "additions"]
    last = line.splitlines()[-1]
    column = last.index("http" if "http" in last else "${X_REPO") + 1
    assert got == ("additions", reference, f"Dockerfile.tiny:{PLANTED + line.count(chr(10))}:{column}")


@pytest.mark.parametrize("value", ["a" * 40, f"{pins.MARK}main"])
def test_an_addition_whose_pin_is_a_commit_or_a_hash(check: Check, value: str) -> None:
    line = "ADD ${X_REPO}#${X_BRANCH} /x\nADD --checksum=sha256:${Y_SHA256} ${Y_URL} /y"
    lock = {"X_REPO": "https://host/x.git", "X_BRANCH": value, "Y_URL": "https://host/y", "Y_SHA256": "b" * 64}
    assert [each for each in check(line, files={"pins.json": json.dumps(lock)}) if each.level == "error"] == []


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ("RUN git clone https://host/x", False),
        ("RUN git clone --branch v1.0 https://host/x", False),
        ("RUN git -C /x fetch origin main", False),
        ("RUN git clone https://host/x && git -C x checkout ${OTHER}", False),
        ("RUN git clone https://host/x && git -C x checkout v1.0", False),
        ("RUN git submodule update --init --remote", False),
        (f"RUN git -C y checkout {'a' * 40} && git clone https://host/x", False),
        (f"RUN git clone https://host/x; git -C x checkout {'a' * 40} || true", False),
        (f"RUN git clone https://host/x && git -C x checkout {'a' * 40}", True),
        ("RUN git clone https://host/x && git -C x checkout ${X_BRANCH}", True),
        ("RUN git init x && git -C x fetch --depth 1 origin $X_BRANCH && git -C x checkout FETCH_HEAD", True),
        ("RUN git config --global safe.directory /x && git submodule update --init", True),
    ],
)
def test_a_clone_of_what_can_move(check: Check, line: str, clean: bool) -> None:
    lock = {"X_BRANCH": "unresolved:main", "OTHER": "main"}
    got = check(f"ARG X_BRANCH\nARG OTHER\n{line}", files={"pins.json": json.dumps(lock)})
    assert [each.rule for each in got if each.level == "error"] == ([] if clean else ["clones"])


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ("RUN pip install torch", False),
        ("RUN python3 -m pip install -r requirements.txt", False),
        ('RUN "$venv/bin/python" -m pip install x', False),
        ("RUN pip3 download x", False),
        ("RUN uv pip install x", False),
        ("RUN uv --offline pip install x", False),
        ("RUN pip --timeout 60 install x", False),
        ("RUN uvx ruff", False),
        ("RUN pipx install x", False),
        ("RUN pip install git+https://host/x@main", False),
        ("RUN pip install https://host/x.whl", False),
        ("RUN pip install --no-index --no-deps https://host/x.whl", False),
        ("RUN pip install --no-index --find-links https://host/x y", False),
        ("RUN pip install --no-index --find-links file:///run/wheels y", True),
        ("RUN pip install --require-hashes -r lock.txt", True),
        ("RUN PIP_REQUIRE_HASHES=1 pip install -r lock.txt", True),
        ("RUN export PIP_NO_INDEX=1 && pip wheel .", True),
        ("RUN export PIP_NO_INDEX=1; export PIP_NO_INDEX=0; pip wheel .", False),
        ("RUN pip wheel . && export PIP_NO_INDEX=1", False),
        ("RUN pip install --no-index --no-deps /run/wheels/x.whl", True),
        ("RUN uv sync --locked", True),
        ("RUN pip --version && pip list && python3 -m ensurepip", True),
        ("RUN apt-get install -y python3-pip", True),
    ],
)
def test_an_install_without_hashes(check: Check, line: str, clean: bool) -> None:
    assert [each.rule for each in check(line)] == ([] if clean else ["installs"])


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ("RUN add-apt-repository ppa:deadsnakes/ppa", False),
        ("RUN apt-key add /k", False),
        ("RUN gpg --dearmor < /k > /etc/apt/keyrings/x.gpg", False),
        ("RUN cp /k /usr/share/keyrings/x.gpg", False),
        ("RUN apt-get install -y --allow-unauthenticated x", False),
        ("RUN apt-get install -y --force-yes x", False),
        ("RUN apt-get -o Acquire::AllowInsecureRepositories=true update", False),
        ("RUN echo 'APT::Get::AllowUnauthenticated \"true\";' > /etc/apt/apt.conf.d/x", False),
        ("RUN printf 'Types: deb\\nTrusted: yes\\n' > /etc/apt/sources.list.d/x.sources", False),
        ("RUN apt-get -o APT::Get::AllowUnauthenticated=false install -y x", True),
        ('RUN echo "deb [trusted=yes] https://host/x jammy main" > /etc/apt/sources.list.d/x.list', False),
        ('RUN python3 /run/apt-key.py /k "${X_FINGERPRINT}" /t && cp /t /etc/apt/keyrings/x.gpg', True),
        (f"RUN sh check.sh /k {'A1' * 20} && cp /k /etc/apt/keyrings/x.gpg", True),
        ("RUN mkdir -p /etc/apt/keyrings", True),
    ],
)
def test_a_key_without_its_fingerprint(check: Check, line: str, clean: bool) -> None:
    assert [each.rule for each in check(line)] == ([] if clean else ["apt-keys"])


def test_a_key_that_is_fetched_may_be_checked_by_its_fingerprint(check: Check) -> None:
    fetch = "RUN curl https://host/k -o /k && python3 /run/apt-key.py /k {} /etc/apt/keyrings/k.gpg"
    assert check(fetch.format('"${X_FINGERPRINT}"')) == ()
    assert [each.rule for each in check(fetch.format('"${X}"'))] == ["downloads"]


@pytest.mark.parametrize(("digest", "clean"), [("", False), (f"@sha256:{'a' * 64}", True)])
def test_a_frontend_that_can_move(check: Check, digest: str, clean: bool) -> None:
    got = shown(check(dockerfile=f"# syntax=docker/dockerfile:1{digest}\n{recipes.DOCKERFILE}"))
    assert ("syntax", "unpinned-syntax", "Dockerfile.tiny:1:1") in got or clean
    assert bool(got) is not clean
