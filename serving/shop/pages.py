"""The pages of the demo's shop as HTML. They work without JavaScript, with the shop's own lists.

`data-event` is the event that a page sends when it is opened, or a form when it is submitted;
`section.list` is a place for a list. `static/shop/shop.js` reads both.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from serving.shop.catalogue import CURRENCY, DEPARTMENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.shop.cart import Cart
    from serving.shop.catalogue import ShopCatalogue
    from state.events import Item

LIST_ITEMS, HOME_ITEMS = 6, 12


class Visit(NamedTuple):
    """Who looks at which page: the cart, and whether events may be sent and lists be personal."""

    path: str
    cart: Cart
    is_agreed: bool


class ShopPages:
    """Makes the pages. `key` is the publishable key of the storefront's server."""

    def __init__(self, catalogue: ShopCatalogue, key: str) -> None:
        self._catalogue = catalogue
        self._key = key

    def home(self, visit: Visit) -> str:
        """The first page."""
        teaser = (
            "<p class=lead>A made-up shop with made-up shoppers, and you. Look at a few things that are "
            "alike: the lists change while you click.</p>"
        )
        departments = "".join(
            f'<li><a class=card href="/category/{name}">{_picture(items[0])}'
            f"<span class=name>{name.title()}</span></a></li>"
            for name in DEPARTMENTS
            if (items := self._catalogue.of_department(name))
        )
        return self._page(
            visit,
            "The demo shop",
            f"<h1>The demo shop</h1>{teaser}"
            + self._list("home", HOME_ITEMS, self._catalogue.popular(HOME_ITEMS))
            + f"<section><h2>Departments</h2><ul class=grid>{departments}</ul></section>",
            {"type": "page_view"},
        )

    def category(self, visit: Visit, department: str, first: int, size: int) -> str | None:
        """One department, `size` items from the one at `first` on; None for an unknown one."""
        items = self._catalogue.of_department(department)
        shown = items[first : first + size]
        if not shown:
            return None
        following = first + size
        more = (
            f'<p><a class=button href="/category/{department}?from={following}">More</a></p>'
            if following < len(items)
            else ""
        )
        body = (
            f"<h1>{department.title()}</h1>"
            + self._list("category", LIST_ITEMS, items[:LIST_ITEMS], category=department)
            + f"<section><h2>All {len(items)} things</h2><ul class=grid>{_cards(shown)}</ul></section>"
            + more
        )
        return self._page(visit, department.title(), body, {"type": "page_view"})

    def product(self, visit: Visit, item: Item) -> str:
        """One item."""
        event = {"type": "item_view", "items": [item]}
        department = item.category[0]
        body = (
            f'<p class=path><a href="/category/{department}">{department.title()}</a></p>'
            f"<article class=product>{_picture(item)}<div><h1>{_name(item)}</h1>"
            f"<p class=quiet>{escape(item.brand or '')}</p>"
            f"<p class=big>{_money(item.price or 0.0)}</p>"
            + _form(
                "/cart", {"type": "cart_add", "items": [item]}, "Put into cart", item=item.item_id
            )
            + "</div></article>"
            + self._list("home", LIST_ITEMS, self._catalogue.popular(LIST_ITEMS), item=item.item_id)
            + self._list(
                "product",
                LIST_ITEMS,
                self._catalogue.popular(LIST_ITEMS, beside=item.item_id),
                item=item.item_id,
            )
        )
        return self._page(visit, item.name or item.item_id, body, event)

    def cart(self, visit: Visit) -> str:
        """What is in the cart."""
        cart = visit.cart
        if not cart.lines:
            body = "<h1>Cart</h1><p>Nothing is in it yet.</p>" + self._list(
                "home", LIST_ITEMS, self._catalogue.popular(LIST_ITEMS)
            )
            return self._page(visit, "Cart", body, {"type": "page_view"})
        rows = "".join(
            f'<li>{_picture(line)}<span class=name><a href="{escape(line.url or "")}">{_name(line)}</a>'
            f"<span class=quiet>{_quantity(line)}</span></span>{_remove_form(line)}</li>"
            for line in cart.lines
        )
        names = ",".join(line.item_id for line in cart.lines)
        beside = self._catalogue.popular(LIST_ITEMS, beside=cart.lines[0].item_id)
        body = (
            f"<h1>Cart</h1><ul class=lines>{rows}</ul>"
            f"<div class=sum>Together <strong>{_money(cart.value)}</strong>"
            "<a class='button main' href=/checkout>Checkout</a></div>"
            + self._list("cart", LIST_ITEMS, beside, cart=names)
            + self._list("home", LIST_ITEMS, self._catalogue.popular(LIST_ITEMS), cart=names)
        )
        return self._page(visit, "Cart", body, {"type": "page_view"})

    def checkout(self, visit: Visit, order_id: str) -> str:
        """The order before it is placed."""
        cart = visit.cart
        goods = {"items": cart.lines, "value": cart.value}
        rows = "".join(
            f"<li>{_picture(line)}<span class=name>{_name(line)}</span>"
            f"<span>{_quantity(line)}</span></li>"
            for line in cart.lines
        )
        body = (
            f"<h1>Checkout</h1><ul class=lines>{rows}</ul>"
            f"<div class=sum>Together <strong>{_money(cart.value)}</strong>"
            + _form("/order", {"type": "purchase", "order_id": order_id, **goods}, "Buy")
            + "</div><p class=quiet>It costs nothing and nothing comes: shop and money are made up.</p>"
        )
        return self._page(visit, "Checkout", body, {"type": "checkout_start", **goods})

    def thanks(self, visit: Visit) -> str:
        """After the order."""
        said = (
            "Your order is in your profile: "
            "<a class=link href=/me target=_blank>see yourself as the marketers do</a>."
            if visit.is_agreed
            else "Your order is in no profile: nothing of it was sent."
        )
        own = self._catalogue.popular(LIST_ITEMS)
        body = f"<h1>Thank you</h1><p>{said}</p>" + self._list("home", LIST_ITEMS, own)
        return self._page(visit, "Thank you", body, {"type": "page_view"})

    def message(self, visit: Visit, title: str, text: str) -> str:
        """A page that only says something."""
        back = "<p><a class=button href=/>To the shop</a></p>"
        body = f"<h1>{escape(title)}</h1><p>{escape(text)}</p>{back}"
        return self._page(visit, title, body, None)

    def _page(self, visit: Visit, title: str, body: str, event: dict[str, Any] | None) -> str:
        required = "" if visit.is_agreed else ' data-consent="required"'
        departments = "".join(
            f'<a href="/category/{name}"{_current(visit.path, f"/category/{name}")}>{name.title()}</a>'
            for name in DEPARTMENTS
        )
        count = f" <b>{visit.cart.pieces}</b>" if visit.cart.pieces else ""
        said = "Lists follow your clicks." if visit.is_agreed else "Nothing is sent of what you do."
        agreed = "true" if visit.is_agreed else "false"
        return (
            "<!doctype html><html lang=en><head><meta charset=utf-8>"
            '<meta name=viewport content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)} · Penstock demo</title>"
            "<link rel=stylesheet href=/shop/shop.css><link rel=icon href=/shop/favicon.svg>"
            f'<script src=/v1/snippet.js data-key="{escape(self._key)}"{required} defer></script>'
            f"<script src=/shop/shop.js defer></script></head><body{_event(event)}>"
            '<a class=skip href="#main">Skip to the content</a>'
            '<header><a class=brand href=/><img src=/shop/favicon.svg alt="" width=28 height=28>'
            "<span>Demo shop</span></a>"
            f"<nav aria-label=Departments>{departments}</nav>"
            f'<a class="button cart" href=/cart>Cart{count}</a></header>'
            '<aside class=bar aria-label="Your data"><form class=consent method=post action=/consent>'
            f'<input type=hidden name=back value="{escape(visit.path)}">'
            f'<button class=switch role=switch aria-checked={agreed} name=agree value="{agreed}">'
            "<span class=knob aria-hidden=true></span>Personal lists</button></form>"
            f"<p id=said role=status>{said}</p>"
            "<a class=link href=/me target=_blank>How marketers see you</a></aside>"
            f"<main id=main>{body}</main></body></html>"
        )

    def _list(self, slot: str, count: int, own: Sequence[Item], **asked: str) -> str:
        """A place for a list, with the shop's own until it comes. It has the room of as many cards."""
        data = "".join(f' data-{name}="{escape(value)}"' for name, value in asked.items())
        return (
            f"<section class=list data-slot={slot} data-n={count}{data}><div class=head>"
            f"<h2>Popular in the shop</h2><p class=quiet></p></div>"
            f"<ul class=grid>{_cards(own)}</ul></section>"
        )


