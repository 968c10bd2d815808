// The first page: asks the API once, then follows the stream. What strategies call themselves is
// anyone's text, so every text goes into the page as text, never as HTML.
"use strict";

const MOST = 200; // tickets on the page; older ones are in the journal
const byId = (id) => document.getElementById(id);
const tickets = new Map(); // key -> ticket, and what its alert asked for
const rows = new Map(); // key -> <tbody> on the page
const alerts = new Map(); // seq -> the alert's row, until its tickets have come
const open = new Set(); // keys of the tickets whose trail is shown
const changed = new Set(); // keys to draw with the next frame
let desk = null; // what /api/desk said last
let seq = 0; // the last input that the page knows about
let tested = null; // the alert id of the last test

function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  const { text, ...rest } = options;
  if (text !== undefined && text !== null) element.textContent = text;
  for (const [name, value] of Object.entries(rest)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

async function ask(path, body) {
  const options = { headers: { Accept: "application/json" }, cache: "no-store" };
  if (body) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(answer.message || response.statusText), { status: response.status });
  return answer;
}

// Numbers and times: exact strings are shown as they came, only grouped.

function grouped(text) {
  if (text === null || text === undefined) return "–";
  const [whole, part] = String(text).split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + (part ? "." + part : "");
}

function money(text) {
  const value = Number(text ?? NaN);
  if (Number.isNaN(value)) return "–";
  return (value > 0 ? "+" : "") + value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
}

