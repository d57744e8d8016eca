"""Errors that a person can fix, by cause. The command line prints one in one line and exits with 2.

Every message says what is wrong and what to do. Callers and tests match the type, not the text. Add a
finer type only where a caller must tell it apart; raise the type of the cause, never `UserError` itself.
"""

from __future__ import annotations


class UserError(Exception):
    """An error that the person at the terminal can fix. Its message is one line with the fix."""


class ConfigurationError(UserError):
    """A setting, an environment variable, an option or a rule is wrong.

    What to do: correct the key, the option or the line of the file that the message names.
    """


class InstallationError(UserError):
    """A package or a program that this command needs is not installed.

    What to do: install it with the command in the message.
    """


class SourceError(UserError):
    """Events cannot be read: a file is missing or damaged, Kafka does not answer or lacks the records.

    What to do: make the file or the broker available, then run the same command again.
    """


class DataError(UserError):
    """The content that was read is not what the command needs: a bad line, a wrong format, too little.

    What to do: correct the line that the message names, choose another --format, or use another file.
    """


class StoreError(UserError):
    """Redis does not answer, refuses the login or refuses a command, and waiting has not helped.

    What to do: start or repair the Redis that the message names, or grant the rights in docs/redis.md.
    """


class LeaseError(StoreError):
    """Another run holds the writer lease, or has taken it over: only one run may write.

    What to do: stop one of the two runs; a run that ended releases its lease after `run.lease_s`.
    """


class RecoveryError(UserError):
    """The recovery folder cannot be used: it is damaged, locked, full, or belongs to another run.

    What to do: make room or repair the disk, stop the other run, or name another --recovery folder.
    """


class SnapshotError(RecoveryError):
    """A snapshot cannot be read: a newer release wrote it, or it is damaged.

    What to do: use the release that wrote it, or start with an empty recovery folder.
    """


class DamageError(SnapshotError):
    """Stored bytes have changed since they were written; the message names the file and the byte.

    What to do: start again. `flows.recovery.folder` then restores the backup, if there is a sound one.
    """


class ClusterError(UserError):
    """The processes of a run on several hosts do not find each other, or differ in their settings.

    What to do: start all processes with the same configuration, addresses, Redis and recovery folder.
    """


class OutputError(UserError):
    """A file that a command writes cannot be written.

    What to do: create its directory, make room on the disk, or name another file.
    """
