// Charts: lines over time with uPlot, small ones as SVG. Each has a text for screen readers.

import { html, useEffect, useRef } from "./vendor/preact-htm.module.js";
import { at, brief, hour, date } from "./format.js";

/** A line of the last hour, small enough for a row. */
export const Spark = ({ values, label, tone = "" }) => {
  if (!values || values.length < 2) return html`<span class="spark none" aria-hidden="true"></span>`;
  const low = Math.min(...values), high = Math.max(...values), range = high - low || 1;
  const step = 100 / (values.length - 1);
  const points = values.map((v, i) => `${(i * step).toFixed(1)},${(26 - 22 * ((v - low) / range) - (high === low ? 11 : 0)).toFixed(1)}`);
  return html`<svg class="spark ${tone}" viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label=${label}>
    <polygon points="0,30 ${points.join(" ")} 100,30" /><polyline points=${points.join(" ")} />
  </svg>`;
};

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const WHOLE = [...Array(13).keys()].flatMap((n) => [1, 2, 5].map((step) => step * 10 ** n));
const FONT = "12px system-ui, sans-serif";

/** Lines, areas or bars over time. `series`: label, colour (a CSS variable), bars, format. x in ms. */
export const TimeChart = ({ x, series, height = 240, label, spanMs }) => {
  const place = useRef(null), chart = useRef(null);
  const shape = `${series.map((s) => s.label + s.colour + !!s.bars).join()}|${height}|${spanMs}`;
  const data = [x.map((ms) => ms / 1000), ...series.map((s) => s.values)];

  useEffect(() => {
    const draw = () => {
      chart.current?.destroy();
      chart.current = new uPlot(options(series, place.current.clientWidth, height, spanMs), data, place.current);
    };
    draw();
    const sized = new ResizeObserver(() => chart.current?.setSize({ width: place.current.clientWidth, height }));
    sized.observe(place.current);
    addEventListener("theme", draw);
    return () => { sized.disconnect(); removeEventListener("theme", draw); chart.current?.destroy(); chart.current = null; };
  }, [shape]);
  useEffect(() => { chart.current?.setData(data); });

  return html`<figure class="chart" role="img" aria-label=${label}><div ref=${place}></div></figure>`;
};

function options(series, width, height, spanMs) {
  const ink = colour("--ink-3"), line = colour("--line");
  const days = spanMs > 172_800_000;
  const axis = { stroke: ink, font: FONT, grid: { stroke: line, width: 1 }, ticks: { show: false } };
  const when = (ms) => (days ? date(ms) : hour(ms));
  return {
    width, height,
    padding: [8, 20, 4, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
    tzDate: (s) => uPlot.tzDate(new Date(s * 1000), "Etc/UTC"),
    scales: { x: { time: true }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), (high || 1) * 1.08] } },
    axes: [
      { ...axis, grid: { show: false }, space: 64, size: 28, values: (_, ticks) => ticks.map((s) => when(s * 1000)) },
      { ...axis, size: 48, space: height < 160 ? 22 : 36, incrs: WHOLE, values: (_, ticks) => ticks.map((v) => brief(Math.abs(v))) },
    ],
    series: [{}, ...series.map((s) => {
      const stroke = colour(s.colour);
      return s.bars
        ? { label: s.label, stroke, fill: `${stroke}cc`, width: 0, paths: uPlot.paths.bars({ size: [0.7, 14] }), points: { show: false } }
        : { label: s.label, stroke, width: 2, fill: s.area === false ? undefined : `${stroke}1f`, points: { show: false }, spanGaps: true };
    })],
    plugins: [tip(series)],
  };
}

/** The values under the pointer. */
function tip(series) {
  let box;
  return { hooks: {
    init: (u) => { box = document.createElement("div"); box.className = "tip"; box.hidden = true; u.over.append(box); u.over.addEventListener("mouseleave", () => { box.hidden = true; }); },
    setCursor: (u) => {
      const { idx, left } = u.cursor;
      box.hidden = idx === null || idx === undefined || left < 0;
      if (box.hidden) return;
      box.replaceChildren(row("tip-at", at(u.data[0][idx] * 1000)), ...series.map((s, i) => row("", `${s.label}: ${(s.format ?? brief)(u.data[i + 1][idx])}`)));
      const right = left > u.over.clientWidth / 2;
      box.style.left = right ? "" : `${left + 12}px`;
      box.style.right = right ? `${u.over.clientWidth - left + 12}px` : "";
    },
  } };
  function row(name, text) {
    const line = document.createElement("div");
    line.className = name;
    line.textContent = text;
    return line;
  }
}
