"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    button.setAttribute("aria-pressed", String(isDark()));
  });
  const nodes = [...document.querySelectorAll("[data-node]")];
  if (!nodes.length) return;
  const facts = [...document.querySelectorAll("[data-facts]")];
  const ties = [...document.querySelectorAll(".edge, .way")];
  const choose = (number) => {
    for (const each of nodes) {
      const chosen = each.dataset.node === number;
      each.classList.toggle("chosen", chosen);
      if (chosen) each.setAttribute("aria-current", "true"); else each.removeAttribute("aria-current");
    }
    for (const each of facts) each.hidden = each.dataset.facts !== number;
    for (const each of ties) each.classList.toggle("near", each.dataset.of === number || each.dataset.origin === number);
  };
  const go = (number) => { choose(number); document.getElementById("n" + number).focus(); };
  const along = (number, from, to) => {
    const tie = document.querySelector('.edge[data-' + from + '="' + number + '"]');
    if (tie) go(tie.dataset[to]);
  };
  for (const each of nodes) {
    each.addEventListener("focus", () => choose(each.dataset.node));
    each.addEventListener("click", (event) => { event.preventDefault(); choose(each.dataset.node); });
    each.addEventListener("keydown", (event) => {
      const keys = { ArrowLeft: ["of", "origin"], ArrowRight: ["origin", "of"] };
      if (event.key in keys) { event.preventDefault(); along(each.dataset.node, ...keys[event.key]); }
      if (event.key === "Enter") {
        event.preventDefault();
        choose(each.dataset.node);
        document.querySelector("#d" + each.dataset.node + " h2").focus();
      }
    });
  }
  for (const each of document.querySelectorAll("[data-go]")) {
    each.addEventListener("click", (event) => { event.preventDefault(); go(each.dataset.go); });
  }
  const start = document.querySelector(".node.start") || nodes[0];
  choose(start.dataset.node);
  start.scrollIntoView({ block: "nearest", inline: "nearest" });
})();
