/* Before the first paint, so that a dark page never flashes white; not a module for that reason. */
"use strict";
(() => {
  const KEY = "xai-annotate-theme";
  let chosen = null;
  try {
    chosen = localStorage.getItem(KEY);
  } catch {
    // A browser that keeps nothing: the system's choice then.
  }
  const show = (theme) => (document.documentElement.dataset.theme = theme);
  show(chosen ?? "dark"); // films are read in dim rooms
  globalThis.toggleTheme = () => {
    show(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    try {
      localStorage.setItem(KEY, document.documentElement.dataset.theme);
    } catch {
      // Shown now, forgotten with the page.
    }
  };
})();
