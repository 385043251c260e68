// Light or dark, and the wall screen, before anything is painted. Not a module, so that it runs first.
(() => {
  const root = document.documentElement;
  let theme = "";
  try {
    theme = localStorage.getItem("driftloop-theme") ?? "";
  } catch {
    // no storage: the system's colours
  }
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  if (new URLSearchParams(location.search).has("wall")) root.dataset.wall = "";
})();
