// A formula that is wider than what surrounds it scrolls within itself, and only then can the Tab key reach it.
(function () {
  "use strict";
  const SIGN = /^[=<>≤≥≈≠∼∝≡≪≫→←↦⇒⇔−+±]$/;

  // Cuts an inline formula before its relations and sums that stand in no brackets; CSS lets it break there. The MathML
  // beside the letters, part by part the same, says what each part is.
  function fold(formula) {
    const drawn = formula.querySelector("mjx-math");
    const written = formula.querySelector("math");
    const [parts, meant] = [drawn, written].map((whole) => (whole ? [...whole.children] : []));
    if (parts.length !== meant.length || formula.classList.contains("folds")) return;
    let depth = 0;
    let group = null;
    meant.forEach(function (part, i) {
      const text = part.textContent;
      if (!group || (i > 0 && depth === 0 && SIGN.test(text))) {
        group = document.createElement("span");
        group.className = "part";
        parts[i].before(group);
      }
      group.append(parts[i]);
      depth += (text.match(/[([{]/g) || []).length - (text.match(/[)\]}]/g) || []).length;
    });
    formula.classList.add("folds");
    const sign = formula.parentElement.nextSibling;
    if (!formula.closest(".nobreak") || !sign || sign.nodeType !== Node.TEXT_NODE) return;
    const kept = document.createElement("span"); // the full stop stays on the line of the last part
    kept.textContent = sign.data;
    group.append(kept);
    sign.remove();
  }

  const BLOCKS = "p, li, td, th, dd, dt, figcaption, h1, h2, h3";
  const widthOf = (part) => part.getBoundingClientRect().width;
  const tooWide = (formula) => Math.max(...[...formula.querySelectorAll(".part")].map(widthOf)) > widthOf(formula.closest(BLOCKS));

  // Everything is read before anything is written: else the browser lays the page out anew for every formula.
  function measure() {
    const all = (what) => [...document.querySelectorAll(what)];
    const formulas = all(".bd-article mjx-container").map(function (formula) {
      const display = formula.hasAttribute("display");
      const block = display ? null : formula.closest(BLOCKS);
      const wide = block && widthOf(formula.querySelector("mjx-math")) > widthOf(block); // of the letters: the rest shrinks
      return { formula, wide, slides: (display || wide) && formula.scrollWidth > formula.clientWidth };
    });
    const still = all(".bd-article pre[tabindex]").filter((code) => code.scrollWidth <= code.clientWidth + 1);
    const pictures = all(".bd-article figure a.image-reference > img").map(function (picture) {
      return { link: picture.parentElement, shrunk: picture.clientWidth < 0.85 * parseFloat(picture.style.width) };
    });
    const folded = formulas.filter(({ wide }) => wide).map(({ formula }) => formula);
    folded.forEach(fold);
    for (const entry of formulas) {
      if (entry.formula.classList.contains("folds")) entry.wide = entry.slides = tooWide(entry.formula);
    }
    for (const { formula, wide, slides } of formulas) {
      formula.classList.toggle("scrolls", Boolean(wide));
      if (wide || slides) formula.tabIndex = 0;
      else formula.removeAttribute("tabindex");
    }
    // The theme made what scrolls a tab stop when the page's own letters, narrower than others, had not arrived yet.
    for (const code of still) code.removeAttribute("tabindex");
    // A figure leads to its picture; the Tab key stops at it only where it is shown much smaller than it was drawn.
    for (const { link, shrunk } of pictures) link.tabIndex = shrunk ? 0 : -1;
    // Who moves by the Tab key goes from link to link: what copies a cell is for the mouse.
    for (const button of all("button.copybtn")) button.tabIndex = -1;
  }
  let waiting;
  function soon() {
    clearTimeout(waiting);
    waiting = setTimeout(() => (window.requestIdleCallback || setTimeout)(measure), 250);
  }
  window.addEventListener("load", function () {
    soon();
    document.fonts.ready.then(soon);
    window.addEventListener("resize", soon);
    document.addEventListener("toggle", soon, true); // what was folded away had no width
    document.addEventListener("click", (event) => event.target.closest(".admonition-title, .toggle-button") && soon());
  });
})();

// Paper is white: a page that is dark on the screen is printed in the light colours.
(function () {
  "use strict";
  const root = document.documentElement;
  let shown = null;
  window.addEventListener("beforeprint", function () {
    shown = root.dataset.theme;
    root.dataset.theme = "light";
  });
  window.addEventListener("afterprint", function () {
    if (shown !== null) root.dataset.theme = shown;
  });
})();

// A film is a figure, of a cell tagged film-6x4, whose picture holds its frames in 6 columns and 4 rows. Here one frame
// shows at a time, above a slider; print, and a reader without scripts, keep the whole strip.
(function () {
  "use strict";
  const PAD = 0.06 * 180; // pixels of white around every stored figure: inches times dots per inch

  function film(cell) {
    const [columns, rows] = cell.className.match(/tag_film-(\d+)x(\d+)/).slice(1).map(Number);
    const image = cell.querySelector(".cell_output img");
    const link = image.closest("a") || image;
    const [across, down] = ["width", "height"].map((side) => Number(image.getAttribute(side))); // it may not be there yet
    const shade = PAD / across;
    const frames = columns * rows;
    const height = (down / across - 2 * shade) / rows; // of a frame, in widths of the strip
    const width = (1 - 2 * shade) / columns;

    const pane = document.createElement("div");
    pane.className = "film-window";
    pane.style.aspectRatio = `${width} / ${height}`;
    const picture = image.cloneNode();
    picture.style.cssText = `width: ${100 / width}%; max-width: none;`;
    pane.append(picture);

    const bar = document.createElement("div");
    bar.className = "film-bar";
    const button = document.createElement("button");
    button.type = "button";
    const slider = document.createElement("input");
    Object.assign(slider, { type: "range", min: 0, max: frames - 1, step: 1, value: 0 });
    slider.setAttribute("aria-label", "Frame of the film");
    const place = document.createElement("output");
    bar.append(button, slider, place);
    link.after(pane, bar);
    link.classList.add("film-strip");

    let timer = null;
    function show() {
      const frame = Number(slider.value);
      const x = shade + (frame % columns) * width;
      const y = shade + Math.floor(frame / columns) * height;
      picture.style.transform = `translate(${-100 * x}%, ${(-100 * y * across) / down}%)`;
      place.textContent = `${frame + 1} of ${frames}`;
    }
    function stop() {
      clearInterval(timer);
      timer = null;
      button.textContent = "Play";
    }
    button.addEventListener("click", function () {
      if (timer !== null) return stop();
      if (Number(slider.value) === frames - 1) slider.value = 0;
      button.textContent = "Pause";
      timer = setInterval(function () {
        slider.value = Number(slider.value) + 1;
        show();
        if (Number(slider.value) === frames - 1) stop();
      }, 120);
    });
    slider.addEventListener("input", function () {
      stop();
      show();
    });
    stop();
    show();
  }

  window.addEventListener("load", function () {
    for (const cell of document.querySelectorAll('.cell[class*="tag_film-"]')) film(cell);
  });
})();
