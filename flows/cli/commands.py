"""The group of all commands. It refuses a wrong value of an option in plain words, with the value that was meant."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperGroup

from ssb_core.suggest import did_you_mean

NUMBERS = {
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "greater_than_equal": "is below {ge:g}, the smallest value",
    "less_than_equal": "is above {le:g}, the largest value",
}
"""What is wrong with a number, by the kind of error that typer takes from pydantic."""


class Commands(TyperGroup):
    """The commands of ssb."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the arguments name.

        Raises:
            typer.BadParameter: an option has a wrong value.
        """
        try:
            return super().invoke(ctx)
        except typer.BadParameter as e:
            e.message = _in_plain_words(e)
            raise


def _in_plain_words(error: typer.BadParameter) -> str:
    """The message of a wrong value: ``'x' is not a whole number``."""
    message = error.message.removeprefix("Value error, ")
    if " is not one of " in message:
        value, *choices = re.findall("'([^']*)'", message)
        return message.rstrip(".") + did_you_mean(value, choices)
    for cause in getattr(error.__cause__, "errors", list)():
        if cause["type"] in NUMBERS:
            return f"{cause['input']!r} {NUMBERS[cause['type']].format_map(cause.get('ctx', {}))}"
    return message
