// One shopper: profile, segments with reasons, timeline, and the list that would be shown.

import { html, useState } from "../vendor/preact-htm.module.js";
import { NONE, ago, at, count, event, money, percent, span } from "../format.js";
import { Ago, Card, Change, Empty, Icon, Kind, Share, Tile, titled, to } from "../parts.js";
import { shopNow, model } from "../stream.js";

export function Shoppers() {
  const [words, set] = useState("");
  const find = (e) => { e.preventDefault(); if (words.trim()) location.hash = to.shopper(words.trim()); };
  const seen = new Map();
  for (const [shopper, type, item, ms] of [...(model.shop.tails.events ?? [])].reverse()) if (!seen.has(shopper)) seen.set(shopper, [`${event(type)} ${item}`, ms]);
  for (const [kind, shopper, segment, ms] of [...(model.shop.tails.changes ?? [])].reverse()) if (!seen.has(shopper) && kind !== "erase") seen.set(shopper, ["changed segment", ms]);
  const lately = [...seen].sort((a, b) => b[1][1] - a[1][1]).slice(0, 24);
  return html`<h1>Shoppers</h1>
    <form class="tools" role="search" onSubmit=${find}>
      <label class="search wide"><span class="hidden">User id or anonymous id</span><input type="search" placeholder="User id or anonymous id" value=${words} onInput=${(e) => set(e.target.value)} autocapitalize="off" spellcheck=${false} /></label>
      <button class="button main"><${Icon} name="search" />Open</button>
    </form>
    <${Card} title="Lately active">${lately.length ? html`<ul class="people">${lately.map(([shopper, [what, ms]]) => html`<li key=${shopper}><a href=${to.shopper(shopper)}>${shopper}</a><span class="quiet">${what}</span><${Ago} ms=${ms} /></li>`)}</ul>` : html`<${Empty} title="Nobody yet">Shoppers appear here as soon as they click.<//>`}<//>`;
}

export function Shopper({ id }) {
  const { values, tails } = model.focus;
  if (!id) return html`<${Shoppers} />`;
  if (values.has("unknown")) return html`<h1>${id}</h1><${Empty} title="Nobody is called that">Never seen, erased, or away for so long that the profile expired. <a class="link" href="#/shoppers">Look for another</a>.<//>`;
  const who = values.get("shopper");
  if (!who) return html`<h1>${id}</h1><p class="loading">Reading…</p>`;
  const profile = values.get("profile") ?? {}, session = values.get("session") ?? {}, segments = values.get("segments") ?? [], offer = values.get("offer");
  const here = Boolean(session.id);
  return html`
    <div class="page-head"><a class="button icon-only" href="#/shoppers" aria-label="All shoppers"><${Icon} name="back" /></a><h1>${who.id}</h1>
      <span class="tag ${here ? "in" : ""}">${here ? "in the shop now" : `last seen ${ago(profile.last_ms, shopNow())}`}</span>
      <span class="tag">${profile.known === "1" ? "known by a user id" : "anonymous"}</span>
      ${who.asked !== who.id && html`<span class="quiet">also ${who.asked}</span>`}</div>
    <dl class="tiles">
      <${Tile} label="Orders" value=${count(profile.purchases)} sub=${profile.aov ? `${money(profile.aov)} each on average` : "none yet"} />
      <${Tile} label="Revenue" value=${money(profile.revenue)} sub=${[profile.unconverted ? `and ${profile.unconverted}` : "", profile.refunds > 0 ? `${count(profile.refunds)} refunds` : ""].filter(Boolean).join(" · ")} />
      <${Tile} label="Visits" value=${count(profile.sessions)} sub=${profile.session_s_mean ? `${span(1000 * profile.session_s_mean)} each` : ""} />
      <${Tile} label="Viewed" value=${count(profile.views)} sub="${count(profile.carts)} put in cart" />
      <${Tile} label="Likes best" value=${html`<span class="text">${profile.top_category ?? NONE}</span>`} sub=${profile.top_category_share ? `${percent(profile.top_category_share)} of interest` : ""} />
    </dl>
    <div class="columns three">
      <${Card} title="Segments">${segments.length ? html`<ul class="belongs">${segments.map((s) => html`<li key=${s.segment}>
          <a href=${to.segment(s.segment)}>${titled(s.name)}</a> <${Kind} kind=${s.kind} />
          <p class="quiet">${why(s, profile)}</p><p class="quiet">since ${at(s.since_ms)} · ${ago(s.since_ms, shopNow())}</p></li>`)}</ul>` : html`<${Empty} title="In no segment">When a rule matches, its segment is shown here with the reason.<//>`}<//>
      <${Card} title=${here ? "This visit" : "Last visit"}>${here ? html`<dl class="facts">${facts([
          ["Here since", `${at(session.start_ms)}`], ["Events", count(session.events)], ["Viewed", count(session.views)], ["Put in cart", count(session.carts)],
          ["Cart worth", money(session.cart_value)], ["How far", titled(session.intent ?? NONE)]])}</dl>` : html`<dl class="facts">${facts([["Ended", ago(profile.last_ms, shopNow())], ["How far", titled(profile.intent ?? NONE)]])}</dl>`}
        <h3>Profile</h3><dl class="facts">${facts([["First seen", at(profile.first_ms)], ["Last order", profile.last_purchase_ms ? at(profile.last_purchase_ms) : NONE], ["RFM", profile.rfm], ["Stage", profile.stage && titled(profile.stage)],
          ["Carts a view", profile.cart_rate && percent(profile.cart_rate)], ["Price level", profile.price_level && money(profile.price_level)], ["Consent", consent(profile.consent)]])}</dl><//>
      <${Card} title="Timeline"><${Timeline} id=${who.id} tails=${tails} /><//>
    </div>
    <${Offer} offer=${offer} profile=${profile} />`;
}

const facts = (rows) => rows.filter(([, value]) => value !== undefined && value !== "").map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`);

