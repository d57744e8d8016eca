// Data quality: the events that were read, and what was wrong with them.

import { html } from "../vendor/preact-htm.module.js";
import { NONE, brief, count, percent } from "../format.js";
import { Card, Empty, Share, Tile, nameOf, to } from "../parts.js";
import { model } from "../stream.js";

const REASONS = {
  not_json: ["Not JSON", "The sender writes something else into the topic."],
  too_large: ["Too large", "Records over the limit: leave out fields that nobody reads."],
  schema_violation: ["Wrong shape", "A field is missing or of another type: compare with docs/formats.md."],
  unknown_type: ["Unknown type", "An event name without a mapping: see docs/adapters.md."],
  no_identity: ["Nobody", "Neither a user id nor an anonymous id was sent."],
  blocked_id: ["Not an id", "Ids such as “null” or “guest” would make one shopper of many."],
  bad_timestamp: ["Wrong time", "The time is missing or cannot be."],
  bad_money: ["Wrong money", "A price or value that is no amount."],
  empty_order_id: ["No order id", "A purchase without an order id cannot be counted once."],
  processing_error: ["Our own fault", "Penstock could not handle it: please report the record."],
};

export function Quality() {
  const quality = model.shop.values.get("quality") ?? {}, now = model.shop.values.get("now") ?? {};
  const read = quality.read ?? now.events;
  const value = (name) => quality[name] ?? now[name];
  const share = (n) => (read && n !== undefined && n !== null ? percent(n / read) : NONE);
  const reasons = Object.entries(quality).filter(([name, n]) => name.startsWith("rejected.") && n > 0).map(([name, n]) => [name.slice(9), n]).sort((a, b) => b[1] - a[1]);
  const rejected = reasons.reduce((sum, [, n]) => sum + n, 0);
  const most = Math.max(1, ...reasons.map(([, n]) => n));
  if (!read) return html`<h1>Data quality</h1><${Empty} title="Nothing read yet">When events arrive, their errors are shown here.<//>`;
  const good = 1 - rejected / read;
  return html`<div class="page-head"><h1>Data quality</h1><span class="quiet">since the first start</span></div>
    <dl class="tiles">
      <${Tile} label="Events read" value=${brief(read)} sub="${brief(now.events_per_s)} a second" />
      <${Tile} label="Rejected" value=${share(quality.read ? rejected : undefined)} sub="${count(quality.read ? rejected : null)} records" />
      <${Tile} label="Late" value=${share(value("late"))} sub="${brief(value("late"))}, counted in profiles only" />
      <${Tile} label="Duplicates" value=${share(value("duplicates"))} sub="${brief(value("duplicates"))}, counted once" />
      <${Tile} label="In other currencies" value=${share(now.unconverted)} sub="${brief(now.unconverted)}, without a rate: in no figure" />
      <${Tile} label="Clocks ahead" value=${share(quality.clamped_clocks)} sub="${brief(quality.clamped_clocks)}, set back" />
    </dl>
    <div class="columns two">
      <${Card} title="Rejected, by reason">
        ${reasons.length ? html`<ul class="bars reasons">${reasons.map(([name, n]) => html`<li key=${name}><span class="name"><strong>${REASONS[name]?.[0] ?? name}</strong><span class="quiet">${REASONS[name]?.[1] ?? ""}</span></span><${Share} of=${n / most} tone="out" /><span class="n">${brief(n)}</span><span class="quiet n">${share(n)}</span></li>`)}</ul>
          <p class="quiet note">They are kept as dead letters: <code>penstock redrive</code> sends them again after the cause was fixed.</p>`
        : html`<${Empty} title=${quality.read ? "Nothing was rejected" : "Not reported yet"}>${quality.read ? "Every record that was read could be used." : "This flow does not report what it rejected."}<//>`}
      <//>
      <${Card} title="Of every hundred events">
        <div class="hundred" role="img" aria-label="${percent(good)} were used, ${share(value("late"))} of all were late, ${share(value("duplicates"))} came twice">${hundred(read, rejected, value("late") ?? 0, value("duplicates") ?? 0).map((kind, i) => html`<span key=${i} class=${kind}></span>`)}</div>
        <p class="legend"><span><i class="used"></i>used</span><span><i class="late"></i>late</span><span><i class="twice"></i>twice</span><span><i class="rejected"></i>rejected</span></p>
      <//>
      <${Lists} lists=${model.shop.values.get("lists") ?? {}} />
    </div>`;
}

/** Published lists compared with the next click, in all and in the segments with the most of them. */
function Lists({ lists }) {
  return html`<${Card} title="Lists against the next click">
    ${lists.judged > 0 ? html`<p class="note"><strong>${percent(lists.hit_rate)}</strong> held what was looked at next (MRR ${percent(lists.mrr)}); <strong>${percent(lists.coverage)}</strong> of the items were listed in two days.</p>
      <ul class="bars reasons">${(lists.segments ?? []).map(([id, [judged, rate]]) => html`<li key=${id}><a class="name" href=${to.segment(id)}>${nameOf(id)}</a><${Share} of=${rate} /><span class="n">${percent(rate)}</span><span class="quiet n">${brief(judged)}</span></li>`)}</ul>
      <p class="quiet note">Of a sample of ${brief(lists.judged)} lists, older ones counting less.</p>`
    : html`<${Empty} title="Nothing judged yet">A list is judged by the shopper’s next click.<//>`}
  <//>`;
}

/** A hundred squares: each kind that occurs has at least one. */
function hundred(read, rejected, late, twice) {
  const of = (n) => (n > 0 ? Math.max(1, Math.round((100 * n) / read)) : 0);
  const marks = [["rejected", of(rejected)], ["twice", of(twice)], ["late", of(late)]];
  const bad = marks.flatMap(([kind, n]) => Array(Math.min(n, 97)).fill(kind)).slice(0, 99);
  return [...Array(100 - bad.length).fill("used"), ...bad.reverse()];
}
