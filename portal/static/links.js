/* Copyright: the XDR developers. GNU General Public License v3.0+ (see LICENSE)
   Draws round trip and throughput of a way between two sites over time. Without it the page's table says the same. */
"use strict";

(() => {
  const EVERY = 60000; // ms between two fetches
  const place = document.getElementById("links-chart");
  const way = document.getElementById("links-way");
  const buttons = [...document.querySelectorAll("#links .spans button")];
  if (!place || !way || !buttons.length) return;
  const { HEIGHT, tone, size, shown, moments } = xdrChart;
  const ms = (value) => (value == null ? "unknown" : `${+value.toFixed(1)} ms`);
  const rate = (value) => (value == null ? "not measured" : `${size(value)}/s`);
  let chart = null;
  let hours = buttons[0].dataset.hours;

  const options = (told) => {
    const { times, at, ...base } = xdrChart.base(place, told);
    const axis = xdrChart.axis();
    const fromNothing = { range: (_, __, most) => [0, Math.max(1, most || 0) * 1.1] };
    return {
      ...base,
      scales: { x: times, latency: fromNothing, throughput: fromNothing },
      axes: [
        { ...axis, values: moments },
        { ...axis, scale: "latency", values: (_, ticks) => ticks.map(ms), size: 70 },
        { ...axis, scale: "throughput", side: 1, grid: { show: false }, values: (_, ticks) => ticks.map(rate), size: 90 },
      ],
      series: [
        at,
        { label: "round trip", scale: "latency", stroke: tone("--busy"), width: 2, value: shown(ms) },
        { label: "throughput", scale: "throughput", stroke: tone("--warn"), width: 1, dash: [5, 3], spanGaps: true, value: shown(rate) },
      ],
    };
  };

  const draw = async () => {
    const { from, to } = way.selectedOptions[0].dataset;
    const query = new URLSearchParams({ from, to, hours });
    let told;
    try {
      const answer = await fetch(`/sites/${encodeURIComponent(place.dataset.site)}/links?${query}`);
      if (!answer.ok) return;
      told = await answer.json();
    } catch {
      return; // the next one may get through
    }
    chart?.destroy();
    chart = told.at.length ? new uPlot(options(told), xdrChart.columns(told, ["latency", "throughput"], 240), place) : null;
  };

  for (const button of buttons) {
    button.addEventListener("click", () => {
      hours = button.dataset.hours;
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      draw();
    });
  }
  way.addEventListener("change", draw);
  buttons[0].parentElement.hidden = false;
  addEventListener("resize", () => chart?.setSize({ width: place.clientWidth, height: HEIGHT }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  setInterval(() => document.hidden || draw(), EVERY);
  draw();
})();
