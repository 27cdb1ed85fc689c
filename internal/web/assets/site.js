// What the pages do beyond being read: times in the reader's zone, the theme without a reload, and parts
// that follow what happens (see live.go). Everything here has a way without a script.
(function () {
  "use strict";

  // times are formats by whether the year and the seconds are shown.
  var times = {};
  function shown(at, seconds) {
    var year = at.getFullYear() !== new Date().getFullYear();
    var kind = (year ? "y" : "") + (seconds ? "s" : "");
    if (!times[kind]) {
      var how = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" };
      if (year) { how.year = "numeric"; }
      if (seconds) { how.second = "2-digit"; }
      times[kind] = new Intl.DateTimeFormat(undefined, how);
    }
    return times[kind].format(at);
  }

  // localTimes shows the times below an element in the reader's zone; UTC stays in the title. Where two
  // different times of a list would look the same, the list shows seconds.
  function localTimes(root) {
    var lists = new Map();
    root.querySelectorAll("time[datetime]:not([data-local])").forEach(function (el) {
      var at = new Date(el.getAttribute("datetime"));
      if (isNaN(at)) {
        return;
      }
      el.textContent = shown(at, false);
      el.setAttribute("data-local", "");
      var cell = el.closest("td, th");
      var list = el.closest("tbody, .attempts, .timeline");
      if (!list) {
        return;
      }
      var column = cell ? cell.cellIndex : 0;
      if (!lists.has(list)) {
        lists.set(list, {});
      }
      var columns = lists.get(list);
      (columns[column] = columns[column] || []).push({ el: el, at: at });
    });
    lists.forEach(function (columns) {
      Object.keys(columns).forEach(function (column) {
        var second = {};
        var same = columns[column].some(function (item) {
          var text = item.el.textContent, at = Math.floor(item.at / 1000);
          var was = second[text];
          second[text] = at;
          return was !== undefined && was !== at;
        });
        if (same) {
          columns[column].forEach(function (item) { item.el.textContent = shown(item.at, true); });
        }
      });
    });
  }

  function themes() {
    document.querySelectorAll("form[data-theme-switch]").forEach(function (form) {
      form.addEventListener("submit", function (event) {
        event.preventDefault();
        var button = form.querySelector("button");
        var theme = button.value;
        fetch(form.action, { method: "POST", body: new URLSearchParams({ theme: theme, back: "/" }), redirect: "manual" });
        if (theme === "light" || theme === "dark") {
          document.documentElement.setAttribute("data-theme", theme);
        } else {
          document.documentElement.removeAttribute("data-theme");
        }
        var next = { dark: ["light", "Light theme"], light: ["auto", "System theme"], auto: ["dark", "Dark theme"] }[theme];
        button.value = next[0];
        button.querySelector("span").textContent = next[1];
      });
    });
  }

  // dialogs opens the form that a link leads to over the page. The form itself is sent as without a script.
  function dialogs() {
    document.addEventListener("click", function (event) {
      var link = event.target.closest("a[data-dialog]");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || typeof HTMLDialogElement === "undefined") {
        return;
      }
      event.preventDefault();
      fetch(link.href, { headers: { "HX-Request": "true" } }).then(function (answer) {
        if (!answer.ok) {
          throw new Error(String(answer.status));
        }
        return answer.text();
      }).then(function (html) {
        var dialog = document.createElement("dialog");
        dialog.setAttribute("aria-labelledby", "ask-title");
        dialog.innerHTML = html;
        dialog.addEventListener("close", function () { dialog.remove(); link.focus(); });
        dialog.addEventListener("click", function (e) {
          if (e.target.closest("[data-close]")) {
            e.preventDefault();
            dialog.close();
          }
        });
        document.body.appendChild(dialog);
        dialog.showModal();
      }).catch(function () { location.assign(link.href); });
    });
  }

  // follow keeps a part of a page as the server says that it is now: by server-sent events, and when those
  // don't get through, by asking every few seconds.
  function follow(root) {
    var base = root.getAttribute("data-live");
    var page = root.getAttribute("data-page");
    var mark = root.getAttribute("data-mark");
    var label = document.getElementById("live-state");
    var failures = 0, source = null;

    function say(text) {
      if (label && label.textContent !== text) {
        label.textContent = text;
      }
    }
    function address(kind) {
      return base + "/" + kind + "?page=" + encodeURIComponent(page) + "&since=" + encodeURIComponent(mark);
    }
    function take(message) {
      if (message.reload) {
        location.reload();
        return;
      }
      mark = message.mark || mark;
      Object.keys(message.parts || {}).forEach(function (id) {
        var el = document.getElementById(id);
        if (el) {
          el.innerHTML = message.parts[id];
          localTimes(el);
        }
      });
      if (message.say) {
        document.getElementById("live").textContent = message.say;
      }
    }
    function ended() {
      say("It has ended; nothing more will come.");
      root.removeAttribute("data-live");
    }
    function ask(left) {
      fetch(address("changes"), { headers: { Accept: "application/json" } }).then(function (answer) {
        if (answer.status === 401) {
          location.assign("/sign-in?next=" + encodeURIComponent(location.pathname + location.search));
        }
        if (!answer.ok) {
          throw new Error(String(answer.status));
        }
        return answer.json();
      }).then(function (message) {
        say("Asked every few seconds.");
        take(message);
        if (message.ended) {
          ended();
          return;
        }
        setTimeout(function () { left > 0 ? ask(left - 1) : listen(); }, 3000);
      }).catch(function () {
        say("The server does not answer; trying again.");
        setTimeout(function () { ask(left); }, 5000);
      });
    }
    function listen() {
      if (typeof EventSource === "undefined") {
        ask(Infinity);
        return;
      }
      source = new EventSource(address("events"));
      source.onopen = function () { failures = 0; say("Live."); };
      source.onmessage = function (event) { take(JSON.parse(event.data)); };
      source.addEventListener("ended", function () { source.close(); ended(); });
      source.addEventListener("signed-out", function () { location.reload(); });
      source.onerror = function () {
        failures++;
        say("The connection was lost; trying again.");
        if (source.readyState === EventSource.CLOSED || failures >= 3) {
          source.close();
          failures = 0;
          ask(10);
        }
      };
    }
    window.addEventListener("pagehide", function () { if (source) { source.close(); } });
    // A browser that goes back may show the page as it was.
    window.addEventListener("pageshow", function (event) { if (event.persisted) { location.reload(); } });
    listen();
  }

  document.addEventListener("DOMContentLoaded", function () {
    localTimes(document);
    themes();
    dialogs();
    document.querySelectorAll("[data-live]").forEach(follow);
  });
  document.addEventListener("htmx:afterSwap", function (event) {
    localTimes(event.target.parentNode || document);
  });
})();
