// Charts and keys. Without this script the page says the same in tables.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const DAY_MS = 86400000;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const asDate = (day) => new Date(day * DAY_MS).toISOString().slice(0, 10);
  const words = (label) => ({ NEUTRAL: "Neutral", CRISIS: "Crisis", RISK_OFF: "Risk-off", CARRY: "Carry" })[label] ?? label;
  const labelColour = (label) => colour(label.toLowerCase().replace("_", "-"));
  const isPhone = () => innerWidth < 600;
  const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };

  document.documentElement.classList.add("scripted");

  const frame = () => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("ink") },
    margin: { l: 52, r: 12, t: 8, b: 34 }, showlegend: false, hovermode: "x unified",
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink") } },
  });
  const axis = (more) => ({
    gridcolor: colour("line"), zeroline: false, linecolor: colour("line"), tickcolor: colour("line"), automargin: true, ...more,
  });

  // One image of stripes draws thirty-five years of regimes at once; a shape for each spell would make zooming slow.
  const stripes = (series, days) => {
    const scale = series.labels.flatMap((label, at) => [
      [at / series.labels.length, labelColour(label)], [(at + 1) / series.labels.length, labelColour(label)],
    ]);
    return {
      type: "heatmap", x: days, y: [0, 1], z: [series.regimes, series.regimes], yaxis: "y", zmin: -0.5,
      zmax: series.labels.length - 0.5, colorscale: scale, showscale: false, hoverinfo: "skip", opacity: 0.42,
    };
  };

  const historyTraces = (series) => {
    const days = series.regimeDays.map(asDate);
    const regimeOf = new Map(series.regimeDays.map((day, at) => [day, words(series.labels[series.regimes[at]])]));
    const traces = [
      stripes(series, days),
      {
        type: "scatter", mode: "lines", x: series.closeDays.map(asDate), y: series.closes, yaxis: "y3", name: series.instrument,
        line: { color: colour("price"), width: 1.3 }, customdata: series.closeDays.map((day) => regimeOf.get(day) ?? "no regime"),
        hovertemplate: "%{y:,.2f} – %{customdata}<extra></extra>",
      },
      {
        type: "scatter", mode: "lines", x: days, y: series.confidences.map((share) => share / 10), yaxis: "y2",
        line: { color: colour("link"), width: 1 }, hovertemplate: "%{y:.0f} % sure<extra></extra>",
      },
    ];
    if (series.highVolatilities.some((share) => share !== null)) {
      traces.push({
        type: "scatter", mode: "lines", x: days, y: series.highVolatilities.map((share) => (share === null ? null : share / 10)),
        yaxis: "y2", line: { color: colour("crisis"), width: 1, dash: "dot" },
        hovertemplate: "%{y:.0f} % high volatility likely<extra></extra>",
      });
    }
    return traces;
  };

  const historyLayout = () => ({
    ...frame(), hoversubplots: "axis",
    xaxis: axis({ type: "date", anchor: "y2", hoverformat: "%a %Y-%m-%d" }),
    yaxis: { domain: [0.3, 1], range: [0, 1], visible: false, fixedrange: true },
    yaxis2: axis({ domain: [0, 0.22], range: [0, 104], ticksuffix: " %", nticks: 3, fixedrange: true, title: isPhone() ? undefined : { text: "sure" } }),
    yaxis3: axis({
      overlaying: "y", type: "log", tickmode: "auto", title: isPhone() ? undefined : { text: "close (log scale)" }, nticks: 8, tickformat: "~g",
    }),
    dragmode: isPhone() ? "pan" : "zoom",
  });

  const showYears = (chart, series, years) => {
    const last = series.closeDays.at(-1);
    const first = years ? Math.max(series.closeDays[0], last - Math.round(years * 365.25)) : series.closeDays[0];
    const shown = series.closes.filter((_, at) => series.closeDays[at] >= first);
    const low = Math.log10(Math.min(...shown)), high = Math.log10(Math.max(...shown));
    const margin = Math.max((high - low) * 0.05, 0.005);
    return Plotly.relayout(chart, {
      "xaxis.range": [asDate(first), asDate(last + 1)], "yaxis3.range": [low - margin, high + margin],
    });
  };

  const drawHistory = async () => {
    const chart = byId("history-chart");
    if (!chart) return;
    let series;
    try {
      const answer = await fetch(chart.dataset.series, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error((await answer.json()).detail ?? answer.statusText);
      series = await answer.json();
    } catch (error) {
      chart.querySelector(".none").textContent = `The chart cannot be drawn: ${error.message}`;
      return;
    }
    chart.replaceChildren();
    await Plotly.newPlot(chart, historyTraces(series), historyLayout(), CONFIG);
    const tools = document.querySelector(".tools");
    tools.hidden = false;
    const buttons = [...tools.querySelectorAll("[data-years]")];
    const choose = (chosen) => {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
      return showYears(chart, series, Number(chosen.dataset.years));
    };
    for (const button of buttons) button.addEventListener("click", () => choose(button));
    chart.on("plotly_doubleclick", () => choose(buttons.at(-1)));
    byId("png").addEventListener("click", () => savePicture(chart));
    document.addEventListener("themechange", () => Plotly.react(chart, historyTraces(series), {
      ...historyLayout(), xaxis: { ...historyLayout().xaxis, range: chart.layout.xaxis.range },
      yaxis3: { ...historyLayout().yaxis3, range: chart.layout.yaxis3.range },
    }, CONFIG));
    await choose(buttons.at(-1));
    chart.dataset.drawn = "yes";
  };

  const savePicture = async (chart) => {
    const size = { format: "png", width: 1600, height: 800 };
    const link = document.createElement("a");
    link.href = await Plotly.toImage(chart, size);
    link.download = `${document.title.split(" – ")[0].replace(/[^\w.-]+/g, "_")}.png`;
    link.click();
  };

  const pathTrace = (path, line, more) => ({
    type: "scatter", mode: "lines", x: path.path.map((_, at) => at - path.before), y: path.path.map((share) => 100 + share),
    name: path.day, line, hovertemplate: `${path.day}: %{y:.1f}<extra></extra>`, ...more,
  });

  // What followed most of them: the median of the paths that are known so far after the day.
  const medianPath = (paths) => {
    const longest = Math.max(0, ...paths.analogs.map((path) => path.path.length - path.before));
    const median = Array.from({ length: longest }, (_, after) => {
      const values = paths.analogs.map((path) => path.path[path.before + after]).filter(Number.isFinite).sort((a, b) => a - b);
      const middle = values.length >> 1;
      return values.length % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    });
    return { day: "median", before: 0, path: median };
  };

  const analogTraces = (paths) => [
    pathTrace(medianPath(paths), { color: colour("ink"), width: 2, dash: "dash" }, {}),
    ...paths.analogs.map((path) => pathTrace(path, { color: colour("neutral"), width: 1.4 }, { opacity: 0.75 })),
    pathTrace(paths.today, { color: colour("link"), width: 3 }, {}),
  ];

  const analogLayout = () => ({
    ...frame(), hovermode: "closest",
    xaxis: axis({ title: { text: "sessions from the day" }, range: [-64, 64] }),
    yaxis: axis({ title: isPhone() ? undefined : { text: "close, 100 on the day" } }),
    dragmode: isPhone() ? "pan" : "zoom",
    shapes: [{ type: "line", x0: 0, x1: 0, y0: 0, y1: 1, yref: "paper", line: { color: colour("soft"), width: 1, dash: "dot" } }],
  });

  const drawAnalogs = async () => {
    const chart = byId("analog-chart");
    if (!chart) return;
    const paths = JSON.parse(byId("analog-paths").textContent);
    chart.replaceChildren();
    await Plotly.newPlot(chart, analogTraces(paths), analogLayout(), CONFIG);
    const emphasise = (day) => Plotly.restyle(chart, {
      "line.width": [2, ...paths.analogs.map((path) => (path.day === day ? 3.2 : 1.4)), 3],
      "line.color": [colour("ink"), ...paths.analogs.map((path) => (path.day === day ? colour("risk-off") : colour("neutral"))), colour("link")],
    });
    for (const row of document.querySelectorAll("table.analogs tbody tr")) {
      const day = row.querySelector("a").textContent;
      row.addEventListener("mouseenter", () => emphasise(day));
      row.addEventListener("mouseleave", () => emphasise(null));
      row.addEventListener("focusin", () => emphasise(day));
      row.addEventListener("focusout", () => emphasise(null));
    }
    document.addEventListener("themechange", () => Plotly.react(chart, analogTraces(paths), analogLayout(), CONFIG));
    chart.dataset.drawn = "yes";
  };

  const listen = () => {
    const form = document.querySelector(".controls");
    const region = byId("region"), day = byId("day");
    region?.addEventListener("change", () => { location.href = `/regions/${encodeURIComponent(region.value)}`; });
    const shown = day?.value;
    const go = () => { if (day.value && day.value !== shown && day.checkValidity()) form.requestSubmit(); };
    day?.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); go(); } });
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
    if (print) { print.hidden = false; print.addEventListener("click", () => window.print()); }
  };

  listen();
  // The text is painted first; the charts, which take longer, come after.
  requestAnimationFrame(() => setTimeout(() => { drawHistory(); drawAnalogs(); }, 0));
})();
