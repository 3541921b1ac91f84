"use strict";
(() => {
  const { runs, charts, words } = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const { chinese } = switches;
  const pick = (pair) => pair[chinese() ? 1 : 0];
  const say = (key, values = {}) =>
    pick(words[key]).replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const shown = (value) =>
    value == null ? "–" : (Number.isInteger(value) ? value : Number(value.toPrecision(4))).toLocaleString("en-US", { maximumFractionDigits: 12 });
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // --- samples: one slider for all runs --------------------------------------------------------

  const images = [...document.querySelectorAll("img.samples")];
  for (const image of images) {
    const frames = runs[image.dataset.run].frames;
    frames[frames.length - 1].src = image.getAttribute("src");
  }
  for (const image of document.querySelectorAll(".grid img")) {
    const mark = () => image.classList.toggle("small", image.naturalWidth < image.clientWidth);
    mark();
    new ResizeObserver(mark).observe(image);
  }
  const steps = [...new Set(runs.flatMap((run) => run.frames.map((frame) => frame.step)))];
  steps.sort((a, b) => a - b);
  const slider = document.getElementById("at");
  const play = document.getElementById("play");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let timer = null;
  let step = steps.length ? steps[steps.length - 1] : null;

  function show(index) {
    step = steps[index];
    slider.value = index;
    const text = say("at_step", { step: step.toLocaleString("en-US") });
    slider.setAttribute("aria-valuetext", text);
    document.getElementById("now").textContent = text;
    for (const image of images) {
      const run = runs[image.dataset.run];
      const past = run.frames.filter((frame) => frame.step <= step);
      const frame = past.length ? past[past.length - 1] : run.frames[0];
      if (image.getAttribute("src") !== frame.src) image.src = frame.src;
      image.alt = `${run.label}, ${say("at_step", { step: frame.step })}`;
    }
    for (const plot of plots) {
      plot.redraw(false);
      rest(plot);
    }
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶";
    play.setAttribute("aria-pressed", "false");
  }

  function toggle() {
    if (timer !== null) return stop();
    if (Number(slider.value) === steps.length - 1) show(0);
    play.textContent = "❚❚";
    play.setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      const next = Number(slider.value) + 1;
      if (next < steps.length) show(next);
      if (next >= steps.length - 1) stop();
    }, still.matches ? 1000 : 120);
  }

  // --- curves ----------------------------------------------------------------------------------

  const plots = [];
  const logarithmic = charts.map(() => null);

  function columns(chart) {
    return chart.series.map(({ run, key }) => {
      const { step: x, [key]: y } = runs[run].curves;
      const rows = x.map((_, row) => row).filter((row) => y[row] != null);
      return [rows.map((row) => x[row]), rows.map((row) => y[row])];
    });
  }

  function wide(tables) {  // positive values over more than two decades ask for a logarithmic axis
    const values = tables.flatMap((table) => table[1]);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    return { possible: least > 0, wanted: least > 0 && most / least > 100 };
  }

  // Values at the step of the slider, where the pointer is not on a chart.
  function rest(plot) {
    if (step === null || plot.cursor.left >= 0) return;
    const x = plot.data[0];
    let index = 0;
    while (index + 1 < x.length && x[index + 1] <= step) index += 1;
    if (x.length) plot.setLegend({ idxs: plot.data.map((_, series) => beside(plot, series, index)) }, false);
  }

  // Runs are logged at different steps: the nearest row in which this one has a value.
  function beside(plot, series, index) {
    const [x, values] = [plot.data[0], plot.data[series]];
    let [before, after] = [index, index];
    while (before >= 0 && values[before] == null) before -= 1;
    while (after < x.length && values[after] == null) after += 1;
    if (before < 0 || after >= x.length) return index;
    return x[index] - x[before] <= x[after] - x[index] ? before : after;
  }

  function marks(plot, chart) {
    const { ctx, bbox } = plot;
    const line = (at, ink, dash) => {
      const x = Math.round(plot.valToPos(at, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) return;
      ctx.strokeStyle = ink;
      ctx.setLineDash(dash);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    };
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    for (const run of new Set(chart.series.map((one) => one.run))) {
      for (const mark of runs[run].marks) {
        line(mark.step, colour(mark.kind === "warning" ? "--warn" : "--soft"), [4, 4]);
      }
    }
    if (step !== null) line(step, colour("--accent"), []);
    ctx.restore();
  }

  let following = false;  // the others follow the chart that was zoomed
  function follow(plot, scale) {
    if (scale !== "x" || following || !plots.includes(plot)) return;
    following = true;
    const { min, max } = plot.scales.x;
    for (const other of plots) if (other !== plot) other.setScale("x", { min, max });
    following = false;
  }

  function draw(index) {
    const chart = charts[index];
    const figure = document.querySelector(`[data-chart="${index}"]`);
    const place = figure.querySelector(".plot");
    const tables = columns(chart);
    const { possible, wanted } = wide(tables);
    const box = figure.querySelector(".log");
    if (logarithmic[index] === null) logarithmic[index] = chart.logarithmic && wanted;
    if (box) [box.checked, box.disabled] = [logarithmic[index], !possible];
    const rows = Math.max(...tables.map((table) => table[0].length));
    const ink = chart.series.map((one, order) =>
      one.key === "floor" ? colour("--soft") : colour(`--run-${(runs.length > 1 ? one.run : order) % 8}`));
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 },
      ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
    const plain = (_, splits) => splits.map((value) => (value == null ? "" : shown(value)));
    const options = {
      width: place.clientWidth,
      height: 240,
      cursor: { dataIdx: beside, sync: { key: "steps", scales: ["x", null] }, drag: { x: true, y: false } },
      scales: {
        x: { time: false, range: (_, min, max) => (min === max ? [min - 1, max + 1] : [min, max]) },
        y: { distr: logarithmic[index] ? 3 : 1, ...(chart.unit ? { range: [0, 1] } : {}) },
      },
      axes: [{ ...axis, size: 32, values: plain }, { ...axis, size: 62, values: plain }],
      series: [
        { label: say("step"), value: (_, value) => (value == null ? "–" : value.toLocaleString("en-US")) },
        ...chart.series.map((one, order) => ({
          label: pick(one.label), stroke: ink[order], width: 1.6, spanGaps: true,
          dash: one.key === "floor" ? [6, 4] : order % 2 && runs.length === 1 ? [10, 3] : undefined,
          points: { show: rows < 40, size: 5 }, value: (_, value) => shown(value),
        })),
      ],
      hooks: { setScale: [follow], draw: [(plot) => marks(plot, chart)], setLegend: [rest] },
    };
    const plot = new uPlot(options, uPlot.join(tables), place);
    figure.setAttribute("aria-label", described(chart, tables));
    let pressed = 0;
    plot.over.addEventListener("mousedown", (event) => (pressed = event.clientX));
    plot.over.addEventListener("click", (event) => {
      if (Math.abs(event.clientX - pressed) < 3) nearest(plot.posToVal(plot.cursor.left, "x"));
    });
    for (const head of place.querySelectorAll(".u-series th")) {
      head.tabIndex = 0;
      head.setAttribute("role", "button");
    }
    return plot;
  }

  function described(chart, tables) {
    const parts = chart.series.map((one, order) => {
      const values = tables[order][1];
      return `${pick(one.label)}: ${say("last_value")} ${shown(values[values.length - 1])}`;
    });
    return `${say("chart_is")}: ${pick(chart.title)}; ${parts.join("; ")}`;
  }

  function nearest(at) {
    if (!steps.length) return;
    const far = steps.map((one) => Math.abs(one - at));
    show(far.indexOf(Math.min(...far)));
  }

  function drawAll() {
    const zoom = plots.length && zoomed ? plots[0].scales.x : null;
    const range = zoom && { min: zoom.min, max: zoom.max };
    plots.splice(0).forEach((plot) => plot.destroy());
    charts.forEach((_, index) => plots.push(draw(index)));
    if (plots.length && range) plots[0].setScale("x", range);
    plots.forEach(rest);
    for (const details of document.querySelectorAll(".chart details[open]")) fill(details);
  }

  let zoomed = false;
  function zoom(how, from) {
    const plot = from || plots[0];
    if (!plot) return;
    const ends = plots.map((one) => [one.data[0][0], one.data[0][one.data[0].length - 1]]);
    const [first, last] = [Math.min(...ends.map((e) => e[0])), Math.max(...ends.map((e) => e[1]))];
    let { min, max } = plot.scales.x;
    const width = max - min;
    const scale = { in: 0.5, out: 2 }[how] || 1;
    const shift = { left: -0.25, right: 0.25 }[how] || 0;
    const middle = (min + max) / 2 + shift * width;
    const half = Math.min((width * scale) / 2, (last - first) / 2);
    min = Math.max(first, Math.min(middle - half, last - 2 * half));
    max = min + 2 * half;
    zoomed = how !== "whole";
    const range = zoomed ? { min, max } : { min: first, max: last };
    following = true;
    for (const one of plots) one.setScale("x", range);
    following = false;
  }

  function move(plot, by) {  // the cursor, from one value to the next
    const x = plot.data[0];
    const now = plot.cursor.idx == null ? x.length - 1 : plot.cursor.idx;
    const index = Math.max(0, Math.min(x.length - 1, now + by));
    plot.setCursor({ left: plot.valToPos(x[index], "x"), top: 10 }, true, true);
  }

  function fill(details) {
    const chart = charts[details.closest(".chart").dataset.chart];
    const [x, ...values] = uPlot.join(columns(chart));
    const every = Math.max(1, Math.ceil(x.length / 60));
    const table = document.createElement("table");
    const add = (parent, tag, text) => {
      const cell = document.createElement(tag);
      if (text !== undefined) cell.textContent = text;
      if (tag === "td") cell.className = "number";
      return parent.appendChild(cell);
    };
    const head = add(add(table, "thead"), "tr");
    for (const text of [say("step"), ...chart.series.map((one) => pick(one.label))]) add(head, "th", text).scope = "col";
    const body = add(table, "tbody");
    x.forEach((at, row) => {
      if (row % every && row !== x.length - 1) return;
      const line = add(body, "tr");
      add(line, "th", at.toLocaleString("en-US")).scope = "row";
      for (const column of values) add(line, "td", shown(column[row]));
    });
    details.querySelector(".scroll").replaceChildren(table);
  }

  // --- hands -----------------------------------------------------------------------------------

  if (slider) {
    slider.max = steps.length - 1;
    slider.value = steps.length - 1;
    slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
    play.addEventListener("click", toggle);
    slider.addEventListener("keydown", (event) => {
      if (event.key !== " ") return;
      event.preventDefault();
      toggle();
    });
  }
  for (const box of document.querySelectorAll(".scroll")) {  // what scrolls can be reached by Tab
    new ResizeObserver(() => {
      const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }).observe(box);
  }
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => zoom(button.dataset.zoom));
  }
  for (const figure of document.querySelectorAll(".chart")) {
    const index = Number(figure.dataset.chart);
    figure.addEventListener("keydown", (event) => {
      if (event.target.getAttribute("role") === "button" && event.key === "Enter") return event.target.click();
      if (event.target !== figure) return;
      const ways = { "+": "in", "=": "in", "-": "out", 0: "whole" };
      if (event.key in ways) zoom(ways[event.key], plots[index]);
      else if (event.key === "ArrowLeft") move(plots[index], -1);
      else if (event.key === "ArrowRight") move(plots[index], 1);
      else return;
      event.preventDefault();
    });
    const box = figure.querySelector(".log");
    if (box) {
      box.addEventListener("change", () => {
        logarithmic[index] = box.checked;
        drawAll();
      });
    }
    const details = figure.querySelector("details");
    details.addEventListener("toggle", () => details.open && fill(details));
    new ResizeObserver(() => {
      const plot = plots[index];
      const width = figure.querySelector(".plot").clientWidth;
      if (plot && width && Math.abs(plot.width - width) > 1) plot.setSize({ width, height: 240 });
    }).observe(figure);
  }
  switches.start(() => {
    drawAll();
    if (steps.length) show(Number(slider.value));
  });
  window.report = { plots, show, zoom };  // for whoever looks at it from the console
})();
