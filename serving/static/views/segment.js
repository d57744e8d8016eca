import { html } from "../vendor/preact-htm.module.js";
export const Segment = () => html`<h1>Segment</h1>`;
