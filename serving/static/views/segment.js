// One segment: its rule, its size over time, how it differs from others, and its members.

import { html, useEffect, useRef, useState } from "../vendor/preact-htm.module.js";
import { TimeChart } from "../charts.js";
import { NONE, ago, at, brief, count, money, percent, signed, times } from "../format.js";
import { Ago, Card, Empty, Icon, Kind, Share, Tile, nameOf, titled, to } from "../parts.js";
import { shopNow, model } from "../stream.js";
import { ClusterMap } from "./map.js";
import { grown } from "./segments.js";

const SPANS = [["hour", "1 hour", 3_600_000, 60_000], ["day", "24 hours", 86_400_000, 300_000], ["week", "8 days", 691_200_000, 3_600_000], ["year", "400 days", 34_560_000_000, 3_600_000]];
const A_PAGE = 20;

export function Segment({ id }) {
  const segment = model.shop.values.get(`segment/${id}`);
  const focus = model.focus.values;
  if (!segment) return html`<h1>${id}</h1><${Empty} title="No such segment">It may have been removed or renamed: <a class="link" href="#/segments">all segments</a>.<//>`;
  const definition = focus.get("definition") ?? {};
  const hour = grown({ ...segment, spark: model.shop.values.get(`spark/${id}`) });
  const ofShop = segment.shoppers_1d && segment.conversion_1d / model.shop.values.get("now")?.conversion_1d;
  const known = segment.size ? (segment.identified ?? 0) / segment.size : 0;
  return html`
    <div class="page-head">
      <a class="button icon-only" href="#/segments" aria-label="All segments"><${Icon} name="back" /></a>
      <h1>${titled(segment.name ?? id)}</h1><${Kind} kind=${segment.kind} /><span class="quiet">version ${segment.version ?? "?"}${segment.status && segment.status !== "live" ? `, ${segment.status}` : ""}</span>
      <a class="button end" href="api/export?segment=${encodeURIComponent(id)}" download><${Icon} name="save" />Export CSV</a>
    </div>
    <${Rule} kind=${segment.kind} rule=${definition.rule} description=${definition.description} />
    <dl class="tiles">
      <${Tile} label="Shoppers" value=${count(segment.size)} sub=${hour === null ? "" : `${signed(hour)} in an hour`} />
      <${Tile} label="In and out, 5 min" value=${html`<span class="in">+${brief(segment.entered_5m)}</span> <span class="out">−${brief(segment.left_5m)}</span>`} />
      <${Tile} label="Known by a user id" value=${percent(segment.identified === undefined ? null : known)} sub="${brief(segment.size - (segment.identified ?? 0))} anonymous" />
      <${Tile} label="Conversion, 24 h" value=${percent(segment.shoppers_1d ? segment.conversion_1d : null)} sub="of ${brief(segment.shoppers_1d)} who were in it bought in it${ofShop ? ` · ${times(ofShop)} the shop’s` : ""}" hint="Of the shoppers seen within 24 h who stood in it at some moment of them, those who ordered while they stood in it" />
      <${Tile} label="Revenue, 24 h" value=${money(segment.revenue_1d)} sub="${count(segment.orders_1d)} orders by who was in it${segment.orders_1d ? ` · ${money(segment.aov_1d)} each` : ""}" hint="Orders of shoppers who stood in it just before; who stood in it just after ordered ${count(segment.orders_after_1d)} for ${money(segment.revenue_after_1d)}" />
    </dl>
    <${History} id=${id} size=${segment.size} />
    <div class="columns two"><${Lifts} lifts=${focus.get("lifts")} /><${Overlap} id=${id} size=${segment.size} overlap=${focus.get("overlap")} /></div>
    ${segment.kind === "cluster" && html`<${ClusterMap} id=${id} map=${focus.get("map")} />`}
    <${Members} id=${id} size=${segment.size} newest=${focus.get("members")} />
    <${Versions} versions=${focus.get("versions")} size=${segment.size} />`;
}

/** The rule as text; for a cluster, which has no rule, a description. */
function Rule({ kind, rule, description }) {
  const [first, second] = kind === "cluster" ? [description] : [rule, description];
  if (!first) return "";
  return html`<p class="in-words"><span class="quiet">Who is in it</span>${titled(first)}${second && second !== first ? html`<span class="quiet"> · ${second}</span>` : ""}</p>`;
}

