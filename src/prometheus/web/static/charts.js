// Draws the two charts of a region's page with uPlot; the tables of the page say the same without it.
"use strict";
const charts = (() => {
  const DAY_MS = 86400000;
  const STRIP = 15, LEAST_DAYS = 7;
  const STEPS = [
    ["day", 1], ["day", 2], ["day", 7], ["day", 14], ["month", 1], ["month", 3], ["month", 6],
    ["year", 1], ["year", 2], ["year", 5], ["year", 10], ["year", 20],
  ];
  const DAYS = { day: 1, month: 30.4, year: 365.25 };
  const DECADE_PARTS = [[1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9], [1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]];

  const isoOf = (day) => new Date(day * DAY_MS).toISOString().slice(0, 10);
  const dayOf = (iso) => Date.parse(iso) / DAY_MS;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const cssName = (label) => label.toLowerCase().replace("_", "-");
  const words = (label) => ({ NEUTRAL: "Neutral", CRISIS: "Crisis", RISK_OFF: "Risk-off", CARRY: "Carry" })[label] ?? label;
  const inForcedColours = () => matchMedia("(forced-colors: active)").matches;
  const number = (value) => value.toLocaleString("en-US", { maximumSignificantDigits: 6 });
  const short = (value) => (value >= 1e6
    ? value.toLocaleString("en-US", { notation: "compact", maximumSignificantDigits: 3 })
    : value.toLocaleString("en-US", { maximumSignificantDigits: 4 }));

  // Ticks: dates on the first of a day, month or year; prices at round values whose labels have room.
  const dateTicks = (plot, _axis, from, to) => {
    const room = Math.max(2, plot.bbox.width / devicePixelRatio / 92);
    const [unit, every] = STEPS.find(([name, count]) => (to - from) / (DAYS[name] * count) <= room) ?? STEPS.at(-1);
    const first = new Date(from * DAY_MS), ticks = [];
    for (let step = 0, day = from; day <= to; step += 1) {
      const year = first.getUTCFullYear(), month = first.getUTCMonth();
      if (unit === "year") day = Date.UTC((Math.ceil(year / every) + step) * every, 0) / DAY_MS;
      else if (unit === "month") day = Date.UTC(year, (Math.ceil(month / every) + step) * every) / DAY_MS;
      else day = (Math.ceil(from / every) + step) * every;
      if (day >= from && day <= to) ticks.push(day);
    }
    return ticks;
  };
  const dateLabels = (_plot, days) => {
    const texts = days.map(isoOf);
    if (texts.every((text) => text.endsWith("-01-01"))) return texts.map((text) => text.slice(0, 4));
    return texts.every((text) => text.endsWith("-01")) ? texts.map((text) => text.slice(0, 7)) : texts;
  };
  const roundTicks = (low, high, most) => {
    const rough = (high - low) / Math.max(1, most), size = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].find((each) => each * size >= rough) * size;
    const first = Math.ceil(low / step);
    return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, at) => Number(((first + at) * step).toPrecision(12)));
  };
  const logTicks = (low, high, most) => {
    if (high / low < 3) return roundTicks(low, high, most);
    const gap = Math.log10(high / low) / most;
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    const fits = (parts) => parts.every((part, at) => Math.log10((parts[at + 1] ?? 10) / part) >= gap);
    const parts = DECADE_PARTS.find(fits) ?? [1];
    const every = Math.max(1, Math.ceil(gap));
    const ticks = [];
    for (let power = first; power <= last; power += every) ticks.push(...parts.map((part) => Number((part * 10 ** power).toPrecision(12))));
    return ticks.filter((value) => value >= low && value <= high);
  };
  const valueTicks = (isLog) => (plot, _axis, low, high) => {
    const most = plot.bbox.height / devicePixelRatio / 30;
    return isLog ? logTicks(low, high, most) : roundTicks(low, high, most);
  };

  const FONT = () => `12px ${getComputedStyle(document.body).fontFamily}`;
  const axis = (more) => ({
    stroke: colour("soft"), font: FONT(), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 },
    filter: (_plot, ticks) => ticks, ...more,
  });
  const dateAxis = (more) => axis({ splits: dateTicks, values: dateLabels, ...more });
  const frame = (host, height, more) => ({ width: host.clientWidth, height, legend: { show: false }, pxAlign: 0, ...more });

  // Regimes: a pale band behind the closes, and a strip below with the full colour, a pattern and, where it fits, a letter.
  const tile = (look) => {
    const size = Math.round(7 * devicePixelRatio), canvas = document.createElement("canvas");
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d");
    context.fillStyle = look.colour;
    context.fillRect(0, 0, size, size);
    context.strokeStyle = context.fillStyle = look.ink;
    context.lineWidth = devicePixelRatio;
    context.globalAlpha = look.isForced ? 1 : 0.55;
    context.beginPath();
    if (look.pattern === ".") context.arc(size / 2, size / 2, devicePixelRatio, 0, 7);
    if ("/x".includes(look.pattern) && look.pattern) { context.moveTo(0, size); context.lineTo(size, 0); }
    if (look.pattern === "x") { context.moveTo(0, 0); context.lineTo(size, size); }
    if (look.pattern === ".") context.fill(); else context.stroke();
    return context.createPattern(canvas, "repeat");
  };
  const looksOf = (series) => series.labels.map((label, at) => {
    const look = {
      band: colour("band"), font: `700 ${11 * devicePixelRatio}px ${getComputedStyle(document.body).fontFamily}`, isForced: inForcedColours(),
      colour: colour(cssName(label)), ink: colour(`${cssName(label)}-ink`), letter: series.letters[at], pattern: series.patterns[at],
    };
    return { ...look, fill: tile(look) };
  });
  const paintSpell = (context, look, [left, width], plotTop, plotHeight, stripTop) => {
    const height = STRIP * devicePixelRatio;
    if (plotHeight && !look.isForced) {
      context.globalAlpha = look.band;
      context.fillStyle = look.colour;
      context.fillRect(left, plotTop, width, plotHeight);
      context.globalAlpha = 1;
    }
    context.fillStyle = look.fill;
    context.fillRect(left, stripTop, width, height);
    if (look.isForced) { context.strokeStyle = look.ink; context.strokeRect(left, stripTop, width, height); }
    if (width < 18 * devicePixelRatio) return;
    const middle = left + width / 2, box = 7 * devicePixelRatio;
    context.fillStyle = look.colour;
    context.fillRect(middle - box, stripTop + 1, 2 * box, height - 2);
    context.fillStyle = look.ink;
    context.font = look.font;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(look.letter, middle, stripTop + height / 2 + devicePixelRatio / 2);
  };
  const paintRegimes = (plot, looks, spells, row, hasBand) => {
    const { ctx: context, bbox } = plot, { min, max } = plot.scales.x;
    const stripTop = bbox.top + bbox.height + (4 + row * (STRIP + 3)) * devicePixelRatio;
    const at = (day) => Math.min(bbox.left + bbox.width, Math.max(bbox.left, plot.valToPos(day, "x", true)));
    context.save();
    for (const spell of spells) {
      if (spell.to < min || spell.from > max) continue;
      const left = at(spell.from), width = Math.max(1, at(spell.to) - left);
      paintSpell(context, looks[spell.label], [left, width], bbox.top, hasBand ? bbox.height : 0, stripTop);
    }
    context.restore();
  };

  // Whole per cent of a probability, as spelling.spell_chance has them: nothing is certain.
  const chance = (share) => (share >= 100 ? ">99 %" : share <= 0 ? "<1 %" : `${share} %`);

  // One row a day on which there is a close or a regime; a spell reaches to the next one.
  const tabulate = (series) => {
    const running = (steps) => { let day = 0; return steps.map((step) => (day += step)); };
    const closeDays = running(series.closeDays), regimeDays = running(series.regimeDays);
    const days = [...new Set([...closeDays, ...regimeDays])].sort((one, other) => one - other);
    const row = new Map(days.map((day, at) => [day, at]));
    const column = (from, values) => {
      const filled = new Array(days.length).fill(null);
      from.forEach((day, at) => { filled[row.get(day)] = values[at]; });
      return filled;
    };
    const labels = column(regimeDays, series.regimes), spells = [];
    labels.forEach((label, at) => {
      if (label !== null && label !== labels[at - 1]) spells.push({ label, from: days[at] });
      if (label !== null) spells.at(-1).to = days[at + 1] ?? days[at] + 1;
    });
    return {
      days, labels, spells, closes: column(closeDays, series.closes), sure: column(regimeDays, series.confidences),
      high: column(regimeDays, series.highVolatilities),
    };
  };

  // Another region's closes, moved so that both lines begin together in what is shown.
  const rebased = (table, other, from) => {
    const found = new Map(other.days.map((day, at) => [day, other.closes[at]]));
    const values = table.days.map((day) => found.get(day) ?? null);
    const start = table.days.findIndex((day, at) => day >= from && values[at] && table.closes[at]);
    const factor = start < 0 ? null : table.closes[start] / values[start];
    return values.map((value) => (value === null || factor === null ? null : value * factor));
  };

  const history = (host, series, settings, on) => {
    const table = tabulate(series), last = table.days.length - 1;
    const other = settings.other && { ...settings.other, table: tabulate(settings.other.series) };
    const [begin, end] = [table.days[0], table.days[last]];
    let view = [begin, end + 1], at = last, plots = [];

    // What is dated on a day without a session belongs to the next one.
    const markedDays = new Set(), kindsByRow = new Map();
    const mark = (marks) => {
      markedDays.clear();
      kindsByRow.clear();
      let row = 0;
      for (const { day, kind } of marks) {
        while (row < last && table.days[row] < day) row += 1;
        markedDays.add(day);
        if (!kindsByRow.has(row)) kindsByRow.set(row, new Set());
        kindsByRow.get(row).add(kind);
      }
      plots[0].redraw(false);
      point(at);
    };
    const describe = (row) => {
      const parts = [table.labels[row] === null ? "no regime" : words(series.labels[table.labels[row]])];
      if (table.closes[row] !== null) parts.unshift(number(table.closes[row]));
      if (table.sure[row] !== null) parts.push(`${chance(table.sure[row])} sure`);
      if (table.high[row] !== null) parts.push(`${chance(table.high[row])} high volatility likely`);
      if (other) {
        const found = other.table.days.indexOf(table.days[row]);
        if (found >= 0 && other.table.labels[found] !== null) parts.push(`${other.name}: ${words(other.series.labels[other.table.labels[found]])}`);
      }
      const kinds = [...(kindsByRow.get(row) ?? [])];
      if (kinds.length) parts.push(kinds.length > 3 ? `${kinds.length} kinds of macro texts` : kinds.join(", "));
      return `${isoOf(table.days[row])}: ${parts.join(", ")}`;
    };
    const point = (row) => {
      at = row;
      host.setAttribute("aria-valuenow", row);
      host.setAttribute("aria-valuetext", describe(row));
      on.point(describe(row), table.labels[row] === null ? null : isoOf(table.days[row]));
    };
    const clamp = (from, to) => {
      const width = Math.min(Math.max(to - from, LEAST_DAYS), end + 1 - begin);
      const left = Math.min(Math.max(from, begin), end + 1 - width);
      return [left, left + width];
    };
    const show = (from, to) => {
      view = clamp(from, to);
      if (other) plots[0].setData([table.days, table.closes, rebased(table, other.table, view[0])], false);
      plots.forEach((plot) => plot.setScale("x", { min: view[0], max: view[1] }));
      host.dataset.from = isoOf(view[0]);
      host.dataset.to = isoOf(view[1]);
    };
    const zoom = (from, to) => { show(from, to); on.view(host.dataset.from, host.dataset.to); };
    const selected = (plot) => {
      const { left, width } = plot.select;
      if (width < 4) return;
      const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
      plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      zoom(Math.floor(from), Math.ceil(to));
    };
    const cursor = {
      drag: { x: true, y: false, setScale: false }, y: false,
      sync: { key: "history", setSeries: false, scales: ["x", null], filters: { pub: (kind) => kind === "mousemove" || kind === "mouseleave" } },
      points: { size: 7 }, bind: { dblclick: () => () => zoom(begin, end + 1) },
    };
    const hooks = {
      setSelect: [selected],
      setCursor: [(plot) => { if (plot.cursor.idx != null && plot.cursor.left >= 0) point(plot.cursor.idx); }],
    };
    const padded = (low, high) => {
      if (low == null) return [0.9, 1.1];
      const room = settings.isLog ? Math.max((high / low) ** 0.05, 1.005) : (high - low || Math.abs(high) || 1) * 0.05;
      return settings.isLog ? [low / room, high * room] : [low - room, high + room];
    };
    const paintMarks = (plot) => {
      const { ctx: context, bbox } = plot;
      const days = [...markedDays].filter((day) => day >= view[0] && day <= view[1]);
      const size = Math.max(1, Math.min(4, bbox.width / devicePixelRatio / days.length / 3)) * devicePixelRatio;
      context.save();
      context.fillStyle = colour("soft");
      for (const day of days) {
        const at = plot.valToPos(day, "x", true);
        context.beginPath();
        context.moveTo(at - size, bbox.top - 10 * devicePixelRatio);
        context.lineTo(at + size, bbox.top - 10 * devicePixelRatio);
        context.lineTo(at, bbox.top - 2 * devicePixelRatio);
        context.fill();
      }
      context.restore();
    };
    const gutter = innerWidth < 600 ? 54 : 60;
    const heightOf = (pane) => Math.round(host.clientHeight * [0.72, 0.28][pane]);
    const pricePane = (looks) => frame(host, heightOf(0), {
      cursor, padding: [14, 14, other ? 2 * STRIP + 10 : STRIP + 7, 0],
      scales: { x: { time: false }, y: { distr: settings.isLog ? 3 : 1, range: (_plot, low, high) => padded(low, high) } },
      axes: [
        dateAxis({ size: 0, values: () => [], ticks: { show: false } }),
        axis({ size: gutter, splits: valueTicks(settings.isLog), values: (_plot, ticks) => ticks.map(short) }),
      ],
      series: [
        {}, { stroke: colour("price"), width: 1.4 },
        ...(other ? [{ stroke: colour("other"), width: 1.4, dash: [6, 3] }] : []),
      ],
      hooks: {
        ...hooks,
        drawClear: [(plot) => {
          paintRegimes(plot, looks, table.spells, 0, true);
          if (other) paintRegimes(plot, looks, other.table.spells, 1, false);
        }],
        draw: [paintMarks],
      },
    });
    const shareAxis = () => axis({
      size: gutter, splits: () => [0, 50, 100], values: (_plot, ticks) => ticks.map((tick) => `${tick} %`),
    });
    const sharePane = () => frame(host, heightOf(1), {
      cursor, padding: [8, 14, 0, 0], hooks,
      scales: { x: { time: false }, y: { range: [0, 104] } },
      axes: [dateAxis({ size: 30 }), shareAxis()],
      series: [{}, { stroke: colour("link"), width: 1.2 }, { stroke: colour("crisis-line"), width: 1.2, dash: [2, 3] }],
    });
    const build = () => {
      plots.forEach((plot) => plot.destroy());
      const looks = looksOf(series);
      const prices = [table.days, table.closes, ...(other ? [rebased(table, other.table, view[0])] : [])];
      plots = [new uPlot(pricePane(looks), prices, host), new uPlot(sharePane(), [table.days, table.sure, table.high], host)];
      for (const plot of plots) listenToPointer(plot);
      show(...view);
      host.dataset.drawn = "yes";
    };
    const open = () => { if (table.labels[at] !== null) on.open(isoOf(table.days[at])); };
    const listenToPointer = (plot) => {
      let pressed = null;
      plot.over.addEventListener("pointerdown", (event) => { pressed = event.clientX; });
      plot.over.addEventListener("click", (event) => {
        if (pressed === null || Math.abs(event.clientX - pressed) > 3) return;
        if (event.pointerType === "touch") {
          plot.setCursor({ left: event.clientX - plot.over.getBoundingClientRect().left, top: 0 });
        } else open();
      });
    };
    const step = (row) => {
      const to = Math.min(last, Math.max(0, row)), day = table.days[to];
      const shift = Math.min(0, day - view[0]) + Math.max(0, day + 1 - view[1]);
      if (shift) zoom(view[0] + shift, view[1] + shift);
      queueMicrotask(() => {  // after uPlot has moved
        plots[0].setCursor({ left: plots[0].valToPos(day, "x"), top: 0 });
        point(to);
      });
    };
    const magnify = (factor) => {
      const width = (view[1] - view[0]) * factor, middle = table.days[at];
      const centre = middle >= view[0] && middle <= view[1] ? middle : (view[0] + view[1]) / 2;
      zoom(Math.round(centre - width / 2), Math.round(centre + width / 2));
    };
    const rowOf = (day) => { const found = table.days.findIndex((each) => each >= day); return found < 0 ? last : found; };
    const keys = {
      ArrowLeft: () => step(at - 1), ArrowRight: () => step(at + 1), PageUp: () => step(at - 21), PageDown: () => step(at + 21),
      Home: () => step(rowOf(view[0])), End: () => step(rowOf(view[1] - 1)), Enter: open, Escape: () => zoom(begin, end + 1),
      "+": () => magnify(0.5), "-": () => magnify(2),
    };
    host.onkeydown = (event) => {
      const press = keys[event.key];
      if (!press || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      press();
    };
    const resize = () => {
      if (!host.clientWidth || host.clientWidth === plots[0].width) return;
      plots.forEach((plot, pane) => plot.setSize({ width: host.clientWidth, height: heightOf(pane) }));
    };
    host.replaceChildren();
    host.setAttribute("aria-valuemax", last);
    build();
    point(last);
    const frames = new ResizeObserver(resize);
    frames.observe(host);
    const leave = () => { frames.disconnect(); plots.forEach((plot) => plot.destroy()); };
    return { show, build, mark, leave, begin, end };
  };

  // The paths around the analogs over that of the day; 100 is the close on it.
  const medianPath = (paths) => {
    const longest = Math.max(0, ...paths.analogs.map((path) => path.path.length - path.before));
    const median = Array.from({ length: longest }, (_, after) => {
      const values = paths.analogs.map((path) => path.path[path.before + after]).filter(Number.isFinite).sort((one, other) => one - other);
      const middle = values.length >> 1;
      return values.length % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    });
    return { day: "median", before: 0, path: median };
  };
  const analogs = (host, paths, on) => {
    const lines = [...paths.analogs, medianPath(paths), paths.today];
    const reach = Math.max(63, ...lines.map((line) => Math.max(line.before, line.path.length - 1 - line.before)));
    const sessions = Array.from({ length: 2 * reach + 1 }, (_, at) => at - reach);
    const values = lines.map((line) => sessions.map((session) => {
      const share = line.path[session + line.before];
      return share === undefined ? null : 100 + share;
    }));
    let plot = null;
    const style = (line) => {
      if (line === paths.today) return { stroke: colour("link"), width: 3 };
      return line.day === "median" ? { stroke: colour("ink"), width: 2, dash: [7, 4] } : { stroke: colour("soft"), width: 1.2 };
    };
    const told = () => {
      const line = lines[plot.cursor.focused - 1], value = line && values[plot.cursor.focused - 1][plot.cursor.idx];
      on.point(value == null ? "" : `${line.day}, ${sessions[plot.cursor.idx]} sessions from the day: ${value.toFixed(1)}`);
    };
    const build = () => {
      plot?.destroy();
      const from = (_plot, ticks) => ticks.map((tick) => (tick > 0 ? `+${tick}` : `${tick}`).replace("-", "\u2212"));
      let focused = null;
      plot = new uPlot(frame(host, host.clientHeight, {
        cursor: { y: false, drag: { x: false, y: false }, focus: { prox: 24 } }, focus: { alpha: 0.3 }, padding: [10, 14, 0, 0],
        scales: { x: { time: false, range: [-reach - 1, reach + 1] }, y: {} },
        axes: [
          axis({ size: 46, label: "sessions from the day", labelFont: FONT(), labelSize: 18, values: from }),
          axis({ size: 56, values: (_plot, ticks) => ticks.map(short) }),
        ],
        series: [{}, ...lines.map((line) => ({ label: line.day, points: { show: false }, ...style(line) }))],
        hooks: {
          setSeries: [(_plot, at) => { focused = at; }],
          setCursor: [(own) => { own.cursor.focused = focused; if (own === plot) told(); }],
        },
      }), [sessions, ...values], host);
      host.dataset.drawn = "yes";
    };
    host.replaceChildren();
    build();
    new ResizeObserver(() => { if (host.clientWidth && host.clientWidth !== plot.width) plot.setSize({ width: host.clientWidth, height: host.clientHeight }); }).observe(host);
    const emphasise = (day) => {
      const at = lines.findIndex((line) => line.day === day);
      plot.setSeries(at < 0 ? null : at + 1, { focus: true });
    };
    return { build, emphasise };
  };

  return { history, analogs, dayOf, words, logTicks };
})();
