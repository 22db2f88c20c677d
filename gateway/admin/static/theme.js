// Before anything is painted: the theme that was chosen here, or the system's.
"use strict";
{
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // storage is switched off: the system's, then
  }
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
}
