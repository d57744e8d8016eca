"""What a recovery folder remembers of its run: a resume with another configuration is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from flows.recovery.run_identity import check_same_replay
from state.config import Settings
from state.errors import RecoveryError

if TYPE_CHECKING:
    from pathlib import Path

RULES = "vip: {name: VIP, when: {no: purchase, within: 3 d}}\nlost: {name: Lost, when: purchases >= 1}\n"


def settings(rules: str) -> Settings:
    return msgspec.structs.replace(Settings(), segment_rules_text=rules)


def test_another_comment_in_the_segment_rules_is_the_same_configuration(tmp_path: Path) -> None:
    assert not check_same_replay(tmp_path, "log", "penstock", settings(f"# old\n{RULES}"))
    assert check_same_replay(tmp_path, "log", "penstock", settings(f"{RULES}# new"))


@pytest.mark.parametrize(
    "rules",
    [RULES.replace("3", "4"), "\n".join(RULES.splitlines()[::-1]), "vip: [", ""],
    ids=["another rule", "another order", "no YAML", "no rules"],
)
def test_other_segment_rules_are_refused(rules: str, tmp_path: Path) -> None:
    check_same_replay(tmp_path, "log", "penstock", settings(RULES))
    with pytest.raises(RecoveryError, match=r"another configuration \(definitions\)"):
        check_same_replay(tmp_path, "log", "penstock", settings(rules))
