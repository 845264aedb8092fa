// What moves on the page of the releases: charts, lineage, the search. Without it, all but those two can be read.
// Whatever came with the data is set as text, never as markup.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Calls `then` when the element comes near to what is seen; at once where that cannot be told. */
function whenNear(element, then) {
  if (!("IntersectionObserver" in window)) return then();
  const watching = new IntersectionObserver((seen) => {
    if (seen.some((each) => each.isIntersecting)) {
      watching.disconnect();
      then();
    }
  }, { rootMargin: "300px" });
  watching.observe(element);
}

// ---- how old the page is

function age() {
  const at = new Date($("#as-of").dateTime);
  const minutes = Math.round((Date.now() - at) / 60000);
  const said = minutes < 2 ? "just now" : minutes < 120 ? `${minutes} minutes ago`
    : minutes < 2880 ? `${Math.round(minutes / 60)} hours ago` : `${Math.round(minutes / 1440)} days ago`;
  $("#age").textContent = `(${said})`;
  const stale = $("#stale");
  stale.hidden = minutes < 1440;
  if (!stale.hidden) stale.textContent = `This page was last written ${said}: what has happened since is not on it.`;
}

// ---- charts: their points are read from the tables below them

const number = (text) => (text === "" ? null : Number(text.replaceAll(",", "")));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const SMALL = 60;
const DATES = { year: "{yyyy}", month: "{MMM} {yyyy}", day: "{d} {MMM}", hour: "{HH}:{mm}", minute: "{HH}:{mm}", second: "{HH}:{mm}:{ss}" };
const drawn = [];

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.plot = $(".plot", figure);
    const { kind, axis, unit } = figure.dataset;
    Object.assign(this, { kind, axis, unit });
    this.names = $$("thead th", figure).slice(1).map((cell) => cell.textContent);
    const rows = $$("tbody tr", figure).map((row) => [...row.cells].map((cell) => cell.textContent));
    this.x = rows.map((row) => row[0]);
    this.texts = this.names.map((_, at) => rows.map((row) => row[at + 1]));
    this.off = new Set();
    this.flat = this.kind === "bar" && this.axis === "category"; // names are read along the lines
    if (this.flat) this.plot.style.height = `${Math.max(14, Math.min(60, 5 + 1.7 * this.x.length))}rem`;
    this.legend();
    new ResizeObserver(() => this.chart?.resize()).observe(this.plot);
    this.draw();
  }

  legend() {
    if (this.names.length < 2) return;
    $(".legend", this.figure).append(...this.names.map((name, at) => {
      const box = make("i");
      box.style.color = `var(--c${at})`;
      return make("button", { type: "button", "aria-pressed": "true", onclick: (event) => {
        const show = this.off.delete(at) || !this.off.add(at);
        event.currentTarget.setAttribute("aria-pressed", String(show));
        this.chart.dispatchAction({ type: show ? "legendSelect" : "legendUnSelect", name: String(at) });
      } }, box, name);
    }));
  }

  /** Draws it in the colours of now. */
  draw() {
    this.chart?.dispose();
    this.chart = echarts.init(this.plot, null, { renderer: "svg" });
    this.chart.setOption(this.option());
    for (const at of this.off) this.chart.dispatchAction({ type: "legendUnSelect", name: String(at) });
  }

  place(at) {
    if (this.axis === "time") return Date.parse(this.x[at].includes(" ") ? `${this.x[at].replace(" ", "T")}Z` : this.x[at]);
    return this.axis === "number" ? number(this.x[at]) : at;
  }

  option() {
    const quiet = colour("quiet"), line = colour("line"), text = { color: quiet, fontFamily: colour("font") };
    const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });
    const values = {
      type: "value", splitNumber: this.flat ? 4 : 5,
      axisLabel: { ...text, hideOverlap: true, formatter: (value) => short.format(value) },
      splitLine: { lineStyle: { color: line } }, axisLine: { show: false }, scale: this.kind === "scatter",
    };
    const along = {
      type: this.axis === "number" ? "value" : this.axis,
      axisLabel: { ...text, hideOverlap: true, ...(this.axis === "time" ? { formatter: DATES } : {}) },
      axisLine: { lineStyle: { color: line }, onZero: false }, axisTick: { show: false }, splitLine: { show: false },
      name: this.axis === "number" ? this.figure.dataset.x : "", nameLocation: "middle", nameGap: 28, nameTextStyle: text,
      scale: this.axis === "number",
    };
    if (this.axis === "category") {
      along.data = this.x;
      along.inverse = this.flat;
      along.axisLabel = { ...text, width: this.flat ? Math.min(220, this.plot.clientWidth / 3) : 90, overflow: "truncate", interval: this.flat ? 0 : "auto" };
    }
    if (this.kind === "bar" && this.axis === "time" && this.x.length <= SMALL) {
      along.axisLabel.customValues = this.x.map((_, at) => this.place(at)); // a date below each bar
    }
    const long = !this.flat && this.kind !== "scatter" && this.x.length > SMALL;
    return {
      useUTC: true, animation: false, aria: { enabled: false },
      textStyle: { fontFamily: colour("font"), color: colour("text") },
      color: this.names.map((_, at) => colour(`c${at}`)),
      grid: { left: 8, right: 20, top: 14, bottom: (long ? 52 : 8) + (along.name ? 16 : 0), containLabel: true },
      legend: { show: false },
      xAxis: this.flat ? values : along,
      yAxis: this.flat ? along : values,
      dataZoom: this.flat ? [] : [
        { type: "inside", zoomOnMouseWheel: "ctrl", moveOnMouseMove: true, moveOnMouseWheel: false },
        ...(long ? [{ type: "slider", height: 22, bottom: 8, borderColor: line, textStyle: text, brushSelect: false }] : []),
      ],
      tooltip: {
        trigger: this.kind === "scatter" ? "item" : "axis", confine: true, backgroundColor: colour("card"), borderColor: line,
        axisPointer: { type: this.kind === "bar" ? "shadow" : "line", lineStyle: { color: quiet }, label: { show: false } },
        formatter: (given) => this.tip([].concat(given)),
      },
      series: this.names.map((name, series) => ({
        name: String(series), type: this.kind, showSymbol: this.x.length < 2, symbolSize: 7, barMaxWidth: 26,
        stack: this.kind === "bar" && this.names.length > 1 ? "all" : undefined, lineStyle: { width: 2 },
        itemStyle: this.kind === "scatter" ? { opacity: 0.65 } : {}, large: false, sampling: undefined,
        data: this.texts[series].flatMap((value, at) => {
          const y = number(value);
          if (y === null && this.kind !== "line") return [];
          return [{ value: this.flat ? [y, at] : [this.place(at), y], at }];
        }),
      })),
    };
  }

  /** What is told of the points that are pointed at: the very digits of the table. */
  tip(points) {
    if (!points.length) return "";
    const at = points[0].data.at;
    return make("div", { class: "tip" }, make("b", {}, this.kind === "scatter" ? `${this.figure.dataset.x} ${this.x[at]}` : this.x[at]),
      ...points.map((point) => {
        const series = Number(point.seriesName), box = make("i");
        const value = this.texts[series][point.data.at] || "–";
        box.style.cssText = `display:inline-block;width:.6rem;height:.6rem;border-radius:2px;margin-right:.4rem;background:var(--c${series})`;
        return make("p", {}, make("span", {}, box, this.names[series]), make("span", {}, `${value} ${this.unit}`.trim()));
      }));
  }
}