function History({ id, size }) {
  const [span, choose] = useState("hour");
  const [rows, take] = useState(null);
  const [trouble, say] = useState("");
  const [, , spanMs, stepMs] = SPANS.find(([name]) => name === span);
  const step = Math.floor((shopNow() ?? 0) / stepMs);
  useEffect(() => {
    const gone = new AbortController();
    fetch(`api/history?segment=${encodeURIComponent(id)}&span=${span}`, { signal: gone.signal })
      .then(async (answer) => { if (!answer.ok) throw new Error(await answer.text()); take(await answer.json()); say(""); })
      .catch((error) => { if (error.name !== "AbortError") say("The server did not answer: it is asked again in a minute."); });
    return () => gone.abort();
  }, [id, span, step]);
  // The current size is the last point; entries and exits of the open minute follow when it is over.
  const until = rows?.length ? [...rows, [Math.max(shopNow(), rows[rows.length - 1][0] + 1), size, null, null]] : [];
  const x = until.map((row) => row[0]), column = (i, sign = 1) => until.map((row) => (row[i] === null ? null : sign * row[i]));
  const aside = html`<div class="choice" role="group" aria-label="How far back">${SPANS.map(([name, title]) => html`<button aria-pressed=${name === span} onClick=${() => choose(name)}>${title}</button>`)}</div>`;
  return html`<${Card} title="Size over time" aside=${aside}>
    ${trouble ? html`<${Empty} title="No history just now">${trouble}<//>` : rows === null ? html`<p class="loading">Reading…</p>` : until.length < 3 ? html`<${Empty} title="No history yet">It grows by a point each minute while the flow runs.<//>` : html`
      <${TimeChart} x=${x} spanMs=${spanMs} height=${220} label="Shoppers in the segment over ${span}, now ${count(size)}" series=${[{ label: "Shoppers", values: column(1), format: count, colour: "--accent" }]} />
      <p class="legend"><span class="in">■ entered</span> <span class="out">■ left</span></p>
      <${TimeChart} x=${x} spanMs=${spanMs} height=${130} label="Shoppers who entered and left over ${span}" series=${[
        { label: "Entered", values: column(2), format: count, colour: "--in", bars: true },
        { label: "Left", values: column(3, -1), format: (v) => count(v === null ? null : -v), colour: "--out", bars: true },
      ]} />`}
  <//>`;
}

function Lifts({ lifts }) {
  const some = lifts && (lifts.categories?.length || lifts.items?.length);
  const list = (title, rows) => rows?.length ? html`<h3>${title}</h3><ul class="bars">${rows.map(([name, lift, share]) => html`<li key=${name}>
    <span class="name" title=${name}>${name}</span><${Share} of=${lift / Math.max(...rows.map((r) => r[1]))} tone=${lift < 1 ? "out" : ""} /><span class="n">${times(lift)}</span><span class="quiet n">${percent(share)}</span></li>`)}</ul>` : "";
  return html`<${Card} title="What they like more than others" aside=${html`<span class="quiet">times as much · share of members</span>`}>
    ${some ? html`${list("Categories", lifts.categories?.slice(0, 6))}${list("Items", lifts.items?.slice(0, 6))}` : lifts
      ? html`<${Empty} title="Nothing stands out">Members look at what everybody looks at, or too few of them at the same.<//>`
      : html`<${Empty} title="Not known yet">Once members have looked at enough items, their differences from other shoppers are shown here.<//>`}
  <//>`;
}

function Overlap({ id, size, overlap }) {
  const rows = (overlap ?? []).filter(([other, n]) => other !== id && n > 0);
  return html`<${Card} title="Also in" aside=${html`<span class="quiet">shoppers in both · share of this one</span>`}>
    ${rows.length ? html`<ul class="bars">${rows.map(([other, n]) => html`<li key=${other}>
      <a class="name" href=${to.segment(other)} title=${nameOf(other)}>${nameOf(other)}</a><${Share} of=${n / Math.max(1, size)} /><span class="n">${brief(n)}</span><span class="quiet n">${percent(Math.min(1, n / Math.max(1, size)))}</span></li>`)}</ul>` : html`<${Empty} title="In no other segment">Nobody here is in another segment too; clusters never share a shopper.<//>`}
  <//>`;
}

const KNOWN = 2, LAST = 3, SESSIONS = 4, ORDERS = 5, REVENUE = 6, LIKES = 7;

