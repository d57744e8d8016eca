// Penstock's page snippet: sends what a visitor does, and draws lists. docs/serve.md describes it.
// <script src=".../v1/snippet.js" data-key="pk-..." data-consent="required"></script>
(() => {
  const script = document.currentScript, base = new URL(script.src).origin;
  const key = script.dataset.key || "", query = key ? "?key=" + encodeURIComponent(key) : "";
  const SEND_MS = 1000, LIST_MS = 300, SEEN_MS = 1000, QUEUE_MAX = 100;
  let consent = script.dataset.consent === "required" ? null : {};
  let queue = [], timer = 0;

  const newId = () => (crypto.randomUUID ? crypto.randomUUID()
    : Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, "0")).join(""));

  function flush() {
    clearTimeout(timer);
    timer = 0;
    if (!consent || !queue.length) return;
    const body = JSON.stringify(queue.splice(0)), url = base + "/v1/events" + query;
    // A beacon outlives the page; a browser that refuses it gets a request that does too.
    if (navigator.sendBeacon && navigator.sendBeacon(url, body)) return;
    fetch(url, { method: "POST", body, keepalive: true, credentials: "include" }).catch(() => {});
  }

  function track(type, fields) {
    if (consent && consent.analytics === false) return;
    const page = { url: location.href.slice(0, 2000), title: document.title.slice(0, 200) };
    const event = { event_id: newId(), type, event_ts: Date.now(), page, ...fields };
    if (consent && Object.keys(consent).length) event.consent = consent;
    queue.push(event);
    if (queue.length > QUEUE_MAX) queue.shift();
    timer = timer || setTimeout(flush, SEND_MS);
  }

  const reco = (list, item) => ({
    items: [{ item_id: item.id }],
    reco: { list: list.list, slot: list.slot, model: list.model || undefined, position: item.position,
            propensity: item.propensity, experiment: list.experiment, variant: list.variant },
  });

  // Half of it visible for a second, once a list and item.
  const waiting = new Map();
  const observer = "IntersectionObserver" in window && new IntersectionObserver((entries) => {
    for (const { target, intersectionRatio } of entries) {
      const seen = waiting.get(target);
      if (!seen) continue;
      clearTimeout(seen.timer);
      if (intersectionRatio >= 0.5) {
        seen.timer = setTimeout(() => {
          waiting.delete(target);
          observer.unobserve(target);
          track("reco_view", seen.fields);
        }, SEEN_MS);
      }
    }
  }, { threshold: [0, 0.5] });

  function watch(element, list, item) {
    const fields = reco(list, item);
    if (observer) {
      waiting.set(element, { fields, timer: 0 });
      observer.observe(element);
    }
    element.addEventListener("click", () => track("reco_click", fields));
  }

  const safe = (address) => /^(https?:\/\/|\/)/.test(address || "") && address;

  function draw(list, box) {
    const items = list.items.map((item) => {
      const card = item.card || {}, link = document.createElement("a");
      link.href = safe(card.url) || "#";
      link.title = item.why;
      if (safe(card.image_url)) {
        const image = document.createElement("img");
        image.src = card.image_url;
        image.alt = "";
        image.loading = "lazy";
        link.append(image);
      }
      const name = document.createElement("span");
      name.textContent = card.name || item.id;
      link.append(name);
      if (card.price != null) {
        const price = document.createElement("span");
        price.className = "penstock-price";
        price.textContent = card.currency
          ? new Intl.NumberFormat(undefined, { style: "currency", currency: card.currency }).format(card.price)
          : card.price;
        link.append(price);
      }
      return link;
    });
    box.replaceChildren(...items);
    return items;
  }

  // Asks after the first paint. What is late, empty or fails leaves the shop's own list as it is.
  async function list(slot, box, options = {}) {
    const { render = draw, fresh = false, ...asked } = options;
    const height = box.getBoundingClientRect().height;
    if (height) box.style.minHeight = height + "px"; // the page must not move when the list comes
    await new Promise((paint) => requestAnimationFrame(() => setTimeout(paint)));
    const parameters = new URLSearchParams(Object.entries(asked).map(([name, value]) => [name, String(value)]));
    if (key) parameters.set("key", key);
    if (!consent || consent.personalization === false) parameters.set("audience", "all");
    const abort = new AbortController(), late = setTimeout(() => abort.abort(), LIST_MS);
    try {
      const answer = await fetch(`${base}/v1/lists/${encodeURIComponent(slot)}?${parameters}`,
        { credentials: "include", signal: abort.signal, cache: fresh ? "no-cache" : "default" });
      const found = answer.ok && await answer.json();
      if (!found || !found.items.length) return null;
      const drawn = render(found, box) || [];
      found.items.forEach((item, n) => drawn[n] && watch(drawn[n], found, item));
      return found;
    } catch {
      return null;
    } finally {
      clearTimeout(late);
    }
  }

  // Nothing leaves the page before this where data-consent="required"; a refusal empties what waits.
  function agree(purposes) {
    consent = purposes;
    if (consent.analytics === false) queue = [];
    else queue.forEach((event) => { event.consent = consent; });
    const own = { event_id: newId(), type: "consent", event_ts: Date.now(), consent };
    queue.push(own);
    flush();
  }

  addEventListener("visibilitychange", () => document.visibilityState === "hidden" && flush());
  addEventListener("pagehide", flush);
  const early = window.penstock && window.penstock.q || [];
  window.penstock = {
    track,
    view: (item) => track("item_view", { items: [item] }),
    list,
    consent: agree,
    flush,
  };
  for (const [name, ...words] of early) window.penstock[name](...words);
})();
