// Questions to the server, and what the page says while it waits and when it fails.
import { at, ofVersion } from "./parts.js";

export function showError(text) {
  at("error").textContent = text;
  at("error").hidden = !text;
}

export const say = (text) => (at("status").textContent = text);

export async function ask(path, parameters = {}, options = {}) {
  const query = new URLSearchParams(Object.entries({ ...parameters, ...ofVersion() }).filter(([, value]) => value !== "" && value !== null));
  let response;
  try {
    response = await fetch(`${path}?${query}`, options);
  } catch {
    throw new Error("The server does not answer: is style_match.app still running?");
  }
  const content = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) throw new Error(content.error);
  return content;
}

// Answers of earlier questions are dropped, however late they come.
let asked = 0;

export function drop() {
  asked++;
  showError("");
  say("");
  for (const part of document.querySelectorAll("[aria-busy]")) part.removeAttribute("aria-busy");
}

export async function working(part, work) {
  drop();
  const mine = asked;
  part.setAttribute("aria-busy", "true");
  say("Working …");
  let answer = null;
  try {
    answer = await work();
  } catch (error) {
    if (mine === asked) showError(error.message);
  }
  if (mine !== asked) return null;
  part.removeAttribute("aria-busy");
  say("");
  return answer;
}
