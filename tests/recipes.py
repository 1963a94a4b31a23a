"""A small recipe that has one of everything an identity is made from; used by unit and engine tests."""

from __future__ import annotations

from pathlib import Path

STACK = """\
schema: 1
name: tiny
summary: one of everything
repository: rocm-ci-test/tiny
platform: linux/amd64
sources: [src]
args:
  PYTORCH_ROCM_ARCH: {type: arch-list, default: gfx942}
  NIC_BACKEND: {type: nic-backend, default: none}
  COLOUR: {type: text, default: blue}
roots:
  busy: {image: rocm-ci-test/busy:1}
tiers:
  base:
    dockerfile: Dockerfile.tiny
    target: base
    parents: {ROOT: busy}
  ci-base:
    dockerfile: Dockerfile.tiny
    target: ci_base
    parents: {BASE_IMAGE: base}
  test:
    dockerfile: Dockerfile.tiny
    target: test
    parents: {CI_BASE_IMAGE: ci-base}
"""

DOCKERFILE = """\
ARG ROOT=busybox
ARG BASE_IMAGE=base
ARG CI_BASE_IMAGE=ci_base
FROM ${ROOT} AS base
# a comment
ARG PYTORCH_ROCM_ARCH
ARG LEVEL=1
ENV PYTORCH_ROCM_ARCH=${PYTORCH_ROCM_ARCH}
COPY scripts/ /opt/scripts/
RUN --mount=type=bind,source=lists/needs.txt,target=/run/needs.txt \\
    --mount=type=secret,id=max_jobs,env=MAX_JOBS \\
    cat /run/needs.txt > /opt/needs && echo level ${LEVEL}
RUN <<EOF
# not a comment
echo one > /opt/one
EOF

FROM ${BASE_IMAGE} AS ci_base
ARG NIC_BACKEND
ARG COLOUR
COPY --from=src lib /opt/lib
COPY first.txt second.txt /opt/
RUN cat /opt/first.txt /opt/second.txt > /opt/both && echo ${NIC_BACKEND} ${COLOUR}

FROM ${CI_BASE_IMAGE} AS test
COPY test.txt /opt/test.txt

FROM ${BASE_IMAGE} AS unreached
RUN echo nobody needs this
"""

FILES = {
    "scripts/a.sh": "echo a\n",
    "scripts/b.sh": "echo b\n",
    "scripts/notes.md": "ignored\n",
    "lists/needs.txt": "alpha\nbeta\n",
    "first.txt": "12345",
    "second.txt": "67890",
    "test.txt": "test\n",
    "pins.json": '{"EPOCH": "2026-01"}\n',
    ".dockerignore": "**/*.md\n",
}

SOURCE = {"lib/one.py": "ONE = 1\n", "lib/deep/two.py": "TWO = 2\n", "README": "not copied\n"}


def write(folder: Path, dockerfile: str = DOCKERFILE, stack: str = STACK) -> Path:
    """Write the recipe to ``folder/recipe`` and its source to ``folder/src``; gives the stack file."""
    files = {f"recipe/{name}": text for name, text in FILES.items()}
    files |= {f"src/{name}": text for name, text in SOURCE.items()}
    files |= {"recipe/Dockerfile.tiny": dockerfile, "recipe/tiny.yaml": stack}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "recipe/scripts/a.sh").chmod(0o755)
    (folder / "recipe/scripts/link").symlink_to("a.sh")
    return folder / "recipe/tiny.yaml"


ARTIFACT_STACK = STACK.replace("tiny\nplatform", "artifact\nplatform").replace(
    "    target: test\n", "    target: test\n    artifact: test_artifact\n    fetch: [test_fetch]\n"
)
"""The same with an artifact stage, for artifact-only mode."""

ARTIFACT_DOCKERFILE = DOCKERFILE.replace(
    "FROM ${CI_BASE_IMAGE} AS test\n",
    """\
FROM ${CI_BASE_IMAGE} AS test_fetch
RUN mkdir -p /artifact/bin /artifact/data/deep && cat /opt/both > /artifact/data/deep/both \\
    && echo 'echo tool' > /artifact/bin/tool && busybox chmod 755 /artifact/bin/tool

FROM scratch AS test_artifact
COPY --from=test_fetch /artifact/ /

FROM ${CI_BASE_IMAGE} AS test
RUN --network=none --mount=type=bind,from=test_artifact,source=/data,target=/run/data \\
    cat /run/data/deep/both > /opt/from-artifact
COPY --from=test_artifact /bin/ /opt/bin/
""",
)
