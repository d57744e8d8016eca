// The data of the page: a snapshot, then changes, from one event stream, which is reopened after an error.

import { inCurrency } from "./format.js";
import { useEffect, useState } from "./vendor/preact-htm.module.js";

const SILENT_MS = 10_000; // the server sends a message every second
const HIDDEN_MS = 15_000; // a browser allows six streams to one server: hidden tabs close theirs
const TAIL_MAX = 100;

const channel = () => ({ values: new Map(), tails: {}, trouble: "", still: null, receivedAt: 0 });
export const model = { shop: channel(), focus: channel(), link: "opening", refusal: "", pausedAt: 0, version: 0 };

let source = null, focus = "", retry = 0, timer = 0, watch = 0, hidden = 0;
const listeners = new Set();

/** Draw again whenever the model has changed. */
export function useModel() {
  const [, draw] = useState(0);
  useEffect(() => {
    const listener = () => draw((n) => n + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return model;
}

/** Draw again every second, for relative times. */
export function useSecond() {
  const [, draw] = useState(0);
  useEffect(() => {
    const ticking = setInterval(() => document.hidden || draw((n) => n + 1), 1000);
    return () => clearInterval(ticking);
  }, []);
}

const changed = () => { model.version++; if (!document.hidden) for (const listener of listeners) listener(); };

/** Show the shop, and one segment or shopper: `segment=ID`, `shopper=ID` or "". */
export function look(at) {
  if (at === focus && (source || model.pausedAt)) return;
  focus = at;
  model.focus = channel();
  if (model.pausedAt) { model.pausedAt = 0; }
  open();
}

export function pause() {
  model.pausedAt = Date.now();
  close();
  changed();
}

export function resume() {
  model.pausedAt = 0;
  open();
}

/** Time since the last write of the flow, in ms; null: nothing has changed since the page was opened. */
export const still = () => (model.shop.still === null ? null : model.shop.still + performance.now() - model.shop.receivedAt);

function close() {
  source?.close();
  source = null;
  clearTimeout(timer);
  clearTimeout(watch);
}

function open() {
  close();
  if (model.link !== "lost") model.link = model.shop.receivedAt ? model.link : "opening";
  source = new EventSource(`api/stream${focus ? `?${focus}` : ""}`);
  source.onmessage = (message) => {
    retry = 0;
    model.link = "open";
    model.refusal = "";
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
  model.link = "lost";
  changed();
  const wait = Math.min(15_000, 500 * 2 ** retry++) * (0.75 + Math.random() / 2);
  timer = setTimeout(open, wait);
  try { // an event stream has no text for the reason of a refusal
    const answer = await fetch("api/hello", { cache: "no-store" });
    if (answer.status === 401) location.assign("login");
    else model.refusal = answer.ok ? "" : (await answer.text()).trim();
  } catch { model.refusal = ""; }
}

function take(frame) {
  const into = frame.room === "shop" ? model.shop : model.focus;
  if (frame.whole) { into.values = new Map(); into.tails = {}; }
  for (const name of frame.gone ?? []) into.values.delete(name);
  for (const name in frame.set ?? {}) into.values.set(name, frame.set[name]);
  for (const name in frame.add ?? {}) into.tails[name] = [...(into.tails[name] ?? []), ...frame.add[name]].slice(-TAIL_MAX);
  if (into === model.shop && frame.set?.now) inCurrency(frame.set.now.currency);
  into.trouble = frame.trouble;
  into.still = frame.still_ms;
  into.receivedAt = performance.now();
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(hidden);
  if (document.hidden) hidden = setTimeout(close, HIDDEN_MS);
  else if (!source && !model.pausedAt) open();
  else changed();
});
addEventListener("online", () => { if (!model.pausedAt && model.link === "lost") { retry = 0; open(); } });

/** All values whose names begin with a prefix, as pairs of the rest of the name and the value. */
export function* named(values, prefix) {
  for (const [name, value] of values) if (name.startsWith(prefix)) yield [name.slice(prefix.length), value];
}

/** The newest event time, in ms. In a replay it differs from the clock. */
export function shopNow() {
  const now = model.shop.values.get("now") ?? {};
  let latest = now.at ?? now.watermark_ms ?? null;
  for (const [, segment] of named(model.shop.values, "segment/")) latest = Math.max(latest ?? 0, segment.at ?? 0);
  const changes = model.shop.tails.changes;
  if (changes?.length) latest = Math.max(latest ?? 0, changes[changes.length - 1][3]);
  return latest;
}
