"""The contract of a list rule: a filter hides items, a reranker changes the order of a list.

To add a rule: one file here with a class of one of these two shapes, one line in `rules.py`. A rule
that a shop may set also has a section in `state.config_lists.ListRules` and in `config.yaml`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from operators.catalogue.item_features import Flags
    from state.arrays import Rows
    from state.interactions import ListRequests, ScoredLists


@runtime_checkable
class ItemFilter(Protocol):
    """Hides items from shoppers. Must not change the arrays it is given."""

    @property
    def is_active(self) -> bool:
        """Whether the rule can hide anything now. If no rule is active, lists are not touched at all."""

    def hidden_mask(self, requests: ListRequests, item: Rows) -> Flags:
        """bool[n, w]: True where a list int32[n, w] holds an item that its shopper must not see.

        `item` is padded with NO_ROW; what is returned for the padding does not matter.
        """


@runtime_checkable
class Reranker(Protocol):
    """Changes the order of lists by what is known of items. Must not change the arrays it is given."""

    @property
    def is_active(self) -> bool:
        """Whether the configuration turns the rule on."""

    def rerank(self, lists: ScoredLists, k: int) -> ScoredLists:
        """The same items in another order, the best k first; a list may be cut after k."""