def _form(
    action: str, event: dict[str, Any], label: str, hidden_label: str = "", **fields: str
) -> str:
    inputs = "".join(
        f'<input type=hidden name={name} value="{escape(value)}">' for name, value in fields.items()
    )
    return (
        f"<form method=post action={action}{_event(event)}>{inputs}"
        f"<button class='button main'>{label}{hidden_label}</button></form>"
    )


def _remove_form(line: Item) -> str:
    label = f"<span class=hidden> {_name(line)}</span>"
    event = {"type": "cart_remove", "items": [line]}
    return _form("/cart", event, "Remove", label, item=line.item_id, remove="yes")


def _event(event: dict[str, Any] | None) -> str:
    if event is None:
        return ""
    text = msgspec.json.encode({**event, "currency": CURRENCY}).decode()
    return f' data-event="{escape(text)}"'


def _cards(items: Sequence[Item]) -> str:
    return "".join(
        f'<li><a class=card href="{escape(item.url or "")}">{_picture(item)}'
        f"<span class=words><span class=name>{_name(item)}</span>"
        f"<span>{_money(item.price or 0.0)}</span><span class=why></span></span></a></li>"
        for item in items
    )


def _picture(item: Item) -> str:
    return f'<img src="{escape(item.image_url or "")}" alt="" width=120 height=120 loading=lazy>'


def _name(item: Item) -> str:
    return escape(item.name or item.item_id)


def _quantity(item: Item) -> str:
    return f"{item.quantity} at {_money(item.price or 0.0)}"


def _money(amount: float) -> str:
    return f"€{amount:,.2f}"


def _current(path: str, address: str) -> str:
    return ' aria-current="page"' if path.startswith(address) else ""
