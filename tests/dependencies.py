"""`make audit`: the locked dependencies against the public vulnerability database, and their licences.

`python -m tests.dependencies [--write FILE] PIP_AUDIT`: exit code 1 where a locked version has a known
vulnerability. If the database cannot be reached, a line says so.
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

The packages that the product needs at run time, as `requirements.lock` pins them. Version and licence
are those that each package declares. Penstock has the licence Apache-2.0; no licence below requires that
a program which uses the package is published. `make audit` writes this page and checks the packages
against the public vulnerability database of PyPI (with `pip-audit`).

{verdict}

| package | version | licence |
|---|---|---|
{rows}
"""
_CLASSIFIER = "License :: OSI Approved :: "
_LONG = 60
_LICENCE_IN_SOURCES = {"bytewax": "Apache-2.0"}
"""Licences of packages whose metadata has none, from the file LICENSE of their sources."""


class Audited(NamedTuple):
    """The result of an audit: vulnerabilities, number of known packages, number of all packages."""

    found: list[str]
    known: int
    asked: int

    @property
    def verdict(self) -> str:
        """Return the result in one line."""
        today = time.strftime("%Y-%m-%d")
        if self.found:
            return f"{today}: known vulnerabilities: {'; '.join(self.found)}."
        if not self.known:
            return f"{today}: the vulnerability database could not be reached: nothing is known."
        left = self.asked - self.known
        rest = f"; it does not know {left} of them" if left else ""
        return f"{today}: no known vulnerability in {self.known} packages{rest}."


def locked() -> dict[str, str]:
    """Return package name -> locked version, for this Python and this system."""
    pins = re.findall(r"^[\w.-]+==[^\\\n]+", LOCK.read_text(), re.MULTILINE)
    wanted = [Requirement(pin.strip()) for pin in pins]
    return {
        one.name: str(one.specifier).removeprefix("==")
        for one in wanted
        if one.marker is None or one.marker.evaluate()
    }


def licence_of(package: str) -> str:
    """Return the licence of an installed package. Raises KeyError if it is not known.

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
        ", ".join(one.removeprefix(_CLASSIFIER) for one in classifiers)
        or _LICENCE_IN_SOURCES[package]
    )


def audited(report: dict[str, Any]) -> Audited:
    """Parse the output of `pip-audit --format json`."""
    packages = report["dependencies"]
    found = [
        f"{one['name']} {one['version']}: {vulnerability['id']}"
        for one in packages
        for vulnerability in one.get("vulns", [])
    ]
    return Audited(found, sum("skip_reason" not in one for one in packages), len(packages))


def ask(pip_audit: str) -> Audited:
    """Check all locked packages against the database."""
    command = [pip_audit, "--disable-pip", "--require-hashes", "--format", "json"]
    ran = subprocess.run(
        [*command, "--progress-spinner", "off", "--requirement", str(LOCK)],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return audited(json.loads(ran.stdout))
    except (ValueError, KeyError):  # pip-audit prints nothing without a network
        return Audited([], 0, len(locked()))


def main() -> int:
    """Check, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.dependencies", description=__doc__)
    parser.add_argument("pip_audit", metavar="PIP_AUDIT", help="path of the program pip-audit")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page to this file")
    args = parser.parse_args()
    result = ask(args.pip_audit)
    print(result.verdict)
    rows = [f"| {name} | {version} | {licence_of(name)} |" for name, version in locked().items()]
    if args.write:
        args.write.write_text(PAGE.format(verdict=result.verdict, rows="\n".join(rows)))
    return 1 if result.found else 0


if __name__ == "__main__":
    sys.exit(main())
