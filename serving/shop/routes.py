"""The addresses of the demo's shop, beside those of the storefront's server.

The cart and the refusal of consent are in cookies; nothing is kept here.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from serving.http.access import COOKIE as VISITOR_COOKIE
from serving.http.errors import RequestError, read_bytes
from serving.http.messages import cookie_of
from serving.shop.cart import COOKIE as CART_COOKIE
from serving.shop.cart import PIECES_MAX, Cart, read_cart
from serving.shop.catalogue import ShopCatalogue
from serving.shop.drawings import draw
from serving.shop.pages import ShopPages, Visit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from serving.http.access import StorefrontAccess

    Handler = Callable[[Request], Awaitable[Response]]

CONSENT_COOKIE = "shop_consent"
REFUSED = "no"
PAGE_ITEMS = 24
FORM_BYTES_MAX = 4096
OFFSET_DIGITS_MAX = 4
STATIC = Path(__file__).parents[1] / "static"
FILES = {
    "shop.css": STATIC / "shop" / "shop.css",
    "shop.js": STATIC / "shop" / "shop.js",
    "favicon.svg": STATIC / "favicon.svg",
}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
_OWN_PATH = re.compile(r"/(?!/)[a-z0-9/-]*")
"""A path of this shop. With two slashes it would be another host, for a browser also with `/\\`."""


class ShopRoutes:
    """The handlers. `marketers_url` is where the dashboard is."""

    def __init__(self, access: StorefrontAccess, key: str, marketers_url: str) -> None:
        self._access = access
        self._catalogue = ShopCatalogue()
        self._pages = ShopPages(self._catalogue, key)
        self._marketers_url = marketers_url

    def handlers(self) -> list[tuple[str, str, Handler]]:
        """Method, path and handler of each address."""
        return [
            ("GET", "/", self.home),
            ("GET", "/category/{department}", self.category),
            ("GET", "/product/{item}", self.product),
            ("GET", "/cart", self.cart),
            ("POST", "/cart", self.change_cart),
            ("GET", "/checkout", self.checkout),
            ("POST", "/order", self.order),
            ("GET", "/thanks", self.thanks),
            ("POST", "/consent", self.change_consent),
            ("GET", "/me", self.me),
            ("GET", "/pictures/{item}.svg", self.picture),
            ("GET", "/shop/{file}", self.file),
        ]

    async def home(self, request: Request) -> Response:
        """The first page."""
        return _html(self._pages.home(self._visit(request)))

    async def category(self, request: Request) -> Response:
        """A department."""
        digits = request.query_params.get("from", "0")
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= OFFSET_DIGITS_MAX
        first = int(digits) if is_number else 0
        name = request.path_params["department"]
        page = self._pages.category(self._visit(request), name, first, PAGE_ITEMS)
        return self._missing(request) if page is None else _html(page)

    async def product(self, request: Request) -> Response:
        """An item."""
        item = self._catalogue.by_id.get(request.path_params["item"])
        if item is None:
            return self._missing(request)
        return _html(self._pages.product(self._visit(request), item))

    async def cart(self, request: Request) -> Response:
        """The cart."""
        return _html(self._pages.cart(self._visit(request)))

    async def change_cart(self, request: Request) -> Response:
        """Put an item into the cart, or take it out."""
        form = await _form(request)
        item = self._catalogue.by_id.get(form.get("item", ""))
        if item is None:
            raise RequestError(400, "$.item", "no such item")
        pieces = -PIECES_MAX if form.get("remove") else 1
        response = RedirectResponse("/cart", 303)
        _set_cookie(response, CART_COOKIE, self._cart(request).changed(item, pieces).cookie())
        return response

    async def checkout(self, request: Request) -> Response:
        """The order before it is placed."""
        visit = self._visit(request)
        if not visit.cart.lines:
            return RedirectResponse("/cart", 303)
        return _html(self._pages.checkout(visit, f"demo-{secrets.token_hex(6)}"))

    async def order(self, request: Request) -> Response:
        """Place the order: the cart is empty after it."""
        response = RedirectResponse("/thanks", 303)
        _set_cookie(response, CART_COOKIE, Cart().cookie())
        return response

    async def thanks(self, request: Request) -> Response:
        """After the order."""
        return _html(self._pages.thanks(self._visit(request)))

    async def change_consent(self, request: Request) -> Response:
        """Agree or refuse, then back to the page."""
        form = await _form(request)
        back = form.get("back", "/")
        response = RedirectResponse(back if _OWN_PATH.fullmatch(back) else "/", 303)
        # The button says what is true now.
        _set_cookie(response, CONSENT_COOKIE, REFUSED if form.get("agree") == "true" else "yes")
        return response

    async def me(self, request: Request) -> Response:
        """To the visitor's own place on the page of the marketers."""
        visitor = self._access.visitor_of(cookie_of(request, VISITOR_COOKIE))
        if visitor:
            return RedirectResponse(
                f"{self._marketers_url}/#/shopper/{quote(visitor, safe='')}", 303
            )
        text = (
            "You have done nothing yet that was sent. With Personal lists on, look at something, then "
            "come back."
        )
        return _html(self._pages.message(self._visit(request), "Nobody knows you here", text))

    async def picture(self, request: Request) -> Response:
        """The picture of an item."""
        item = self._catalogue.by_id.get(request.path_params["item"])
        if item is None:
            raise RequestError(404, "$", "no such item")
        headers = {**HEADERS, "cache-control": "public, max-age=3600"}
        return Response(draw(item), 200, headers, "image/svg+xml")

    async def file(self, request: Request) -> Response:
        """A style sheet or script."""
        path = FILES.get(request.path_params["file"])
        if path is None:
            raise RequestError(404, "$", "no such file")
        return FileResponse(path, headers={**HEADERS, "cache-control": "no-cache"})

    def _missing(self, request: Request) -> Response:
        page = self._pages.message(self._visit(request), "Not here", "The shop has no such thing.")
        return _html(page, 404)

    def _visit(self, request: Request) -> Visit:
        is_agreed = cookie_of(request, CONSENT_COOKIE) != REFUSED
        return Visit(request.url.path, self._cart(request), is_agreed)

    def _cart(self, request: Request) -> Cart:
        return read_cart(cookie_of(request, CART_COOKIE), self._catalogue.by_id)


def _html(page: str, status: int = 200) -> Response:
    return HTMLResponse(page, status, HEADERS)


def _set_cookie(response: Response, name: str, value: str) -> None:
    response.set_cookie(name, value, httponly=True, samesite="lax")


async def _form(request: Request) -> dict[str, str]:
    body = await read_bytes(request, FORM_BYTES_MAX)
    return {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
