// The demo shop's script: sends the event of the page, asks for its lists, and asks again after a click
// until the list knows of it. Everything goes through penstock's snippet, as in any shop.
(() => {
  const penstock = window.penstock, body = document.body;
  const PATIENCE_MS = 5000, PAUSE_MS = 120, TRIES = 5;
  const CACHE_MS = 5000;  // for so long the browser keeps a list
  const LAST = "last-action", FOLLOWED = "followed-action";
  const agreed = document.querySelector(".switch").getAttribute("aria-checked") === "true";
  const said = document.getElementById("said");
  const TITLES = {
    own: "For you", item: "Similar to this", cart: "Bought together", segment: "Popular with shoppers like you",
    category: "Popular in what you like", all: "Popular in the shop",
  };

  function send(text) {
    if (!agreed) return;
    const { type, ...fields } = JSON.parse(text);
    if (type !== "page_view") sessionStorage.setItem(LAST, Date.now());
    penstock.track(type, fields);
    penstock.flush();
  }

  const lastClick = () => Number(sessionStorage.getItem(LAST) || 0);

  const element = (name, kind, text) => {
    const made = document.createElement(name);
    if (kind) made.className = kind;
    if (text) made.textContent = text;
    return made;
  };

  // Who has only arrived has a list of their own too, of what is popular.
  function title({ place, items }) {
    const isOwn = items.some((item) => item.reason !== "popular");
    return (place === "own" && !isOwn ? TITLES.all : TITLES[place]) || TITLES.all;
  }

  function price(card) {
    if (card.price == null) return "";
    return new Intl.NumberFormat("en", { style: "currency", currency: card.currency || "EUR" }).format(card.price);
  }

  function draw(section) {
    return (found, grid) => {
      const shown = found.items.map((item) => item.id);
      const before = section.shown;
      section.shown = shown;
      section.querySelector("h2").textContent = title(found);
      const content = JSON.stringify(found.items.map((item) => [item.id, item.why]));
      if (section.content === content) return [];
      section.content = content;
      const links = found.items.map((item) => {
        const card = item.card || {}, link = element("a", "card"), picture = element("img");
        link.href = card.url || "#";
        picture.src = card.image_url || "/shop/favicon.svg";
        picture.alt = "";
        picture.width = picture.height = 120;
        const words = element("span", "words");
        words.append(element("span", "name", card.name || item.id), element("span", "", price(card)),
          element("span", "why", item.why));
        link.append(picture, words);
        if (before && !before.includes(item.id)) link.classList.add("new");
        return link;
      });
      grid.replaceChildren(...links.map((link) => {
        const place = element("li");
        place.append(link);
        return place;
      }));
      return links;
    };
  }

  function ask(section, exclude = [], fresh = false) {
    const { slot, ...asked } = section.dataset;
    if (exclude.length) asked.exclude = exclude.join();
    return penstock.list(slot, section.querySelector(".grid"), { ...asked, fresh, render: draw(section) });
  }

  // No item twice on a page: a list is asked for what the ones before it do not show.
  async function askAll(sections, fresh) {
    const shown = [];
    for (const section of sections) {
      // The snippet waits 300 ms, which is little where one machine does everything.
      for (let tries = 0; tries < TRIES && !(await ask(section, shown, fresh)); tries++);
      shown.push(...(section.shown || []));
    }
  }

  // After a click: asks until the visitor's own list is as new as the click, then for all lists.
  async function follow(sections) {
    const clicked = lastClick(), own = sections[0];
    if (sessionStorage.getItem(FOLLOWED) === String(clicked)) return;
    while (agreed && own.dataset.slot === "home" && Date.now() - clicked < PATIENCE_MS) {
      const found = await ask(own, [], true);
      if (found && found.place === "own" && found.at >= clicked) {
        const seconds = ((Date.now() - clicked) / 1000).toFixed(1);
        sessionStorage.setItem(FOLLOWED, clicked);
        said.textContent = `Your click is in your list, ${seconds} s later.`;
        body.dataset.followed = seconds;
        await askAll(sections, true);
        return;
      }
      await new Promise((go) => setTimeout(go, PAUSE_MS));
    }
  }

  document.addEventListener("submit", ({ target }) => {
    if (target.dataset.event) send(target.dataset.event);
    if (target.classList.contains("consent")) {
      const now = !agreed;
      penstock.consent({ analytics: now, personalization: now, ads: now });
    }
  });
  if (body.dataset.event) send(body.dataset.event);
  const isOther = (section) => section.dataset.slot !== "home";
  const sections = [...document.querySelectorAll(".list")].sort((a, b) => isOther(a) - isOther(b));
  // A list from before the click may still be in the browser's cache.
  const isOutdated = Date.now() - lastClick() < CACHE_MS;
  if (sections.length) askAll(sections, isOutdated).then(() => follow(sections));
})();
