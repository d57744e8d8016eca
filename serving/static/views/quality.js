import { html } from "../vendor/preact-htm.module.js";
export const Quality = () => html`<h1>Quality</h1>`;