function clock(text) {
  const at = new Date(text);
  const today = at.toDateString() === new Date().toDateString();
  const day = today ? "" : at.toLocaleDateString(undefined, { day: "numeric", month: "short" }) + " ";
  return day + at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

// Tickets

const keyOf = (ticket) => JSON.stringify([ticket.seq, ticket.account_group, ticket.account]);

// The stream has pairs, the API has objects.
const notes = (trail) => (trail || []).map((note) => (Array.isArray(note) ? { step: note[0], text: note[1] } : note));

function take(ticket) {
  const key = keyOf(ticket);
  const known = tickets.get(key) || alerts.get(ticket.seq) || {};
  const { received_at, action, quantity, price } = known;
  tickets.set(key, { received_at, action, quantity, price, ...ticket, trail: notes(ticket.trail) });
  if (!changed.size) requestAnimationFrame(draw);
  changed.add(key);
}

function draw() {
  const oldest = [...tickets.keys()].sort((a, b) => tickets.get(a).seq - tickets.get(b).seq);
  for (const key of oldest.slice(0, Math.max(0, oldest.length - MOST))) {
    tickets.delete(key);
    rows.get(key)?.remove();
    rows.delete(key);
    open.delete(key);
  }
  for (const key of changed) if (tickets.has(key)) drawTicket(key, tickets.get(key));
  changed.clear();
  byId("none").hidden = tickets.size > 0;
  byId("tickets").hidden = !tickets.size;
  byId("count").textContent = tickets.size ? `the last ${tickets.size}` : "";
}

function drawTicket(key, ticket) {
  const body = make("tbody", { class: open.has(key) ? "open" : "", "data-seq": ticket.seq });
  const last = ticket.trail[ticket.trail.length - 1];
  const fills = ticket.trail.filter((note) => note.step === "fill").length;
  const several = fills > 1 && last.step === "fill" ? `${fills} fills, the last: ` : "";
  const why = last ? several + last.text : ticket.reason || "";
  const code = ticket.reason && /^[A-Z_]+$/.test(ticket.reason) ? make("code", { class: "reason", text: ticket.reason }) : "";
  const account = [ticket.account_group, ticket.account].filter(Boolean).join(" / ");
  const asked = [ticket.action, ticket.quantity && grouped(ticket.quantity), ticket.symbol].filter(Boolean).join(" ");
  const toggle = () => {
    open.has(key) ? open.delete(key) : open.add(key);
    drawTicket(key, tickets.get(key));
    rows.get(key).querySelector("button").focus();
  };
  const time = make("time", { datetime: ticket.received_at, title: ticket.received_at, text: clock(ticket.received_at) });
  const button = make("button", { class: "fold", "aria-expanded": open.has(key), "aria-label": "Show the trail" });
  body.append(make("tr", { click: toggle },
    make("td", { class: "time" }, button, ticket.received_at ? time : "–"),
    make("td", { class: "strategy", text: ticket.strategy }),
    make("td", { class: "asked", text: asked }),
    make("td", { class: "account", text: account }),
    make("td", { class: "outcome" }, make("span", { class: "pill " + ticket.status, text: ticket.status })),
    make("td", { class: "why" }, code, why)));
  if (open.has(key)) body.append(make("tr", { class: "trail" }, make("td", { colspan: 6 }, trailOf(ticket))));
  const before = rows.get(key);
  if (before) before.replaceWith(body);
  else {
    const table = byId("tickets");
    const next = [...table.tBodies].find((other) => Number(other.dataset.seq) <= ticket.seq);
    table.insertBefore(body, next || null);
  }
  rows.set(key, body);
  if (ticket.alert_id === tested) tell(`${ticket.status}${why ? " · " + why : ""}`, ticket.status);
}

function trailOf(ticket) {
  const list = make("ol");
  for (const note of ticket.trail) list.append(make("li", {}, make("b", { text: note.step || "·" }), make("span", { text: note.text })));
  const link = make("a", { href: "/api/alerts/" + encodeURIComponent(ticket.alert_id), text: ticket.alert_id });
  return make("div", {}, list, make("p", { class: "quiet" }, "Everything about it: ", link));
}

// Positions

async function showPositions() {
  const { positions } = await ask("/api/positions");
  byId("flat").hidden = positions.length > 0;
  byId("positions").hidden = !positions.length;
  byId("positions").tBodies[0].replaceChildren(...positions.slice(0, MOST).map((held) => {
    const sign = Math.sign(Number(held.unrealised));
    return make("tr", {},
      make("td", { text: held.strategy }),
      make("td", { text: held.symbol }),
      make("td", { class: "number", text: grouped(held.quantity) }),
      make("td", { class: "number", text: grouped(held.average_price) }),
      make("td", { class: "number", text: grouped(held.last_price) }),
      make("td", { class: "number " + (sign > 0 ? "up" : sign < 0 ? "down" : ""), text: money(held.unrealised) }),
      make("td", { text: `${held.account_group} / ${held.account}` }));
  }));
}

// The desk: where to post, whether it is halted

function showDesk() {
  byId("sign-in").hidden = desk.signed_in;
  byId("switch").hidden = !desk.signed_in;
  byId("switch").disabled = byId("test").disabled = !desk.signed_in;
  byId("switch").textContent = desk.halt ? "Resume trading" : "Halt trading";
  byId("switch").className = desk.halt ? "primary" : "danger";
  if (!desk.signed_in) tell("Sign in to send one.");
  byId("banner").hidden = !desk.halt;
  if (desk.halt) {
    byId("banner").textContent = `Trading is halted since ${clock(desk.halt.at)}: ${desk.halt.reason}. Exits still go out.`;
  }
  byId("message").textContent = desk.message.trim();
  byId("secret-row").hidden = !desk.webhook.secret;
  byId("open-door").hidden = desk.webhook.secret;
  byId("about").textContent = `ttflow ${desk.version}`;
  if (byId("link").className === "on") link("on", live());
  showAddress();
}

const address = (secret) => desk.webhook.url + (desk.webhook.secret ? "/" + secret : "");

function showAddress() {
  const typed = byId("secret").value;
  byId("url").textContent = address(typed ? "•".repeat(8) : "YOUR_SECRET");
}

function tell(text, kind = "") {
  byId("outcome").className = kind;
  byId("outcome").textContent = text;
}

// The stream

function link(state, text) {
  byId("link").className = state;
  byId("link").lastElementChild.textContent = text;
}

const live = () => (desk.status === "ok" ? "live" : `live · ${desk.status}`);

const later = new Map();
function soon(work, ms = 250) { // many changes, one question
  if (later.has(work)) return;
  later.set(work, setTimeout(() => { later.delete(work); work().catch(() => {}); }, ms));
}

async function refreshDesk() {
  desk = await ask("/api/desk");
  showDesk();
}

const refreshTickets = async () => (await ask(`/api/tickets?limit=${MOST}`)).tickets.forEach(take);

function hear(message) {
  seq = message.seq;
  if (message.thinned) soon(refreshTickets);
  for (const { table, row } of message.changes) {
    if (table === "alerts") {
      alerts.set(row.seq, row);
      if (alerts.size > MOST) alerts.delete(alerts.keys().next().value);
    } else if (table === "tickets") take(row);
    else if (table === "ledgers" || table === "prices") soon(showPositions);
    else if (table === "halts") soon(refreshDesk, 0);
    else if (table === "strategies" || table === "trades") soon(showStrategies, 500);
    else if (table === "firms") soon(showFirms, 500);
    else if (table === "notices") soon(showNotices);
  }
  if (message.thinned) for (const show of [showPositions, refreshDesk, ...PANELS]) soon(show);
}

function follow(wait = 500) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/api/stream?since=${seq}`);
  socket.onopen = () => { wait = 500; link("on", live()); };
  socket.onmessage = (event) => hear(JSON.parse(event.data));
  socket.onclose = () => { link("off", "reconnecting"); setTimeout(again, wait, Math.min(2 * wait, 5000)); };
}

async function again(wait) {
  try {
    const known = desk.journal_id;
    await refreshDesk();
    if (desk.journal_id !== known) { location.reload(); return; } // another desk is at this address now
    for (const show of [showPositions, ...PANELS]) soon(show);
    follow(wait);
  } catch (error) {
    if (error.status === 401) { location.reload(); return; }
    setTimeout(again, wait, Math.min(2 * wait, 5000));
  }
}

async function start() {
  try {
    await refreshDesk();
    seq = desk.recorded; // before the lists are asked for, so that nothing falls between them and the stream
    await Promise.all([refreshTickets(), showPositions(), ...PANELS.map((show) => show())]);
    draw();
    byId("connect").open = !tickets.size;
    follow();
  } catch (error) {
    link("off", "no answer");
    setTimeout(start, 2000);
  }
}

// What a person does

async function flip() {
  const verb = desk.halt ? "resume" : "halt";
  const dialog = byId("confirm");
  dialog.querySelector("h2").textContent = desk.halt ? "Resume trading everywhere?" : "Halt trading everywhere?";
  dialog.querySelector("p").textContent = desk.halt
    ? "New entries go out again from the next alert on."
    : "No new position is opened and waiting entries are withdrawn. Exits still go out; what is held stays held.";
  byId("sure").textContent = desk.halt ? "Resume" : "Halt";
  byId("sure").className = desk.halt ? "primary" : "danger";
  byId("reason").value = dialog.returnValue = "";
  dialog.showModal();
  dialog.onclose = async () => {
    if (dialog.returnValue !== "yes") return;
    const reason = byId("reason").value.trim() || "from the dashboard";
    try { await ask("/api/" + verb, { reason }); } catch (error) { link("off", error.message); }
    soon(refreshDesk, 0);
  };
}

async function test() {
  tell("sending…");
  try {
    const kept = await ask("/api/test-alert", {});
    tested = kept.alert_id;
    tell("kept, being decided…");
    for (const [key, ticket] of tickets) if (ticket.alert_id === tested) drawTicket(key, ticket);
  } catch (error) { tell(error.message, "failed"); }
}

async function copy(button) {
  const typed = byId("secret").value;
  const text = button.dataset.copy === "url" ? address(encodeURIComponent(typed) || "YOUR_SECRET") : byId("message").textContent;
  try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch { button.textContent = "Select it"; }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
byId("secret").addEventListener("input", showAddress);
byId("switch").addEventListener("click", flip);
byId("test").addEventListener("click", test);
setInterval(() => { if (!document.hidden && byId("link").className === "on") soon(refreshDesk, 0); }, 15000);
start();
