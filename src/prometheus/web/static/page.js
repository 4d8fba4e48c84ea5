// Controls and keys of a region's page, and what of its charts stands in the address. Without it the page says the same in tables.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const host = byId("history-chart");

  // What is shown of the chart stands behind the # of the address, and goes along to other days: #span=5y&scale=linear
  const asked = new URLSearchParams(location.hash.slice(1));
  const dayLinks = [...document.querySelectorAll('a[href^="/regions/"]')];
  const hash = () => (asked.size ? `#${asked}` : "");
  const keep = (name, value) => {
    if (value) asked.set(name, value); else asked.delete(name);
    history.replaceState(null, "", `${location.pathname}${location.search}${hash()}`);
    for (const link of dayLinks) link.hash = String(asked);
  };
  const spanOf = (chart) => {
    const written = asked.get("span") ?? "", years = /^(\d+)y$/.exec(written);
    const dates = /^(\d{4}-\d\d-\d\d)\.\.(\d{4}-\d\d-\d\d)$/.exec(written);
    if (years) return [chart.end - Math.round(years[1] * 365.25), chart.end + 1];
    if (!dates) return [chart.begin, chart.end + 1];
    const [from, to] = [charts.dayOf(dates[1]), charts.dayOf(dates[2])];
    return from < to && from < chart.end ? [from, to] : [chart.end + 1 - Math.abs(to - from || 1), chart.end + 1];
  };

  const load = async (address) => {
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error((await answer.json()).detail ?? answer.statusText);
    return answer.json();
  };
  const say = (text) => { byId("said").textContent = text; };
  const goTo = (day) => { location.href = `${host.dataset.base}/${day}${location.search}${hash()}`; };

  // A chart is drawn when it comes near to being seen, is printed, or the page has rested: the text above it does not wait.
  const draws = [];
  const whenSeen = (place, draw) => {
    let drawn = null;
    const once = () => {
      seen.disconnect();
      return (drawn ??= draw());
    };
    const seen = new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) once(); }, { rootMargin: "300px" });
    seen.observe(place);
    setTimeout(once, 5_000);
    draws.push(once);
  };
  const drawAll = () => Promise.allSettled(draws.map((once) => once()));
  const fetched = (kind, properties) => new Promise((done, failed) => {
    const element = Object.assign(document.createElement(kind), properties);
    element.addEventListener("load", done);
    element.addEventListener("error", () => failed(new Error("its script did not come")));
    document.head.append(element);
  });
  let plots = null;
  const loadPlots = () => {
    const { href, dataset } = byId("plots");
    return (plots ??= Promise.all([
      fetched("link", { rel: "stylesheet", href: dataset.styles }), fetched("script", { src: href }), fetched("script", { src: dataset.charts }),
    ]));
  };

  const shown = { chart: null, series: null, other: null, marks: null };
  const press = () => {
    const span = asked.get("span") ?? "0y";
    for (const button of document.querySelectorAll("[data-years]")) button.setAttribute("aria-pressed", String(`${button.dataset.years}y` === span));
    byId("linear").setAttribute("aria-pressed", String(asked.get("scale") === "linear"));
  };
  const showSpan = () => { shown.chart?.show(...spanOf(shown.chart)); press(); };
  const point = (text, day) => {
    const link = byId("open-day");
    byId("readout").textContent = text;
    link.hidden = day === null || day === host.dataset.day;
    link.href = `${host.dataset.base}/${day}${location.search}${hash()}`;
    link.textContent = `Open ${day}`;
  };
  const draw = () => {
    const on = { view: (from, to) => { keep("span", `${from}..${to}`); press(); }, point, open: goTo };
    shown.chart?.leave();
    shown.chart = charts.history(host, shown.series, { isLog: asked.get("scale") !== "linear", other: shown.other }, on);
    showMarks();
    showSpan();
  };
  const redrawHistory = () => { if (shown.chart) draw(); };

  const compare = async () => {
    const name = asked.get("with"), rival = byId("rival");
    shown.other = null;
    say("");
    try {
      if (name) shown.other = { name, series: await load(`/regions/${encodeURIComponent(name)}/${host.dataset.day}/series.json`) };
    } catch (error) {
      say(`${name} cannot be compared: ${error.message}`);
    }
    rival.hidden = !shown.other;
    rival.textContent = shown.other ? `${shown.other.series.instrument}, from the same start; its regimes in the second strip` : "";
  };

  // Dates of macro texts, of one kind or of all; what stands in the address goes along.
  const showMarks = () => {
    if (!shown.chart || !shown.marks) return;
    const { kinds, days, of } = shown.marks, kind = byId("marks").value;
    let day = 0;
    const dated = days.map((step, at) => ({ day: (day += step), kind: kinds[of[at]] }));
    shown.chart.mark(kind ? dated.filter((each) => each.kind === kind) : dated);
  };
  const offerMarks = (marks) => {
    const choice = byId("marks");
    shown.marks = marks;
    choice.append(...marks.kinds.map((kind) => new Option(kind)));
    choice.value = marks.kinds.includes(asked.get("marks")) ? asked.get("marks") : "";
    choice.parentElement.hidden = marks.kinds.length === 0;
    choice.addEventListener("change", () => { keep("marks", choice.value); showMarks(); });
    showMarks();
  };

  const drawHistory = async () => {
    load(host.dataset.marks).then(offerMarks, () => {});
    try {
      [shown.series] = await Promise.all([load(host.dataset.series), compare(), loadPlots()]);
    } catch (error) {
      host.textContent = `The chart cannot be drawn: ${error.message}`;
      return;
    }
    draw();
    redraws.push(() => shown.chart.build());
  };

  const drawing = () => {
    const theme = getComputedStyle(document.documentElement).colorScheme.startsWith("dark") ? "dark" : "light";
    const query = new URLSearchParams({ start: host.dataset.from, end: host.dataset.to, theme, scale: asked.get("scale") ?? "log" });
    if (asked.has("with")) query.set("compare", asked.get("with"));
    if (shown.marks?.kinds.length) query.set("marks", byId("marks").value || "*");
    return `${host.dataset.drawing}&${query}`;
  };
  const listenToTools = () => {
    if (!host) return;
    const name = document.title.split(" – ")[0].replace(/[^\w.-]+/g, "_"), choice = byId("compare"), svg = byId("svg");
    for (const button of document.querySelectorAll("[data-years]")) {
      button.addEventListener("click", () => { keep("span", button.dataset.years === "0" ? "" : `${button.dataset.years}y`); showSpan(); });
    }
    byId("linear").addEventListener("click", () => { keep("scale", asked.get("scale") === "linear" ? "" : "linear"); redrawHistory(); });
    if (choice) {
      choice.value = asked.get("with") ?? "";
      choice.addEventListener("change", async () => { keep("with", choice.value); await compare(); redrawHistory(); });
    }
    if (asked.get("with") === byId("region").value) keep("with", "");
    svg.download = `${name}.svg`;
    for (const event of ["pointerdown", "focus", "click"]) svg.addEventListener(event, () => { svg.href = drawing(); });
    byId("png").addEventListener("click", () => savePicture(drawing(), `${name}.png`));
    press();
  };

  // The server's drawing, which has title, key and dates, as points.
  const savePicture = async (address, name) => {
    const picture = new Image();
    picture.src = address;
    await picture.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [2400, 1200];
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await new Promise((done) => { canvas.toBlob(done, "image/png"); }));
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  };

  const drawAnalogs = () => {
    const place = byId("analog-chart");
    if (!place) return;
    const on = { point: (text) => { byId("analog-readout").textContent = text; } };
    let chart = null;
    whenSeen(place, async () => {
      await loadPlots();
      chart = charts.analogs(place, JSON.parse(byId("analog-paths").textContent), on);
    });
    for (const row of document.querySelectorAll("table.analogs tbody tr:not(.why)")) {
      const day = row.querySelector("a").textContent;
      for (const event of ["mouseenter", "focusin"]) row.addEventListener(event, () => chart?.emphasise(day));
      for (const event of ["mouseleave", "focusout"]) row.addEventListener(event, () => chart?.emphasise(null));
    }
    redraws.push(() => chart?.build());
  };

  // What the statements were worth takes the server longer than the page: it comes when it is about to be seen.
  const showRecord = async () => {
    const answer = await fetch(byId("record").href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    byId("worth").replaceChildren(...page.getElementById("worth").children);
  };

  // Colours are those of the moment: the theme, forced colours and paper change them.
  const redraws = [];
  const redraw = () => redraws.forEach((each) => each());
  document.addEventListener("themechange", redraw);
  byId("copy-link")?.addEventListener("click", async () => {
    let said = "Link copied.";
    try { await navigator.clipboard.writeText(location.href); } catch { said = `Copy it here: ${location.href}`; }
    byId("said").textContent = said;
  });
  for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)", "print"]) matchMedia(query).addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", drawAll);

  const listen = () => {
    const form = document.querySelector(".controls");
    const region = byId("region"), day = byId("day");
    region?.addEventListener("change", () => { location.href = `/regions/${encodeURIComponent(region.value)}${hash()}`; });
    const shown = day?.value;
    const go = () => { if (day.value && day.value !== shown && day.reportValidity()) goTo(day.value); };
    form?.addEventListener("submit", (event) => { event.preventDefault(); go(); });
    day?.addEventListener("blur", go);
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      if (event.target instanceof Element && event.target.closest("input, select, textarea, .scroll, .chart")) return;
      const link = { ArrowLeft: "previous", ArrowRight: "next", End: "newest" }[event.key];
      const field = { g: day, r: region }[event.key];
      if (link && byId(link)) { event.preventDefault(); byId(link).click(); }
      if (field) { event.preventDefault(); field.focus(); }
    });
    const print = byId("print");
    if (print) { print.hidden = false; print.addEventListener("click", () => drawAll().then(() => window.print())); }
  };

  // A word's meaning, from the list at the end of the page, beside it on hover and focus; Escape takes it away.
  const explainWords = () => {
    const tip = byId("tip");
    if (!tip) return;
    const hide = () => { tip.hidden = true; };
    const tell = (word) => {
      tip.textContent = byId(word.getAttribute("aria-describedby")).textContent;
      tip.hidden = false;
      const at = word.getBoundingClientRect(), size = tip.getBoundingClientRect();
      tip.style.left = `${Math.max(8, Math.min(at.left, innerWidth - size.width - 8))}px`;
      tip.style.top = `${at.bottom + size.height + 4 > innerHeight ? at.top - size.height - 2 : at.bottom + 2}px`;
    };
    for (const word of document.querySelectorAll(".term")) {
      for (const event of ["mouseenter", "focus"]) word.addEventListener(event, () => tell(word));
      word.addEventListener("blur", hide);
      word.addEventListener("mouseleave", () => setTimeout(() => { if (!tip.matches(":hover")) hide(); }, 120));
      word.addEventListener("click", (event) => { event.preventDefault(); word.focus(); tell(word); });
    }
    tip.addEventListener("mouseleave", hide);
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
    addEventListener("scroll", hide, { passive: true });
  };

  // On the newest date: whether another session has come, or this one's label was computed anew. 304 costs no bytes.
  const watch = () => {
    if (!host?.dataset.newest) return;
    const look = async () => {
      if (document.hidden) return;
      try {
        const newest = await load(host.dataset.newest);
        if (newest.session === host.dataset.day && newest.label === host.dataset.label) return;
        await loadPlots();
        const link = document.createElement("a");
        link.href = `${host.dataset.base}${location.search}${hash()}`;
        link.textContent = `${newest.session === host.dataset.day ? "Computed anew" : "New session"}: ${newest.session}, ${charts.words(newest.label)}`;
        byId("said").replaceChildren(link);
        clearInterval(timer);
      } catch { /* asked again at the next turn */ }
    };
    const timer = setInterval(look, 60_000);
    document.addEventListener("visibilitychange", look);
  };

  // Where a step leads is computed before it is taken: the server keeps the page, and only its head travels.
  const prepareSteps = async () => {
    for (const link of [byId("previous"), byId("next")]) {
      if (link) await fetch(link.href, { method: "HEAD", priority: "low" }).catch(() => {});
    }
  };

  // Each in a task of its own, so that none holds a key or a touch up.
  const drawLater = () => {
    if (host) whenSeen(host, drawHistory);
    drawAnalogs();
    if (byId("worth")) whenSeen(byId("worth"), showRecord);
  };
  const start = async () => {
    for (const each of [listen, listenToTools, drawLater, explainWords, watch]) {
      each();
      await new Promise((done) => { setTimeout(done); });
    }
    (window.requestIdleCallback ?? setTimeout)(prepareSteps);
  };
  if (asked.size) keep();
  start();
})();
