/* Copyright: the XDR developers. GNU General Public License v3.0+ (see LICENSE)
   Draws a plan's replication_lag over time. Without it the page's sentences say the same. */
"use strict";

(() => {
  const EVERY = 60000; // ms between two fetches
  const HEIGHT = 220;
  const place = document.getElementById("lag-chart");
  const buttons = [...document.querySelectorAll("#lag .spans button")];
  if (!place || !buttons.length) return;
  const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const units = (value, steps, last) => {
    for (const [size, unit] of steps) {
      if (Math.abs(value) < size) return `${+value.toFixed(1)} ${unit}`;
      value /= size;
    }
    return `${+value.toFixed(1)} ${last}`;
  };
  const seconds = (value) => (value == null ? "unknown" : units(value, [[60, "s"], [60, "min"], [24, "h"]], "d"));
  const size = (value) => (value == null ? "unknown" : units(value, [[1024, "B"], [1024, "KiB"], [1024, "MiB"], [1024, "GiB"]], "TiB"));
  const shown = (told) => (_, value, __, index) => (index == null ? "–" : told(value));
  const two = (number) => String(number).padStart(2, "0");
  const moments = (_, ticks, __, ___, step) =>
    ticks.map((tick) => {
      const at = new Date(tick * 1000);
      const midnight = at.getHours() === 0 && at.getMinutes() === 0;
      return step >= 86400 || midnight ? `${two(at.getMonth() + 1)}-${two(at.getDate())}` : `${two(at.getHours())}:${two(at.getMinutes())}`;
    });
  let chart = null;
  let hours = buttons[0].dataset.hours;

  const options = (told) => {
    const ink = tone("--idle");
    const axis = { stroke: ink, grid: { stroke: tone("--idle-ground"), width: 1 }, ticks: { stroke: ink, width: 1 } };
    return {
      width: place.clientWidth,
      height: HEIGHT,
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: { min: told.since, max: told.until },
        age: { range: (_, __, most) => [0, Math.max(told.rpo, most || 0) * 1.1] },
        bytes: { range: (_, __, most) => [0, Math.max(1, most || 0) * 1.1] },
      },
      axes: [
        { ...axis, values: moments },
        { ...axis, scale: "age", values: (_, ticks) => ticks.map(seconds), size: 70 },
        { ...axis, scale: "bytes", side: 1, grid: { show: false }, values: (_, ticks) => ticks.map(size), size: 80 },
      ],
      series: [
        { label: "at", value: shown((at) => new Date(at * 1000).toLocaleString()) },
        { label: "age of the last consistent point", scale: "age", stroke: tone("--busy"), width: 2, value: shown(seconds) },
        { label: "bytes to be sent", scale: "bytes", stroke: tone("--warn"), width: 1, dash: [5, 3], value: shown(size) },
        { label: "RPO", scale: "age", stroke: tone("--bad"), width: 1, dash: [2, 4], points: { show: false }, value: () => seconds(told.rpo) },
      ],
    };
  };

  // a gap is told from a long pause between two looks by its width
  const columns = (told) => {
    const { at, age, bytes } = { at: [], age: [], bytes: [] };
    const gap = Math.max(120, ((told.until - told.since) / 600) * 3);
    told.at.forEach((moment, index) => {
      if (index && moment - told.at[index - 1] > gap) {
        at.push(told.at[index - 1] + 1);
        age.push(null);
        bytes.push(null);
      }
      at.push(moment);
      age.push(told.age[index]);
      bytes.push(told.bytes[index]);
    });
    const ends = [told.since, ...at, told.until];
    return [ends, [null, ...age, null], [null, ...bytes, null], ends.map(() => told.rpo)];
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