function Members({ id, size, newest }) {
  const [place, go] = useState(0);
  const [older, take] = useState(null);
  const [trouble, say] = useState("");
  const held = useRef(null);
  useEffect(() => {
    if (!place) { take(null); return undefined; }
    const gone = new AbortController();
    fetch(`api/members?segment=${encodeURIComponent(id)}&from=${place}`, { signal: gone.signal })
      .then(async (answer) => { if (!answer.ok) throw new Error(); take(await answer.json()); say(""); })
      .catch((error) => { if (error.name !== "AbortError") say("The server did not answer: choose the page again."); });
    return () => gone.abort();
  }, [place]);
  const rows = held.current ?? (place ? older : newest) ?? [];
  const hold = (on) => () => { held.current = on && !place ? rows : null; };
  return html`<${Card} title="Members, newest first" kind="table-card" aside=${html`<span class="pager">
      <button class="button" disabled=${!place} onClick=${() => go(Math.max(0, place - A_PAGE))}>Newer</button>
      <span class="quiet">${size ? `${count(place + 1)}–${count(Math.min(place + A_PAGE, size))} of ${count(size)}` : "none"}</span>
      <button class="button" disabled=${place + A_PAGE >= size} onClick=${() => go(place + A_PAGE)}>Older</button></span>`}>
    ${trouble ? html`<${Empty} title="No members just now">${trouble}<//>` : !rows.length ? html`<${Empty} title=${size ? "Reading…" : "No members"}>${size ? "" : "Shoppers who match the rule appear here at once."}<//>` : html`
    <div class="scroll" tabindex="0" role="region" aria-label="Members" onMouseEnter=${hold(true)} onMouseLeave=${hold(false)}><table class="members">
      <caption class="hidden">Members of ${nameOf(id)}, newest first</caption>
      <thead><tr><th scope="col" class="left">Shopper</th><th scope="col" class="right">Entered</th><th scope="col" class="right c-more">Last seen</th><th scope="col" class="right c-more">Visits</th><th scope="col" class="right">Orders</th><th scope="col" class="right">Revenue</th><th scope="col" class="left c-more">Likes</th></tr></thead>
      <tbody>${rows.map((m) => html`<tr key=${m[0]}>
        <th scope="row" class="left"><a class="row-link" href=${to.shopper(m[0])}>${m[0]}</a>${m[KNOWN] === 1 ? "" : html` <span class="tag">anonymous</span>`}</th>
        <td class="right"><${Ago} ms=${m[1]} /></td><td class="right c-more quiet">${ago(m[LAST], shopNow())}</td><td class="right c-more">${count(m[SESSIONS])}</td>
        <td class="right">${count(m[ORDERS])}</td><td class="right">${m[REVENUE] ? money(m[REVENUE]) : NONE}</td><td class="left c-more">${m[LIKES] || NONE}</td>
      </tr>`)}</tbody></table></div>`}
  <//>`;
}

function Versions({ versions, size }) {
  if (!versions?.length) return "";
  return html`<${Card} title="Versions">
    <ol class="versions">${versions.map((v, i) => {
      const before = versions[i + 1];
      return html`<li key=${v.version}><span class="tag">v${v.version}</span>
        <div><p>${before?.rule && v.rule ? words(before.rule, v.rule) : v.rule ?? NONE}</p>
        <p class="quiet">${v.from_ms ? `since ${at(v.from_ms)}` : ""}${given(v.size) ? ` · ${count(v.size)} shoppers` : ""}${given(v.size) && given(before?.size) ? ` (${signed(v.size - before.size)} against v${before.version})` : ""}${i === 0 ? ` · ${count(size)} now` : ""}</p></div></li>`;
    })}</ol><//>`;
}
const given = (x) => x !== undefined && x !== null;

/** A rule with its additions and deletions, word by word (longest common subsequence). */
function words(old, now) {
  const a = old.split(/\s+/).slice(0, 120), b = now.split(/\s+/).slice(0, 120);
  if (old === now) return now;
  const best = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--) best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
  const out = [];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { out.push(`${b[j]} `); i++; j++; }
    else if (j < b.length && (i === a.length || best[i][j + 1] >= best[i + 1][j])) out.push(html`<ins>${b[j++]}</ins> `);
    else out.push(html`<del>${a[i++]}</del> `);
  }
  return out;
}
