"""What is locked has a licence that is written down, and a vulnerability that is known is said."""

from __future__ import annotations

import re

from tests.dependencies import ROOT, audited, licence_of, locked

PAGE = ROOT / "docs/dependencies.md"


def test_the_page_names_every_locked_package_with_its_licence() -> None:
    rows = re.findall(r"^\| ([\w.-]+) \| (\S+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    told = {name: (version, licence) for name, version, licence in rows if name != "package"}
    here = {name: (version, licence_of(name)) for name, version in locked().items()}
    assert here.items() <= told.items()
    assert [name for name, (_, licence) in told.items() if not licence] == []


def test_no_licence_asks_that_what_uses_it_is_published() -> None:
    of_that_kind = re.compile(r"\b(A?GPL|General Public)", re.IGNORECASE)
    assert [name for name in locked() if of_that_kind.search(licence_of(name))] == []


def test_what_the_database_says_is_one_line() -> None:
    sound = {"name": "a", "version": "1", "vulns": []}
    bad = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1"}, {"id": "CVE-2"}]}
    unknown = {"name": "c", "skip_reason": "not found"}
    date = r"\d{4}-\d\d-\d\d: "
    assert re.fullmatch(
        date + r"no known vulnerability in 1 packages; it does not know 1 of them\.",
        audited({"dependencies": [sound, unknown]}).verdict,
    )
    assert re.fullmatch(
        date + r"known vulnerabilities: b 2: PYSEC-1; b 2: CVE-2\.",
        audited({"dependencies": [sound, bad]}).verdict,
    )
    assert re.fullmatch(
        date + r"the vulnerability database could not be reached: nothing is known\.",
        audited({"dependencies": [unknown]}).verdict,
    )
