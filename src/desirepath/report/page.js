"use strict";
(function () {
  const looks = JSON.parse(document.getElementById("templates").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const parts = Array.from(document.querySelectorAll("script.figure")).map(function (node) {
    return { div: document.getElementById(node.dataset.plot), figure: JSON.parse(node.textContent) };
  });
  function draw() {
    for (const part of parts) {
      const layout = Object.assign({}, part.figure.layout, { template: dark.matches ? looks.dark : looks.light });
      Plotly.react(part.div, part.figure.data, layout, {
        responsive: true,
        displaylogo: false,
        modeBarButtons: [["toImage", "resetScale2d"]],
      });
    }
  }
  draw();
  dark.addEventListener("change", draw);
})();
