/* Copyright: the XDR developers. GNU General Public License v3.0+ (see LICENSE)
   Keeps pages up to date: hints make a part fetch itself again, the log appends its lines, ages go on. All of it works without, by loading again. */
"use strict";

(() => {
  const RETRY = 5000; // ms until a stream that ended is opened again
  const CALM = 400; // ms in which several hints are one
  const LONGEST = 6000; // lines of a log
  const clock = Number(document.body.dataset.now) - Date.now() / 1000; // the portal's clock may be another

  // -- what a person typed or opened stays as it is when a part is fetched again
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) =>
    !((name === "value" || name === "checked") && element.matches("input:not([type=hidden]), select, textarea")) &&
    !(name === "open" && element.tagName === "DETAILS");

  // -- parts that fetch themselves again
  const waiting = new Map();
  const refresh = (element) => {
    if (waiting.has(element)) return;
    waiting.set(element, setTimeout(() => {
      waiting.delete(element);
      if (element.isConnected) htmx.trigger(element, "xdr:refresh");
    }, CALM));
  };
  const hinted = (topics) => {
    for (const element of document.querySelectorAll("[data-live]")) {
      if (topics === "all" || element.dataset.live.split(" ").some((topic) => topics.split(" ").includes(topic))) refresh(element);
    }
  };

  // -- streams
  const lost = new Set();
  const told = (name, broken) => {
    broken ? lost.add(name) : lost.delete(name);
    document.getElementById("offline").hidden = lost.size === 0;
  };
  let leaving = false;
  const follow = (name, address, listeners) => {
    const source = new EventSource(address());
    source.onopen = () => told(name, false);
    source.onerror = () => {
      if (leaving) return;
      told(name, true);
      if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself, with the last number
      hinted("all"); // where the session has ended, this leads to the login page
      setTimeout(() => follow(name, address, listeners), RETRY);
    };
    for (const [kind, listener] of Object.entries(listeners)) source.addEventListener(kind, (message) => listener(message, source));
    return source;
  };

  const changes = () => {
    let seen = document.body.dataset.seen;
    if (!seen) return;
    follow("changes", () => `/stream?seen=${seen}`, {
      hint: (message) => {
        seen = message.lastEventId || seen;
        hinted(message.data);
      },
    });
  };

  const MARKS = { fail: "✖ ", warn: "▲ " };
  const part = (tag, text, name) => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (name) element.className = name;
    return element;
  };
  const row = (line) => {
    const element = document.createElement("li");
    element.id = `e${line.seq}`;
    element.className = line.level;
    element.append(part("time", line.clock), " ", part("span", line.host, "host"), " ", part("span", (MARKS[line.level] || "") + line.text, "text"));
    return element;
  };

  const log = (pane) => {
    let after = Number(pane.dataset.after);
    const board = document.getElementById("board");
    const append = (line) => {
      if (line.seq <= after) return;
      after = line.seq;
      const bottom = pane.scrollHeight - pane.scrollTop - pane.clientHeight < 30;
      pane.append(row(line));
      while (pane.childElementCount > LONGEST) pane.firstElementChild.remove();
      if (bottom) pane.scrollTop = pane.scrollHeight;
    };
    pane.scrollTop = pane.scrollHeight;
    if (pane.dataset.over === "yes") return;
    follow("log", () => `${pane.dataset.stream}?after=${after}`, {
      log: (message) => {
        append(JSON.parse(message.data));
        refresh(board);
      },
      run: () => refresh(board),
      end: (message, source) => {
        source.close();
        refresh(board);
      },
    });
  };

  // -- ages; portal/web/pages.py says the same
  const ago = (passed) => {
    if (passed < 60) return `${passed} s ago`;
    const minutes = Math.floor(passed / 60), hours = Math.floor(passed / 3600);
    if (minutes < 60) return `${minutes} min ago`;
    return hours < 48 ? `${hours} h ${minutes % 60} min ago` : `${Math.floor(hours / 24)} days ago`;
  };
  const lasted = (passed) => {
    if (passed < 60) return `${passed} s`;
    const minutes = Math.floor(passed / 60), hours = Math.floor(minutes / 60);
    return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min ${passed % 60} s`;
  };
  const passedSince = (at) => Math.max(0, Math.round(Date.now() / 1000 + clock - Number(at)));
  const leftUntil = (at) => Math.max(0, Math.round(Number(at) - Date.now() / 1000 - clock));
  const tick = () => {
    for (const element of document.querySelectorAll("time[data-at]")) element.textContent = ago(passedSince(element.dataset.at));
    for (const element of document.querySelectorAll("time[data-until]")) element.textContent = lasted(leftUntil(element.dataset.until));
    for (const element of document.querySelectorAll("time[data-since]")) element.textContent = lasted(passedSince(element.dataset.since));
  };

  // -- forms: ask once more where services stop, and take one click
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (button?.dataset.confirm && !window.confirm(button.dataset.confirm)) {
      event.preventDefault();
      return;
    }
    setTimeout(() => { // not before the form's fields were read
      for (const each of event.target.querySelectorAll("button:not([disabled])")) {
        each.disabled = true;
        each.dataset.clicked = "yes";
      }
    });
  });
  window.addEventListener("pageshow", () => { // back from another page
    for (const each of document.querySelectorAll("button[data-clicked]")) each.disabled = false;
  });
  window.addEventListener("pagehide", () => { leaving = true; });

  const pane = document.getElementById("log");
  if (pane) log(pane);
  changes();
  setInterval(tick, 1000);
})();
