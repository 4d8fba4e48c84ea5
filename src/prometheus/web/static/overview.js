// Filter, group and order of the table of regions; the address keeps them behind its #. Without it the table stands as it is.
"use strict";
(() => {
  const root = document.documentElement;
  const table = document.querySelector("table.board");
  root.classList.add("scripted");
  if (!table) return;
  const rows = [...table.querySelectorAll("tbody tr[data-label]")];
  const byId = (id) => document.getElementById(id);
  const filter = byId("filter"), market = byId("market");
  const labels = [...document.querySelectorAll(".chip[data-label]")], changed = document.querySelector(".chip[data-changed]");
  const asked = new URLSearchParams(location.hash.slice(1));

  const keep = () => history.replaceState(null, "", `${location.pathname}${location.search}${asked.size ? `#${asked}` : ""}`);
  const set = (name, value) => { if (value) asked.set(name, value); else asked.delete(name); keep(); show(); };

  const show = () => {
    const wanted = (asked.get("q") ?? "").toLowerCase(), group = asked.get("market"), label = asked.get("label");
    let n = 0;
    for (const row of rows) {
      const fits = row.textContent.toLowerCase().includes(wanted) && (!group || row.dataset.market === group)
        && (!label || row.dataset.label === label) && (!asked.has("changed") || row.classList.contains("changed"));
      row.hidden = !fits;
      row.style.display = fits ? "" : "none";
      n += fits;
    }
    byId("no-match").hidden = n > 0;
    filter.value = asked.get("q") ?? "";
    market.value = group ?? "";
    for (const chip of labels) chip.setAttribute("aria-pressed", String(chip.dataset.label === label));
    changed.setAttribute("aria-pressed", String(asked.has("changed")));
  };

  const valueOf = (row, column, kind) => {
    const cell = row.cells[column];
    return kind === "number" ? Number(cell.dataset.value) : cell.textContent.trim();
  };
  const order = () => {
    if (!asked.has("sort")) return;
    const [column, way] = asked.get("sort").split(" ").map(Number);
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, at) => {
      if (at === column) head.setAttribute("aria-sort", way < 0 ? "descending" : "ascending"); else head.removeAttribute("aria-sort");
    });
    const kind = heads[column]?.dataset.sort;
    if (!kind) return;
    const compare = (one, other) => {
      const [a, b] = [valueOf(one, column, kind), valueOf(other, column, kind)];
      return way * (kind === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
    };
    for (const body of table.tBodies) {
      const own = rows.filter((row) => row.parentElement === body);
      body.append(...own.sort(compare));
    }
  };
  [...table.tHead.rows[0].cells].forEach((head, at) => {
    if (!head.dataset.sort) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sorter";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.dataset.sort === "number" ? -1 : 1;
      const way = head.getAttribute("aria-sort") === (first < 0 ? "descending" : "ascending") ? -first : first;
      asked.set("sort", `${at} ${way}`);
      keep();
      order();
    });
  });

  filter.addEventListener("input", () => set("q", filter.value));
  market.addEventListener("change", () => set("market", market.value));
  for (const chip of labels) chip.addEventListener("click", () => set("label", asked.get("label") === chip.dataset.label ? "" : chip.dataset.label));
  changed.addEventListener("click", () => set("changed", asked.has("changed") ? "" : "yes"));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select, textarea")) { event.preventDefault(); filter.focus(); }
    if (event.key === "Escape") { for (const name of ["q", "market", "label", "changed"]) asked.delete(name); keep(); show(); }
  });
  for (const button of document.querySelectorAll("[data-map]")) {
    const map = button.closest("section").querySelector(".map");
    for (const tile of map.querySelectorAll(".tile")) tile.style.setProperty("--share", tile.dataset.share);
    button.addEventListener("click", () => {
      const isOn = map.classList.toggle("by-probability");
      button.setAttribute("aria-pressed", String(isOn));
    });
  }
  order();
  show();
})();
