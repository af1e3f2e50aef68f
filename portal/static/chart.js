/* Copyright: the XDR developers. GNU General Public License v3.0+ (see LICENSE)
   What the charts of a page share: tones, units, the axis of time, and gaps where nobody looked. */
"use strict";

window.xdrChart = (() => {
  const HEIGHT = 220;
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
  const ink = () => tone("--idle");
  const axis = () => ({ stroke: ink(), grid: { stroke: tone("--idle-ground"), width: 1 }, ticks: { stroke: ink(), width: 1 } });
  const base = (place, told) => ({
    width: place.clientWidth,
    height: HEIGHT,
    cursor: { drag: { x: false, y: false } },
    times: { min: told.since, max: told.until },
    at: { label: "at", value: shown((at) => new Date(at * 1000).toLocaleString()) },
  });

  // a gap is told from a long pause between two looks by its width
  const columns = (told, names, shortest) => {
    const at = [];
    const rows = names.map(() => []);
    const gap = Math.max(shortest, ((told.until - told.since) / 600) * 3);
    told.at.forEach((moment, index) => {
      if (index && moment - told.at[index - 1] > gap) {
        at.push(told.at[index - 1] + 1);
        rows.forEach((row) => row.push(null));
      }
      at.push(moment);
      rows.forEach((row, number) => row.push(told[names[number]][index]));
    });
    return [[told.since, ...at, told.until], ...rows.map((row) => [null, ...row, null])];
  };
  return { HEIGHT, tone, seconds, size, shown, moments, axis, base, columns };
})();
