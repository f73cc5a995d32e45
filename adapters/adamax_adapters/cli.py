"""The command `adamax`: its subcommands and their options; what goes wrong is told in one line."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from shlex import quote
from typing import Any, NoReturn, get_args

import adamax
from adamax_adapters.checkpoint import CheckpointError
from adamax_adapters.files import inspection
from adamax_adapters.installation import install
from adamax_adapters.train.settings import Settings, UserError, option

__all__ = ["main"]

INTERRUPTED = 130  # what a shell calls a command that Ctrl-C ended


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are those of the command."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help lists the options")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those that the process was started with.

    Returns
    -------
    int
        0; 2 after an error, which is one line on stderr; 130 after Ctrl-C.
    """
    try:
        options = vars(_parser().parse_args(arguments))
        status: int = options.pop("run")(**options)
        return status
    except (UserError, CheckpointError, OSError) as error:
        print(f"adamax: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="adamax", description="The Adamax optimizer for every array library.")
    parser.add_argument("--version", action="version", version=f"adamax {adamax.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    doctor = commands.add_parser(
        "doctor",
        help="print what is installed and what it is used for",
        description="Print the backends that can be used here, and which arrays use which.",
    )
    doctor.set_defaults(run=_doctor)
    train = commands.add_parser(
        "train",
        help="train a language model on real text",
        allow_abbrev=False,  # a misspelt option is an error
        description="Train a neural language model with Adamax, and show how well it has learnt.",
    )
    train.set_defaults(run=_train)
    train.add_argument("--output", default="adamax-run", help="folder to write to (%(default)s)")
    train.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    for field in fields(Settings):
        (kind, *_) = get_args(field.type) or (field.type,)
        default = "" if field.default is None else f" ({field.default})"
        train.add_argument(
            option(field.name),
            type=kind,
            default=argparse.SUPPRESS,  # only what is given can conflict with a run to be resumed
            metavar={int: "N", float: "X"}.get(kind, field.name.upper()),
            help=field.metadata["help"] + default,
        )
    inspect = commands.add_parser(
        "inspect",
        help="show what is in a checkpoint",
        description="Show the tensors of a checkpoint in numbers, and whether their hashes hold.",
    )
    inspect.set_defaults(run=_inspect)
    inspection.add_arguments(inspect)
    return parser


def _doctor() -> int:
    _require("rich")
    from rich.console import Console

    from adamax_adapters.doctor import doctor

    return doctor(Console(soft_wrap=True))


def _train(output: str, resume: bool, **given: Any) -> int:
    _require("matplotlib", "rich")  # now, not when the results are drawn
    from rich.console import Console

    from adamax_adapters.train.run import train

    if "text" in given:
        given["text"] = os.path.abspath(given["text"])  # a run may be resumed from elsewhere
    console = Console(soft_wrap=True)
    if train(Path(output), given, resume, console):
        console.print(f"written to {output}: {', '.join(sorted(os.listdir(output)))}")
        return 0
    console.print(f"stopped and saved; go on by: adamax train --resume --output {quote(output)}")
    return INTERRUPTED


def _inspect(file: str, as_json: bool) -> int:
    if not as_json:
        _require("rich")
    return inspection.inspect(file, as_json)


def _require(*libraries: str) -> None:
    """Raise if a library that the extra `cli` installs is missing."""
    try:
        for library in libraries:
            import_module(library)
    except ModuleNotFoundError as error:
        raise UserError(f"this command needs {error.name}: {install('cli')}") from None
