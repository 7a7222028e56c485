// A link to a theorem, equation, figure, exercise or work shows what it leads to while the pointer, or the focus, rests
// on it; a formula shows which of its symbols the page of notation explains. Escape closes.
(function () {
  "use strict";
  const REST = 350; // milliseconds of rest before a link shows its target
  const LONGER = 700; // before a formula shows its symbols: reading passes over many
  const root = document.documentElement.dataset.content_root || "";
  const fetched = new Map();
  let box = null;
  let timer = null;
  let owner = null;

  function page(address) {
    const plain = address.split("#")[0];
    if (plain === location.href.split("#")[0]) return Promise.resolve(document);
    if (!fetched.has(plain)) {
      const parse = (text) => new DOMParser().parseFromString(text, "text/html");
      fetched.set(plain, fetch(plain).then((answer) => answer.text()).then(parse));
    }
    return fetched.get(plain);
  }

  // What an anchor stands for: the box, the formula with its number, the figure, the entry of the bibliography.
  function target(doc, id) {
    const found = doc.getElementById(id);
    if (!found) return null;
    const whole = found.closest("div.admonition, figure, div.math, div.citation, table");
    if (whole && whole.id === id) return whole;
    if (found.matches("dt")) return found.parentElement;
    if (found.matches(".check-heading")) return null;
    return found.querySelector(":scope > div.math") || (found.matches("span") ? whole : null);
  }

  function copy(element, address) {
    const clone = element.cloneNode(true);
    for (const extra of clone.querySelectorAll(".headerlink, .copybtn, .toggle-button, .check-link")) extra.remove();
    for (const part of [clone, ...clone.querySelectorAll("[id]")]) part.removeAttribute("id");
    for (const image of clone.querySelectorAll("img")) {
      image.src = new URL(image.getAttribute("src"), address).href;
      image.loading = "eager";
    }
    for (const link of clone.querySelectorAll("a[href]")) {
      link.href = new URL(link.getAttribute("href"), address).href;
      link.tabIndex = -1;
    }
    return clone;
  }

  function close() {
    clearTimeout(timer);
    if (box) box.remove();
    box = owner = null;
  }

  function show(near, content) {
    close();
    owner = near;
    box = document.createElement("div");
    box.className = "preview bd-article";
    box.setAttribute("role", "tooltip");
    box.append(content);
    document.body.append(box);
    const spot = near.getBoundingClientRect();
    const width = Math.min(560, innerWidth - 24);
    box.style.width = `${width}px`;
    box.style.left = `${Math.max(12, Math.min(spot.left, innerWidth - width - 12)) + scrollX}px`;
    const below = spot.bottom + 8 + box.offsetHeight < innerHeight || spot.top < box.offsetHeight;
    box.style.top = `${(below ? spot.bottom + 8 : spot.top - box.offsetHeight - 8) + scrollY}px`;
    box.addEventListener("mouseleave", () => later(close, 200));
    box.addEventListener("mouseenter", () => clearTimeout(timer));
  }

  function later(what, wait) {
    clearTimeout(timer);
    timer = setTimeout(what, wait);
  }

  function preview(link) {
    const address = new URL(link.href);
    page(address.href).then(function (doc) {
      const found = target(doc, decodeURIComponent(address.hash.slice(1)));
      if (found && (link.matches(":hover") || link === document.activeElement)) show(link, copy(found, address.href));
    });
  }

  // ------------------------------------------------------------------ symbols
  let symbols = null;
  const words = /\\(?:text|operatorname|mathrm|label|begin|end)\s*\{[^{}]*\}/g; // no symbols in these
  const tokens = (tex) => tex.replace(words, " ").match(/\\[a-zA-Z]+|\\.|[^\s{}]/g) || [];

  function within(part, all) {
    return part.length > 0 && all.some((_, start) => part.every((token, n) => all[start + n] === token));
  }

  function explain(formula) {
    const all = tokens(formula.parentElement.dataset.tex || "");
    const load = symbols || fetch(`${root}_static/symbols.json`).then((answer) => answer.json());
    symbols = load;
    Promise.resolve(load).then(function (known) {
      const found = (row) => row.set.filter((_, n) => within(tokens(row.symbols[n]), all));
      const rows = known.map((row) => ({ ...row, set: found(row) })).filter((row) => row.set.length);
      if (!rows.length || !formula.matches(":hover")) return;
      const list = document.createElement("dl");
      list.className = "symbols";
      for (const row of rows.slice(0, 8)) {
        const name = document.createElement("dt");
        name.innerHTML = row.set.join(", ");
        const meaning = document.createElement("dd");
        meaning.innerHTML = row.meaning;
        list.append(name, meaning);
      }
      show(formula, list);
    });
  }

  document.addEventListener("mouseover", function (event) {
    const link = event.target.closest && event.target.closest("article.bd-article a.reference.internal[href*='#']");
    const formula = event.target.closest && event.target.closest("article.bd-article mjx-container");
    const over = link || (formula && !formula.closest("a") ? formula : null);
    if (!over || over === owner) return;
    later(() => (link ? preview(link) : explain(formula)), link ? REST : LONGER);
    over.addEventListener("mouseleave", () => later(close, 250), { once: true });
  });
  document.addEventListener("focusin", function (event) {
    const link = event.target.closest("article.bd-article a.reference.internal[href*='#']");
    if (link && link.matches(":focus-visible")) later(() => preview(link), REST);
  });
  document.addEventListener("focusout", close);
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
})();
