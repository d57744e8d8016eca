"""One subcommand of `penstock` a file: `add_parser` says what it takes, `run` does it."""
