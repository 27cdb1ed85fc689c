// What the pages do beyond being read: times in the reader's zone, the theme without a reload, and parts
// that follow what happens (see live.go). Everything here has a way without a script.
(function () {
  "use strict";

  var short = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });

  // localTimes shows the times below an element in the reader's zone; UTC stays in the title.
  function localTimes(root) {
    root.querySelectorAll("time[datetime]:not([data-local])").forEach(function (el) {
      var at = new Date(el.getAttribute("datetime"));
      if (!isNaN(at)) {
        el.textContent = short.format(at);
        el.setAttribute("data-local", "");
      }
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

  document.addEventListener("DOMContentLoaded", function () {
    localTimes(document);
    themes();
  });
  document.addEventListener("htmx:afterSwap", function (event) {
    localTimes(event.target.parentNode || document);
  });
  window.keyturn = { localTimes: localTimes };
})();
