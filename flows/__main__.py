"""The `fair-pruner` command, also as `python -m flows`."""

import sys


def main() -> None:
    """Run the command line, or say what to install where only the library is there."""
    try:
        from flows.cli import app
    except ModuleNotFoundError as error:
        install = "pip install fair-pruner[cpu], or fair-pruner[gpu] with a GPU"
        sys.stderr.write(f"fair-pruner: the command needs {error.name}, which is not installed: {install}\n")
        sys.exit(2)
    app()


if __name__ == "__main__":
    main()
