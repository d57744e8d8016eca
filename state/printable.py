"""Text from data, made safe to be seen: what moves a cursor or names a window is written out.

An id or a name may hold anything. Whatever is shown on a terminal, in a line of a log or in a cell of
a table goes through here, once, where it is shown; Redis and files of records keep it as it is.
"""

from __future__ import annotations

import re

_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters of 7 and 8 bits, ends of lines, what turns the direction of text, half letters."""


def printable(text: str, *, keep: str = "") -> str:
    r"""The text on one line, with every control character but those to `keep` as JSON escapes it.

    >>> print(printable("ann\x1b[2K\nbob"), printable("{}\n", keep="\n"), sep="|", end="")
    ann\u001b[2K\u000abob|{}
    """
    return _CONTROLS.sub(
        lambda match: match[0] if match[0] in keep else f"\\u{ord(match[0]):04x}", text
    )
