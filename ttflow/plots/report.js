// Draws each figure of the page once it can be seen: in a folded part it would have no width.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const config = { displaylogo: false, responsive: true, showSendToCloud: false };
  const drawn = new Set();
  const draw = (within) => {
    for (const place of within.querySelectorAll(".figure")) {
      if (drawn.has(place.id) || place.closest("details:not([open])")) continue;
      drawn.add(place.id);
      const { data, layout } = figures[place.id];
      Plotly.newPlot(place, data, layout, config);
    }
  };
  for (const part of document.querySelectorAll("details")) {
    part.addEventListener("toggle", () => draw(part));
  }
  draw(document);
})();
