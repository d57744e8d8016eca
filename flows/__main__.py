"""`python -m flows` is `penstock`."""

from flows.commands.cli import main


def penstock() -> None:
    """Run the command line, and end with its exit code."""
    code = main()
    from flows.process.shutdown import (
        exit_with,  # not above: a second of imports is time enough for Ctrl-C
    )

    exit_with(code)


if __name__ == "__main__":
    penstock()
