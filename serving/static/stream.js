// What the server tells: a snapshot, then changes, over one event stream. Opens it again by itself.

import { inCurrency } from "./format.js";
import { useEffect, useState } from "./vendor/preact-htm.module.js";

const SILENT_MS = 10_000; // the server says something every second
const HIDDEN_MS = 15_000; // a browser allows six streams to a server: tabs nobody sees give theirs back
const TAIL_MAX = 100;

const room = () => ({ values: new Map(), tails: {}, trouble: "", still: null, heard: 0 });
export const told = { shop: room(), focus: room(), link: "opening", refusal: "", pausedAt: 0, version: 0 };

let source = null, focus = "", retry = 0, timer = 0, watch = 0, hidden = 0;
const listeners = new Set();

/** Draw again whenever something new was told. */
export function useTold() {
  const [, draw] = useState(0);
  useEffect(() => {
    const listener = () => draw((n) => n + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return told;
}

/** Draw again every second, for what is said of time. */
export function useSecond() {
  const [, draw] = useState(0);
  useEffect(() => {
    const ticking = setInterval(() => document.hidden || draw((n) => n + 1), 1000);
    return () => clearInterval(ticking);
  }, []);
}

const changed = () => { told.version++; if (!document.hidden) for (const listener of listeners) listener(); };

/** Look at the shop, and at one segment or shopper: `segment=ID`, `shopper=ID` or "". */
export function look(at) {
  if (at === focus && (source || told.pausedAt)) return;
  focus = at;
  told.focus = room();
  if (told.pausedAt) { told.pausedAt = 0; }
  open();
}

export function pause() {
  told.pausedAt = Date.now();
  close();
  changed();
}

export function resume() {
  told.pausedAt = 0;
  open();
}

/** How long ago the flow wrote last, in ms; null: nothing has changed since the page was opened. */
export const still = () => (told.shop.still === null ? null : told.shop.still + performance.now() - told.shop.heard);

function close() {
  source?.close();
  source = null;
  clearTimeout(timer);
  clearTimeout(watch);
}

function open() {
  close();
  if (told.link !== "lost") told.link = told.shop.heard ? told.link : "opening";
  source = new EventSource(`api/stream${focus ? `?${focus}` : ""}`);
  source.onmessage = (message) => {
    retry = 0;
    told.link = "open";
    told.refusal = "";
    listen();
    let news = false;
    for (const frame of JSON.parse(message.data)) news = take(frame) || news;
    changed();
  };
  source.onerror = lost;
  listen();
  changed();
}

function listen() {
  clearTimeout(watch);
  watch = setTimeout(lost, SILENT_MS);
}

async function lost() {
  close();
  told.link = "lost";
  changed();
  const wait = Math.min(15_000, 500 * 2 ** retry++) * (0.75 + Math.random() / 2);
  timer = setTimeout(open, wait);
  try { // an event stream does not say why it was refused
    const answer = await fetch("api/hello", { cache: "no-store" });
    if (answer.status === 401) location.assign("login");
    else told.refusal = answer.ok ? "" : (await answer.text()).trim();
  } catch { told.refusal = ""; }
}

function take(frame) {
  const into = frame.room === "shop" ? told.shop : told.focus;
  if (frame.whole) { into.values = new Map(); into.tails = {}; }
  for (const name of frame.gone ?? []) into.values.delete(name);
  for (const name in frame.set ?? {}) into.values.set(name, frame.set[name]);
  for (const name in frame.add ?? {}) into.tails[name] = [...(into.tails[name] ?? []), ...frame.add[name]].slice(-TAIL_MAX);
  if (into === told.shop && frame.set?.now) inCurrency(frame.set.now.currency);
  into.trouble = frame.trouble;
  into.still = frame.still_ms;
  into.heard = performance.now();
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(hidden);
  if (document.hidden) hidden = setTimeout(close, HIDDEN_MS);
  else if (!source && !told.pausedAt) open();
  else changed();
});
addEventListener("online", () => { if (!told.pausedAt && told.link === "lost") { retry = 0; open(); } });

/** All values whose names begin so, by the rest of the name. */
export function* named(values, prefix) {
  for (const [name, value] of values) if (name.startsWith(prefix)) yield [name.slice(prefix.length), value];
}

/** The shop's clock: event time, ms. In a replay it is not ours. */
export function shopNow() {
  const now = told.shop.values.get("now") ?? {};
  let latest = now.at ?? now.watermark_ms ?? null;
  for (const [, segment] of named(told.shop.values, "segment/")) latest = Math.max(latest ?? 0, segment.at ?? 0);
  const changes = told.shop.tails.changes;
  if (changes?.length) latest = Math.max(latest ?? 0, changes[changes.length - 1][3]);
  return latest;
}
