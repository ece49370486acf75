
// Shows what /v1/balancers and /v1/status say, and asks again. Whatever the router says becomes text, never markup.

const EVERY_MS = 2000;
// An answer that takes long is asked for less often: the page costs the router a tenth of its time at most.
const REST = 10;
const PATIENCE_MS = 30000;
// So many balancers are unfolded by themselves; so many at most by the button.
const UNFOLDED = 8;
const UNFOLD_AT_MOST = 100;
const SOON_DAYS = 14;
const BOUNDS_MS = [0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000];
const STATES = ["up", "degraded", "down"];
const CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx"];
// A column: its group, its heading, what it means, and whether it is of HTTP alone.
const COLUMNS = [
  ["", "Name", "Balancer, pool or backend, and where it is"],
  ["", "State", "How it does, since when, and why"],
  ["Backends", "Up", "Backends that take part, of all"],
  ["Backends", "Weight", "The share of a backend beside the others'"],
  ["Connections", "Now", "Connections that are open"],
  ["Connections", "Peak", "The most that were open at once"],
  ["Connections", "Total", "Connections since the beginning"],
  ["Connections", "/s", "New connections a second"],
  ["Bytes", "In", "From clients to backends"],
  ["Bytes", "Out", "From backends to clients"],
  ["Requests", "Now", "Requests that are being answered", true],
  ["Requests", "Total", "Requests since the beginning", true],
  ["Requests", "/s", "Requests a second", true],
  ...CLASSES.map((name) => ["Requests", name, `Answers with a status of ${name}`, true]),
  ["Latency", "p50", "Half of all requests took at most so long", true],
  ["Latency", "p99", "99 of 100 requests took at most so long", true],
  ["Trouble", "Errors", "Turned away, waited in vain, or failed"],
  ["Trouble", "Retries", "Served by another backend in its place"],
  ["Trouble", "Queue", "Clients that wait for a backend"],
  ["", "Check", "What the last check took, and when it was"],
];

const at = (id) => document.getElementById(id);
const make = (tag, text, name) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
};
// Changes nothing that is as it should be: whoever has selected it keeps the selection.
const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const mark = (element, state) => { if (element.dataset.state !== state) element.dataset.state = state; };
const members = (object) => Object.entries(object ?? {});
const member = (object, id) => (object && Object.hasOwn(object, id) ? object[id] : undefined);
const sum = (all, of) => all.reduce((total, one) => total + of(one), 0);

