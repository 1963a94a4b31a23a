"""The one table of verbs; ``tasks.py`` and ``__main__`` are made from it."""

from __future__ import annotations

from collections.abc import Callable

from ..answer import Answer
from ..call import Call, Option, Verb
from ..options import (
    AGAINST,
    APPLY,
    ARTIFACTS,
    AUDITS,
    BASE_IMAGE,
    BUILDS,
    CATALOGUE,
    CHANNEL,
    COMMON,
    INDEXES,
    INPUTS,
    KERNELS,
    LOOKS,
    OVERLAY,
    PINS,
    PIPELINES,
    PLACES,
    PLAN,
    REGISTRY,
    REMOVED,
    SOURCE,
    STORE,
    TESTS,
    TO_CHANNEL,
    TO_RELEASE,
    WHEELS,
)
from .building import build_base, build_ci_base, build_component, build_release, build_test, explain, plan
from .looking import check, config, doctor, pins, reap
from .making import audit, hip_compile, index, test, wheel
from .planning import catalogue, pipeline
from .releasing import promote, release_nightly, release_status, retain, rollback


def _verb(run: Callable[[Call], Answer], *options: Option, argument: str = "", argument_help: str = "") -> Verb:
    return Verb(run.__name__.replace("_", "-"), run, options, argument, argument_help)


VERBS: tuple[Verb, ...] = (
    _verb(build_base, *BUILDS),
    _verb(build_ci_base, *BUILDS),
    _verb(build_test, *ARTIFACTS, *BUILDS),
    _verb(build_release, *BUILDS),
    _verb(build_component, BASE_IMAGE, *BUILDS, argument="component", argument_help="component, for example rocshmem"),
    _verb(plan, *LOOKS),
    _verb(explain, AGAINST, *INPUTS, *COMMON, argument="tier", argument_help="tier to explain, for example ci-base"),
    _verb(audit, *AUDITS, argument="target", argument_help="wheel, binary, folder, or image of the engine to audit"),
    _verb(index, *INDEXES, argument="place", argument_help="folder, or s3://BUCKET/PREFIX, that holds the wheels"),
    _verb(hip_compile, *KERNELS),
    _verb(wheel, *WHEELS),
    _verb(test, *TESTS, *LOOKS, argument="suite", argument_help="suite to run, for example rocm-distributed-tests"),
    _verb(release_nightly, CHANNEL, STORE, PLAN, *LOOKS),
    _verb(
        promote,
        TO_CHANNEL,
        *PLACES,
        PLAN,
        argument="nightly",
        argument_help="release to promote: its commit or version; to a channel of images a commit, or HEAD",
    ),
    _verb(rollback, TO_RELEASE, *PLACES, PLAN),
    _verb(retain, APPLY, *PLACES, PLAN),
    _verb(release_status, REMOVED, *PLACES),
    _verb(pipeline, *PIPELINES),
    _verb(catalogue, CATALOGUE, *COMMON, argument="action", argument_help="convert: write it in our own form"),
    _verb(pins, *PINS),
    _verb(config, *LOOKS),
    _verb(check, SOURCE, CATALOGUE, OVERLAY, *COMMON),
    _verb(doctor, REGISTRY, *COMMON),
    _verb(reap, PLAN, *COMMON),
)
