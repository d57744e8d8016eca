"""One file for each subcommand of `penstock`: `add_parser` declares its options, `run` executes it."""
