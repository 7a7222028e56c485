// Inline formulas cannot break over lines: one that is wider than its paragraph scrolls within itself.
(function () {
  "use strict";
  function measure() {
    for (const formula of document.querySelectorAll(".bd-article mjx-container:not([display])")) {
      formula.classList.remove("scrolls");
      const block = formula.closest("p, li, td, th, dd, dt, figcaption, h1, h2, h3");
      if (block && formula.getBoundingClientRect().width > block.getBoundingClientRect().width) {
        formula.classList.add("scrolls");
      }
    }
  }
  window.addEventListener("load", function () {
    if (!window.MathJax || !MathJax.startup || !MathJax.startup.promise) return;
    MathJax.startup.promise.then(measure);
    let waiting;
    window.addEventListener("resize", function () {
      clearTimeout(waiting);
      waiting = setTimeout(measure, 150);
    });
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
