/* Copyright: the XDR developers. GNU General Public License v3.0+ (see LICENSE)
   Keeps pages up to date: hints make a part fetch itself again, the log appends its lines, ages go on. All of it works without, by loading again. */
"use strict";

(() => {
  const RETRY = 5000; // ms until a stream that ended is opened again
  const SILENT = 12000; // ms without a sign of life after which a stream counts as broken; the portal gives one every 5 s
  const CALM = 400; // ms in which several hints are one
  const LONGEST = 6000; // lines of a log
  const clock = Number(document.body.dataset.now) - Date.now() / 1000; // the portal's clock may be another
  const pane = document.getElementById("log");

  // -- what a person typed, opened or chose stays as it is when a part is fetched again
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) =>
    !((name === "value" || name === "checked") && element.matches("input:not([type=hidden]), select, textarea")) &&
    !(name === "open" && element.tagName === "DETAILS") &&
    !(name === "aria-current" && element.matches("a.resource"));

  // -- parts that fetch themselves again
  const waiting = new Map();
  const refresh = (element) => {
    if (waiting.has(element)) return;
    waiting.set(element, setTimeout(() => {
      waiting.delete(element);
      if (element.isConnected) htmx.trigger(element, "xdr:refresh");
    }, CALM));
  };
  const live = () => document.querySelectorAll("[data-live]");
  const hinted = (topics) => {
    for (const element of live()) {
      if (topics === "all" || element.dataset.live.split(" ").some((topic) => topics.split(" ").includes(topic))) refresh(element);
    }
  };

  // -- while a stream is down, what a live part shows may be old: its buttons wait until it was fetched again, but for the safe ones
  const lost = new Set();
  const old = new Set(); // parts that have to be fetched before the page is fresh
  const offline = document.getElementById("offline");
  const isStale = () => lost.size > 0 || old.size > 0;
  const held = () => {
    const stale = isStale();
    offline.hidden = !stale;
    for (const button of document.querySelectorAll("[data-live] form button:not([data-safe])")) {
      if (stale) {
        button.setAttribute("aria-disabled", "true");
        button.dataset.stale = "yes";
      } else if (button.dataset.stale) {
        button.removeAttribute("aria-disabled");
        delete button.dataset.stale;
      }
    }
  };
  const catchUp = () => {
    for (const element of live()) {
      old.add(element.id);
      htmx.trigger(element, "xdr:refresh");
    }
  };
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    if (detail.successful) old.delete(detail.elt.id);
    else if (old.has(detail.elt.id)) setTimeout(() => lost.size || htmx.trigger(detail.elt, "xdr:refresh"), RETRY);
    held();
  });
  document.addEventListener("htmx:afterSettle", () => isStale() && held());
  const told = (name, broken) => {
    const before = lost.has(name);
    broken ? lost.add(name) : lost.delete(name);
    if (before && lost.size === 0) catchUp();
    held();
  };
  const heard = (at) => { // "last event N s ago", in the banner and above a log
    for (const place of document.querySelectorAll("#last-event, #last-heard")) {
      const time = place.querySelector("time") || place.appendChild(document.createElement("time"));
      if (place.firstChild !== time) place.replaceChildren(time);
      time.dataset.at = at;
    }
  };

  // -- streams
  let leaving = false;
  const follow = (name, address, listeners) => {
    const source = new EventSource(address());
    let sign = Date.now();
    const again = () => {
      clearInterval(watch);
      source.close();
      setTimeout(() => follow(name, address, listeners), RETRY);
    };
    const watch = setInterval(() => { // a link that broke without a word
      if (source.readyState === EventSource.CLOSED) clearInterval(watch);
      else if (Date.now() - sign > SILENT) {
        told(name, true);
        again();
      }
    }, 1000);
    source.onopen = () => {
      sign = Date.now();
      told(name, false);
    };
    source.onerror = () => {
      if (leaving) return;
      sign = Date.now();
      told(name, true);
      if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself, with the last number
      hinted("all"); // where the session has ended, this leads to the login page
      again();
    };
    for (const [kind, listener] of Object.entries({ beat: () => {}, ...listeners })) {
      source.addEventListener(kind, (message) => {
        sign = Date.now();
        listener(message, source);
      });
    }
  };

  const changes = () => {
    let seen = document.body.dataset.seen;
    if (!seen) return;
    follow("changes", () => `/stream?seen=${seen}`, {
      hint: (message) => {
        seen = message.lastEventId || seen;
        if (!pane) heard(Date.now() / 1000 + clock);
        hinted(message.data);
      },
    });
  };

  // -- the log
  const MARKS = { fail: "✖ ", warn: "▲ " };
  const part = (tag, text, name) => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (name) element.className = name;
    return element;
  };
  const hides = (row) => Boolean(pane.dataset.only) && !row.dataset.about.split(" ").includes(pane.dataset.only);
  const row = (line) => {
    const element = document.createElement("li");
    element.id = `e${line.seq}`;
    element.className = line.level;
    element.dataset.about = line.about.join(" ");
    element.hidden = hides(element);
    const time = part("time", line.clock);
    time.dateTime = new Date(line.at * 1000).toISOString();
    time.title = line.utc;
    element.append(time, " ", part("span", line.host, "host"), " ", part("span", (MARKS[line.level] || "") + line.text, "text"));
    return element;
  };
  const only = (name) => {
    pane.dataset.only = name;
    for (const each of pane.children) each.hidden = hides(each);
    for (const link of document.querySelectorAll("a.resource")) {
      link.dataset.resource === name ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
    }
    const title = document.getElementById("log-of");
    title.hidden = !name;
    title.querySelector("strong").textContent = name;
    history.replaceState(null, "", name ? `?resource=${encodeURIComponent(name)}` : location.pathname);
    pane.scrollTop = pane.scrollHeight;
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a.resource, #log-of a");
    if (!link || !pane || pane.dataset.whole !== "yes" || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const name = link.dataset.resource || "";
    only(name === pane.dataset.only ? "" : name);
  });

  const log = () => {
    let after = Number(pane.dataset.after);
    const board = document.getElementById("board");
    const append = (line) => {
      if (line.seq <= after) return;
      after = line.seq;
      const bottom = pane.scrollHeight - pane.scrollTop - pane.clientHeight < 30;
      pane.append(row(line));
      while (pane.childElementCount > LONGEST) pane.firstElementChild.remove();
      if (bottom) pane.scrollTop = pane.scrollHeight;
      heard(line.at);
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
    for (const element of document.querySelectorAll("[data-over]")) element.hidden = leftUntil(element.dataset.over) > 0;
  };

  // -- forms: ask once more where services stop, and take one click
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (button?.dataset.stale) {
      event.preventDefault();
      return;
    }
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

  if (pane) log();
  changes();
  setInterval(tick, 1000);
})();
