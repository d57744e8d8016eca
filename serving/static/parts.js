// Small components that several views share.

import { html, useRef, useState } from "./vendor/preact-htm.module.js";
import { KINDS, NONE, ago, signed } from "./format.js";
import { named, shopNow, model } from "./stream.js";

export const to = {
  segment: (id) => `#/segment/${encodeURIComponent(id)}`,
  shopper: (id) => `#/shopper/${encodeURIComponent(id)}`,
};

const PATHS = {
  enter: "M5 12h12M12 6l6 6-6 6", leave: "M19 12H7M12 6l-6 6 6 6",
  up: "M12 19V6M6 12l6-6 6 6", down: "M12 5v13M6 12l6 6 6-6",
  pause: "M8 5v14M16 5v14", play: "M8 5l11 7-11 7z", search: "M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14M16 16l4 4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z", sun: "M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5L19 19M5 19l1.5-1.5M17.5 6.5L19 5",
  save: "M12 4v11M7 11l5 5 5-5M5 20h14", back: "M15 5l-7 7 7 7", merge: "M6 4v6a6 6 0 0 0 6 6h7M15 12l4 4-4 4", erase: "M6 6l12 12M18 6L6 18",
  cart: "M3 4h3l2 11h10l2-8H7M9 19.5h.01M17 19.5h.01", view: "M2 12s4-7 10-7 10 7 10 7-4 7-10 7-10-7-10-7M12 9a3 3 0 1 1 0 6 3 3 0 0 1 0-6",
  stage: "M4 18h5v-5h5V8h6", bell: "M6 16v-5a6 6 0 0 1 12 0v5l2 2H4zM10 21h4",
  bag: "M6 8h12l1 12H5zM9 8a3 3 0 0 1 6 0", page: "M6 3h9l4 4v14H6zM15 3v4h4", user: "M12 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8M4 21a8 8 0 0 1 16 0",
};
export const Icon = ({ name }) => html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${PATHS[name] ?? PATHS.page} /></svg>`;

export const Card = ({ title, aside, children, kind = "" }) => html`
  <section class="card ${kind}" aria-label=${title}>
    <header class="card-head"><h2>${title}</h2>${aside}</header>
    ${children}
  </section>`;

export const Tile = ({ label, value, sub, hint, children }) => html`
  <div class="tile" title=${hint ?? ""}>
    <dt>${label}</dt>
    <dd class="value ${value === NONE ? "none" : ""}">${value}</dd><dd class="sub">${sub || " "}</dd>
    ${children && html`<dd class="trend">${children}</dd>`}
  </div>`;

export const Empty = ({ title, children }) => html`<div class="empty"><strong>${title}</strong><p>${children}</p></div>`;

export const Kind = ({ kind }) => html`<span class="kind ${kind}">${KINDS[kind] ?? kind}</span>`;

/** A change of a number: with a sign, and with a colour. */
export const Delta = ({ value }) => html`<span class="delta ${value > 0 ? "in" : value < 0 ? "out" : ""}">${signed(value)}</span>`;

export const Ago = ({ ms }) => html`<time class="quiet" datetime=${ms ? new Date(ms).toISOString() : ""}>${ago(ms, shopNow())}</time>`;

export const Share = ({ of, tone = "" }) => html`<span class="share ${tone}" aria-hidden="true"><span style=${{ width: `${Math.max(0, Math.min(100, 100 * (of || 0)))}%` }}></span></span>`;

/** Redraws its rows at most once a second, and never under the pointer, so that they can be read and clicked. */
export function Calm({ children }) {
  const kept = useRef({ at: 0, held: false, shown: children });
  const [, draw] = useState(0);
  const now = performance.now();
  if (!kept.current.held && now - kept.current.at >= CALM_MS) Object.assign(kept.current, { at: now, shown: children });
  const hold = (held) => () => { kept.current.held = held; if (!held) draw((n) => n + 1); };
  return html`<div onMouseEnter=${hold(true)} onMouseLeave=${hold(false)} onFocusIn=${hold(true)} onFocusOut=${hold(false)}>${kept.current.shown}</div>`;
}
const CALM_MS = 1000;

export const titled = (name) => name.charAt(0).toUpperCase() + name.slice(1);

/** The display name of a segment, with its kind if another segment has the same name. */
export function nameOf(id) {
  if (called.version !== model.version) {
    called = { version: model.version, names: new Map() };
    for (const [, { name, status }] of named(model.shop.values, "segment/")) if (status !== "retired") called.names.set(name, (called.names.get(name) ?? 0) + 1);
  }
  const segment = model.shop.values.get(`segment/${id}`);
  if (!segment?.name) return titled(id);
  return called.names.get(segment.name) > 1 ? `${titled(segment.name)} (${KINDS[segment.kind] ?? segment.kind})` : titled(segment.name);
}
let called = { version: -1, names: new Map() };

const MOVES = {
  enter: ["enter", "in", "entered"], leave: ["leave", "out", "left"], stage: ["stage", "", "went on to"], trigger: ["bell", "", "gets a notice:"],
  merge: ["merge", "", "became"], erase: ["erase", "", "was erased"], refuse: ["leave", "out", "refuses"],
};
const TRIGGERS = { "back-in-stock": "is back in stock", "price-drop": "costs less" };

/** One change of a shopper. */
export const Change = ({ change, of }) => {
  const [kind, shopper, segment, ms, item] = change;
  const [icon, tone, word] = MOVES[kind] ?? ["page", "", kind];
  return html`<li class="change">
    <span class="move ${tone}"><${Icon} name=${icon} /></span>
    <span class="what">
      ${of !== shopper && html`<a class="who" href=${to.shopper(shopper)}>${shopper}</a> `}
      <span class="quiet">${word}</span>${" "}
      ${kind === "trigger" ? html`<span>${item} ${TRIGGERS[segment] ?? segment}</span>` : segment && of !== segment && (model.shop.values.has(`segment/${segment}`)
        ? html`<a href=${to.segment(segment)}>${nameOf(segment)}</a>` : html`<span>${segment}</span>`)}
    </span>
    <${Ago} ms=${ms} />
  </li>`;
};
