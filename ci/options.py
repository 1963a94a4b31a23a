"""What a person may say to a verb: each option once, and the groups that verbs share."""

from __future__ import annotations

from .call import Option

STACK = Option("stack", "stack to build: a shipped name or a path to a stack file", sets=True)
JSON = Option("json", "print one JSON document instead of text", "flag")
DEBUG = Option("debug", "show tracebacks", "flag")
PLAN = Option("plan", "print what would be done and write nothing", "flag")
PUSH = Option("push", "publish each finished tier in the registry", "flag")
REGISTRY = Option("registry", "registry and namespace to look up and publish in, host[:port][/namespace]", sets=True)
ON_UNKNOWN = Option("on-unknown", "what a lookup without an answer means: stop (exit 4) or build", sets=True)
AGAINST = Option("against", "compare with a commit, or an identity or content tag built here; default the last build")
SOURCE = Option("source", "NAME=PATH of a source tree; may be repeated", "list")

INPUTS = (
    Option("arch", 'gfx targets, for example "gfx942;gfx950"', sets=True),
    Option("nic-backend", "NIC userspace: none, ainic, bnxt or all", sets=True),
    Option("ainic-version", "AINIC package version, under ainic and all only", sets=True),
    SOURCE,
)
COMMON = (STACK, JSON, DEBUG)
AUDITS = (
    Option("arch", 'gfx targets its device code must have, for example "gfx942;gfx950"', sets=True),
    Option("budget-mb", "most megabytes (of 1,000,000 bytes) it may have"),
    Option("import", "module to import: of a wheel where nothing but its requirements is installed, or in the image"),
    Option("tier", "for an image: the tier of the stack whose contract it must keep; default the general rules"),
    Option("allow", "RULE:PATTERN=REASON of an exception; may be repeated", "list"),
    *COMMON,
)
INDEXES = (
    Option("add", "wheel to copy there and to list, without looking at the others; may be repeated", "list"),
    Option("url", "where clients will find the wheels, for the install lines; default the place itself"),
    Option("replace", "accept wheels whose bytes changed under an indexed name", "flag"),
    PLAN,
    *COMMON,
)
KERNELS = (
    Option("arch", 'gfx targets to compile for, for example "gfx942;gfx950"; default PYTORCH_ROCM_ARCH of the stack'),
    Option("project", "folder with the *.hip files; default ./kernels"),
    Option("out", "folder the code objects go to; default what the project's pyproject.toml says, or build/objects"),
    PLAN,
    REGISTRY,
    *COMMON,
)
WHEELS = (
    Option("project", "folder with pyproject.toml and the *.hip files; default ./kernels"),
    Option("arch", 'gfx targets to compile for, for example "gfx942;gfx950"; default PYTORCH_ROCM_ARCH of the stack'),
    Option("objects", "folder of code objects that are there already, <arch>/<name>.hsaco; needs --rocm"),
    Option("rocm", "version of ROCm for the wheel's label; default the compiler's own"),
    Option("torch", "version of torch it is built with; default none"),
    Option("out", "folder the wheel and its bundle go to; default ./dist"),
    Option("import", "module the audit imports where nothing but the wheel and its requirements is installed"),
    Option("trial", "allow any tree; the version sorts before every nightly", "flag"),
    PLAN,
    REGISTRY,
    *COMMON,
)
PINS = (
    Option("drift", "ask each upstream whether it still says what the lock says", "flag"),
    Option("update", "NAME of a pin to resolve anew from what it follows"),
    Option("to", "with --update: the value it gets instead of what upstream says"),
    PLAN,
    *INPUTS,
    *COMMON,
)
BASE_IMAGE = Option("base-image", "image with a HIP toolchain to build the component on")
BUNDLE = (
    Option("artifact", "make the image of ci-base and a bundle: a file, a folder, s3://BUCKET/PREFIX or buildkite:"),
    Option("allow-fallback", "with --artifact: where the bundle cannot be used, build or reuse the image", "flag"),
)
ARTIFACTS = (
    Option("artifact-only", "ship the files that make the image out of ci-base, as a bundle, instead of it", "flag"),
    Option("out", "with --artifact-only: folder or s3://BUCKET/PREFIX the bundle goes to; default ./dist"),
    *BUNDLE,
)
CATALOGUE = Option(
    "catalogue", "suite file to use instead of the stack's; step files of other projects are read as well"
)
HANDOFF = Option("handoff", "where jobs hand images on by digest: a file, buildkite or github")
TESTS = (
    Option("only", "step to run; may be repeated", "list"),
    Option("runtime", "docker: a container per step; native: the container we are in", sets=True),
    Option("image", "image to run every step in, by digest; default the stack's own, built where it does not exist"),
    *BUNDLE,
    Option("require-gpu", "a step that cannot run here makes the run empty (exit 6) instead of skipped", "flag"),
    Option("deadline", "minutes for everything, image, teardown and report included; default no limit"),
    Option("jobs", "steps at once: a number, or auto for as many as the GPUs of this node allow; default 1"),
    Option("shard", "run part NUMBER/COUNT of the tests of each step, for runs on several nodes"),
    Option("durations", "JSON file with the seconds of each test, as a run writes it; shards are planned from it"),
    CATALOGUE,
    HANDOFF,
    ON_UNKNOWN,
    PLAN,
)
LOOKS = (REGISTRY, *INPUTS, *COMMON)
STORE = Option("store", "folder or s3://BUCKET/PREFIX of releases, where builds that push meet as well", sets=True)
CHANNEL = Option("channel", "channel of the stack to work on; default nightly")
TO_RELEASE = Option("to", "release to go back to: its commit, seven digits of it or more, or its version")
TO_CHANNEL = Option("to", "channel to promote to, for example ci for the images of a commit; default release")
APPLY = Option("apply", "remove what the plan says; without it the plan is printed and nothing is written", "flag")
REMOVED = Option("removed", "list what retention took away, instead", "flag")
PLACES = (CHANNEL, STORE, REGISTRY, *COMMON)
BUILDS = (PUSH, HANDOFF, STORE, ON_UNKNOWN, PLAN, *LOOKS)
OVERLAY = Option("overlay", "bake file, or URL#sha256=HEX: laid over those baked by hand and compared with the plan")
PIPELINES = (
    Option("format", "buildkite, github or json; default a table for people"),
    Option("profile", "pr, main, nightly or full; default pr"),
    Option("explain", "say for every step why it runs or not, instead", "flag"),
    Option("only", "step to run, whatever changed; may be repeated", "list"),
    Option("base", "commit or branch the changes are counted from; default what the CI says, or main"),
    Option("label", "label of the pull request, beside those the CI tells; may be repeated", "list"),
    Option("away", "pool, or family of pools, that takes no jobs now; may be repeated", "list"),
    Option(
        "committed", "with --format github: a workflow to commit, whose steps ask at run time whether they run", "flag"
    ),
    Option("deepen", "fetch this many commits more of a shallow clone first"),
    CATALOGUE,
    *COMMON,
)
