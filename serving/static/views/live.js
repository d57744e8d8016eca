// The live view: figures of the shop, the last changes, health.

import { html, useState } from "../vendor/preact-htm.module.js";
import { Spark, TimeChart } from "../charts.js";
import { NONE, at, brief, count, event, money, percent, rate, span } from "../format.js";
import { Ago, Calm, Card, Change, Empty, Icon, Share, Tile, nameOf, to } from "../parts.js";
import { named, shopNow, model } from "../stream.js";

const FIELDS = { events: 1, sessions: 2, active: 3, carts: 4, purchases: 5, revenue: 6 };
const METRICS = [["events", "Events", brief], ["active", "Active shoppers", brief], ["carts", "Carts", brief], ["purchases", "Purchases", brief], ["revenue", "Revenue", money]];
const ROWS = 12;
const height = () => (innerWidth < 760 ? 220 : 380);

export function Live() {
  const { values, tails } = model.shop;
  const now = values.get("now") ?? {};
  const minutes = values.get("minutes") ?? [];
  const line = (field) => minutes.map((m) => m[FIELDS[field]] ?? 0);
  const each = (over, under) => minutes.map((m) => (m[FIELDS[under]] ? m[FIELDS[over]] / m[FIELDS[under]] : 0));
  const active = now.active_shoppers ?? now.sessions_open;
  if (now.events === undefined || now.events === null) return html`<h1 class="hidden">Live</h1><${Empty} title="No events yet">Start the flow with <code>penstock run</code>, or try <code>penstock demo</code>: figures appear here within a second.<//>`;
  return html`
    <h1 class="hidden">Live</h1>
    <dl class="tiles">
      <${Tile} label="Events a second" value=${rate(now.events_per_s)} sub="${brief(now.events)} in all"><${Spark} values=${line("events")} label="Events by minute in the last hour" /><//>
      <${Tile} label="Shoppers active now" value=${count(active)} sub="seen in 5 min · ${brief(now.sessions_open)} open sessions"><${Spark} values=${line("active")} label="Active shoppers by minute in the last hour" /><//>
      <${Tile} label="Conversion, 24 h" value=${percent(now.conversion_1d)} sub="of all shoppers seen in 24 h bought"><${Spark} values=${each("purchases", "active")} label="Purchases an active shopper, by minute in the last hour" /><//>
      <${Tile} label="Revenue, 24 h" value=${money(now.revenue_1d)} sub="${count(now.orders_1d)} orders of all shoppers" hint="Since midnight UTC: ${money(now.revenue_today)}, ${count(now.orders_today)} orders"><${Spark} values=${line("revenue")} label="Revenue by minute in the last hour" /><//>
      <${Tile} label="Average order, 24 h" value=${now.orders_1d ? money(now.aov_1d) : NONE} sub="of all shoppers"><${Spark} values=${each("revenue", "purchases")} label="Average order by minute in the last hour" /><//>
    </dl>
    <div class="columns wide-left">
      <${Hour} minutes=${minutes} />
      <${Card} title="Last changes">
        ${tails.changes?.length
          ? html`<${Calm}><ul class="feed">${tails.changes.slice(-ROWS).reverse().map((change) => html`<${Change} key=${change.join()} change=${change} />`)}</ul><//>`
          : html`<${Empty} title="No changes yet">Shoppers who enter or leave a segment appear here at once.<//>`}
      <//>
    </div>
    <div class="columns three">
      <${Movers} />
      <${Doing} events=${tails.events} />
      <${Health} now=${now} />
    </div>`;
}

function Hour({ minutes }) {
  const [metric, choose] = useState("events");
  const [, label, format] = METRICS.find(([name]) => name === metric);
  const x = minutes.map((m) => m[0]), values = minutes.map((m) => m[FIELDS[metric]] ?? null);
  const aside = html`<div class="choice" role="group" aria-label="What the chart shows">${METRICS.map(([name, title]) => html`<button aria-pressed=${name === metric} onClick=${() => choose(name)}>${title}</button>`)}</div>`;
  return html`<${Card} title="The last hour" aside=${aside}>
    ${minutes.length > 1
      ? html`<${TimeChart} key=${metric} x=${x} height=${height()} spanMs=${3_600_000} label="${label} by minute in the last hour, now ${format(values[values.length - 1])}"
          series=${[{ label, values, format, colour: "--accent", bars: metric === "purchases" || metric === "carts" }]} />`
      : html`<${Empty} title="No history yet">It grows by a point each minute while the flow runs.<//>`}
  <//>`;
}

