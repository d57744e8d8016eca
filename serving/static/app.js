// The shell of the page: navigation, the state of the connection, and the current view.

import { html, render, useEffect, useRef, useState } from "./vendor/preact-htm.module.js";
import { local, span } from "./format.js";
import { Empty, Icon } from "./parts.js";
import { look, pause, resume, still, model, useSecond, useModel } from "./stream.js";
import { Live } from "./views/live.js";
import { Quality } from "./views/quality.js";
import { Segment } from "./views/segment.js";
import { Segments } from "./views/segments.js";
import { Shopper, Shoppers } from "./views/shopper.js";

const VIEWS = {
  "": ["Live", Live], segments: ["Segments", Segments], shoppers: ["Shoppers", Shoppers], quality: ["Data quality", Quality],
  segment: ["Segment", Segment], shopper: ["Shopper", Shopper],
};
const TABS = ["", "segments", "shoppers", "quality"];
const PART_OF = { segment: "segments", shopper: "shoppers" };
const QUIET_MS = 15_000;

function route() {
  const [, view = "", id = ""] = location.hash.match(/^#\/([^/]*)(?:\/(.*))?$/) ?? [];
  let plain = id;
  try { plain = decodeURIComponent(id); } catch { /* an invalid address that somebody typed */ }
  return Object.hasOwn(VIEWS, view) ? { view, id: plain } : { view: "", id: "" };
}

/** How current the figures are: a CSS class and a text. */
function state() {
  if (model.pausedAt) return ["paused", `Paused at ${local(model.pausedAt)}`];
  if (model.link === "lost") return ["lost", model.refusal ? "Refused" : "Connection lost"];
  if (!model.shop.receivedAt) return ["opening", "Connecting"];
  if (model.shop.trouble) return ["lost", "No answer from Redis"];
  const ms = still();
  if (ms === null) return performance.now() - opened < QUIET_MS ? ["live", "Connected"] : ["quiet", "Nothing new since opened"];
  return [ms < QUIET_MS ? "live" : "quiet", `Updated ${ms < 1000 ? "now" : `${span(Math.floor(ms / 1000) * 1000)} ago`}`];
}
const opened = performance.now();

function Status() {
  useSecond();
  const [tone, text] = state();
  const paused = tone === "paused";
  return html`<div class="status">
    <span class="state ${tone}"><span class="dot" aria-hidden="true"></span>${text}</span>
    <button class="button icon-only" onClick=${paused ? resume : pause} aria-pressed=${paused} aria-label="Pause updates" title=${paused ? "Go on" : "Pause"}><${Icon} name=${paused ? "play" : "pause"} /></button>
    <${Theme} />
  </div>`;
}

function Theme() {
  const [dark, set] = useState(isDark);
  const turn = () => {
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("theme", dark ? "light" : "dark");
    set(!dark);
    dispatchEvent(new Event("theme"));
  };
  return html`<button class="button icon-only" onClick=${turn} aria-pressed=${dark} aria-label="Dark theme" title=${dark ? "Light" : "Dark"}><${Icon} name=${dark ? "sun" : "moon"} /></button>`;
}
const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("theme")));

/** The error message, with what to do. */
function Banner() {
  const { shop, link, refusal, pausedAt } = model;
  const text = pausedAt ? "" : link === "lost" ? refusal || "The server of this page does not answer. You see its last values; the page reconnects on its own." : shop.trouble;
  return html`<div role="status" class="banner-place">${text && html`<p class="banner">${text}</p>`}</div>`;
}

function App() {
  const [at, go] = useState(route);
  const main = useRef(null);
  useModel();
  useEffect(() => {
    const moved = () => { go(route()); scrollTo(0, 0); main.current?.focus({ preventScroll: true }); };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  const focus = PART_OF[at.view] && at.id ? `${at.view}=${encodeURIComponent(at.id)}` : "";
  useEffect(() => look(focus), [focus]);
  const [title, View] = VIEWS[at.view];
  document.title = `${at.id || title} · Penstock`;
  const tab = PART_OF[at.view] ?? at.view;
  return html`
    <a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); main.current.focus(); }}>Skip to the figures</a>
    <header class="top">
      <a class="brand" href="#/"><img src="static/favicon.svg" alt="" width="28" height="28" /><span>Penstock</span></a>
      <nav aria-label="Views">${TABS.map((name) => html`<a href="#/${name}" aria-current=${name === tab ? "page" : undefined}>${VIEWS[name][0]}</a>`)}</nav>
      <${Status} />
    </header>
    <${Banner} />
    <main id="main" tabindex="-1" ref=${main}>
      ${model.shop.values.size ? html`<${View} key=${at.view + at.id} id=${at.id} />` : html`<h1 class="hidden">${title}</h1>${model.link !== "opening" || model.shop.trouble ? html`<${Empty} title="No figures yet">They appear here as soon as the server and its Redis answer.<//>` : html`<p class="loading">Reading the shop…</p>`}`}
    </main>`;
}

render(html`<${App} />`, document.getElementById("page"));
