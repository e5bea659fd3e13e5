"""The group of all commands, which shows options in the help as they are typed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typer.core import TyperGroup

__all__ = ["CommandGroup"]


class CommandGroup(TyperGroup):
    """Shows no type behind a switch, the type of one value where an option is repeated, and text without line ends."""

    def get_params(self, ctx: Any) -> Any:
        """Return the options of the group itself, --help among them."""
        params: Any = super().get_params(ctx)
        _as_typed(params)
        return params

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None."""
        command: Any = super().get_command(ctx, cmd_name)
        if command is not None:
            _as_typed([*command.params, command.get_help_option(ctx)])
            command.help = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
        return command


def _as_typed(options: Iterable[Any]) -> None:
    for option in options:
        if option is None or option.metavar is not None or option.param_type_name != "option":
            continue
        if option.type_descriptor.annotation is bool:
            option.metavar = ""
        elif option.multiple:
            option.metavar = f"<{option.bare_type().removeprefix('list[').removesuffix(']').lower()}>"