/** Why a shopper is in a segment. */
function why(segment, profile) {
  if (segment.kind === "cluster") return `Closest of all clusters in how they visit and buy${profile.cluster === segment.segment && profile.cluster_distance ? `, ${Number(profile.cluster_distance).toFixed(1)} standard deviations from its centre` : ""}.`;
  return segment.rule ? titled(segment.rule) : "";
}

function consent(text) {
  const words = { 1: "yes", 0: "no", "?": "not asked" };
  return text?.split(",").map((one) => one.split("=")).map(([what, said]) => `${what} ${words[said] ?? said}`).join(" · ");
}

function Timeline({ id, tails }) {
  const rows = [
    ...(tails.events ?? []).map(([, type, item, ms]) => ({ ms, html: html`<span class="move ${type === "purchase" ? "in" : ""}"><${Icon} name=${{ item_view: "view", cart_add: "cart", cart_remove: "cart", purchase: "bag", checkout_start: "bag", search: "search", identify: "user" }[type] ?? "page"} /></span><span class="what">${titled(event(type))} ${item}</span><${Ago} ms=${ms} />` })),
  ].map((row) => ({ ...row, key: `${row.ms}` }));
  const moves = (tails.changes ?? []).map((change) => ({ ms: change[3], change }));
  const all = [...rows, ...moves].sort((a, b) => b.ms - a.ms).slice(0, 14);
  if (!all.length) return html`<${Empty} title="Nothing lately">The newest clicks are kept for a while only; the next one appears here at once.<//>`;
  return html`<ul class="feed">${all.map((row, i) => (row.change ? html`<${Change} key=${`c${row.change.join()}`} change=${row.change} of=${id} />` : html`<li class="change" key=${`e${row.key}${i}`}>${row.html}</li>`))}</ul>`;
}

function Offer({ offer, profile }) {
  const refuses = profile.consent?.includes("personalization=0");
  if (!offer) return html`<${Card} title="Would be shown now"><${Empty} title="No list">${refuses ? "This shopper refuses personalization: a storefront shows the shop's own list." : "A storefront shows the shop's own list until there is one."}<//><//>`;
  const best = Math.max(...offer.items.map((i) => i.score), 1e-9);
  return html`<${Card} title="Would be shown now" aside=${html`<span class="quiet">${offer.place} · made ${ago(offer.at_ms, shopNow())}</span>`}>
    <ol class="offer">${offer.items.slice(0, 12).map((item, i) => html`<li key=${item.item}><span class="place quiet">${i + 1}</span><span class="what"><strong>${item.name}</strong><span class="quiet">${item.item} · ${item.in_words.replace("you looked", "they looked")}</span></span><${Share} of=${item.score / best} /></li>`)}</ol><//>`;
}
