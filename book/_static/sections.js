// Finds the place in a page: the search leads to the section that has the words, and to "Theorem 1.13" by its number;
// the contents beside a page mark the section on the screen.
(function () {
  "use strict";
  const root = document.documentElement.dataset.content_root || "";

  // ------------------------------------------------------------------- search
  const results = document.getElementById("search-results");
  const query = new URLSearchParams(location.search).get("q") || "";
  const words = query.toLowerCase().split(/[^\p{L}\p{N}]+/u).filter((word) => word.length > 2);

  function best(doc) {
    let found = null;
    for (const section of doc.querySelectorAll("article section[id]")) {
      const own = section.cloneNode(true);
      own.querySelectorAll("section, script, .headerlink").forEach((part) => part.remove());
      const text = own.textContent.toLowerCase();
      const title = section.querySelector(":scope > h1, :scope > h2, :scope > h3, :scope > h4");
      if (!title) continue;
      const heading = title.textContent.replace(/\\[()]/g, "").trim();
      const has = words.filter((word) => text.includes(word));
      const often = has.reduce((sum, word) => sum + Math.min(text.split(word).length - 1, 20), 0);
      const named = words.filter((word) => heading.toLowerCase().includes(word)).length;
      const score = 100 * has.length + 30 * named + often;
      if (has.length && (!found || score > found.score)) found = { id: section.id, heading, score };
    }
    return found;
  }

  function lead(item) {
    const link = item.querySelector("a");
    if (!link || link.hash || item.dataset.led) return;
    item.dataset.led = "yes";
    fetch(link.href)
      .then((answer) => answer.text())
      .then(function (text) {
        const found = best(new DOMParser().parseFromString(text, "text/html"));
        if (!found) return;
        link.hash = found.id;
        const name = found.heading.replace(/#$/, "").trim();
        if (name && name !== link.textContent.trim()) link.append(` › ${name}`);
      });
  }

  // The passage that a result shows: the first that has a word of the query. Sphinx would take the menus of the page too,
  // and formulas and code in one line. A formula keeps its letters where they stand in a row; code shows one line.
  const PASSAGES = "p, li, dt, dd, figcaption, td";
  const FAR = "mfrac, msup, msub, msubsup, munder, mover, munderover, mtable, msqrt";

  function passage(html, keywords) {
    const page = new DOMParser().parseFromString(html, "text/html").querySelector("article");
    if (!page) return null;
    page.querySelectorAll("script, style, button, .headerlink, .check-link").forEach((part) => part.remove());
    for (const formula of page.querySelectorAll(".math")) {
      const written = formula.querySelector("math");
      formula.textContent = written && !written.querySelector(FAR) ? written.textContent : "…";
    }
    const sought = [...query.split(/\s+/), ...keywords].filter(Boolean).map((word) => word.toLowerCase()); // and stems
    const line = (part) => part.textContent.replace(/\s+/g, " ").trim();
    const has = (text) => sought.some((word) => text.toLowerCase().includes(word));
    const prose = [...page.querySelectorAll(PASSAGES)].filter((part) => !part.querySelector(`${PASSAGES}, pre`));
    const code = () => [...page.querySelectorAll("pre")].flatMap((part) => part.textContent.split("\n")).find(has);
    const text = prose.map(line).find(has) || (code() || "").trim() || line(page.querySelector("p") || page);
    const at = Math.max(0, ...sought.map((word) => text.toLowerCase().indexOf(word)));
    const from = at < 160 ? 0 : text.indexOf(" ", at - 100) + 1;
    const to = text.length - from < 260 ? text.length : text.lastIndexOf(" ", from + 240);
    const summary = document.createElement("p");
    summary.className = "context";
    summary.textContent = (from ? "… " : "") + text.slice(from, to) + (to < text.length ? " …" : "");
    return summary;
  }
  if (results && typeof Search !== "undefined") Search.makeSearchSummary = passage;

  const KIND = "theorem|definition|proposition|lemma|corollary|example|exercise|figure|table|equation|section";
  const asked = query.toLowerCase().match(new RegExp(`(${KIND})s?\\s*\\(?(\\d+(?:\\.\\d+)*)`));

  function numbered() {
    if (!asked) return;
    fetch(`${root}_static/numbers.json`)
      .then((answer) => answer.json())
      .then(function (numbers) {
        const found = numbers[`${asked[1]} ${asked[2]}`];
        if (!found) return;
        const line = document.createElement("p");
        line.className = "numbered";
        const link = line.appendChild(document.createElement("a"));
        link.href = root + found[0];
        link.textContent = found[1];
        results.prepend(line);
      });
  }

  if (results && query) {
    numbered();
    new MutationObserver(() => results.querySelectorAll("ul.search > li").forEach(lead)).observe(results, {
      childList: true,
      subtree: true,
    });
    results.querySelectorAll("ul.search > li").forEach(lead);
  }

  // ----------------------------------------------------------------- contents
  const links = new Map();
  for (const link of document.querySelectorAll(".bd-toc a.nav-link[href^='#']")) {
    const section = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (section) links.set(section, link);
  }
  let last = null;
  // The list of a long page is longer than the screen: it moves with the text, so that the mark stays in sight.
  function follow(link) {
    const list = link.closest(".bd-sidebar-secondary");
    const { top, bottom } = list.getBoundingClientRect();
    const spot = link.getBoundingClientRect();
    const middle = (top + Math.min(bottom, innerHeight)) / 2;
    if (spot.top < top + 48 || spot.bottom > Math.min(bottom, innerHeight) - 48) list.scrollTop += spot.top - middle;
  }
  function mark() {
    let current = null;
    for (const section of links.keys()) if (section.getBoundingClientRect().top < 120) current = section;
    for (const [section, link] of links) {
      link.classList.toggle("here", section === current);
      if (section === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    if (current && current !== last) follow(links.get(current));
    last = current;
  }
  let waiting = false;
  function soon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(function () {
      waiting = false;
      mark();
    });
  }
  if (links.size) {
    addEventListener("scroll", soon, { passive: true });
    addEventListener("hashchange", () => setTimeout(mark, 50));
    mark();
  }
})();