const exact = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const count = (value) => (value < 10000 ? exact.format(Math.round(value)) : short.format(value));
const rate = (value) => (value === undefined ? "" : value > 0 && value < 10 ? value.toFixed(1) : count(value));
function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}
function span(seconds) {
  const [minutes, hours, days] = [60, 3600, 86400].map((unit) => Math.floor(seconds / unit));
  if (days) return `${days}d ${hours % 24}h`;
  if (hours) return `${hours}h ${minutes % 60}m`;
  return minutes ? `${minutes}m ${Math.floor(seconds % 60)}s` : `${Math.max(0, Math.floor(seconds))}s`;
}
const between = (from, to) => (Date.parse(to) - Date.parse(from)) / 1000;
const took = (ms) => (ms < 10 ? `${ms.toFixed(1)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

// The bound that so great a part of the requests kept, within its bucket by proportion.
function quantile(latency, part) {
  let wanted = part * sum(latency.buckets, (one) => one);
  if (wanted === 0) return "";
  for (let index = 0; index < BOUNDS_MS.length; index += 1) {
    const inside = latency.buckets[index];
    if (inside > 0 && wanted <= inside) {
      const low = index ? BOUNDS_MS[index - 1] : 0;
      return took(low + (BOUNDS_MS[index] - low) * (wanted / inside));
    }
    wanted -= inside;
  }
  return `> ${took(BOUNDS_MS.at(-1))}`;
}

// What there is to say of a balancer, a pool or a backend, in the shape of a backend's statistics.
function totals(backends) {
  const traffic = {};
  for (const name of ["current", "connections", "bytes_in", "bytes_out"]) traffic[name] = sum(backends, (one) => one.traffic[name]);
  const asked = backends.filter((one) => one.requests).map((one) => one.requests);
  const requests = asked.length ? {
    total: sum(asked, (one) => one.total),
    current: sum(asked, (one) => one.current),
    by_class: CLASSES.map((_, index) => sum(asked, (one) => one.by_class[index])),
    latency: { buckets: asked[0].latency.buckets.map((_, index) => sum(asked, (one) => one.latency.buckets[index])) },
  } : null;
  return { traffic, requests, retries: sum(backends, (one) => one.retries) };
}
const serves = (one) => one.weight > 0 && (one.state === "up" || one.state === "unchecked");
const partOf = (backends) => `${backends.filter(serves).length}/${backends.length}`;

// How fast a counter grows; nothing where there is none before, or where it began anew.
function speed(now, before, of, seconds) {
  if (!now || !before || !seconds) return undefined;
  const grown = of(now) - of(before);
  return grown < 0 ? undefined : grown / seconds;
}

// The cells of a line: text, and what stands below it. `before` is the same thing in the answer before.
function cells(one, before, seconds) {
  const { traffic, requests } = one;
  const per = (of) => speed(traffic && one, before, of, seconds);
  const perSecond = (of) => { const value = per(of); return value ? `${bytes(value)}/s` : ""; };
  return [
    [one.up ?? ""],
    [one.weight === undefined ? "" : String(one.weight), one.backup ? "backup" : ""],
    [count(traffic.current)],
    [traffic.peak === undefined ? "" : count(traffic.peak)],
    [count(traffic.connections)],
    [rate(per((it) => it.traffic.connections))],
    [bytes(traffic.bytes_in), perSecond((it) => it.traffic.bytes_in)],
    [bytes(traffic.bytes_out), perSecond((it) => it.traffic.bytes_out)],
    [requests ? count(requests.current) : ""],
    [requests ? count(requests.total) : ""],
    [requests ? rate(per((it) => it.requests?.total ?? 0)) : ""],
    ...CLASSES.map((_, index) => [requests ? count(requests.by_class[index]) : ""]),
    [requests ? quantile(requests.latency, 0.5) : ""],
    [requests ? quantile(requests.latency, 0.99) : ""],
    [count(one.errors)],
    [count(one.retries)],
    [one.queued === undefined ? "" : count(one.queued)],
    [one.check_ms == null ? "" : took(one.check_ms), one.checked ? `${span(between(one.checked, clock))} ago` : ""],
  ];
}

// A line of the table. It is made once and written to from then on.
class Line {
  constructor(kind, id) {
    this.row = make("tr", undefined, kind);
    const head = make("th");
    head.scope = "row";
    if (kind === "balancer") {
      this.button = make("button", id);
      this.button.type = "button";
      this.button.addEventListener("click", () => toggle(id));
      head.append(this.button);
    } else {
      head.append(make("b", id));
    }
    this.place = make("span", "", "sub");
    head.append(this.place);
    this.state = make("span", "", "state");
    this.since = make("span");
    this.why = make("span", "", "why");
    const state = make("td", undefined, "start");
    state.append(this.state, " ", this.since, this.why);
    this.cells = COLUMNS.slice(2).map((column, index) => {
      const cell = make("td", undefined, classes(column, index + 2));
      const [text, below] = [make("span"), make("span", "", "sub")];
      cell.append(text, below);
      return [text, below];
    });
    this.row.append(head, state, ...this.cells.map(([text]) => text.parentElement));
  }

  show(one, place, before, seconds) {
    write(this.place, place);
    write(this.state, one.state);
    mark(this.state, one.state);
    mark(this.row, one.state);
    write(this.since, span(between(one.since, clock)));
    this.since.title = `since ${one.since}`;
    write(this.why, one.reason ?? "");
    this.why.title = one.reason ?? "";
    cells(one, before, seconds).forEach(([text, below], index) => {
      write(this.cells[index][0], text);
      write(this.cells[index][1], below ?? "");
    });
  }
}
function classes(column, index) {
  const begins = column[0] !== COLUMNS[index - 1]?.[0];
  return [index < 2 ? "start" : "", begins && index > 1 ? "part" : "", column[3] ? "http" : ""].filter(Boolean).join(" ");
}

// A balancer: a body of the table with a line for itself and, unfolded, lines for its pools and their backends.
class Balancer {
  constructor(id) {
    this.id = id;
    this.body = make("tbody");
    this.line = new Line("balancer", id);
    this.body.append(this.line.row);
    this.parts = new Map();
  }

  show(one, before, seconds) {
    const pools = members(one.pools);
    const backends = pools.flatMap(([, pool]) => Object.values(pool.backends));
    const all = {
      ...one,
      up: partOf(backends),
      errors: one.refused + sum(pools, ([, pool]) => pool.queue_failures) + sum(backends, (it) => it.failures),
      retries: sum(backends, (it) => it.retries),
      queued: sum(pools, ([, pool]) => pool.queued),
    };
    this.line.show(all, `${one.endpoint} ${one.protocol}, ${one.path}`, before, seconds);
    const unfolded = open.has(this.id);
    this.line.button.setAttribute("aria-expanded", String(unfolded));
    const wanted = new Set();
    if (unfolded) {
      for (const [id, pool] of pools) this.pool(id, pool, member(before?.pools, id), seconds, wanted);
    }
    for (const [key, line] of this.parts) {
      if (!wanted.has(key)) { line.row.remove(); this.parts.delete(key); }
    }
  }

  pool(id, pool, before, seconds, wanted) {
    const backends = Object.values(pool.backends);
    const errors = pool.queue_failures + sum(backends, (one) => one.failures);
    const all = { ...pool, ...totals(backends), up: partOf(backends), errors };
    const last = before && totals(Object.values(before.backends));
    this.part("pool", id, `pool/${id}`, wanted).show(all, "pool", last, seconds);
    for (const [name, one] of members(pool.backends)) {
      const line = this.part("backend", name, `backend/${id}/${name}`, wanted);
      line.show({ ...one, errors: one.failures }, one.endpoint, member(before?.backends, name), seconds);
    }
  }

  part(kind, id, key, wanted) {
    wanted.add(key);
    let line = this.parts.get(key);
    if (!line) this.parts.set(key, (line = new Line(kind, id)));
    const place = this.body.children[wanted.size];
    if (place !== line.row) this.body.insertBefore(line.row, place ?? null);
    return line;
  }
}

let clock = new Date().toISOString();
let answer = null;
let former = null;
let only = "all";
let paused = false;
let chosen = false;
let timer = 0;
let asking = false;
const open = new Set();
const shown = new Map();

function matches([id, one], words) {
  if (only !== "all" && one.state !== only) return false;
  if (!words.length) return true;
  const parts = members(one.pools).flatMap(([pool, it]) => [pool, ...members(it.backends).flatMap(([name, b]) => [name, b.endpoint, b.state])]);
  const text = [id, one.endpoint, one.protocol, one.path, one.state, one.reason ?? "", ...parts].join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}

// Writes the latest answer. Also called when what is to be shown of it changes.
function show() {
  if (!answer) return;
  const balancers = members(answer.statistics.balancers);
  const seconds = former ? (answer.moment - former.moment) / 1000 : 0;
  if (!chosen && balancers.length <= UNFOLDED) balancers.forEach(([id]) => open.add(id));
  const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const table = at("balancers");
  const http = balancers.some(([, one]) => one.requests);
  table.classList.toggle("no-http", !http);
  const visible = balancers.filter((entry) => matches(entry, words));
  const wanted = new Set(visible.map(([id]) => id));
  for (const [id, balancer] of shown) {
    if (!wanted.has(id)) { balancer.body.remove(); shown.delete(id); }
  }
  let place = table.tHead.nextElementSibling;
  for (const [id, one] of visible) {
    let balancer = shown.get(id);
    if (!balancer) shown.set(id, (balancer = new Balancer(id)));
    if (balancer.body === place) place = place.nextElementSibling;
    else table.insertBefore(balancer.body, place);
    balancer.show(one, member(former?.statistics.balancers, id), seconds);
  }
  table.parentElement.hidden = !balancers.length;
  at("none").hidden = balancers.length > 0;
  write(at("shown"), visible.length === balancers.length ? "" : `${visible.length} of ${balancers.length} shown`);
  at("unfold").disabled = visible.length > UNFOLD_AT_MOST;
  at("unfold").title = visible.length > UNFOLD_AT_MOST ? `At most ${UNFOLD_AT_MOST} at once: filter first` : "";
  chips(balancers);
  sums(balancers, seconds);
  certificates();
  router(answer.status, balancers);
}

function chips(balancers) {
  for (const state of ["all", ...STATES]) {
    const matching = state === "all" ? balancers : balancers.filter(([, one]) => one.state === state);
    const chip = at(`only-${state}`);
    write(chip, `${state} ${matching.length}`);
    chip.setAttribute("aria-pressed", String(only === state));
  }
}

function sums(balancers, seconds) {
  const all = (statistics, of) => sum(Object.values(statistics.balancers), of);
  const grown = (of) => former && speed(answer.statistics, former.statistics, (it) => all(it, of), seconds);
  const backends = balancers.flatMap(([, one]) => Object.values(one.pools).flatMap((pool) => Object.values(pool.backends)));
  const data = (value) => (value === undefined || value === null ? "–" : `${bytes(value)}/s`);
  const told = [
    ["Backends up", `${backends.filter(serves).length} of ${backends.length}`],
    ["Connections", count(all(answer.statistics, (one) => one.traffic.current))],
    ["Connections/s", rate(grown((one) => one.traffic.connections) ?? undefined) || "–"],
    ["Requests/s", rate(grown((one) => one.requests?.total ?? 0) ?? undefined) || "–"],
    ["In", data(grown((one) => one.traffic.bytes_in))],
    ["Out", data(grown((one) => one.traffic.bytes_out))],
  ];
  const list = at("totals");
  told.forEach(([name, text], index) => {
    let tile = list.children[index];
    if (!tile) {
      tile = make("div");
      tile.append(make("dt", name), make("dd"));
      list.append(tile);
    }
    write(tile.lastElementChild, text);
  });
}

function certificates() {
  const rows = members(answer.statistics.certificates).map(([id, one]) => {
    const left = between(clock, one.not_after);
    const state = left < 0 ? "expired" : left < SOON_DAYS * 86400 ? "expiring" : "valid";
    const row = make("tr");
    const head = make("th");
    head.scope = "row";
    head.append(make("b", id));
    const pill = make("span", state, "state");
    pill.dataset.state = row.dataset.state = state;
    const cell = make("td");
    cell.append(pill);
    const ends = make("td", left < 0 ? `${span(-left)} ago` : `in ${span(left)}`);
    ends.append(make("span", one.not_after, "sub"));
    const key = make("td", `${one.fingerprint.slice(0, 23)}…`);
    key.title = one.fingerprint;
    row.append(head, cell, ends, make("td", one.names.join(", "), "names"), key);
    return row;
  });
  at("certificates-section").hidden = !rows.length;
  const body = at("certificates").tBodies[0];
  const same = rows.length === body.rows.length && rows.every((row, index) => row.isEqualNode(body.rows[index]));
  if (!same) body.replaceChildren(...rows);
}

function router(status, balancers) {
  const name = status.hostname ?? "vrouter";
  const down = balancers.filter(([, one]) => one.state === "down").length;
  write(at("name"), name);
  write(at("state"), status.state);
  mark(at("state"), status.state);
  write(at("facts"), `vrouter ${status.version}, generation ${status.generation}, up for ${span(between(status.started, clock))}`);
  document.title = down ? `${down} down, ${name}` : `${name}, ${status.state}`;
  const list = at("reasons");
  list.hidden = !status.reasons.length;
  if (status.reasons.join("\n") !== [...list.children].map((item) => item.textContent).join("\n")) {
    list.replaceChildren(...status.reasons.map((reason) => make("li", reason)));
  }
}

async function ask(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!response.ok) throw new Error(`HTTP status ${response.status}`);
  return response.json();
}

async function refresh() {
  clearTimeout(timer);
  if (asking || paused || document.hidden) return;
  asking = true;
  const begin = performance.now();
  try {
    const [statistics, status] = await Promise.all([ask("v1/balancers"), ask("v1/status")]);
    former = answer;
    answer = { statistics, status, moment: performance.now() };
    clock = status.time;
    at("trouble").hidden = true;
    document.body.classList.remove("stale");
    show();
  } catch (error) {
    // Only what cannot be asked ends here; the router is asked again all the same.
    write(at("trouble"), `The router does not answer (${error.message}). What is shown is not of this moment.`);
    at("trouble").hidden = false;
    document.body.classList.add("stale");
  }
  asking = false;
  age();
  timer = setTimeout(refresh, Math.max(EVERY_MS, REST * (performance.now() - begin)));
}

function age() {
  const seconds = answer ? (performance.now() - answer.moment) / 1000 : 0;
  write(at("age"), paused ? `paused, as of ${span(seconds)} ago` : seconds > 2 * EVERY_MS / 1000 ? `as of ${span(seconds)} ago` : "live");
}

function toggle(id) {
  chosen = true;
  if (!open.delete(id)) open.add(id);
  show();
}

function begin() {
  const [groups, heads] = [make("tr"), make("tr")];
  COLUMNS.forEach((column, index) => {
    const [group, name, meaning] = column;
    const head = make("th", name, classes(column, index));
    head.scope = "col";
    head.title = meaning;
    if (!group) {
      head.rowSpan = 2;
      groups.append(head);
      return;
    }
    heads.append(head);
    if (COLUMNS[index - 1][0] !== group) {
      const all = make("th", group, classes(column, index));
      all.scope = "colgroup";
      all.colSpan = COLUMNS.filter(([other]) => other === group).length;
      groups.append(all);
    }
  });
  at("balancers").tHead.append(groups, heads);
  for (const state of ["all", ...STATES]) {
    const chip = make("button", state);
    chip.type = "button";
    chip.id = `only-${state}`;
    chip.addEventListener("click", () => { only = state; show(); });
    at("only").append(chip);
  }
  at("filter").addEventListener("input", show);
  at("unfold").addEventListener("click", () => { chosen = true; for (const id of shown.keys()) open.add(id); show(); });
  at("fold").addEventListener("click", () => { chosen = true; open.clear(); show(); });
  at("pause").addEventListener("click", () => {
    paused = !paused;
    at("pause").setAttribute("aria-pressed", String(paused));
    age();
    refresh();
  });
  document.addEventListener("visibilitychange", refresh);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== at("filter")) { event.preventDefault(); at("filter").focus(); }
  });
  setInterval(age, 1000);
  refresh();
}

begin();
