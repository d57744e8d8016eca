"""`python -m flows` is `penstock`."""

from flows.commands.cli import main


def penstock() -> None:
    """Run the command line and exit with its code."""
    code = main()
    from flows.process.shutdown import (
        exit_with,  # late: during a second of imports Ctrl-C would print a traceback
    )

    exit_with(code)


if __name__ == "__main__":
    penstock()
