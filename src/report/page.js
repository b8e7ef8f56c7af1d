"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { metrics, knobs, objectives, rows, picks, intervals } = data;
  const byId = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const [ID, SHAPE, STATE, LEVELS, VALUES] = [0, 1, 2, 3, 4];
  const STATES = ["dominated", "frontier", "infeasible"];
  const rankOf = new Map(picks.map((p) => [p.row, p]));
  const PAGE = 50;

  const make = (name, text, attributes) => {
    const node = document.createElement(name);
    if (text !== undefined && text !== null) node.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    return node;
  };
  const draw = (name, attributes, parent) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (parent) parent.append(node);
    return node;
  };
  const number = (value) => {
    if (value === null || value === undefined) return "-";
    if (value === 0) return "0";
    const digits = Math.max(0, Math.min(8, 3 - Math.floor(Math.log10(Math.abs(value)))));
    return value.toLocaleString("en-US", { maximumFractionDigits: digits });
  };
  const shown = (metric, value) => {
    if (value === null || value === undefined) return "-";
    return metrics[metric].unit === "ratio" ? number(value * 100) + " %" : number(value);
  };
  const bracketed = (metric) => metrics[metric].label + (unit(metric) ? " (" + metrics[metric].unit + ")" : "");
  const unit = (metric) => (metrics[metric].unit === "ratio" || metrics[metric].unit === "count" ? "" : " " + metrics[metric].unit);
  const knobText = (row, knob) => {
    const level = rows[row][LEVELS][knob];
    return level < 0 ? "-" : knobs[knob].values[level];
  };
  const words = (row) => {
    const set = knobs.map((k, i) => (rows[row][LEVELS][i] < 0 ? "" : k.name + "=" + knobText(row, i)));
    return (rows[row][ID] + " " + rows[row][SHAPE] + " " + STATES[rows[row][STATE]] + " " + set.join(" ")).toLowerCase();
  };
  const haystack = rows.map((_, row) => words(row));

  // State: what is asked of table and chart.
  const brushes = objectives.map(() => [0, 1000]);
  let sort = { column: "objective0", up: true };
  let page = 0;
  let chosen = null;
  let kept = [];

  // A slider position from 0 to 1000 is a quantile of the objective's values: wide tails stay usable.
  const spreads = objectives.map((o) => rows.map((r) => r[VALUES][o.metric]).filter((v) => v !== null).sort((a, b) => a - b));
  const at = (o, place) => spreads[o][Math.round((place / 1000) * (spreads[o].length - 1))];
  const within = (row) =>
    objectives.every((o, i) => {
      const [low, high] = brushes[i];
      if (low <= 0 && high >= 1000) return true;
      const value = rows[row][VALUES][o.metric];
      return value !== null && value >= at(i, low) && value <= at(i, high);
    });

  const columns = [
    { key: "rank", title: "#", n: true, value: (r) => (rankOf.has(r) ? rankOf.get(r).rank : null), text: (r) => (rankOf.has(r) ? String(rankOf.get(r).rank) : "") },
    { key: "id", title: "id", value: (r) => rows[r][ID], text: (r) => rows[r][ID] },
    { key: "deployment", title: "deployment", value: (r) => rows[r][SHAPE], text: (r) => rows[r][SHAPE] },
    { key: "state", title: "state", value: (r) => STATES[rows[r][STATE]], text: (r) => STATES[rows[r][STATE]] },
  ];
  const metricColumn = (key, m) => columns.push({ key, title: metrics[m].name, n: true, value: (r) => rows[r][VALUES][m], text: (r) => shown(m, rows[r][VALUES][m]) });
  objectives.forEach((o, i) => metricColumn("objective" + i, o.metric));
  metrics.forEach((_, m) => { if (!objectives.some((o) => o.metric === m)) metricColumn("metric" + m, m); });
  knobs.forEach((k, i) => {
    if (k.values.length < 2) return;
    columns.push({ key: "knob" + i, title: k.name, n: false, value: (r) => rows[r][LEVELS][i], text: (r) => knobText(r, i) });
  });

  function refilter() {
    const wanted = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const state = byId("state").value;
    const column = columns.find((c) => c.key === sort.column);
    kept = rows.map((_, row) => row).filter((row) => {
      if (state === "feasible" && rows[row][STATE] === 2) return false;
      if (state === "frontier" && rows[row][STATE] !== 1) return false;
      if (state === "shortlist" && !rankOf.has(row)) return false;
      return within(row) && wanted.every((word) => haystack[row].includes(word));
    });
    const missing = (v) => v === null || v === undefined;
    kept.sort((a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      if (missing(x) || missing(y)) return missing(x) && missing(y) ? a - b : missing(x) ? 1 : -1;
      const order = x < y ? -1 : x > y ? 1 : 0;
      return (sort.up ? order : -order) || a - b;
    });
    page = 0;
    fillTable();
    dim();
  }

  function fillHead() {
    const head = make("tr");
    for (const column of columns) {
      const isSorted = column.key === sort.column;
      const cell = make("th", null, { scope: "col", "aria-sort": isSorted ? (sort.up ? "ascending" : "descending") : "none" });
      if (column.n) cell.className = "n";
      const button = make("button", column.title + (isSorted ? (sort.up ? " ▲" : " ▼") : ""), { type: "button" });
      button.addEventListener("click", () => {
        sort = { column: column.key, up: isSorted ? !sort.up : true };
        fillHead();
        refilter();
        const again = [...byId("table").tHead.querySelectorAll("button")][columns.indexOf(column)];
        if (again) again.focus();
      });
      cell.append(button);
      head.append(cell);
    }
    byId("table").tHead.replaceChildren(head);
  }

  function fillTable() {
    const body = byId("table").tBodies[0];
    const pages = Math.max(1, Math.ceil(kept.length / PAGE));
    page = Math.min(page, pages - 1);
    const lines = kept.slice(page * PAGE, (page + 1) * PAGE).map((row) => {
      const line = make("tr", null, { tabindex: "0", "data-row": row });
      line.className = [rankOf.has(row) ? "pick" : rows[row][STATE] === 1 ? "front" : "", row === chosen ? "chosen" : ""].join(" ").trim();
      if (row === chosen) line.setAttribute("aria-current", "true");
      for (const column of columns) {
        const cell = make("td", column.text(row));
        if (column.n) cell.className = "n";
        line.append(cell);
      }
      line.addEventListener("click", () => choose(row));
      line.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(row); } });
      return line;
    });
    body.replaceChildren(...lines);
    byId("count").textContent = kept.length.toLocaleString("en-US") + " of " + rows.length.toLocaleString("en-US") + " candidates, page " + (page + 1) + " of " + pages;
    byId("before").disabled = page === 0;
    byId("after").disabled = page >= pages - 1;
  }

  // The chart.
  const plot = byId("plot");
  // On a phone the chart is square, with marks and letters twice as large.
  const narrow = window.matchMedia("(max-width:760px)");
  const FRAME = {};
  function fitFrame() {
    Object.assign(FRAME, narrow.matches ? { left: 175, right: 985, top: 15, bottom: 845, end: 990 } : { left: 90, right: 980, top: 20, bottom: 520, end: 585 });
    plot.setAttribute("viewBox", "0 0 1000 " + (FRAME.end + 15));
  }
  let marks = new Map();
  let scales = null;

  function scaleOf(metric, from, to) {
    const value = (r) => rows[r][VALUES][metric];
    const finite = (list) => list.map(value).filter((v) => v !== null && v !== undefined);
    const all = rows.map((_, r) => r);
    const core = finite(all.filter((r) => rows[r][STATE] === 1 || rankOf.has(r)));
    const basis = core.length > 1 ? core : finite(all);
    if (basis.length === 0) return null;
    let [low, high] = [basis.reduce((a, b) => Math.min(a, b)), basis.reduce((a, b) => Math.max(a, b))];
    for (const p of picks) {
      const interval = intervals[p.row] && intervals[p.row].metrics[metric];
      if (interval) { low = Math.min(low, interval[0]); high = Math.max(high, interval[1]); }
    }
    const log = low > 0 && high / low > 10;
    const f = log ? Math.log10 : (v) => v;
    const room = (f(high) - f(low)) * 0.08 || Math.abs(f(high)) * 0.1 || 1;
    // Towards the worse as far as there is anything, but the frontier stays large.
    const worse = (f(high) - f(low)) * 0.7;
    const whole = finite(all).filter((v) => !log || v > 0).map(f);
    const [least, most] = [whole.reduce((a, b) => Math.min(a, b)), whole.reduce((a, b) => Math.max(a, b))];
    const up = metrics[metric].higher;
    const start = Math.min(f(low), up ? Math.max(least, f(low) - worse) : f(low)) - room;
    const end = Math.max(f(high), up ? f(high) : Math.min(most, f(high) + worse)) + room;
    const pixel = (v) => from + ((f(v) - start) / (end - start)) * (to - from);
    const back = (p) => { const v = start + ((p - from) / (to - from)) * (end - start); return log ? 10 ** v : v; };
    const inside = (v) => v !== null && v !== undefined && (!log || v > 0) && f(v) >= start && f(v) <= end;
    return { pixel, back, inside, ticks: ticks(log ? 10 ** start : start, log ? 10 ** end : end, log) };
  }

  function ticks(low, high, log) {
    const found = [];
    if (log) {
      for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
        for (const m of [1, 2, 5]) { const v = m * 10 ** e; if (v >= low && v <= high) found.push(v); }
      return found;
    }
    const raw = (high - low) / 5;
    const size = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * size).find((s) => s >= raw);
    for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(i * step);
    return found;
  }

  const titled = (m) => bracketed(m) + (narrow.matches ? "" : metrics[m].higher ? ", higher is better" : ", lower is better");

  function drawPlot() {
    const [mx, my] = [Number(byId("x").value), Number(byId("y").value)];
    plot.replaceChildren();
    marks = new Map();
    fitFrame();
    const big = narrow.matches ? 2 : 1;
    const x = scaleOf(mx, FRAME.left, FRAME.right);
    const y = scaleOf(my, FRAME.bottom, FRAME.top);
    scales = x && y ? { x, y, mx, my } : null;
    if (!scales) { draw("text", { x: 500, y: 270, "text-anchor": "middle" }, plot).textContent = "No candidate has a value in both metrics."; return; }
    const label = (attributes, text) => { draw("text", attributes, plot).textContent = text; };
    const thin = (list) => (narrow.matches && list.length > 4 ? list.filter((_, i) => i % 2 === 0) : list);
    for (const v of thin(x.ticks)) {
      draw("line", { x1: x.pixel(v), x2: x.pixel(v), y1: FRAME.top, y2: FRAME.bottom, stroke: "#e4e4e4" }, plot);
      label({ x: x.pixel(v), y: FRAME.bottom + 12 + 14 * big, "text-anchor": "middle" }, shown(mx, v));
    }
    for (const v of y.ticks) {
      draw("line", { x1: FRAME.left, x2: FRAME.right, y1: y.pixel(v), y2: y.pixel(v), stroke: "#e4e4e4" }, plot);
      label({ x: FRAME.left - 8, y: y.pixel(v) + 5 * big, "text-anchor": "end" }, shown(my, v));
    }
    label({ x: (FRAME.left + FRAME.right) / 2, y: FRAME.end, "text-anchor": "middle" }, titled(mx));
    label({ x: -(FRAME.top + FRAME.bottom) / 2, y: 8 + 12 * big, "text-anchor": "middle", transform: "rotate(-90)" }, titled(my));
    draw("rect", { x: FRAME.left, y: FRAME.top, width: FRAME.right - FRAME.left, height: FRAME.bottom - FRAME.top, fill: "transparent", id: "ground" }, plot);

    const visible = rows.map((_, r) => r).filter((r) => x.inside(rows[r][VALUES][mx]) && y.inside(rows[r][VALUES][my]));
    const place = (r) => [x.pixel(rows[r][VALUES][mx]), y.pixel(rows[r][VALUES][my])];
    const kinds = { infeasible: [], dominated: [], frontier: [], picks: [] };
    for (const r of visible) (rankOf.has(r) ? kinds.picks : kinds[STATES[rows[r][STATE]]]).push(r);
    const few = (list, most) => (list.length <= most ? list : list.filter((_, i) => Math.floor((i * most) / list.length) !== Math.floor(((i - 1) * most) / list.length)));
    for (const r of few(kinds.infeasible, 1000)) {
      const [px, py] = place(r);
      mark(r, draw("path", { d: `M${px - 4 * big},${py - 4 * big}l${8 * big},${8 * big}m0,${-8 * big}l${-8 * big},${8 * big}`, stroke: "#8a8a8a", fill: "none" }, plot), false);
    }
    for (const r of few(kinds.dominated, 2000)) {
      const [cx, cy] = place(r);
      mark(r, draw("circle", { cx, cy, r: 4 * big, fill: "#56b4e9", "fill-opacity": 0.8 }, plot), false);
    }
    for (const r of kinds.picks) {
      const own = intervals[r] && intervals[r].metrics;
      if (!own || !own[mx] || !own[my]) continue;
      const clip = (s, v, a, b) => Math.max(a, Math.min(b, s.pixel(Math.max(v, 1e-12))));
      const middle = [clip(x, own[mx][2], FRAME.left, FRAME.right), clip(y, own[my][2], FRAME.top, FRAME.bottom)];
      const bars = `M${clip(x, own[mx][0], FRAME.left, FRAME.right)},${middle[1]}H${clip(x, own[mx][1], FRAME.left, FRAME.right)}M${middle[0]},${clip(y, own[my][0], FRAME.top, FRAME.bottom)}V${clip(y, own[my][1], FRAME.top, FRAME.bottom)}`;
      draw("path", { d: bars, stroke: "#b34700", "stroke-width": 2, "stroke-opacity": 0.65, fill: "none", "pointer-events": "none" }, plot);
      const [px, py] = place(r);
      draw("path", { d: `M${px},${py}L${middle[0]},${middle[1]}`, stroke: "#b34700", "stroke-dasharray": "3 3", fill: "none", "pointer-events": "none" }, plot);
    }
    for (const r of kinds.frontier) {
      const [cx, cy] = place(r);
      mark(r, draw("circle", { cx, cy, r: 6 * big, fill: "#0072b2" }, plot), true);
    }
    for (const r of kinds.picks) {
      const [cx, cy] = place(r);
      mark(r, draw("circle", { cx, cy, r: 9 * big, fill: "#d55e00", stroke: "#fff", "stroke-width": 2 }, plot), true);
      label({ x: cx + 12 * big, y: cy - 10 * big, "font-weight": "bold", "pointer-events": "none" }, String(rankOf.get(r).rank));
    }
    dim();
  }

  function mark(row, node, isStop) {
    marks.set(row, node);
    node.classList.add("mark");
    node.dataset.row = row;
    if (isStop) {
      node.setAttribute("tabindex", "0");
      node.setAttribute("role", "button");
      const values = objectives.map((o) => metrics[o.metric].label + " " + shown(o.metric, rows[row][VALUES][o.metric]) + unit(o.metric));
      node.setAttribute("aria-label", (rankOf.has(row) ? "Shortlist " + rankOf.get(row).rank : "Frontier") + ": " + rows[row][SHAPE] + ", " + values.join(", "));
    }
    node.addEventListener("mouseenter", () => detail(row));
    node.addEventListener("focus", () => detail(row));
    node.addEventListener("mouseleave", () => { if (chosen !== null) detail(chosen); });
    node.addEventListener("click", () => choose(row));
    node.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(row); }
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const stops = [...marks.entries()].filter(([, n]) => n.hasAttribute("tabindex")).sort((a, b) => rows[a[0]][VALUES][scales.mx] - rows[b[0]][VALUES][scales.mx]);
      const next = stops[stops.findIndex(([r]) => r === row) + step];
      if (next) next[1].focus();
    });
  }

  function dim() {
    const inside = new Set(kept);
    for (const [row, node] of marks) {
      node.classList.toggle("dim", !inside.has(row));
      node.classList.toggle("chosen", row === chosen);
    }
  }

  function detail(row) {
    const box = byId("detail");
    const parts = [make("h3", (rankOf.has(row) ? "#" + rankOf.get(row).rank + " " : "") + rows[row][SHAPE])];
    parts.push(make("p", rows[row][ID] + ", " + STATES[rows[row][STATE]] + (rows[row][STATE] === 2 && data.reasons[row] ? ": " + data.reasons[row] : ""), { class: "note" }));
    const own = intervals[row];
    if (own) parts.push(make("p", "P(feasible) " + Math.round(own.feasible * 100) + " %, P(on the frontier) " + Math.round(own.frontier * 100) + " %"));
    const list = make("dl");
    const line = (name, value) => list.append(make("dt", name), make("dd", value));
    metrics.forEach((m, i) => {
      const interval = own && own.metrics[i];
      line(m.label, shown(i, rows[row][VALUES][i]) + unit(i) + (interval ? " (80 %: " + shown(i, interval[0]) + " to " + shown(i, interval[1]) + ")" : ""));
    });
    knobs.forEach((k, i) => { if (rows[row][LEVELS][i] >= 0) line(k.name, knobText(row, i) + (k.unit ? " " + k.unit : "")); });
    parts.push(list);
    box.replaceChildren(...parts);
    box.dataset.row = row;
  }

  function choose(row) {
    chosen = row;
    detail(row);
    const place = kept.indexOf(row);
    if (place >= 0) page = Math.floor(place / PAGE);
    fillTable();
    dim();
    byId("said").textContent = "Selected " + rows[row][ID];
  }

  // Brushing: sliders per objective, and a rectangle drawn in the chart.
  function fillBrushes() {
    objectives.forEach((o, i) => {
      const box = make("fieldset", null, { class: "brush" });
      box.append(make("legend", bracketed(o.metric)));
      const out = make("output");
      const sliders = [0, 1].map((end) => {
        const input = make("input", null, { type: "range", min: "0", max: "1000", value: end ? "1000" : "0", "aria-label": (end ? "Most " : "Least ") + metrics[o.metric].label, "data-objective": i, "data-end": end });
        input.addEventListener("input", () => {
          brushes[i][end] = Number(input.value);
          if (brushes[i][0] > brushes[i][1]) { brushes[i][1 - end] = brushes[i][end]; sliders[1 - end].value = input.value; }
          say();
          refilter();
        });
        return input;
      });
      const say = () => { out.textContent = shown(o.metric, at(i, brushes[i][0])) + " to " + shown(o.metric, at(i, brushes[i][1])); };
      box.show = () => { sliders.forEach((s, end) => { s.value = brushes[i][end]; }); say(); };
      box.append(...sliders, out);
      byId("brushes").append(box);
      if (spreads[i].length) say();
    });
  }
  const showBrushes = () => [...byId("brushes").children].forEach((box) => box.show());

  let drag = null;
  const pointer = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
    return [Math.max(FRAME.left, Math.min(FRAME.right, point.x)), Math.max(FRAME.top, Math.min(FRAME.bottom, point.y))];
  };
  plot.addEventListener("pointerdown", (event) => {
    if (event.target.id !== "ground" || event.pointerType === "touch") return;
    drag = { from: pointer(event), box: draw("rect", { fill: "#e69f00", "fill-opacity": 0.2, stroke: "#a36f00", "pointer-events": "none" }, plot) };
    plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [a, b] = [drag.from, pointer(event)];
    for (const [key, value] of Object.entries({ x: Math.min(a[0], b[0]), y: Math.min(a[1], b[1]), width: Math.abs(a[0] - b[0]), height: Math.abs(a[1] - b[1]) })) drag.box.setAttribute(key, value);
  });
  plot.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const [a, b] = [drag.from, pointer(event)];
    drag.box.remove();
    drag = null;
    if (Math.abs(a[0] - b[0]) < 6 || Math.abs(a[1] - b[1]) < 6) return;
    objectives.forEach((o, i) => {
      const along = o.metric === scales.mx ? [scales.x, 0] : o.metric === scales.my ? [scales.y, 1] : null;
      if (!along) return;
      const ends = [along[0].back(a[along[1]]), along[0].back(b[along[1]])].sort((p, q) => p - q);
      const last = Math.max(1, spreads[i].length - 1);
      const first = spreads[i].findIndex((v) => v >= ends[0]);
      const beyond = spreads[i].filter((v) => v <= ends[1]).length - 1;
      brushes[i] = [Math.ceil(((first < 0 ? last : first) / last) * 1000), Math.floor((Math.max(0, beyond) / last) * 1000)];
    });
    showBrushes();
    refilter();
  });

  function fillChoices() {
    for (const [id, place] of [["x", 0], ["y", 1]]) {
      metrics.forEach((m, i) => byId(id).append(make("option", bracketed(i), { value: i })));
      const o = objectives[Math.min(place, objectives.length - 1)];
      byId(id).value = o ? o.metric : place;
      byId(id).addEventListener("change", drawPlot);
    }
  }

  byId("filter").addEventListener("input", refilter);
  byId("state").addEventListener("change", refilter);
  byId("reset").addEventListener("click", () => {
    byId("filter").value = "";
    byId("state").value = "all";
    brushes.forEach((b, i) => { brushes[i] = [0, 1000]; });
    showBrushes();
    refilter();
  });
  byId("before").addEventListener("click", () => { page--; fillTable(); });
  byId("after").addEventListener("click", () => { page++; fillTable(); });
  document.querySelectorAll("[data-show]").forEach((node) => node.addEventListener("click", () => { choose(Number(node.dataset.show)); byId("chart").scrollIntoView(); }));
  narrow.addEventListener("change", drawPlot);

  fillChoices();
  fillBrushes();
  fillHead();
  drawPlot();
  refilter();
  if (picks.length) { chosen = picks[0].row; detail(chosen); fillTable(); dim(); }
  document.documentElement.dataset.ready = "true";
})();
