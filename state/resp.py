"""Redis commands as bytes: what the hot path writes is packed where it is made, in the step that runs
on every worker, and not again where it is sent.

Texts are joined and encoded once: for a command of forty short arguments that takes half of what
packing a tuple of them does, numbers below ten thousand being there already.
"""

from __future__ import annotations

_SMALL = tuple(f"${len(str(n))}\r\n{n}\r\n" for n in range(10_000))
_THIRTEEN_DIGITS = range(10**12, 10**13)


def bulk(text: str) -> str:
    """One argument.

    >>> bulk("né")
    '$3\\r\\nné\\r\\n'
    """
    return f"${len(text) if text.isascii() else len(text.encode())}\r\n{text}\r\n"


def number(value: int) -> str:
    """One argument that is a whole number.

    >>> number(7), number(-1), number(1_700_000_000_000)
    ('$1\\r\\n7\\r\\n', '$2\\r\\n-1\\r\\n', '$13\\r\\n1700000000000\\r\\n')
    """
    if 0 <= value < 10_000:
        return _SMALL[value]
    if value in _THIRTEEN_DIGITS:  # a time in ms
        return f"$13\r\n{value}\r\n"
    return bulk(str(value))


def set_bytes(key: str, value: bytes, ttl_s: int) -> bytes:
    """`SET` of a value that is no text, and when it expires.

    >>> set_bytes("a", b"\\xff", 60)
    b'*5\\r\\n$3\\r\\nSET\\r\\n$1\\r\\na\\r\\n$1\\r\\n\\xff\\r\\n$2\\r\\nEX\\r\\n$2\\r\\n60\\r\\n'
    """
    head = f"*5\r\n{_SET}{bulk(key)}${len(value)}\r\n".encode()
    return b"".join((head, value, f"\r\n{_EX}{number(ttl_s)}".encode()))


def command(arguments: str, count: int) -> bytes:
    """A command of so many arguments, which are packed already.

    >>> command(bulk("DEL") + bulk("a"), 2)
    b'*2\\r\\n$3\\r\\nDEL\\r\\n$1\\r\\na\\r\\n'
    """
    return f"*{count}\r\n{arguments}".encode()


def arguments(packed: bytes) -> list[str]:
    """What a command was packed from, as texts.

    >>> arguments(command(bulk("DEL") + bulk("a\\r\\n") + number(7), 3))
    ['DEL', 'a\\r\\n', '7']
    """
    found: list[str] = []
    at = packed.index(b"\r\n") + 2
    while at < len(packed):
        end = packed.index(b"\r\n", at)
        begin, size = end + 2, int(packed[at + 1 : end])
        found.append(packed[begin : begin + size].decode())
        at = begin + size + 2
    return found


_SET, _EX = bulk("SET"), bulk("EX")
