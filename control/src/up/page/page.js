"use strict";
// Follows /live and shows what it says. Every part is touched only when it changed, so that nothing moves, and what is open stays open.

const find = (id) => document.getElementById(id);
const before = new Map();
const NONE = "–";

/** An element with attributes (`text` is its text) and children. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null) continue;
    if (name === "text") element.textContent = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Calls `show` when this part is another than the last time. */
function changed(name, part, show) {
  const text = JSON.stringify(part) ?? "";
  if (before.get(name) === text) return;
  before.set(name, text);
  show(part);
}

function text(id, value) {
  const element = find(id);
  if (element.textContent !== value) element.textContent = value;
}

function number(value) {
  return value >= 1e6 ? `${(value / 1e6).toFixed(1)} M` : Math.round(value).toLocaleString("en");
}

function share(value) {
  if (value === 0) return NONE;
  const percent = value * 100;
  if (percent < 0.1) return "< 0.1 %";
  return `${percent >= 10 || Number.isInteger(percent) ? Math.round(percent) : percent.toFixed(1)} %`;
}

function milliseconds(value) {
  if (value === null || value === undefined) return NONE;
  return value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value >= 10 ? Math.round(value) : value.toFixed(1)} ms`;
}

function rate(value) {
  if (value === null || value === undefined) return NONE;
  return `${value >= 10 ? Math.round(value) : value.toFixed(value >= 1 ? 1 : 2)} /s`;
}

function clock(ms) {
  return new Date(ms).toLocaleTimeString("en-GB");
}

function time(ms) {
  return make("time", { datetime: new Date(ms).toISOString(), text: clock(ms) });
}

function health(state) {
  const down = state.programs.filter((program) => program.state === "down");
  const refused = state.programs.filter((program) => program.sync?.state === "refused");
  const starting = state.programs.filter((program) => program.state === "starting");
  const names = (programs) => programs.map((program) => program.title).join(", ");
  if (down.length > 0) return ["bad", `Down: ${names(down)}`];
  if (refused.length > 0) return ["bad", `Refuses its configuration: ${names(refused)}`];
  const problem = state.kafka?.shipping?.problems[0];
  if (!state.ready || starting.length > 0) return ["warning", starting.length > 0 ? `Starting: ${names(starting)}` : "Starting"];
  if (problem) return ["warning", `Events wait: ${problem}`];
  if (state.notices[0]?.level === "bad") return ["warning", "A saved file was refused"];
  return ["good", `All ${state.programs.length} programs are ready`];
}

function pill(level, words) {
  const element = find("health");
  element.dataset.health = level;
  element.title = words;
  text("health", words);
}

function graph([part, traces]) {
  const window = part.window ? `counts since the start, rates of the last ${Math.round(part.window)} s` : "counts since the start";
  text("window", traces.traces > 0 ? `${window} · ${number(traces.traces)} traces of ${number(traces.kept)} spans` : window);
  changed("svg", part.svg, (svg) => {
    const parsed = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
    const picture = find("picture");
    if (parsed.nodeName === "svg") picture.replaceChildren(document.importNode(parsed, true));
  });
  changed("edges", part.edges, (edges) => {
    if (edges.length === 0) return;
    find("edges").replaceChildren(...edges.map(edge));
  });
}

function edge(edge) {
  const codes = Object.entries(edge.codes).map(([code, count]) => `${code}: ${number(count)}`).join(", ");
  const worse = (value, level) => (value > 0 ? `number ${level}-words` : "number");
  return make("tr", { title: codes },
    make("td", {}, make("strong", { text: edge.from }), " → ", make("strong", { text: edge.to })),
    make("td", { class: "number", "data-label": "requests", text: number(edge.requests) }),
    make("td", { class: "number", "data-label": "rate", text: rate(edge.rate) }),
    make("td", { class: worse(edge.errors, "bad"), "data-label": "failed", text: share(edge.errors) }),
    make("td", { class: worse(edge.refused, "warning"), "data-label": "refused", text: share(edge.refused) }),
    make("td", { class: "number", "data-label": "p99", text: milliseconds(edge.p99) }),
    make("td", { class: "mtls" }, edge.locked ? make("span", { class: "badge good" }, lock(), "mTLS") : make("span", { class: "badge", text: "plain" })));
}

function lock() {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("class", "padlock");
  picture.setAttribute("viewBox", "0 0 11 12");
  picture.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", "M2 5V3.5a3.5 3.5 0 0 1 7 0V5h.5A1.5 1.5 0 0 1 11 6.5v4A1.5 1.5 0 0 1 9.5 12h-8A1.5 1.5 0 0 1 0 10.5v-4A1.5 1.5 0 0 1 1.5 5zm1.6 0h3.8V3.5a1.9 1.9 0 0 0-3.8 0z");
  picture.append(path);
  return picture;
}

function tries(all) {
  if (all.length === 0) return;
  find("tries").replaceChildren(...all.map((one) => {
    const copy = make("button", { type: "button", "aria-label": `Copy: ${one.shows}`, text: "Copy" });
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(one.command);
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(copy.previousElementSibling);
        copy.textContent = "Selected";
      }
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
    const see = make("dl", { class: "see" });
    if (one.answer) see.append(make("dt", { text: "→" }), make("dd", {}, answer(one.answer)));
    for (const { place, what } of one.see) {
      see.append(make("dt", { text: place }), make("dd", {}, place === "log" ? make("code", { text: what }) : what));
    }
    return make("li", {}, make("p", { text: one.shows }),
      make("div", { class: "command" }, make("code", { text: one.command }), copy), see);
  }));
}

function answer(words) {
  const [status, ...rest] = words.split(" ");
  return make("span", {}, make("span", { class: `badge ${level(Number(status))}`, text: status }), ` ${rest.join(" ")}`);
}

function level(status) {
  if (status >= 500) return "bad";
  return status >= 400 ? "warning" : "good";
}

const seen = new Map();

function events(part, kafka) {
  const total = Object.values(part.counts).reduce((sum, count) => sum + count, 0);
  const told = Object.entries(part.counts).map(([topic, count]) => `${topic} ${number(count)}`).join(" · ");
  text("counts", part.error ?? [total > 0 ? told : "nothing in the spool", kafka ? `shipped to ${kafka.bootstrap}` : null].filter(Boolean).join(" · "));
  if (part.last.length === 0) return;
  const rows = part.last.map((event) => {
    const known = seen.get(event.id) ?? row(event);
    seen.set(event.id, known);
    return known;
  });
  const now = new Set(part.last.map((event) => event.id));
  for (const id of seen.keys()) if (!now.has(id)) seen.delete(id);
  find("events").replaceChildren(...rows);
}

function row(event) {
  const fields = make("dl", { class: "fields mono" }, make("dt", { text: "id" }), make("dd", { text: event.id }));
  for (const [name, value] of Object.entries(event.data ?? {})) {
    if (value === null) continue;
    fields.append(make("dt", { text: name }), make("dd", { text: typeof value === "object" ? JSON.stringify(value) : String(value) }));
  }
  const [kind, words] = summary(event);
  return make("li", {}, make("details", {},
    make("summary", {}, make("span", { class: "line" }, time(event.time / 1000),
      make("span", { class: `badge ${kind}`, text: event.topic }), make("span", { text: words }))), fields));
}

/** How bad an event is, and what it says in one line. */
function summary({ topic, data }) {
  const some = (...words) => words.filter((word) => word !== null && word !== undefined && word !== "").join(" ");
  const d = data ?? {};
  const times = d.count > 1 ? `× ${number(d.count)}` : "";
  switch (topic) {
    case "audit-api-calls":
      return [level(d.status), some(d.method, d.path ?? d.path_template, "→", d.status, d.consumer_name ? `by ${d.consumer_name}` : "", `in ${milliseconds(d.latency_total_us / 1000)}`)];
    case "security-events":
      return ["bad", some(d.reason, d.policy, short(d.source_principal), d.destination_principal ? `→ ${short(d.destination_principal)}` : "", d.status, times)];
    case "system-health":
      return [{ ready: "good", degraded: "bad" }[d.state] ?? "", some(d.instance, d.state, d.reason)];
    default: {
      const words = Object.entries(d).filter(([name, value]) => name !== "time" && typeof value !== "object" && value !== "");
      return ["", words.slice(0, 4).map(([name, value]) => `${name} ${value}`).join(" · ")];
    }
  }
}

function short(principal) {
  return principal?.replace(/^spiffe:\/\//, "").replace(/^[^/]+\/ns\/([^/]+)\/sa\//, "$1/");
}

function gateway(state) {
  const member = state.programs.find((program) => program.kind === "gateway");
  if (!state.gateway || !member) return;
  text("front", `http://${member.addresses[0]}`);
  if (state.gateway.error) {
    find("routes").replaceChildren(make("li", { class: "empty", text: state.gateway.error }));
    return;
  }
  find("routes").replaceChildren(...state.gateway.routes.map((route) => make("li", {},
    make("span", { class: "name" }, make("span", { class: "mono", text: route.matches.join(" ") })),
    make("span", { class: "quiet", text: `→ ${route.service}` }),
    make("span", { class: "rest wrap" }, ...route.plugins.map((plugin) => make("span", { class: "badge", text: plugin }))))));
}

