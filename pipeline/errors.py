"""What can go wrong in the pipeline, by who can mend it.

PipelineError
├── InputError       the person's input: a config value, a file, a data set. The command line exits with 2.
└── StageError       a stage ran and its result must not be used (parity, an engine that does not build). Exits with 1.

Errors of the method itself are `fair_pruner.errors.FairPrunerError`; they too come from input and exit with 2.
"""

from pipeline.redact import redacted


class PipelineError(Exception):
    """Base of what the pipeline raises on purpose: one sentence with what was found, what was expected, what to do.

    Secrets of the environment are left out of it, since whoever catches it will show it, and so are the line ends of what it
    quotes.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(" ".join(redacted(sentence).splitlines()))


class InputError(PipelineError):
    """The run cannot start or go on with what was given."""


class StageError(PipelineError):
    """A stage finished with a result that fails its own check."""
