"""Every item has a picture of its own, which is sound SVG."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from serving.shop.catalogue import ShopCatalogue
from serving.shop.drawings import draw


def test_every_item_has_a_picture_of_its_noun_colour_and_pattern() -> None:
    items = ShopCatalogue().by_id.values()
    pictures = {item.item_id: draw(item) for item in items}
    for picture in pictures.values():
        assert Xml.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    looks = {item.item_id: tuple((item.name or "").replace("plain ", "").split()) for item in items}
    assert len(set(pictures.values())) == len(set(looks.values()))
