/* Copyright: the XDR developers. GNU General Public License v3.0+ (see LICENSE)
   Makes the editor of a plan handier: numbers beside new lines at once, problems lead to their place, groups are dragged. All of it works without. */
"use strict";

(() => {
  const form = document.querySelector("form.edit");
  const text = document.getElementById("text");

  // -- nothing that was typed is lost by a click elsewhere
  const typed = JSON.stringify([...new FormData(form)]);
  let sent = false;
  const unsaved = () => form.dataset.unsaved === "yes" || JSON.stringify([...new FormData(form)]) !== typed;
  form.addEventListener("submit", () => { sent = true; });
  window.addEventListener("pageshow", () => { sent = false; });
  window.addEventListener("beforeunload", (event) => {
    if (!sent && unsaved()) event.preventDefault();
  });

  // -- the text: numbers of lines, problems, what the schema says of the field
  const number = (line) => {
    const element = document.createElement("span");
    element.id = `L${line}`;
    element.textContent = line;
    return element;
  };
  const count = () => {
    const lines = text.value.split("\n").length, gutter = document.getElementById("gutter");
    while (gutter.childElementCount > lines) gutter.lastElementChild.remove();
    while (gutter.childElementCount < lines) gutter.append(number(gutter.childElementCount + 1));
    text.rows = lines;
  };
  const help = () => {
    const line = text.value.slice(0, text.selectionStart).split("\n").length;
    const said = document.getElementById(`L${line}`)?.title || "";
    const shown = document.getElementById("field-help");
    shown.textContent = said ? `line ${line}: ${said}` : "";
    shown.hidden = !said;
  };
  if (text) {
    text.addEventListener("input", count);
    document.addEventListener("selectionchange", () => { if (document.activeElement === text) help(); });
    document.addEventListener("htmx:afterSettle", () => { count(); help(); });
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-line]");
      if (!link) return;
      event.preventDefault();
      const lines = text.value.split("\n"), line = Number(link.dataset.line) - 1;
      const start = lines.slice(0, line).reduce((sum, each) => sum + each.length + 1, 0);
      document.getElementById(`L${line + 1}`)?.scrollIntoView({ block: "center" });
      text.focus({ preventScroll: true });
      text.setSelectionRange(start + Number(link.dataset.column) - 1, start + (lines[line] || "").length);
    });
    count();
  }

  // -- the priorities: rows are moved, the numbers stay in their places
  const body = document.querySelector("table.priorities tbody");
  if (!body || !body.querySelector("[draggable]")) return;
  const rows = () => [...body.querySelectorAll("tr[data-group]")];
  const input = (row) => row.querySelector("input");
  const ends = () => rows().forEach((row, index, all) => {
    const [up, down] = row.querySelectorAll("button");
    up.disabled = index === 0;
    down.disabled = index === all.length - 1;
  });
  const move = (row, before) => {
    const numbers = rows().map((each) => Number(input(each).value)).sort((a, b) => a - b);
    body.insertBefore(row, before);
    rows().forEach((each, index) => { input(each).value = numbers[index]; });
    ends();
    htmx.trigger(form, "xdr:moved");
  };
  const step = (row, by) => {
    const all = rows(), there = all.indexOf(row) + by;
    if (there < 0 || there >= all.length) return;
    move(row, by < 0 ? all[there] : all[there].nextElementSibling);
  };
  body.addEventListener("click", (event) => {
    const button = event.target.closest("button[name=move]");
    if (!button) return;
    event.preventDefault();
    const row = button.closest("tr");
    step(row, button.value.startsWith("up:") ? -1 : 1);
    (button.disabled ? [...row.querySelectorAll("button")].find((each) => !each.disabled) : button)?.focus();
  });
  body.addEventListener("keydown", (event) => {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const button = event.target.closest("button[name=move]");
    if (!by || !button) return;
    event.preventDefault();
    step(button.closest("tr"), by);
    button.disabled ? [...button.closest("tr").querySelectorAll("button")].find((each) => !each.disabled)?.focus() : button.focus();
  });
  let held = null;
  body.addEventListener("dragstart", (event) => {
    held = event.target.closest("tr");
    event.dataTransfer.effectAllowed = "move";
  });
  body.addEventListener("dragover", (event) => { if (held) event.preventDefault(); });
  body.addEventListener("drop", (event) => {
    const over = event.target.closest("tr[data-group]");
    if (!held || !over || over === held) return;
    event.preventDefault();
    const all = rows();
    move(held, all.indexOf(over) < all.indexOf(held) ? over : over.nextElementSibling);
  });
  body.addEventListener("dragend", () => { held = null; });
  body.addEventListener("change", () => { // a number was typed: the rows take its order
    const order = rows().sort((a, b) => Number(input(a).value) - Number(input(b).value));
    const focused = document.activeElement;
    order.forEach((row) => body.append(row));
    focused.focus();
    ends();
  });
})();
