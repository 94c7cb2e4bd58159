"use strict";
// Draws each figure from the JSON beside it, in the colours of the page, light or dark.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const mouse = window.matchMedia("(hover: hover) and (pointer: fine)");
  const narrow = window.matchMedia("(max-width: 40rem)");

  const colours = (plot) => {
    const style = getComputedStyle(document.documentElement);
    const [ink, line, paper] = ["--ink", "--line", "--paper"].map((name) => style.getPropertyValue(name).trim());
    const change = { "font.color": ink, "hoverlabel.bgcolor": paper, "hoverlabel.font.color": ink };
    for (const axis of ["xaxis", "yaxis"]) {
      change[`${axis}.gridcolor`] = line;
      change[`${axis}.linecolor`] = line;
    }
    (plot.layout.annotations || []).forEach((_, index) => {
      change[`annotations[${index}].bgcolor`] = paper;
    });
    change["font.size"] = narrow.matches ? 11 : 14;
    return change;
  };

  const plots = [...document.querySelectorAll("script.figure")].map((script) => {
    const { data, layout } = JSON.parse(script.textContent);
    const plot = document.getElementById(script.dataset.for);
    layout.dragmode = mouse.matches ? "zoom" : false; // a finger scrolls the page
    const config = { responsive: true, displayModeBar: false };
    return Plotly.newPlot(plot, data, layout, config).then(() => plot);
  });
  const follow = () => plots.forEach((plot) => plot.then((drawn) => Plotly.relayout(drawn, colours(drawn))));
  follow();
  dark.addEventListener("change", follow);
  narrow.addEventListener("change", follow);
})();