function Movers() {
  const segments = [...named(model.shop.values, "segment/")].map(([, s]) => s).filter((s) => s.entered_5m || s.left_5m);
  segments.sort((a, b) => b.entered_5m + b.left_5m - a.entered_5m - a.left_5m || (a.id < b.id ? -1 : 1));
  const most = Math.max(1, ...segments.map((s) => Math.max(s.entered_5m, s.left_5m)));
  return html`<${Card} title="Segments on the move" aside=${html`<span class="quiet">left · entered in 5 min</span>`}>
    ${segments.length ? html`<ul class="movers">${segments.slice(0, 7).map((s) => html`<li key=${s.id}>
      <a href=${to.segment(s.id)}>${nameOf(s.id)}</a>
      <span class="flow"><span class="n out">${brief(s.left_5m)}</span><${Share} of=${s.left_5m / most} tone="out back" /><${Share} of=${s.entered_5m / most} tone="in" /><span class="n in">${brief(s.entered_5m)}</span></span>
    </li>`)}</ul>` : html`<${Empty} title="All quiet">No segment gained or lost a shopper in the last five minutes.<//>`}
  <//>`;
}

const ICONS = { item_view: "view", cart_add: "cart", cart_remove: "cart", purchase: "bag", checkout_start: "bag", search: "search", identify: "user" };

function Doing({ events }) {
  return html`<${Card} title="In the shop right now">
    ${events?.length ? html`<${Calm}><ul class="feed">${events.slice(-8).reverse().map(([shopper, type, item, ms], i) => html`<li class="change" key=${`${shopper}${type}${item}${ms}${i}`}>
      <span class="move ${type === "purchase" ? "in" : ""}"><${Icon} name=${ICONS[type] ?? "page"} /></span>
      <span class="what"><a class="who" href=${to.shopper(shopper)}>${shopper}</a> <span class="quiet">${event(type)}</span> ${item}</span><${Ago} ms=${ms} />
    </li>`)}</ul><//>` : html`<${Empty} title="No clicks to show">The newest clicks appear here while the flow runs.<//>`}
  <//>`;
}

function Health({ now }) {
  const workers = model.shop.values.get("workers") ?? [];
  // Of the process that makes the lists; where several do, of the slowest.
  const fresh = workers.filter((w) => w.freshness_p99_ms != null).sort((a, b) => b.freshness_p99_ms - a.freshness_p99_ms)[0];
  const behind = shopNow() && now.watermark_ms ? shopNow() - now.watermark_ms : null;
  const rows = [
    ["Freshness", fresh ? `${span(fresh.freshness_p50_ms)} · 99 % in ${span(fresh.freshness_p99_ms)}` : NONE, fresh?.freshness_p99_ms > 5000, "from a click to its list"],
    ["Behind the log", now.lag === null || now.lag === undefined ? NONE : `${count(now.lag)} events`, now.lag > 10_000, "events that wait for the flow"],
    ["Watermark", now.watermark_ms ? `${at(now.watermark_ms)}` : NONE, false, behind === null ? "" : `${span(behind)} behind the newest event`],
    ["Workers up", workers.length ? count(workers.length) : NONE, false, workers.length ? workers.map((w) => w.host).join(", ") : "reported by penstock run"],
    ["Bots", percent(now.bot_share), now.bot_share > 0.3, "of all events"],
  ];
  return html`<${Card} title="Health"><dl class="facts">${rows.map(([name, value, bad, hint]) => html`<div key=${name}><dt>${name}<small>${hint}</small></dt><dd class=${bad ? "bad" : ""}>${value}</dd></div>`)}</dl><//>`;
}
