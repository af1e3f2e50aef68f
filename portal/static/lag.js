/* Copyright: the XDR developers. GNU General Public License v3.0+ (see LICENSE)
   Draws a plan's replication_lag over time. Without it the page's sentences say the same. */
"use strict";

(() => {
  const EVERY = 60000; // ms between two fetches
  const place = document.getElementById("lag-chart");
  const buttons = [...document.querySelectorAll("#lag .spans button")];
  if (!place || !buttons.length) return;
  const { HEIGHT, tone, seconds, size, shown, moments } = xdrChart;
  let chart = null;
  let hours = buttons[0].dataset.hours;

  const options = (told) => {
    const { times, at, ...base } = xdrChart.base(place, told);
    const axis = xdrChart.axis();
    return {
      ...base,
      scales: {
        x: times,
        age: { range: (_, __, most) => [0, Math.max(told.rpo, most || 0) * 1.1] },
        bytes: { range: (_, __, most) => [0, Math.max(1, most || 0) * 1.1] },
      },
      axes: [
        { ...axis, values: moments },
        { ...axis, scale: "age", values: (_, ticks) => ticks.map(seconds), size: 70 },
        { ...axis, scale: "bytes", side: 1, grid: { show: false }, values: (_, ticks) => ticks.map(size), size: 80 },
      ],
      series: [
        at,
        { label: "age of the last consistent point", scale: "age", stroke: tone("--busy"), width: 2, value: shown(seconds) },
        { label: "bytes to be sent", scale: "bytes", stroke: tone("--warn"), width: 1, dash: [5, 3], value: shown(size) },
        { label: "RPO", scale: "age", stroke: tone("--bad"), width: 1, dash: [2, 4], points: { show: false }, value: () => seconds(told.rpo) },
      ],
    };
  };

  const columns = (told) => {
    const found = xdrChart.columns(told, ["age", "bytes"], 120);
    return [...found, found[0].map(() => told.rpo)];
  };

  const draw = async () => {
    let told;
    try {
      const answer = await fetch(`/plans/${encodeURIComponent(place.dataset.plan)}/lag?hours=${hours}`);
      if (!answer.ok) return;
      told = await answer.json();
    } catch {
      return; // the next one may get through
    }
    chart?.destroy();
    chart = told.at.length ? new uPlot(options(told), columns(told), place) : null;
  };

  for (const button of buttons) {
    button.addEventListener("click", () => {
      hours = button.dataset.hours;
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      draw();
    });
  }
  buttons[0].parentElement.hidden = false;
  addEventListener("resize", () => chart?.setSize({ width: place.clientWidth, height: HEIGHT }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  setInterval(() => document.hidden || draw(), EVERY);
  draw();
})();
