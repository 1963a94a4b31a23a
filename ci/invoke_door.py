"""The Invoke door: one task per verb. The only module that knows Invoke.

A repository that wants ``inv`` has two lines in its ``tasks.py``::

    from rocm_ci.invoke_door import namespace
    ns = namespace()
"""

from __future__ import annotations

import atexit
import os
import sys
from difflib import get_close_matches
from inspect import Parameter, Signature
from keyword import iskeyword
from pathlib import PurePath
from types import TracebackType
from typing import Any, NoReturn

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser
from invoke.parser.context import ParserContext
from invoke.program import Program
from invoke.tasks import Task

from .call import Option, Verb
from .command_line import HELP, fill_standard_descriptors
from .door import perform, refuse, write
from .errors import CiError, ConfigError
from .one_shot import spare_the_collector
from .verbs import VERBS


def namespace() -> Collection:
    """All verbs as Invoke tasks, with dashed names only: an underscore alias breaks every ``inv`` call."""
    spare_the_collector()
    fill_standard_descriptors()
    if PurePath(sys.argv[0]).name in {"inv", "invoke"}:
        atexit.register(_flush)
        sys.excepthook = _hook
        write(suggestion(sys.argv[1:]), sys.stderr, None)
    return _collection()


def suggestion(words: list[str]) -> str:
    """A hint for the word Invoke is about to refuse with no more than "No idea what it is"; empty without one.

    A repository may have tasks of its own beside ours, so a word that is near to none of ours is left alone.
    """
    if all(word in {verb.name for verb in VERBS} for word in words):
        return ""
    try:
        called(words)
    except ParseError as error:
        known = [*(verb.name for verb in VERBS), *(error.context.flags if error.context else ())]
        word = next((word for word in words if f"No idea what {word!r} is" in str(error)), "")
        near = get_close_matches(word.replace("_", "-"), known, n=2, cutoff=0.6)
        return f"hint: did you mean {' or '.join(near)}?" if near else ""
    return ""


def called(words: list[str]) -> list[ParserContext]:
    """The verbs of a command line with their options, as Invoke itself parses it; raises ``ParseError``."""
    core = Program().initial_context
    left = Parser(initial=core, ignore_unknown=True).parse_argv(words).unparsed
    return list(Parser(initial=core, contexts=_collection().to_contexts()).parse_argv(left))[1:]


def _collection() -> Collection:
    """A new one each time: Invoke takes the help texts out of the tasks it parses with."""
    collection = Collection()
    for verb in VERBS:
        collection.add_task(_task(verb), name=verb.name)
    return collection


def _task(verb: Verb) -> Task[Any]:
    def body(context: Context, **given: Any) -> None:
        values = {option.name: given[_parameter(option)] for option in verb.options}
        if verb.argument:
            values[verb.argument] = given[verb.argument]
            if given[verb.argument] in HELP:  # Invoke takes it for the positional
                Program(namespace=_collection(), binary="inv").run(["inv", "--help", verb.name])
        as_json, several = _documents_wanted(values)
        try:
            _check(verb, values, context, several and as_json)
        except CiError as error:
            code = refuse(verb.name, error, sys.stdout, sys.stderr, as_json=as_json)
        else:
            code = perform(verb, values, sys.stdout, sys.stderr)
        if code:
            raise Exit(code=code)

    body.__name__ = verb.name
    body.__doc__ = verb.run.__doc__
    body.__signature__ = _signature(verb)  # type: ignore[attr-defined]
    helps = {option.name: option.help for option in verb.options}
    if verb.argument:
        helps[verb.argument] = verb.argument_help
    lists = [_parameter(option) for option in verb.options if option.kind == "list"]
    positional = [verb.argument] if verb.argument else []
    return Task(body, help=helps, iterable=lists, positional=positional, auto_shortflags=False)


def _parameter(option: Option) -> str:
    """The option as a Python name; Invoke takes the underscore of ``import_`` away again."""
    name = option.name.replace("-", "_")
    return f"{name}_" if iskeyword(name) else name


def _signature(verb: Verb) -> Signature:
    """What Invoke reads options from; a flag is what has a bool default, the rest is text."""
    kind = Parameter.POSITIONAL_OR_KEYWORD
    parameters = [Parameter("context", kind)]
    if verb.argument:
        parameters.append(Parameter(verb.argument, kind))
    for option in verb.options:
        default = False if option.kind == "flag" else None
        parameters.append(Parameter(_parameter(option), kind, default=default))
    return Signature(parameters)


def _check(verb: Verb, values: dict[str, Any], context: Context, several_documents: bool) -> None:
    """Refuse what Invoke lets through although it cannot be meant, before the first verb runs."""
    if context.config.run.dry:
        raise ConfigError("inv-dry", "inv --dry does not reach what this does", hint="use the verb's own --plan")
    for value in values.values():
        if isinstance(value, str) and value.startswith("-"):
            hint = f"inv --help {verb.name} shows the options"
            raise ConfigError("option-as-value", f"{value} was taken for a value", hint=hint)
    if several_documents:
        message = "--json gives one document, but several verbs are called"
        raise ConfigError("several-documents", message, hint="call inv once per verb")


def _documents_wanted(values: dict[str, Any]) -> tuple[bool, bool]:
    """Whether ``--json`` is anywhere on this command line, and whether several verbs are."""
    if "--json" not in sys.argv:
        return bool(values.get("json")), False
    try:
        verbs = called(sys.argv[1:])
    except ParseError:  # somebody else's tasks are among them
        return bool(values.get("json")), False
    return any(verb.args["json"].value for verb in verbs), len(verbs) > 1


def _flush() -> None:
    """What Invoke printed itself (``--list``, ``--help``) meets the closed pipe or the full disk here at last."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        _leave()


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The same where Python does not buffer: an error of Invoke's own ``print`` is no traceback; all others are."""
    last = trace
    while last and last.tb_next:
        last = last.tb_next
    if isinstance(error, OSError) and last and last.tb_frame.f_globals.get("__name__") == "invoke.program":
        _leave()
    sys.__excepthook__(kind, error, trace)


def _leave() -> NoReturn:
    """End with 0 for a reader that went away, 4 for a disk that is full; nobody above us can say so any more."""
    os._exit(write("\n", sys.stdout, sys.stderr))
