"""Makes text from data safe to display: control characters are escaped.

An id or a name may hold any character, also those that move the cursor of a terminal. Text passes
through here once, where it is displayed: on a terminal, in a log line, in a cell of a table. Redis
and files of records store it unchanged.
"""

from __future__ import annotations

import re

_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters of 7 and 8 bits, line separators, direction marks, and lone surrogates."""


def printable(text: str, *, keep: str = "") -> str:
    r"""Return the text with every control character escaped as in JSON, except those in `keep`.

    >>> print(printable("ann\x1b[2K\nbob"), printable("{}\n", keep="\n"), sep="|", end="")
    ann\u001b[2K\u000abob|{}
    """
    return _CONTROLS.sub(
        lambda match: match[0] if match[0] in keep else f"\\u{ord(match[0]):04x}", text
    )