function programs(all, kafka) {
  text("running", `${all.filter((program) => program.state === "ready").length} of ${all.length} ready`);
  find("programs").replaceChildren(...all.map((program) => {
    const states = { ready: "good", starting: "warning", down: "bad" };
    const sync = { synced: "good", waiting: "warning", refused: "bad", away: "warning" };
    const rest = [
      program.pid ? `process ${program.pid}` : null,
      program.starts > 1 ? `started ${program.starts} times` : null,
      program.last_end ? `ended last by ${program.last_end}` : null,
      program.kind === "shipper" && kafka ? kafka.words : null,
      program.admin ? `admin ${program.admin}` : program.addresses[0],
      ...(program.sync?.refuses ?? []),
      ...(program.kind === "shipper" ? kafka?.shipping?.problems ?? [] : []),
    ].filter(Boolean).join(" · ");
    return make("li", {}, make("span", { class: "name", text: program.title }),
      make("span", { class: "wrap" },
        program.sync ? make("span", { class: `badge ${sync[program.sync.state]}`, text: program.sync.state }) : null,
        make("span", { class: `badge ${states[program.state]}`, text: program.state })),
      make("span", { class: "rest", text: rest }));
  }));
}

function notices(all) {
  if (all.length === 0) return;
  find("notices").replaceChildren(...all.map((notice) => make("li", {}, make("span", { class: "line" },
    time(notice.time), make("span", { class: notice.level === "good" ? "" : `${notice.level}-words`, text: notice.text })))));
}

function show(state) {
  if (!state.programs) return;
  text("folder", state.folder);
  document.title = `Carbyne · ${state.folder.split("/").pop()}`;
  changed("health", health(state), ([level, words]) => pill(level, words));
  changed("graph", [state.graph, state.traces], graph);
  changed("tries", state.tries, tries);
  changed("events", [state.events, state.kafka?.bootstrap], () => events(state.events, state.kafka));
  changed("gateway", [state.gateway, state.programs.map((program) => program.addresses)], () => gateway(state));
  changed("programs", [state.programs, state.kafka], ([all, kafka]) => programs(all, kafka));
  changed("notices", state.notices, notices);
  // Only now, so that nothing moves while it is filled.
  find("main").hidden = false;
}

const live = new EventSource("/live");
live.addEventListener("message", (message) => show(JSON.parse(message.data)));
live.addEventListener("error", () => {
  before.delete("health");
  pill("bad", "Not connected: carbyne has ended, or starts again");
});
