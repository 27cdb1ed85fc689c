// Draws the map of the fleet: a cell for each key on a canvas that is as large as the window, whatever the
// number of cells. Only the cell that has the focus is an element: a link with a description, which the
// arrow keys move. Without this script the page has tables.
(function () {
  "use strict";

  var SIZE = 14, STEP = 16, PAD = 14, GAP = 6, TITLE = 30;
  var NAMES = ["unknown", "fresh", "aging", "warn", "old", "critical"];
  var KINDS = { c: "config servers", s: "shard", r: "replica set", p: "project" };
  var TASKS = ["", "waits for its turn", "turning", "waits for a person"];

  var box, canvas, link, tip, data, sprites = {}, colours = {};
  var xs, ys, heads, height, focused = 0, hovered = -1, width = 0, waiting = false, running = null;

  function $(id) { return document.getElementById(id); }

  // place works out where each cell is: sections with a title, clusters with a gap between them.
  function place() {
    width = box.clientWidth;
    var n = data.levels.length, group = box.dataset.group, cell = 0, x = PAD, y = PAD;
    xs = new Int32Array(n); ys = new Int32Array(n); heads = [];
    var right = width - PAD - SIZE, lastTarget = -1, lastProject = -1, rowHeight = 0;
    data.clusters.forEach(function (cluster) {
      var project = data.projects[cluster.p];
      var begins = group === "target" ? project.t !== lastTarget : cluster.p !== lastProject;
      if (begins) {
        if (cell > 0) { y += (group === "cluster" ? rowHeight : STEP) + GAP + 4; }
        var name = group === "target" ? data.targets[project.t] : project.n;
        var under = group === "target" || data.targets.length < 2 ? "" : data.targets[project.t];
        heads.push({ y: y, text: name, under: under, big: true });
        y += TITLE; x = PAD; rowHeight = 0;
      }
      lastTarget = project.t; lastProject = cluster.p;
      if (group === "cluster") {
        var across = Math.max(7, Math.min(cluster.c, Math.floor((width - 2 * PAD) / STEP)));
        var wide = across * STEP, high = Math.ceil(cluster.c / across) * STEP + 20;
        if (x > PAD && x + wide > width - PAD) { x = PAD; y += rowHeight + GAP; rowHeight = 0; }
        heads.push({ x: x, y: y, text: cluster.n, width: wide - 4 });
        for (var i = 0; i < cluster.c; i++, cell++) {
          xs[cell] = x + (i % across) * STEP; ys[cell] = y + 18 + Math.floor(i / across) * STEP;
        }
        x += wide + GAP * 2; rowHeight = Math.max(rowHeight, high);
        return;
      }
      if (group === "project" && x > PAD) { x += GAP; }
      for (var j = 0; j < cluster.c; j++, cell++) {
        if (x > right) { x = PAD; y += STEP; }
        xs[cell] = x; ys[cell] = y; x += STEP;
      }
    });
    height = y + (group === "cluster" ? rowHeight : STEP) + PAD;
    box.style.height = height + "px";
  }

  function readColours() {
    var style = getComputedStyle(document.documentElement);
    ["fresh", "aging", "warn", "old", "critical", "unknown", "line", "mark", "mark-critical"].forEach(function (name) {
      colours[name] = style.getPropertyValue("--lv-" + name).trim();
    });
    ["text", "soft", "surface", "busy"].forEach(function (name) { colours[name] = style.getPropertyValue("--" + name).trim(); });
    sprites = {};
  }

  // sprite draws one kind of cell once: what it looks like depends on its level and flags only.
  function sprite(level, flag) {
    var key = level + flag;
    if (sprites[key]) { return sprites[key]; }
    var ratio = window.devicePixelRatio || 1, s = document.createElement("canvas");
    s.width = s.height = Math.ceil(SIZE * ratio);
    var c = s.getContext("2d"), bits = flag.charCodeAt(0) - 65, name = NAMES[level];
    c.scale(ratio, ratio);
    c.beginPath(); c.roundRect(0, 0, SIZE, SIZE, 2); c.clip();
    c.fillStyle = colours[name]; c.fillRect(0, 0, SIZE, SIZE);
    c.strokeStyle = name === "unknown" ? colours.line : name === "critical" ? colours["mark-critical"] : colours.mark;
    c.lineWidth = name === "unknown" ? 1 : 1.6;
    ({ warn: [[3.5, 10.5, 10.5, 3.5]], old: [[2, 8.5, 8.5, 2], [5.5, 12, 12, 5.5]], critical: [[4, 4, 10, 10], [10, 4, 4, 10]],
      unknown: [[1, 7, 7, 1], [1, 13, 13, 1], [7, 13, 13, 7]] }[name] || []).forEach(function (l) {
      c.beginPath(); c.moveTo(l[0], l[1]); c.lineTo(l[2], l[3]); c.stroke();
    });
    if (name === "unknown") { c.lineWidth = 2; c.strokeRect(0, 0, SIZE, SIZE); }
    if (!(bits & 2)) {
      c.fillStyle = colours.surface; c.fillRect(4, 4, 6, 6);
      if (name === "unknown") { c.lineWidth = 1; c.strokeRect(4, 4, 6, 6); }
    }
    var task = bits >> 2;
    if (task) {
      c.strokeStyle = task === 3 ? colours.text : colours.busy; c.lineWidth = task === 3 ? 3 : 4;
      if (task === 1) { c.setLineDash([3, 2]); }
      c.strokeRect(0, 0, SIZE, SIZE);
    }
    if (task === 3) { c.fillStyle = colours.surface; c.fillRect(3.5, 3.5, 7, 7); c.fillStyle = colours.text; c.fillRect(4.6, 4.2, 1.7, 5.6); c.fillRect(7.7, 4.2, 1.7, 5.6); }
    sprites[key] = s;
    return s;
  }

  // draw draws what can be seen.
  function draw() {
    waiting = false;
    if (!data) { return; }
    var ratio = window.devicePixelRatio || 1, tall = Math.min(height, window.innerHeight);
    var w = Math.round(width * ratio), h = Math.round(tall * ratio);
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; canvas.style.height = tall + "px"; }
    var top = Math.min(Math.max(0, -box.getBoundingClientRect().top), height - tall), c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, tall);
    c.textBaseline = "top";
    var font = getComputedStyle(document.body).fontFamily;
    heads.forEach(function (head) {
      if (head.y + TITLE < top || head.y > top + tall) { return; }
      c.fillStyle = head.big ? colours.text : colours.soft;
      c.font = (head.big ? "600 14px " : "11px ") + font;
      if (head.big) {
        c.fillText(head.text, PAD, head.y - top + 6);
        if (head.under) {
          var at = PAD + c.measureText(head.text).width + 10;
          c.fillStyle = colours.soft; c.font = "13px " + font; c.fillText(head.under, at, head.y - top + 7);
        }
      } else {
        c.save(); c.beginPath(); c.rect(head.x, head.y - top, head.width, 18); c.clip();
        c.fillText(head.text, head.x, head.y - top + 3); c.restore();
      }
    });
    for (var i = 0; i < xs.length; i++) {
      var y = ys[i] - top;
      if (y > -SIZE && y < tall) { c.drawImage(sprite(data.levels[i], data.flags[i]), xs[i], y, SIZE, SIZE); }
    }
    if (hovered >= 0) {
      c.strokeStyle = colours.text; c.lineWidth = 2; c.strokeRect(xs[hovered] - 1, ys[hovered] - top - 1, SIZE + 2, SIZE + 2);
    }
  }

  function redraw() {
    if (!waiting) { waiting = true; requestAnimationFrame(draw); }
  }

  // at finds the cell at a point of the map.
  function at(x, y) {
    for (var i = 0; i < xs.length; i++) {
      if (x >= xs[i] - 1 && x < xs[i] + STEP - 1 && y >= ys[i] - 1 && y < ys[i] + STEP - 1) { return i; }
    }
    return -1;
  }

  function clusterOf(i) {
    var low = 0, high = data.begins.length - 1;
    while (low < high) {
      var middle = (low + high + 1) >> 1;
      if (data.begins[middle] <= i) { low = middle; } else { high = middle - 1; }
    }
    return data.clusters[low];
  }

  function describe(i) {
    var cluster = clusterOf(i), project = data.projects[cluster.p], bits = data.flags.charCodeAt(i) - 65;
    var name = data.names[i].replace(/^~/, cluster.n), days = data.days[i];
    var ages = data.ages[data.agesOf ? data.agesOf.charCodeAt(i) - 97 : 0];
    var state = { unknown: "its age is not known", critical: "past the critical age of " + ages[1] + " days", old: "past the warning age of " + ages[0] + " days", warn: "past the warning age of " + ages[0] + " days" }[NAMES[data.levels[i]]] || "";
    var age = days < 0 ? "key never seen" : "key " + (bits & 1 ? "" : "at least ") + days + (days === 1 ? " day" : " days") + " old";
    return {
      name: cluster.n + " / " + name, where: project.n + ", " + KINDS[data.kinds[i]], age: age,
      rest: [state, bits & 2 ? "" : "can't be rotated", TASKS[bits >> 2]].filter(Boolean).join(", "),
      href: "/fleet/at?" + new URLSearchParams({ target: data.targets[project.t], project: project.i, cluster: cluster.n, name: name })
    };
  }

  // focusOn moves the one link to a cell.
  function focusOn(i, move) {
    if (!xs.length) { return; }
    focused = Math.max(0, Math.min(xs.length - 1, i));
    var d = describe(focused);
    link.href = d.href;
    link.style.left = xs[focused] + "px"; link.style.top = ys[focused] + "px";
    link.setAttribute("aria-label", [d.name, d.where, d.age, d.rest].filter(Boolean).join(", "));
    if (move) {
      link.focus({ preventScroll: true });
      var r = link.getBoundingClientRect();
      if (r.top < 40 || r.bottom > window.innerHeight - 40) { window.scrollBy(0, r.top - window.innerHeight / 2); }
      show(focused);
      $("live").textContent = link.getAttribute("aria-label");
    }
  }

  // below finds the nearest cell of the next row in a direction.
  function below(i, down) {
    var best = i, row = null;
    for (var j = i + down; j >= 0 && j < xs.length; j += down) {
      if ((ys[j] - ys[i]) * down <= 0) { continue; }
      if (row === null) { row = ys[j]; }
      if ((ys[j] - row) * down > STEP * 3) { break; }
      if ((ys[j] - row) * down < 0) { row = ys[j]; best = j; continue; }
      if (ys[j] === row && (best === i || Math.abs(xs[j] - xs[i]) < Math.abs(xs[best] - xs[i]))) { best = j; }
    }
    return best;
  }

  function key(event) {
    var to = { ArrowRight: focused + 1, ArrowLeft: focused - 1, Home: 0, End: xs.length - 1 }[event.key];
    if (event.key === "ArrowDown") { to = below(focused, 1); }
    if (event.key === "ArrowUp") { to = below(focused, -1); }
    if (event.key === "PageDown" || event.key === "PageUp") {
      to = focused;
      for (var n = 0; n < 15; n++) { to = below(to, event.key === "PageDown" ? 1 : -1); }
    }
    if (event.key === "Escape") { hide(); return; }
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) { return; }
    event.preventDefault();
    focusOn(to, true);
  }

  function show(i) {
    var d = describe(i);
    tip.replaceChildren();
    [["b", d.name], ["span", d.where], ["span", d.age], ["span", d.rest]].forEach(function (line) {
      if (line[1]) { var el = document.createElement(line[0]); el.textContent = line[1]; tip.appendChild(el); }
    });
    tip.hidden = false;
    var x = xs[i] + STEP + 6, y = ys[i] + STEP + 4;
    if (x + tip.offsetWidth > width) { x = Math.max(0, xs[i] - tip.offsetWidth - 6); }
    if (y + tip.offsetHeight > height) { y = Math.max(0, ys[i] - tip.offsetHeight - 6); }
    tip.style.left = x + "px"; tip.style.top = y + "px";
  }

  function hide() { tip.hidden = true; hovered = -1; redraw(); }

  function point(event) {
    var r = box.getBoundingClientRect();
    return at(event.clientX - r.left - box.clientLeft, event.clientY - r.top - box.clientTop);
  }

  function take(cells) {
    data = cells;
    data.begins = [];
    var n = 0;
    data.clusters.forEach(function (cluster) { data.begins.push(n); n += cluster.c; });
    readColours(); place(); focusOn(0, false); draw();
    box.querySelector(".map-wait").hidden = true;
    box.setAttribute("data-drawn", String(n));
  }

  function load() {
    if (running) { running.abort(); }
    running = new AbortController();
    fetch(box.dataset.cells, { signal: running.signal, headers: { Accept: "application/json" } }).then(function (r) {
      if (!r.ok || r.redirected) { throw new Error(r.status); }
      return r.json();
    }).then(take).catch(function (error) {
      if (error.name === "AbortError") { return; }
      var wait = box.querySelector(".map-wait");
      wait.hidden = false;
      wait.textContent = "The map can't be read right now. Reload the page, or look at the table.";
    });
  }

  // start begins with a map that has come with the page or with a part of it.
  function start() {
    box = $("map");
    data = null;
    if (!box) { return; }
    document.documentElement.classList.add("scripted");
    box.hidden = false;
    canvas = box.querySelector("canvas");
    link = document.createElement("a"); link.className = "map-cell"; link.style.width = link.style.height = SIZE + "px";
    tip = document.createElement("div"); tip.className = "map-tip"; tip.hidden = true; tip.setAttribute("aria-hidden", "true");
    box.append(link, tip);
    link.addEventListener("keydown", key);
    link.addEventListener("blur", hide);
    link.addEventListener("focus", function () { if (data) { show(focused); } });
    box.addEventListener("mousemove", function (event) {
      var i = data ? point(event) : -1;
      if (i === hovered) { return; }
      hovered = i; canvas.classList.toggle("over", i >= 0);
      if (i >= 0) { show(i); } else { tip.hidden = true; }
      redraw();
    });
    box.addEventListener("mouseleave", hide);
    box.addEventListener("click", function (event) {
      var i = data && event.target === canvas ? point(event) : -1;
      if (i < 0) { return; }
      if (event.ctrlKey || event.metaKey) { window.open(describe(i).href, "_blank", "noopener"); } else { window.location.assign(describe(i).href); }
    });
    load();
  }

  // filter shows what is searched for while it is typed; the address follows.
  function filter() {
    var form = $("fleet-filter"), timer = null;
    if (!form) { return; }
    function go() {
      var q = new URLSearchParams();
      new FormData(form).forEach(function (value, name) { if (value && !(name === "group" && value === "project")) { q.set(name, value); } });
      var url = "/fleet" + (q.toString() ? "?" + q : "");
      if (url === window.location.pathname + window.location.search) { return; }
      if (!$("fleet")) { window.location.assign(url); return; } // an error stands in its place
      window.htmx.ajax("GET", url, { target: "#fleet", swap: "outerHTML" }).then(function () {
        window.history.replaceState(null, "", url);
      });
    }
    form.addEventListener("input", function () { clearTimeout(timer); timer = setTimeout(go, 250); });
    form.addEventListener("submit", function (event) { event.preventDefault(); clearTimeout(timer); go(); });
  }

  document.addEventListener("DOMContentLoaded", function () {
    start(); filter();
    window.addEventListener("scroll", redraw, { passive: true });
    window.addEventListener("resize", function () { if (data && box.clientWidth !== width) { place(); focusOn(focused, false); } redraw(); });
    new MutationObserver(function () { if (data) { readColours(); redraw(); } }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", function () { if (data) { readColours(); redraw(); } });
  });
  document.addEventListener("htmx:afterSwap", function (event) {
    if (event.target && (event.target.id === "fleet" || $("map") && !$("map").dataset.drawn)) { start(); }
  });
})();
