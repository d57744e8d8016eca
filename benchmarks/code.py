"""Which code the figures of a page belong to: the commit, and a digest of the folders.

The digest is what a test holds a page against: a clone without history has it too.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("flows", "operators", "state")
"""What a live run consists of."""


def digest() -> str:
    """The beginning of the SHA-256 of all modules in `FOLDERS`, with their names."""
    sha256 = hashlib.sha256()
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        content = path.read_bytes()
        sha256.update(f"{path.relative_to(ROOT).as_posix()} {len(content)}\n".encode() + content)
    return sha256.hexdigest()[:16]


def said() -> str:
    """For a page: the commit, where there is one, and the digest."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", *FOLDERS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    beside = " and changes beside it" if changed else ""
    return f"commit {commit.strip() or '?'}{beside}, code {digest()} (flows/ operators/ state/)"


def digest_in(page: Path) -> str:
    """The digest that a page names, "" for none."""
    found = re.search(r"\bcode ([0-9a-f]{16})\b", page.read_text())
    return found[1] if found else ""
