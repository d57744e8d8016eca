// All segments, with sort, filter and search.

import { html, useState } from "../vendor/preact-htm.module.js";
import { Spark } from "../charts.js";
import { KINDS, NONE, ago, brief, count, money, percent } from "../format.js";
import { Delta, Empty, Kind, Share, titled, to } from "../parts.js";
import { named, shopNow, model } from "../stream.js";

/** The growth in the last hour, or since the start. */
export const grown = ({ size, spark }) => (spark ? size - spark[0] : null);
const COLUMNS = [
  ["name", "Segment", (s) => s.name.toLowerCase(), "left"],
  ["size", "Shoppers", (s) => s.size],
  ["hour", "1 h", grown],
  ["spark", "Last hour", null, "left"],
  ["entered_5m", "In, 5 min", (s) => s.entered_5m ?? null],
  ["left_5m", "Out, 5 min", (s) => s.left_5m ?? null],
  ["conversion_1d", "Conv., 24 h", (s) => (s.shoppers_1d ? s.conversion_1d ?? null : null)],
  ["revenue_1d", "Revenue, 24 h", (s) => s.revenue_1d ?? null],
  ["at", "Fresh", (s) => s.at ?? null],
  ["version", "Version", (s) => s.version ?? null],
];
const kept = { sort: "size", up: false, kind: "", words: "" };

export function Segments() {
  const [, draw] = useState(0);
  const set = (changes) => { Object.assign(kept, changes); draw((n) => n + 1); };
  const words = kept.words.trim().toLowerCase().split(/\s+/).filter(Boolean);
  // Retired segments are shown only to a search for them.
  const all = [...named(model.shop.values, "segment/")].map(([id, s]) => ({ ...s, name: titled(s.name ?? id), spark: model.shop.values.get(`spark/${id}`) }))
    .filter((s) => s.status !== "retired" || words.includes("retired"));
  if (!all.length) return html`<h1>Segments</h1><${Empty} title="No segments yet">Clusters are found once a few hundred shoppers were seen; rules come from <code>segments.yaml</code>.<//>`;
  const kinds = [...new Set(all.map((s) => s.kind))].sort();
  const found = all.filter((s) => (!kept.kind || s.kind === kept.kind) && words.every((w) => `${s.name} ${s.id} ${s.description ?? ""} ${s.status ?? ""}`.toLowerCase().includes(w)));
  const [, , by] = COLUMNS.find(([name]) => name === kept.sort);
  const order = kept.up ? 1 : -1;
  found.sort((a, b) => {
    const [x, y] = [by(a), by(b)];
    if (x === y) return a.id < b.id ? -1 : 1;
    if (x === null || y === null) return x === null ? 1 : -1;
    return (x < y ? -1 : 1) * order;
  });
  const sort = (name) => set({ up: kept.sort === name ? !kept.up : name === "name", sort: name });
  const most = Math.max(1, ...all.map((s) => s.size));
  return html`
    <div class="page-head"><h1>Segments</h1><span class="quiet">${count(found.length)}${found.length < all.length ? ` of ${count(all.length)}` : ""} · revenue is of orders by shoppers who were members just before</span></div>
    <div class="tools">
      <label class="search"><span class="hidden">Search segments</span><input type="search" placeholder="Search segments" value=${kept.words} onInput=${(e) => set({ words: e.target.value })} /></label>
      <div class="choice" role="group" aria-label="Kind of segment">
        <button aria-pressed=${!kept.kind} onClick=${() => set({ kind: "" })}>All</button>
        ${kinds.map((kind) => html`<button aria-pressed=${kept.kind === kind} onClick=${() => set({ kind })}>${KINDS[kind] ?? kind}</button>`)}
      </div>
      <label class="narrow-only sorter"><span class="hidden">Sort by</span><select value=${kept.sort} onChange=${(e) => sort(e.target.value)}>${COLUMNS.filter(([, , by]) => by).map(([name, title]) => html`<option value=${name}>${title}</option>`)}</select></label>
    </div>
    ${!found.length ? html`<${Empty} title="Nothing found">No segment is called that: <button class="link" onClick=${() => set({ words: "", kind: "" })}>show all</button>.<//>` : html`
    <div class="card table-card"><table class="segments">
      <caption class="hidden">Segments with size, change and worth</caption>
      <thead><tr>${COLUMNS.map(([name, title, by, align]) => html`<th scope="col" class="${align ?? "right"} c-${name}" aria-sort=${kept.sort === name ? (kept.up ? "ascending" : "descending") : undefined}>
        ${by ? html`<button onClick=${() => sort(name)}>${title}<span class="sort" aria-hidden="true">${kept.sort === name ? (kept.up ? "↑" : "↓") : ""}</span></button>` : title}</th>`)}</tr></thead>
      <tbody>${found.map((s) => html`<tr key=${s.id}>
        <th scope="row" class="left c-name"><a class="row-link" href=${to.segment(s.id)}>${s.name}</a><${Kind} kind=${s.kind} />${s.status && s.status !== "live" && html`<span class="quiet">${s.status}</span>`}</th>
        <td class="right c-size"><span class="n">${count(s.size)}</span><${Share} of=${s.size / most} /></td>
        <td class="right c-hour">${s.spark ? html`<${Delta} value=${grown(s)} />` : NONE}</td>
        <td class="left c-spark"><${Spark} values=${s.spark && [...s.spark, s.size]} tone=${grown(s) < 0 ? "out" : grown(s) > 0 ? "in" : ""} label="Size in the last hour" /></td>
        <td class="right c-entered_5m"><span class=${s.entered_5m ? "in" : "quiet"}>${brief(s.entered_5m)}</span></td>
        <td class="right c-left_5m"><span class=${s.left_5m ? "out" : "quiet"}>${brief(s.left_5m)}</span></td>
        <td class="right c-conversion_1d">${percent(s.shoppers_1d ? s.conversion_1d : null)}</td>
        <td class="right c-revenue_1d">${s.orders_1d ? html`${money(s.revenue_1d)}<br /><span class="quiet">${money(s.aov_1d)} each</span>` : NONE}</td>
        <td class="right c-at quiet">${ago(s.at, shopNow())}</td>
        <td class="right c-version quiet">v${s.version ?? "?"}</td>
      </tr>`)}</tbody>
    </table></div>`}`;
}
