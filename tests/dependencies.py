"""`make audit`: the locked dependencies against the public vulnerability database, and their licences.

`python -m tests.dependencies [--write FILE] PIP_AUDIT`: exit code 1 where a locked version has a known
vulnerability. Where the database cannot be reached a line says so: then nothing is known either way.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
PAGE = """# Dependencies

What the product runs on, as `requirements.lock` has it: version and licence, as each package says
itself. Penstock is under Apache-2.0; none of these asks that what uses it is published. `make audit`
writes this page and asks the public vulnerability database of PyPI (through `pip-audit`).

{verdict}

| package | version | licence |
|---|---|---|
{rows}
"""
_CLASSIFIER = "License :: OSI Approved :: "
_LONG = 60
_SAID_ELSEWHERE = {"bytewax": "Apache-2.0"}
"""Licences of packages that name none in their metadata, from the file LICENSE of their sources."""


class Audited(NamedTuple):
    """What the database says: known vulnerabilities, how many packages it knows, of how many."""

    found: list[str]
    known: int
    asked: int

    @property
    def verdict(self) -> str:
        """One line."""
        today = time.strftime("%Y-%m-%d")
        if self.found:
            return f"{today}: known vulnerabilities: {'; '.join(self.found)}."
        if not self.known:
            return f"{today}: the vulnerability database could not be reached: nothing is known."
        left = self.asked - self.known
        rest = f"; it does not know {left} of them" if left else ""
        return f"{today}: no known vulnerability in {self.known} packages{rest}."


def locked() -> dict[str, str]:
    """Package name -> version of what is locked for this Python and this system."""
    pins = re.findall(r"^[\w.-]+==[^\\\n]+", LOCK.read_text(), re.MULTILINE)
    wanted = [Requirement(pin.strip()) for pin in pins]
    return {
        one.name: str(one.specifier).removeprefix("==")
        for one in wanted
        if one.marker is None or one.marker.evaluate()
    }


def licence_of(package: str) -> str:
    """What an installed package says of its licence. Raises KeyError where that is nowhere.

    >>> licence_of("orjson")
    'MPL-2.0 AND (Apache-2.0 OR MIT)'
    """
    about = cast("Message", metadata.metadata(package))
    if expression := about.get("License-Expression"):
        return expression
    said = (about.get("License") or "").strip().splitlines()
    if said and said[0] and len(said[0]) < _LONG:
        return said[0]
    classifiers = [one for one in about.get_all("Classifier") or () if one.startswith(_CLASSIFIER)]
    return (
        ", ".join(one.removeprefix(_CLASSIFIER) for one in classifiers) or _SAID_ELSEWHERE[package]
    )


def audited(report: dict[str, Any]) -> Audited:
    """What `pip-audit --format json` printed."""
    packages = report["dependencies"]
    found = [
        f"{one['name']} {one['version']}: {vulnerability['id']}"
        for one in packages
        for vulnerability in one.get("vulns", [])
    ]
    return Audited(found, sum("skip_reason" not in one for one in packages), len(packages))


def ask(pip_audit: str) -> Audited:
    """Ask the database about all that is locked."""
    command = [pip_audit, "--disable-pip", "--require-hashes", "--format", "json"]
    ran = subprocess.run(
        [*command, "--progress-spinner", "off", "--requirement", str(LOCK)],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return audited(json.loads(ran.stdout))
    except (ValueError, KeyError):  # without the network it has nothing to print
        return Audited([], 0, len(locked()))


def main() -> int:
    """Ask, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.dependencies", description=__doc__)
    parser.add_argument("pip_audit", metavar="PIP_AUDIT", help="the program")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the page")
    args = parser.parse_args()
    result = ask(args.pip_audit)
    print(result.verdict)
    rows = [f"| {name} | {version} | {licence_of(name)} |" for name, version in locked().items()]
    if args.write:
        args.write.write_text(PAGE.format(verdict=result.verdict, rows="\n".join(rows)))
    return 1 if result.found else 0


if __name__ == "__main__":
    sys.exit(main())
