// What stands beside the tickets: strategies, prop firms, notices. Uses what app.js offers; every text is
// written as text, never as HTML.
"use strict";

// Strategies: what each is worth, and how far it is from a change of mode

async function showStrategies() {
  const { strategies } = await ask("/api/strategies");
  byId("worth").hidden = !strategies.length;
  byId("strategies").tBodies[0].replaceChildren(...strategies.slice(0, MOST).flatMap((strategy) => {
    const books = Object.entries(strategy.statistics);
    if (!books.length) books.push(["", null]);
    return books.map(([book, figures], place) => make("tr", { class: place ? "more" : "" },
      make("td", { text: place ? "" : strategy.strategy }),
      make("td", {}, place ? "" : make("span", { class: "pill " + strategy.in_force, text: strategy.in_force }),
        place || strategy.mode === "auto" ? "" : make("span", { class: "quiet", text: " pinned" })),
      make("td", { text: book }),
      make("td", { class: "number", text: figures ? figures.trades : "–" }),
      make("td", { class: "number " + (figures && figures.net_profit < 0 ? "down" : "up"), text: figures ? money(figures.net_profit) : "–" }),
      make("td", { class: "number", text: figures && figures.profit_factor !== null ? figures.profit_factor.toFixed(2) : "–" }),
      make("td", { class: "number", text: figures && figures.win_rate !== null ? Math.round(100 * figures.win_rate) + " %" : "–" }),
      make("td", { text: place ? "" : strategy.progress })));
  }));
}

async function showFirms() {
  const { groups } = await ask("/api/groups");
  const bound = groups.flatMap((group) => group.accounts.flatMap((account) =>
    account.firms.map((firm) => ({ ...firm, name: `${group.account_group} / ${firm.account}` }))));
  byId("firms").hidden = !bound.length;
  byId("firms").querySelector("tbody").replaceChildren(...bound.map((firm) => make("tr", {},
    make("td", { text: firm.name }),
    make("td", {}, make("span", { class: "pill " + firm.state, text: firm.state })),
    make("td", { class: "number", text: grouped(firm.equity) }),
    make("td", { class: "number", text: grouped(firm.floor) }),
    make("td", { class: "number", text: grouped(firm.room) }),
    make("td", { text: firm.sentence }))));
}

async function showNotices() {
  const { notices } = await ask("/api/notices?limit=8");
  byId("told").hidden = !notices.length;
  byId("notices").replaceChildren(...notices.map((notice) => make("li", { class: notice.severity },
    make("time", { datetime: notice.at, text: clock(notice.at) }), make("span", { text: notice.text }))));
}

const PANELS = [showStrategies, showFirms, showNotices];
