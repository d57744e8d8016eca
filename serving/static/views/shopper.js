import { html } from "../vendor/preact-htm.module.js";
export const Shopper = () => html`<h1>Shopper</h1>`;
export const Shoppers = () => html`<h1>Shoppers</h1>`;
