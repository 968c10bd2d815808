// The live views: each draws one value, the view's whole state, whenever it changes. What strategies call
// themselves is anyone's text, so every text goes into the page as text, never as HTML.

const LOOKS_MS = 5000; // how often the kernel hears that the view is still on a page
const SVG = "http://www.w3.org/2000/svg";

function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  const { text, ...rest } = options;
  if (text !== undefined && text !== null) element.textContent = text;
  for (const [name, value] of Object.entries(rest)) if (value !== undefined) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function shape(tag, options) {
  const element = document.createElementNS(SVG, tag);
  const { text, ...rest } = options;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(rest)) element.setAttribute(name, value);
  return element;
}

function money(value) {
  const digits = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return (value > 0 ? "+" : "") + value.toLocaleString("en", digits);
}

const count = (value) => value.toLocaleString("en");
const sign = (value) => (value > 0 ? "up" : value < 0 ? "down" : "");

function clock(written) {
  if (!written) return "–";
  return new Date(written).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

function duration(seconds) {
  if (seconds === undefined || seconds === null) return "–";
  const size = Math.abs(seconds);
  if (size < 1e-3) return `${(1e6 * seconds).toFixed(0)} µs`;
  if (size < 1) return `${(1e3 * seconds).toFixed(size < 0.01 ? 1 : 0)} ms`;
  return `${seconds.toFixed(size < 10 ? 1 : 0)} s`;
}

function table(heads, rows) {
  const head = make("tr", {}, ...heads.map(([text, kind]) => make("th", { text, class: kind })));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

const cell = (text, kind) => make("td", { text, class: kind });
const empty = (text) => make("p", { class: "quiet", text });

// The views

function tape(state) {
  if (!state.rows.length) return [empty("No tickets yet. The next one appears here.")];
  const rows = state.rows.map((row) => make("tr", {},
    make("td", { class: "time", text: clock(row.at), title: row.at || undefined }),
    cell(row.strategy, "name"),
    cell(row.asked, "name"),
    cell(row.place, "quiet"),
    make("td", {}, make("span", { class: "pill " + row.status, text: row.status })),
    make("td", { class: "why", title: row.said }, row.reason ? make("code", { text: row.reason }) : "", row.said)));
  const heads = [["received", ""], ["strategy", ""], ["asked", ""], ["account", ""], ["outcome", ""], ["why", ""]];
  const skipped = state.skipped ? `; ${count(state.skipped)} of them went by too fast to be shown` : "";
  return [table(heads, rows), empty(`${count(state.tickets)} tickets since this view began${skipped}.`)];
}

function strategies(state) {
  if (!state.rows.length) return [empty("No strategy has sent an alert yet.")];
  const rows = state.rows.map((row) => make("tr", {},
    cell(row.strategy, "name"),
    make("td", {}, make("span", { class: "pill " + row.in_force, text: row.in_force })),
    cell(row.mode === "auto" ? "by its results" : "set by hand", "quiet"),
    cell([row.progress, row.stopped].filter(Boolean).join(" · "), "why"),
    cell(count(row.trades), "number"),
    cell(row.trades ? `${Math.round((100 * row.wins) / row.trades)} %` : "–", "number"),
    cell(money(row.net_profit), "number " + sign(row.net_profit))));
  const heads = [["strategy", ""], ["in force", ""], ["mode", ""], ["progress", ""], ["trades", "number"],
    ["won", "number"], ["net profit", "number"]];
  return [table(heads, rows), state.more ? empty(`${count(state.more)} more are not shown.`) : ""];
}

function curve(mode, told) {
  const [width, top, low] = [720, 130, 50];
  const [from, to] = [told.at[0], told.at[told.at.length - 1]];
  const across = (at) => 4 + ((width - 8) * (at - from)) / (to - from || 1);
  const most = Math.max(0, ...told.equity), least = Math.min(0, ...told.equity), deepest = told.deepest || -1;
  const up = (value) => 6 + ((top - 12) * (most - value)) / (most - least || 1);
  const under = (value) => top + 4 + ((low - 8) * value) / deepest;
  const line = (values, height) => values.map((value, i) => `${across(told.at[i]).toFixed(1)},${height(value).toFixed(1)}`);
  const down = line(told.down, under);
  const picture = shape("svg", { viewBox: `0 0 ${width} ${top + low}`, class: "curve " + mode, role: "img" });
  picture.append(
    shape("title", { text: `${mode}: equity, and the drawdown below it` }),
    shape("line", { x1: 0, x2: width, y1: up(0), y2: up(0), class: "zero" }),
    shape("polygon", { points: [`${across(from)},${under(0)}`, ...down, `${across(to)},${under(0)}`].join(" "), class: "under" }),
    shape("polyline", { points: line(told.equity, up).join(" "), class: "line" }),
    shape("circle", { cx: across(to), cy: up(told.equity[told.equity.length - 1]), r: 3.5, class: "end" }));
  const now = told.down[told.down.length - 1];
  const head = make("p", { class: "head" }, make("span", { class: "pill " + mode, text: mode }),
    make("b", { class: sign(told.net), text: money(told.net) }),
    make("span", { class: "quiet", text: `net of commission after ${count(told.trades)} trades; ` +
      `${money(now)} from its best now, ${money(told.deepest)} at the deepest` }));
  return make("div", {}, head, picture);
}

function equity(state) {
  const curves = Object.entries(state.curves);
  const of = state.strategy ? ` of ${state.strategy}` : "";
  if (!curves.length) return [empty(`No closed trades${of} yet.`)];
  return [state.strategy ? make("p", { class: "name", text: state.strategy }) : "", ...curves.map(([mode, told]) => curve(mode, told))];
}

function graph(state) {
  const children = state.nodes.map(() => []);
  const roots = [];
  state.nodes.forEach((node, place) => (node.parents.length ? children[node.parents[0]] : roots).push(place));
  const counts = (node) => {
    const lines = node.kind === "operator" || node.kind === "reactivex" ? [`${count(node.seen)} in`] : [`${count(node.out || node.seen)} so far`];
    for (const name of ["denied", "failed", "dropped"]) if (node[name]) lines.push(`${count(node[name])} ${name}`);
    if (node.each_s !== null) lines.push(`${duration(node.each_s)} each`);
    return lines.join(", ");
  };
  const box = (node) => make("span", { class: "node " + node.kind, title: node.kind }, make("b", { text: node.name }),
    node.detail ? make("small", { text: node.detail }) : "", make("small", { class: node.failed ? "down" : "", text: counts(node) }));
  const tree = (place) => {
    const row = make("div", { class: "row" }, box(state.nodes[place]));
    while (children[place].length === 1) {
      [place] = children[place];
      row.append(make("span", { class: "quiet", text: "→" }), box(state.nodes[place]));
    }
    if (children[place].length) row.append(make("div", { class: "branches" }, ...children[place].map(tree)));
    return row;
  };
  return [make("div", { class: "flow" }, ...roots.map(tree))];
}

function latency(state) {
  const longest = Math.max(1e-6, ...state.stages.map((stage) => Math.abs(stage.slow_s || 0)));
  const rows = state.stages.map((stage) => {
    const bar = make("span", { class: "bar" });
    bar.style.width = `${Math.round((100 * Math.abs(stage.middle_s || 0)) / longest)}%`;
    const slow = make("span", { class: "bar slow" }, bar);
    slow.style.width = `${Math.round((100 * Math.abs(stage.slow_s || 0)) / longest)}%`;
    return make("tr", {}, cell(stage.name, "name"), make("td", { class: "bars" }, slow),
      ...[stage.middle_s, stage.slow_s, stage.most_s].map((value) => cell(duration(value), "number")),
      cell(count(stage.count), "number quiet"));
  });
  const heads = [["stage", ""], ["", ""], ["middle", "number"], ["1 in 20 over", "number"], ["most", "number"], ["of the last", "number"]];
  return [table(heads, rows)];
}

function books(state) {
  const figure = (value) => (value === null ? "–" : count(value));
  const totals = state.totals.map(([name, ...values]) => make("tr", {}, cell(name.replaceAll("_", " "), "name"),
    ...values.map((value) => cell(figure(value), "number"))));
  const rows = state.newest.map((row) => make("tr", {},
    cell(row.strategy, "name"), cell(row.asked, "name"), ...row.told.map((text) => cell(text || "no such ticket", "why"))));
  const heads = state.names.map((name) => [name, "number"]);
  const late = state.behind ? `; the fork is ${count(state.behind)} inputs behind` : "";
  const told = `${count(state.different)} of ${count(state.different + state.same)} tickets were decided otherwise${late}.`;
  const newest = [["strategy", ""], ["asked", ""], ...state.names.map((name) => [name, ""])];
  return [table([["", ""], ...heads], totals), empty(told), rows.length ? table(newest, rows) : ""];
}

const VIEWS = { tape, strategies, equity, graph, latency, books };
const LINKS = { live: "live", reconnecting: "reconnecting", connecting: "connecting", lost: "lost", closed: "closed" };

function render({ model, el }) {
  el.classList.add("ttflow");
  let waiting = 0;
  const draw = () => {
    waiting = 0;
    const state = model.get("state");
    const link = make("p", { class: "link " + (LINKS[state.link] || "") }, make("span", { class: "dot" }), LINKS[state.link] || state.link, state.why ? ` · ${state.why}` : "");
    const scrolled = el.querySelector(".scroll")?.scrollLeft || 0;
    el.replaceChildren(link, ...VIEWS[model.get("kind")](state));
    const scroll = el.querySelector(".scroll");
    if (scroll) scroll.scrollLeft = scrolled;
  };
  // A page in the background gets no frames: it is drawn once it is looked at again.
  const soon = () => { waiting ||= requestAnimationFrame(draw); };
  const look = () => model.send({ looks: true });
  model.on("change:state", soon);
  const timer = setInterval(look, LOOKS_MS);
  look();
  draw();
  return () => {
    clearInterval(timer);
    cancelAnimationFrame(waiting);
    model.off("change:state", soon);
  };
}

export default { render };
