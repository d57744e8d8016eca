// Shoppers and cluster centres on a map: near points are similar.

import { html, useEffect, useRef } from "../vendor/preact-htm.module.js";
import { percent } from "../format.js";
import { Card, Empty, nameOf, titled, to } from "../parts.js";

const HEIGHT = 340, EDGE = 28;

export function ClusterMap({ id, map }) {
  const canvas = useRef(null);
  const centres = map?.centres ?? [];
  useEffect(() => {
    if (!map?.points?.length) return undefined;
    const draw = () => paint(canvas.current, map, id);
    draw();
    const sized = new ResizeObserver(draw);
    sized.observe(canvas.current.parentNode);
    addEventListener("theme", draw);
    return () => { sized.disconnect(); removeEventListener("theme", draw); };
  }, [map, id]);
  const here = centres.find(([, , sid]) => sid === id);
  return html`<${Card} title="Where it lies among the clusters" aside=${html`<span class="quiet">${map?.axes?.length ? `across: ${map.axes.map(axis).join(" · up: ")}` : "near is alike"}</span>`}>
    ${map?.points?.length ? html`<div class="map"><canvas ref=${canvas} role="img" aria-label="A map of ${map.points.length} shoppers; ${here ? nameOf(id) : "this cluster"} is drawn in colour"></canvas></div>
      <ul class="map-legend">${centres.map(([, , sid, name]) => html`<li key=${sid} class=${sid === id ? "here" : ""}><a href=${to.segment(sid)}>${titled(name ?? sid)}</a></li>`)}</ul>`
      : html`<${Empty} title="No map yet">It is drawn once clusters were found among enough shoppers.<//>`}
  <//>`;
}

/** The features with the greatest weight on an axis, and its share of the variance. */
const axis = ({ features, share }) => `${features.slice(0, 2).map(([name, weight]) => `${weight < 0 ? "less" : "more"} ${name.replaceAll("_", " ")}`).join(", ")} (${percent(share)})`;

function paint(canvas, map, id) {
  const width = canvas.parentNode.clientWidth, sharp = devicePixelRatio || 1;
  canvas.width = width * sharp; canvas.height = HEIGHT * sharp;
  canvas.style.width = `${width}px`; canvas.style.height = `${HEIGHT}px`;
  const pen = canvas.getContext("2d");
  pen.scale(sharp, sharp);
  const css = getComputedStyle(document.documentElement), colour = (name) => css.getPropertyValue(name).trim();
  const all = [...map.points, ...(map.centres ?? [])];
  const range = (i) => { const v = all.map((p) => p[i]).sort((a, b) => a - b); return [v[Math.floor(v.length * 0.01)], v[Math.ceil(v.length * 0.99) - 1]]; };
  const [left, right] = range(0), [low, high] = range(1);
  const place = ([x, y]) => [EDGE + (width - 2 * EDGE) * clamp((x - left) / (right - left || 1)), HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * clamp((y - low) / (high - low || 1))];
  const here = Number(id.replace("cluster-", ""));
  for (const mine of [false, true]) {
    pen.fillStyle = colour(mine ? "--accent" : "--ink-3");
    pen.globalAlpha = mine ? 0.75 : 0.28;
    for (const point of map.points) if ((point[2] === here) === mine) { pen.beginPath(); pen.arc(...place(point), mine ? 3 : 2.2, 0, 7); pen.fill(); }
  }
  pen.globalAlpha = 1;
  pen.font = "12px system-ui, sans-serif";
  for (const [x, y, sid] of map.centres ?? []) {
    const [px, py] = place([x, y]), mine = sid === id;
    pen.beginPath(); pen.arc(px, py, mine ? 8 : 6, 0, 7);
    pen.fillStyle = colour(mine ? "--accent" : "--card"); pen.fill();
    pen.lineWidth = 2; pen.strokeStyle = colour(mine ? "--card" : "--ink-2"); pen.stroke();
    if (!mine) continue;
    const text = nameOf(sid), wide = pen.measureText(text).width, tx = Math.max(4, Math.min(px + 13, width - wide - 14));
    pen.fillStyle = colour("--card"); pen.globalAlpha = 0.88; pen.fillRect(tx - 4, py - 10, wide + 8, 20); pen.globalAlpha = 1;
    pen.fillStyle = colour("--ink"); pen.fillText(text, tx, py + 4);
  }
}
const clamp = (v) => Math.max(-0.05, Math.min(1.05, v));
