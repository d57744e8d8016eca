"""A picture of an item, drawn from what its name says: its noun, its colour and its pattern.

To add a noun: its shape in `SHAPES`, on a square of 120 by 120, `{fill}` where colour and pattern go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.synthetic.catalogue import COLOURS, PATTERNS

if TYPE_CHECKING:
    from state.events import Item

_COLOURS = {
    "Blue": ("#3f7fc4", "#24527f"),
    "Red": ("#d4524a", "#8c2a24"),
    "Green": ("#4f9d69", "#2b6140"),
    "Yellow": ("#e8c048", "#96751a"),
    "White": ("#f7f5ef", "#8d8778"),
    "Black": ("#3b3d42", "#101114"),
    "Grey": ("#9aa1a8", "#585f66"),
    "Orange": ("#e58a3c", "#96521a"),
    "Pink": ("#e391ae", "#9a4a68"),
}
"""Fill and outline of each colour."""

_GROUNDS = {
    "kitchen": "#f3ece0",
    "living": "#e7eef1",
    "office": "#ece9f3",
    "clothing": "#f3e8e8",
    "toys": "#e9f1e5",
}

_PATTERNS = {
    "striped": '<path d="M0 0h4v12h-4z"/>',
    "dotted": '<circle cx="6" cy="6" r="2.6"/>',
    "checked": '<path d="M0 0h6v6h-6zM6 6h6v6h-6z"/>',
    "floral": '<circle cx="6" cy="3.6" r="1.7"/><circle cx="3.8" cy="7" r="1.7"/>'
    '<circle cx="8.2" cy="7" r="1.7"/>',
    "quilted": '<path d="M0 0l12 12M12 0L0 12" fill="none" stroke="{ink}" stroke-width="1.3"/>',
    "speckled": '<path d="M2 3h1.6v1.6h-1.6zM8 1.5h1.3v1.3h-1.3zM5.4 7.4h1.8v1.8h-1.8z"/>'
    '<path d="M10 9h1.4v1.4h-1.4zM1 9.8h1.2v1.2h-1.2z"/>',
    "woven": '<path d="M0 2h6v2.4h-6zM6 8h6v2.4h-6z"/>',
    "marbled": '<path d="M0 3q3 5 6 2t6-2M0 9q4 3 7 0t5 1" fill="none" stroke="{ink}"/>',
}
"""A tile of 12 by 12 of each pattern; the others have none."""

SHAPES = {
    "mug": '<path d="M77 50h8a11 11 0 0 1 0 24h-8" fill="none" stroke="{line}" stroke-width="7"/>'
    '<path {fill} d="M34 36h44v44a10 10 0 0 1-10 10h-24a10 10 0 0 1-10-10z"/>',
    "teapot": '<path d="M33 62q-17-4-17 10t20 12" fill="none" stroke="{line}" stroke-width="6"/>'
    '<path {fill} d="M84 60q12-4 15-19l9 3q-2 26-22 34z"/>'
    '<ellipse {fill} cx="60" cy="70" rx="31" ry="25"/><path {fill} d="M44 47q16-10 32 0z"/>'
    '<circle {fill} cx="60" cy="38" r="4.5"/>',
    "lamp": '<path d="M60 62v32" stroke="{line}" stroke-width="5"/>'
    '<path {fill} d="M46 24h28l15 40h-58z"/><path {fill} d="M42 98q18-12 36 0z"/>',
    "cushion": '<path {fill} d="M28 32q32 9 64 0q-9 28 0 58q-32-9-64 0q9-30 0-58z"/>'
    '<circle cx="60" cy="61" r="3" fill="{line}"/>',
    "notebook": '<path {fill} d="M36 24h48a5 5 0 0 1 5 5v64a5 5 0 0 1-5 5h-48z"/>'
    '<path d="M30 34h10M30 46h10M30 58h10M30 70h10M30 82h10" stroke="{line}" stroke-width="3.4"/>'
    '<rect x="53" y="38" width="25" height="15" rx="2" fill="#fffdf6" stroke="{line}"/>',
    "pen": '<g transform="rotate(38 60 60)"><path {fill} d="M53 22h14v58h-14z"/>'
    '<path {fill} d="M53 80h14l-7 19z"/><path d="M53 34h14" stroke="{line}" stroke-width="3"/>'
    '<path d="M70 22v28" stroke="{line}" stroke-width="3.4"/></g>',
    "scarf": '<path {fill} d="M47 50l-8 46h17l9-44z"/><path {fill} d="M60 52l10 36h17l-14-40z"/>'
    '<path {fill} d="M34 32q26 17 52 0q9 13-3 21q-23 14-46 0q-12-8-3-21z"/>'
    '<path d="M41 96v6M47 96v6M53 96v6M73 88v6M79 88v6M85 88v6" stroke="{line}" stroke-width="2"/>',
    "jacket": '<path {fill} d="M45 26l15 8l15-8l21 15l-9 39l-11-2v18h-32v-18l-11 2l-9-39z"/>'
    '<path d="M60 34v62M44 78v-30M76 78v-30" fill="none" stroke="{line}" stroke-width="2"/>',
    "kite": '<path d="M60 88q-16 8-6 15t-12 9" fill="none" stroke="{line}" stroke-width="2.4"/>'
    '<path {fill} d="M60 14l31 34l-31 42l-31-42z"/>'
    '<path d="M60 14v76M29 48h62" stroke="{line}" stroke-width="1.6"/>',
    "puzzle": '<path {fill} d="M30 42h20q-5-4-5-9a10 10 0 0 1 20 0q0 5-5 9h20v18q4-5 9-5'
    'a10 10 0 0 1 0 20q-5 0-9-5v22h-50v-20q4 5 9 5a10 10 0 0 0 0-20q-5 0-9 5z"/>',
}


def draw(item: Item) -> str:
    """The picture as SVG."""
    words = (item.name or "").split()
    colour = next((word for word in words if word in COLOURS), "Grey")
    pattern = next((word for word in words if word in PATTERNS), "")
    body, ink = _COLOURS[colour]
    department, noun = item.category
    tile = _PATTERNS.get(pattern, "").format(ink=ink)
    fill = f'fill="url(#p)" stroke="{ink}" stroke-width="1.6" stroke-linejoin="round"'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 120">'
        f'<pattern id="p" width="12" height="12" patternUnits="userSpaceOnUse">'
        f'<path d="M0 0h12v12h-12z" fill="{body}"/>'
        f'<g fill="{ink}" fill-opacity=".5">{tile}</g></pattern>'
        f'<path d="M0 0h120v120h-120z" fill="{_GROUNDS[department]}"/>'
        f'<ellipse cx="60" cy="101" rx="34" ry="5" fill="#000" fill-opacity=".08"/>'
        f"{SHAPES[noun].format(fill=fill, line=ink)}</svg>"
    )
