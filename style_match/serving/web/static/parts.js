// Elements of the page. Everything that comes from the data is written as text, never as HTML.
export const at = (id) => document.getElementById(id);

// Numbers name profiles only as long as the profiles stay the same: every question says of which version it is.
let version = "";
export const useVersion = (given) => (version = given);
export const ofVersion = () => (version ? { of: version } : {});
export const photoUrl = (number, side, photo = 0) =>
  `photo/${number}.jpg?${new URLSearchParams({ side, photo, ...ofVersion() })}`;

export function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export function options(names) {
  return names.map((name) => element("option", name, { value: name }));
}

// A profile (with a score, where it was found), or the photo that was chosen.
export function card(profile) {
  const made = element("li", null, { class: "card" });
  const text = element("div", null);
  const image = element("img", null, { src: profile.url ?? photoUrl(profile.number, 256), alt: `photo of ${profile.id}`, loading: "lazy" });
  made.append(image, text);
  text.append(element("span", profile.id, { class: "name" }));
  if (profile.score !== undefined) text.append(element("span", profile.score.toFixed(3), { class: "score", title: "score: cosine" }));
  if (profile.known) text.append(element("span", profile.known, { class: "known" }));
  if (profile.num_photos > 1) text.append(turner(profile, image));
  const facts = Object.entries({ ...profile.columns, ...profile.metadata }).filter(([, value]) => value !== "");
  if (facts.length) text.append(details(profile.id, facts));
  return made;
}

function turner(profile, image) {
  let shown = 0;
  const made = element("button", null, { type: "button", class: "turn", title: "next photo" });
  const show = () => (made.textContent = `photo ${shown + 1} of ${profile.num_photos}`);
  made.addEventListener("click", () => {
    shown = (shown + 1) % profile.num_photos;
    image.src = photoUrl(profile.number, 256, shown);
    show();
  });
  show();
  return made;
}

function details(id, facts) {
  const made = element("details", null);
  const list = element("dl", null);
  for (const [name, value] of facts) list.append(element("dt", name), element("dd", value));
  made.append(element("summary", "details", { "aria-label": `details of ${id}` }), list);
  return made;
}