function drawAll() {
  for (const each of drawn) each.draw();
}

function charts() {
  for (const plot of $$(".plot")) plot.classList.add("ready");
  for (const figure of $$(".chart[data-kind]")) whenNear(figure, () => drawn.push(new Chart(figure)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  matchMedia("print").addEventListener("change", drawAll);
  addEventListener("beforeprint", () => {
    for (const figure of $$(".chart[data-kind]")) {
      if (!drawn.some((each) => each.figure === figure)) drawn.push(new Chart(figure));
    }
  });
}

// ---- lineage and dictionary: their data lies in the page and is made into elements when it is looked at

const LAYERS = ["feeds", "staging", "intermediate", "marts", "products", "consumers"];
const ALL_LINES = 80;
const AT_ONCE = 100;

class Lineage {
  constructor(assets) {
    this.assets = assets;
    this.box = $("#lineage .lineage");
    this.at = new Map(assets.map((asset, at) => [asset.name, at]));
    this.uses = assets.map(() => []);
    assets.forEach((asset, at) => asset.inputs.forEach((name) => this.uses[this.at.get(name)]?.push(at)));
    this.buttons = [];
    const height = [];  // where in its layer each asset stands, from 0 to 1: near to what it is made from
    for (const layer of LAYERS) {
      const of = assets.map((asset, at) => [asset, at]).filter(([asset]) => asset.layer === layer);
      if (!of.length) continue;
      const pull = new Map(of.map(([asset, at], place) => {
        const from = asset.inputs.map((input) => height[this.at.get(input)]).filter((each) => each !== undefined);
        return [at, from.length ? from.reduce((sum, each) => sum + each, 0) / from.length : place / of.length];
      }));
      of.sort(([, a], [, b]) => pull.get(a) - pull.get(b));
      of.forEach(([, at], place) => { height[at] = (place + 0.5) / of.length; });
      const list = make("ul");
      for (const [asset, at] of of) {
        const said = asset.state ? [make("span", { class: "hidden" }, ` (${asset.state})`)] : [];
        const name = layer === "consumers" || layer === "products" ? asset.name.split("/").slice(1).join("/") : asset.name.split("/").pop();
        const parts = (name || asset.name).split(/(?<=_)/).flatMap((part) => [make("wbr"), part]);
        const button = make("button", {
          type: "button", "aria-pressed": "false", class: asset.state ? "wrong" : null, onclick: () => this.choose(at),
        }, ...parts, ...said);
        this.buttons[at] = button;
        list.append(make("li", {}, button));
      }
      this.box.append(make("div", { class: "layer" }, make("h3", {}, layer), list));
    }
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.setAttribute("aria-hidden", "true");
    this.box.prepend(this.svg);
    new ResizeObserver(() => this.lines()).observe(this.box);
    this.lines();
  }

  reached(start, next) {
    const found = new Set(), ahead = [start];
    while (ahead.length) {
      for (const each of next(ahead.pop())) {
        if (each !== undefined && !found.has(each)) {
          found.add(each);
          ahead.push(each);
        }
      }
    }
    return found;
  }

  choose(at) {
    this.chosen = this.chosen === at ? undefined : at;
    const above = this.chosen === undefined ? new Set() : this.reached(at, (each) => this.assets[each].inputs.map((name) => this.at.get(name)));
    const below = this.chosen === undefined ? new Set() : this.reached(at, (each) => this.uses[each]);
    this.on = new Set([...above, ...below, ...(this.chosen === undefined ? [] : [at])]);
    this.box.classList.toggle("chosen", this.chosen !== undefined);
    this.buttons.forEach((button, each) => {
      button.classList.toggle("on", this.on.has(each));
      button.setAttribute("aria-pressed", String(each === this.chosen));
    });
    this.lines();
    this.tell(above.size, below.size);
  }

  lines() {
    this.svg.replaceChildren();
    const few = this.assets.length <= ALL_LINES, corner = this.box.getBoundingClientRect(), left = this.box.scrollLeft;
    this.svg.setAttribute("width", this.box.scrollWidth);
    this.svg.setAttribute("height", this.box.scrollHeight);
    this.assets.forEach((asset, at) => asset.inputs.forEach((name) => {
      const from = this.at.get(name), on = this.chosen !== undefined && this.on.has(from) && this.on.has(at);
      if (from === undefined || !(few || on)) return;
      const a = this.buttons[from].getBoundingClientRect(), b = this.buttons[at].getBoundingClientRect();
      const within = b.left < a.right, y = a.top + a.height / 2 - corner.top, down = b.top + b.height / 2 - corner.top;
      const x = (within ? a.left : a.right) - corner.left + left, to = b.left - corner.left + left;
      const bend = within ? -14 : Math.max(16, (to - x) / 2);
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", `M${x} ${y}C${x + bend} ${y} ${to - Math.abs(bend)} ${down} ${to} ${down}`);
      if (on) path.setAttribute("class", "on");
      this.svg.append(path);
    }));
  }

  tell(above, below) {
    const about = $("#lineage .about");
    about.replaceChildren();
    if (this.chosen === undefined) return;
    const asset = this.assets[this.chosen];
    const fact = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
    about.append(
      make("h3", {}, asset.name), make("p", {}, asset.about || "Nothing is said of it."),
      make("dl", { class: "facts" }, fact("owner", asset.owner || "–"),
        fact("made from", asset.inputs.join(", ") || "what is delivered"),
        fact("used by", this.uses[this.chosen].map((each) => this.assets[each].name).join(", ") || "nothing that is declared"),
        fact("in all", `${above} above, ${below} below`), ...(asset.state ? [fact("state", asset.state)] : [])),
      make("button", { type: "button", onclick: () => dictionary().show(asset.name) }, "Its columns"));
  }
}

class Dictionary {
  constructor(assets, columns) {
    this.rows = columns.map(([asset, ...cells]) => [assets[asset]?.name ?? "", ...cells]);
    this.found = this.rows.map((row) => row.join(" ").toLowerCase());
    this.input = $("#search");
    this.body = $("#dictionary tbody");
    this.more = $("#dictionary .more");
    this.input.addEventListener("input", () => this.search());
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.show("");
    });
    this.more.addEventListener("click", () => {
      const first = this.body.rows.length;
      this.add();
      this.body.rows[first]?.cells[0].focus();
    });
    this.search();
  }

  show(text) {
    this.input.value = text;
    this.search();
    this.input.focus();
    $("#dictionary").scrollIntoView();
  }

  search() {
    this.words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.hits = this.rows.filter((_, at) => this.words.every((word) => this.found[at].includes(word)));
    const count = this.hits.length;
    $("#hits").textContent = count === this.rows.length ? `${count.toLocaleString("en")} columns`
      : `${count.toLocaleString("en")} of ${this.rows.length.toLocaleString("en")} columns`;
    this.body.replaceChildren();
    this.add();
  }

  add() {
    const from = this.body.rows.length;
    for (const [asset, name, type, about, rules, personal] of this.hits.slice(from, from + AT_ONCE)) {
      this.body.append(make("tr", {},
        make("th", { scope: "row", tabindex: "-1" }, this.marked(name), make("br"), make("span", { class: "quiet small" }, this.marked(asset))),
        make("td", {}, make("code", {}, type)), make("td", {}, this.marked(about)), make("td", { class: "small" }, rules),
        make("td", { class: "personal" }, personal)));
    }
    this.more.hidden = this.body.rows.length >= this.hits.length;
  }

  marked(text) {
    const at = this.words.length === 1 ? text.toLowerCase().indexOf(this.words[0]) : -1;
    if (at < 0) return text;
    const whole = document.createDocumentFragment(), end = at + this.words[0].length;
    whole.append(text.slice(0, at), make("mark", {}, text.slice(at, end)), text.slice(end));
    return whole;
  }
}

let known, shownDictionary;

function data() {
  known ??= JSON.parse($("#data").textContent);
  return known;
}

function dictionary() {
  shownDictionary ??= new Dictionary(data().assets, data().columns);
  return shownDictionary;
}

function start() {
  age();
  setInterval(age, 60000);
  for (const each of $$("[data-needs-script]")) each.hidden = false;
  charts();
  if ($("#lineage")) whenNear($("#lineage"), () => new Lineage(data().assets));
  whenNear($("#dictionary"), dictionary);
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input") && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      dictionary().show("");
    }
  });
}

start();
