
// Shows what openapi.json says. Whatever it says becomes text, never markup.

const METHODS = ["get", "post", "put", "patch", "delete"];
const at = (id) => document.getElementById(id);
const make = (tag, text, name) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
};
const last = (reference) => reference.split("/").at(-1);
const place = (kind, name) => `${kind}-${name.replace(/[^A-Za-z0-9]+/g, "-")}`;

function link(text, target) {
  const element = make("a", text);
  element.href = `#${target}`;
  return element;
}

// A type in a few words, with links to those that have names.
function type(schema) {
  const words = make("span");
  const say = (...parts) => words.append(...parts);
  if (schema === undefined || schema === true) say("anything");
  else if (schema === false) say("nothing");
  else if (schema.$ref) say(link(last(schema.$ref), place("type", last(schema.$ref))));
  else if (schema.const !== undefined) say(JSON.stringify(schema.const));
  else if (schema.enum) say(schema.enum.map((value) => JSON.stringify(value)).join(" | "));
  else if (schema.oneOf || schema.anyOf || schema.allOf) {
    (schema.oneOf ?? schema.anyOf ?? schema.allOf).forEach((one, index) => say(...(index ? [" | "] : []), type(one)));
  } else if (schema.type === "array") say("list of ", type(schema.items));
  else if (schema.additionalProperties && schema.additionalProperties !== true) say("object: ", type(schema.additionalProperties));
  else say([schema.type ?? "anything"].flat().join(" | "));
  const bounds = [["minimum", "from"], ["maximum", "to"], ["minLength", "from length"], ["maxLength", "to length"], ["minItems", "from items"], ["maxItems", "to items"], ["maxProperties", "to members"]]
    .filter(([name]) => schema?.[name] !== undefined).map(([name, word]) => `${word} ${schema[name]}`);
  if (schema?.format) bounds.unshift(schema.format);
  if (schema?.pattern) bounds.push(schema.pattern);
  if (bounds.length) say(make("span", ` (${bounds.join(", ")})`, "quiet"));
  return words;
}

function table(rows) {
  const element = make("table");
  for (const [name, about, text] of rows) {
    const row = make("tr");
    const first = make("td");
    first.append(make("code", name));
    const second = make("td");
    second.append(about);
    row.append(first, second, make("td", text));
    element.append(row);
  }
  return element;
}

function fields(schema) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, field]) => {
    const about = type(field);
    if (required.has(name)) about.append(make("span", " required", "quiet"));
    if (field.default !== undefined) about.append(make("span", ` default ${JSON.stringify(field.default)}`, "quiet"));
    return [name, about, field.description ?? ""];
  });
}

function example(content) {
  const value = content.example ?? Object.values(content.examples ?? {})[0]?.value;
  if (value === undefined) return [];
  return [make("pre", typeof value === "string" ? value : JSON.stringify(value, null, 2))];
}

function contents(section, heading, content) {
  for (const [kind, one] of Object.entries(content ?? {})) {
    const title = make("h4", `${heading}, ${kind}: `);
    title.append(type(one.schema));
    section.append(title, ...example(one));
  }
}

function resolve(api, one) {
  return one.$ref ? one.$ref.split("/").slice(1).reduce((value, key) => value?.[key], api) : one;
}

function operation(api, path, method, one) {
  const section = make("section");
  section.id = place("operation", `${method} ${path}`);
  const title = make("h3");
  title.append(make("span", method.toUpperCase(), "method"), make("code", path));
  section.append(title, make("p", one.summary));
  if (one.description) section.append(make("p", one.description));
  const parameters = (one.parameters ?? []).map((it) => resolve(api, it));
  if (parameters.length) {
    section.append(make("h4", "Parameters"), table(parameters.map((it) => {
      const about = type(it.schema);
      about.append(make("span", ` ${it.in}${it.required ? ", required" : ""}`, "quiet"));
      return [it.name, about, it.description ?? ""];
    })));
  }
  contents(section, "Request", one.requestBody?.content);
  const answers = Object.entries(one.responses).map(([status, it]) => [status, resolve(api, it)]);
  for (const [status, it] of answers.filter(([status]) => status.startsWith("2"))) contents(section, `Answer ${status}`, it.content);
  const lines = (wanted) => table(answers.filter(([status]) => wanted(status)).map(([status, it]) => [status, it.description, ""]));
  const refuses = (status) => status >= "400";
  const refusals = make("details");
  refusals.append(make("summary", `Refusals: ${answers.map(([status]) => status).filter(refuses).join(", ")}`), lines(refuses));
  section.append(make("h4", "Answers"), lines((status) => !refuses(status)), refusals);
  return section;
}

function schema(name, one) {
  const section = make("section");
  section.id = place("type", name);
  section.append(make("h3", name));
  if (one.description) section.append(make("p", one.description));
  const alternatives = one.oneOf ?? one.anyOf;
  if (one.properties) section.append(table(fields(one)));
  else if (alternatives) {
    section.append(table(alternatives.map((it) => [String(it.const ?? it.enum?.join(" | ") ?? Object.keys(it.properties ?? {})[0] ?? it.type ?? ""), type(it), it.description ?? ""])));
  } else {
    const line = make("p");
    line.append(type(one));
    section.append(line);
  }
  return section;
}

function find() {
  const words = at("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll("main section")) {
    const text = section.textContent.toLowerCase();
    section.hidden = !words.every((word) => text.includes(word));
  }
  for (const item of at("contents").children) item.hidden = document.getElementById(item.dataset.of)?.hidden ?? false;
}

async function begin() {
  const response = await fetch("openapi.json", { cache: "no-store" });
  if (!response.ok) throw new Error(`HTTP status ${response.status}`);
  const api = await response.json();
  at("title").textContent = `${api.info.title} ${api.info.version}`;
  at("about").textContent = api.info.description;
  const enter = (text, section, parent) => {
    parent.append(section);
    const item = make("li");
    item.dataset.of = section.id;
    item.append(link(text, section.id));
    at("contents").append(item);
  };
  // What is asked for most comes first; pages and metrics are last.
  const paths = Object.entries(api.paths).sort(([one], [other]) => other.startsWith("/v1/") - one.startsWith("/v1/"));
  for (const [path, item] of paths) {
    for (const method of METHODS.filter((it) => item[it])) {
      enter(`${method.toUpperCase()} ${path}`, operation(api, path, method, item[method]), at("operations"));
    }
  }
  at("contents").append(make("li", "Types", "quiet"));
  for (const [name, one] of Object.entries(api.components.schemas)) enter(name, schema(name, one), at("schemas"));
  at("find").addEventListener("input", find);
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

begin().catch((error) => {
  at("trouble").textContent = `The description of the API cannot be read (${error.message}).`;
  at("trouble").hidden = false;
});
