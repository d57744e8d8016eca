"""What is asked: the slots of a page. Wrong parameters raise `RequestError`, which names the field.

To add a parameter: a field of `SlotRequest`, and its use in `assembly`. The limits are part of the API.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from operators.events.validation import normalize_id
from serving.http.errors import RequestError
from state.events import SHOPPER_ID_CHARS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SLOTS = ("home", "product", "cart", "category", "search", "empty")
BODY_BYTES_MAX = 64 * 1024
ITEMS_MAX = 100
SLOTS_MAX = 8

ItemId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
ShopperId = Annotated[str, msgspec.Meta(min_length=1, max_length=SHOPPER_ID_CHARS_MAX)]
Items = Annotated[tuple[ItemId, ...], msgspec.Meta(max_length=ITEMS_MAX)]


class SlotRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One list. `item` is the item of the page, `cart` what is in the cart, `n` how many items.

    `category` and `price_max` keep only items that are known to fit. `offset` items are left out: with
    the id of the first part in `list`, the answer goes on with that very list.
    """

    slot: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    item: ItemId | None = None
    cart: Items = ()
    n: Annotated[int, msgspec.Meta(ge=1, le=100)] = 12
    category: Annotated[str, msgspec.Meta(max_length=200)] = ""
    price_max: Annotated[float, msgspec.Meta(gt=0)] | None = None
    exclude: Items = ()
    list_id: Annotated[str, msgspec.Meta(max_length=100)] = msgspec.field(default="", name="list")
    offset: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0


class PageRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The lists of one page. No item comes twice on it, unless `repeat`."""

    slots: Annotated[tuple[SlotRequest, ...], msgspec.Meta(min_length=1, max_length=SLOTS_MAX)]
    shopper: ShopperId | None = None
    visitor: ShopperId | None = None
    sig: Annotated[str, msgspec.Meta(max_length=200)] = ""
    repeat: bool = False


_IDENTITY = ("shopper", "visitor", "sig")
_LISTS = ("cart", "exclude")
_INTEGERS, _NUMBERS = ("n", "offset"), ("price_max",)
_IGNORED = ("key", "audience")


@lru_cache(maxsize=1000)
def page_of_query(slot: str, query: tuple[tuple[str, str], ...]) -> PageRequest:
    """The request of one list by its query parameters. Raises RequestError.

    >>> page_of_query("cart", (("cart", "a,b"), ("n", "3"))).slots[0].cart
    ('a', 'b')
    """
    fields: dict[str, Any] = {"slot": slot}
    identity: dict[str, str] = {}
    for name, text in query:
        if name in _IGNORED:
            continue
        if name in fields or name in identity:
            raise RequestError(400, f"$.{name}", "given twice")
        if name in _IDENTITY:
            identity[name] = text
        elif name in _LISTS:
            fields[name] = [part for part in text.split(",") if part]
        elif name in _INTEGERS:
            fields[name] = _number(int, name, text)
        elif name in _NUMBERS:
            fields[name] = _number(float, name, text)
        else:
            fields[name] = text
    return _convert({"slots": [fields], **identity})


def page_of_body(body: bytes) -> PageRequest:
    """The request of a page by its JSON body. Raises RequestError."""
    try:
        return _with_usable_ids(_DECODER.decode(body))
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestError(400, "$", f"not JSON: {error}") from None


def check_slot(slot: str, own_slots: Iterable[str]) -> None:
    """Raise RequestError 404 for a slot that is not known."""
    known = [*SLOTS, *own_slots]
    if slot not in known:
        raise RequestError(404, "$.slot", f"no such slot: expected one of {', '.join(known)}")


def _convert(fields: Mapping[str, Any]) -> PageRequest:
    try:
        return _with_usable_ids(msgspec.convert(fields, PageRequest))
    except msgspec.ValidationError as error:
        problem = _invalid(error)
        for one in problem.problems:  # a query has one slot, whose fields are its own
            one.path = one.path.replace("$.slots[0]", "$")
        raise problem from None


def _with_usable_ids(page: PageRequest) -> PageRequest:
    """A page whose shopper may be one: events under such ids as `undefined` are refused as well."""
    for name, given in (("shopper", page.shopper), ("visitor", page.visitor)):
        if given is not None and normalize_id(given) is None:
            raise RequestError(400, f"$.{name}", f"{given!r:.100} identifies no shopper")
    return page


def _number(convert: Callable[[str], Any], name: str, text: str) -> Any:
    try:
        return convert(text)
    except ValueError:
        raise RequestError(400, f"$.{name}", "expected a number") from None


def _invalid(error: msgspec.ValidationError) -> RequestError:
    message, _, path = str(error).partition(" - at `")
    return RequestError(400, path.rstrip("`") or "$", message)


_DECODER = msgspec.json.Decoder(PageRequest)
