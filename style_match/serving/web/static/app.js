// The page's behaviour.
import { ask, drop, say, showError, working } from "./asking.js";
import { drawMaps, hidePhoto } from "./map.js";
import { at, card, element, options, photoUrl, useVersion } from "./parts.js";
import { makeTabs } from "./tabs.js";

let about;
let chosen = null; // {number} of a profile, or {file, url} of an uploaded photo

// What the fields above the tabs ask for, as the condition that `where` takes.
function whereText() {
  const column = about.columns.find((each) => each.name === at("column").value);
  const written = at("where").value.trim();
  if (!column) return written;
  const value = at("value").value;
  const quoted = `'${value.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const literal = { number: value, flag: value.toLowerCase(), text: quoted }[column.kind];
  const chosenOnes = `\`${column.name}\` == ${literal}`;
  return written ? `${chosenOnes} and (${written})` : chosenOnes;
}

const filters = () => ({ k: at("k").value, where: whereText() });

async function showMatches() {
  if (!chosen) return;
  const { file, url, number } = chosen;
  const request = file ? { method: "POST", body: file, headers: { "X-Upload": "photo" } } : {};
  const which = file ? { side: at("side").value } : { number };
  const answer = await working(at("match"), async () => {
    if (file && file.size > about.max_upload_mb * 1e6) {
      throw new Error(`The photo has ${(file.size / 1e6).toFixed(1)} MB; the limit is ${about.max_upload_mb} MB.`);
    }
    return ask("api/match", { ...filters(), ...which }, request);
  });
  if (!answer) return;
  const query = file ? { id: "your photo", url } : answer.query;
  at("query").replaceChildren(card(query));
  for (const model of ["trained", "frozen"]) at(model).replaceChildren(...answer[model].map(card));
  say(`The ${answer.trained.length} best matches of ${query.id}, by each model.`);
}

let listed = 0;
async function showProfiles() {
  const mine = ++listed;
  const answer = await ask("api/profiles", { find: at("name").value }).catch((error) => showError(error.message));
  if (!answer || mine !== listed) return [];
  const { profiles, total } = answer;
  at("found").textContent =
    total > profiles.length ? `${profiles.length} of ${total} profiles; write more of an id` : total ? "" : "no profile has this in its id";
  at("profiles").replaceChildren(
    ...profiles.map(({ number, id }) => {
      const button = element("button", null, { type: "button", title: id, "data-number": number });
      button.append(element("img", null, { src: photoUrl(number, 128), alt: "" }), element("span", id));
      button.addEventListener("click", () => choose({ number }));
      return button;
    }),
  );
  markChosen();
  return profiles;
}

function markChosen() {
  for (const button of at("profiles").children) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.number) === chosen?.number));
  }
}

function choose(what) {
  if (chosen?.url) URL.revokeObjectURL(chosen.url);
  chosen = what;
  if (!what.file) at("photo").value = "";
  markChosen();
  return showMatches();
}

async function showHits() {
  const text = at("text").value.trim();
  drop();
  if (!text) return showError("Write some words to search for.");
  const answer = await working(at("search"), () => ask("api/search", { ...filters(), text }));
  if (!answer) return;
  at("hits").replaceChildren(...answer.hits.map(card));
  say(`The ${answer.hits.length} profiles that fit best. ${answer.how}`);
}

async function showMap() {
  const answer = await working(at("map"), () => ask("api/map", { colour: at("colour").value, where: whereText() }));
  if (!answer) return;
  const open = (number) => {
    tabs.open("match");
    choose({ number });
  };
  say(answer.note);
  await drawMaps(answer, { open }).catch((error) => showError(error.message));
}

const panels = { match: showMatches, search: () => at("text").value.trim() && showHits(), map: showMap };
const tabs = makeTabs(Object.keys(panels), () => {
  drop();
  hidePhoto();
  refresh();
});
const refresh = () => panels[tabs.current()]();

function fillValues() {
  const column = about.columns.find((each) => each.name === at("column").value);
  at("value").replaceChildren(...options(column?.values ?? []));
  at("value").disabled = !column;
}

function fillFields() {
  at("about").textContent = about.text;
  at("synthetic").hidden = !about.synthetic;
  at("k").value = about.k;
  at("column").append(...options(about.columns.filter((each) => each.values).map((each) => each.name)));
  at("column").disabled = at("column").options.length === 1;
  at("colour").replaceChildren(...options(about.colours));
  at("colour").disabled = !about.colours.length;
  at("side").replaceChildren(...options(about.sides));
  at("of-side").hidden = !about.sides.length || Boolean(about.upload_note);
  at("photo").disabled = Boolean(about.upload_note);
  at("no-upload").textContent = about.upload_note;
  for (const field of at("ask").elements) field.disabled = Boolean(about.search_note);
  at("no-search").textContent = about.search_note;
}

function listen() {
  let waiting;
  at("name").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(showProfiles, 200);
  });
  at("photo").addEventListener("change", () => {
    const file = at("photo").files[0];
    if (file) choose({ file, url: URL.createObjectURL(file) });
  });
  at("side").addEventListener("change", () => chosen?.file && showMatches());
  at("column").addEventListener("change", () => {
    fillValues();
    refresh();
  });
  at("value").addEventListener("change", refresh);
  at("colour").addEventListener("change", showMap);
  for (const [form, work] of Object.entries({ filters: refresh, ask: showHits, find: showProfiles, paint: showMap })) {
    at(form).addEventListener("submit", (event) => {
      event.preventDefault();
      work();
    });
  }
}

async function start() {
  about = await ask("api/about").catch((error) => showError(error.message));
  if (!about) return;
  useVersion(about.version);
  fillFields();
  listen();
  const [first] = await showProfiles();
  if (first && !chosen) choose({ number: first.number });
}

start();
