// Numbers, money and times as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const one = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const two = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", timeZone: "UTC" });
const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: "UTC" });

export const NONE = "–";
const given = (x) => x !== null && x !== undefined && Number.isFinite(Number(x));

export const count = (x) => (given(x) ? whole.format(x) : NONE);
export const brief = (x) => (!given(x) ? NONE : Math.abs(x) < 10_000 ? whole.format(x) : short.format(x));
export const rate = (x) => (!given(x) ? NONE : x < 10 ? one.format(x) : brief(x));
export const percent = (x) => (!given(x) ? NONE : x > 0 && x < 0.0005 ? "< 0.1 %" : `${one.format(100 * x)} %`);
export const times = (x) => (given(x) ? `${one.format(x)}×` : NONE);
let currency = "";
/** Set the currency of all amounts on the page, a code such as EUR; "" while it is unknown. */
export const inCurrency = (code) => { currency = code ?? ""; };
const amount = (x) => (Number(x) === 0 ? "0" : Math.abs(x) >= 10_000 ? short.format(x) : Math.abs(x) >= 1000 ? whole.format(x) : two.format(x));
export const money = (x) => (!given(x) ? NONE : currency ? `${amount(x)}\u00a0${currency}` : amount(x));
export const signed = (x) => (!given(x) ? NONE : x > 0 ? `+${brief(x)}` : x < 0 ? `−${brief(-x)}` : "0");

/** A duration in its largest unit. */
export function span(ms) {
  if (!given(ms)) return NONE;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129_600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

/** Time before `now`; both are event times. */
export const ago = (ms, now) => (!given(ms) || !given(now) ? NONE : now - ms < 1000 ? "now" : `${span(now - ms)} ago`);
export const at = (ms) => (given(ms) ? `${day.format(ms)}, ${clock.format(ms)}` : NONE);
export const hour = (ms) => clock.format(ms);
export const date = (ms) => day.format(ms);
export const local = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

const WORDS = { cart_add: "put in cart", cart_remove: "took out of cart", item_view: "viewed", list_view: "browsed", page_view: "opened a page", search: "searched", checkout_start: "began checkout", purchase: "bought", refund: "got a refund", wishlist_add: "wished for", identify: "logged in", consent: "chose consent", reco_view: "was shown", reco_click: "took a suggestion", item: "item changed", custom: "did" };
export const event = (type) => WORDS[type] ?? type;
export const KINDS = { rule: "Rule", rfm: "RFM", lifecycle: "Lifecycle", propensity: "Propensity", cluster: "Cluster" };
