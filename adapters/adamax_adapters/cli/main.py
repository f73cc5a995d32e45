"""The command `adamax`: its subcommands and their options; errors are one line."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from shlex import quote
from typing import Any, NoReturn

import adamax
from adamax_adapters.checkpoint import CheckpointError
from adamax_adapters.cli import inspection
from adamax_adapters.cli.train.settings import FORMER, Settings, UserError, kinds, option
from adamax_adapters.installation import install

__all__ = ["main"]

USAGE = 2  # exit status after an error
STOPPED = 128  # and the number of the signal: what a shell calls a command that a signal ended
CLOSED_PIPE = STOPPED + 13  # SIGPIPE, which Windows lacks


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
        0; 1 if `doctor` or `inspect` found a fault; 2 after an error, which is one line on stderr;
        130 after Ctrl-C, 143 after SIGTERM, 141 if the pipe that it prints to was closed.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # words of any script, on any terminal
    try:
        options = vars(_parser().parse_args(arguments))
        status: int = options.pop("run")(**options) or 0
        sys.stdout.flush()  # so that a closed pipe is noticed here
        return status
    except KeyboardInterrupt:
        return STOPPED + signal.SIGINT
    except BrokenPipeError:
        status = CLOSED_PIPE
    except (UserError, CheckpointError, OSError, MemoryError) as error:
        status = USAGE
        print(f"adamax: {' '.join(str(error).split()) or 'out of memory'}", file=sys.stderr)
    _finish_output()
    return status


def _finish_output() -> None:
    """Drop what cannot be printed: Python would try again when it ends, and print a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="adamax", description="The Adamax optimizer for every array library.")
    parser.add_argument("--version", action="version", version=f"adamax {adamax.__version__}")
    parser.set_defaults(run=parser.print_help)
    commands = parser.add_subparsers(metavar="COMMAND")
    doctor = commands.add_parser(
        "doctor",
        help="print what is installed and what it is used for",
        description="Print which libraries can be used, and the backends that update their arrays.",
        epilog="Exit status: 0, or 1 if a library is installed and cannot be used, such as CuPy "
        "without a GPU.",
    )
    doctor.set_defaults(run=_doctor)
    train = commands.add_parser(
        "train",
        help="train a language model on real text",
        allow_abbrev=False,  # a misspelt option is an error
        description="Train a neural language model with Adamax, and show how well it has learnt.",
        epilog="Ctrl-C or SIGTERM saves and stops. Exit status: 0 at the end; 2 after an error; "
        "130 after Ctrl-C, 143 after SIGTERM, 141 if the output was closed.",
    )
    train.set_defaults(run=_train)
    train.add_argument("--output", default="adamax-run", help="folder to write to (%(default)s)")
    train.add_argument("--resume", action="store_true", help="continue the run in that folder")
    for field in fields(Settings):
        (kind, *_) = kinds(field)
        default = "" if field.default is None else f" ({field.default})"
        names = [name for name in (field.name, FORMER.get(field.name)) if name]
        train.add_argument(
            *map(option, names),
            type=kind,
            default=argparse.SUPPRESS,  # only what is given can conflict with a run to be resumed
            metavar={int: "N", float: "X"}.get(kind, field.name.upper()),
            help=field.metadata["help"] + default,
        )
    inspect = commands.add_parser(
        "inspect",
        help="show what is in a checkpoint",
        description="Show the tensors of a checkpoint in numbers, and whether their hashes hold.",
        epilog="Exit status: 0, or 1 if a hash does not hold.",
    )
    inspect.set_defaults(run=inspection.inspect)
    inspection.add_arguments(inspect)
    return parser


def _doctor() -> int:
    from adamax_adapters.cli.doctor import doctor  # imports what it looks for

    return doctor()


def _train(output: str, resume: bool, **given: Any) -> int:
    _require("matplotlib", "threadpoolctl")  # now, not when the results are drawn
    from adamax_adapters.cli.train.run import train

    if "text" in given:
        given["text"] = os.path.abspath(given["text"])  # a run may be resumed from elsewhere
    if stopped := train(Path(output), given, resume):
        print(f"stopped and saved; continue with: adamax train --resume --output {quote(output)}")
        return STOPPED + stopped
    print(f"written to {output}: {', '.join(sorted(os.listdir(output)))}")
    return 0


def _require(*libraries: str) -> None:
    """Raise if a library that the extra `cli` installs is missing."""
    try:
        for library in libraries:
            import_module(library)
    except ModuleNotFoundError as error:
        raise UserError(f"this command needs {error.name}: {install('cli')}") from None
