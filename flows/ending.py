"""How every command ends: with its result, or in one sentence that says why not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from pipeline.errors import InputError, PipelineError
from pipeline.redact import redacted


@contextmanager
def one_sentence(interrupted: str = "the same command goes on from here") -> Iterator[None]:
    """End on an error of input with exit code 2, on a failed stage with 1, saying why in one line and no traceback.

    `interrupted` is what Ctrl-C leaves behind.
    """
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"fair-pruner: interrupted; {interrupted}", err=True)
        raise typer.Exit(130) from None
    except PipelineError as error:
        _fail(error, 2 if isinstance(error, InputError) else 1)
    except ValueError as error:
        from fair_pruner.errors import FairPrunerError

        if not isinstance(error, FairPrunerError):
            raise
        _fail(error, 2)


def _fail(error: Exception, code: int) -> NoReturn:
    sentence = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in redacted(str(error)))
    typer.echo(f"fair-pruner: {sentence}", err=True)  # what a file holds must not steer the terminal
    raise typer.Exit(code)
