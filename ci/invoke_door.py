"""The Invoke door: one task per verb. The only module that knows Invoke.

A repository that wants ``inv`` has two lines in its ``tasks.py``::

    from rocm_ci.invoke_door import namespace
    ns = namespace()
"""

from __future__ import annotations

import sys
from inspect import Parameter, Signature
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.parser import Parser
from invoke.tasks import Task

from .call import Option, Verb
from .door import perform
from .errors import Outcome
from .verbs import VERBS


def namespace() -> Collection:
    """All verbs as Invoke tasks, with dashed names only: an underscore alias breaks every ``inv`` call."""
    collection = Collection()
    for verb in VERBS:
        collection.add_task(_task(verb), name=verb.name)
    return collection


def _task(verb: Verb) -> Task[Any]:
    def body(context: Context, **given: Any) -> None:
        values = {option.name: given[_parameter(option)] for option in verb.options}
        if verb.argument:
            values[verb.argument] = given[verb.argument]
        refusal = _refusal(verb, values, context)
        if refusal:
            raise Exit(refusal, code=Outcome.CONFIG.exit_code)
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
    return option.name.replace("-", "_")


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


def _refusal(verb: Verb, values: dict[str, Any], context: Context) -> str:
    """What Invoke lets through although it cannot be meant."""
    if context.config.run.dry:
        return "error: inv --dry does not reach what this does\nhint: use the verb's own --plan"
    swallowed = [str(value) for value in values.values() if isinstance(value, str) and value.startswith("-")]
    if swallowed:
        return f"error: {swallowed[0]} was taken for a value\nhint: inv --help {verb.name} shows the options"
    if values.get("json") and len(_verbs_called()) > 1:
        return "error: --json gives one document, but several verbs are called\nhint: call inv once per verb"
    return ""


def _verbs_called() -> list[str]:
    """The verbs on this command line, as Invoke itself parses it."""
    parser = Parser(initial=None, contexts=namespace().to_contexts(), ignore_unknown=True)
    return [part.name for part in parser.parse_argv(sys.argv[1:]) if part.name]
