// Tabs by mouse and by keyboard: arrows, Home and End; only the open one is reached by Tab.
import { at } from "./parts.js";

export function makeTabs(names, opened) {
  const keys = { ArrowRight: 1, ArrowLeft: -1 };
  const open = (name) => {
    for (const other of names) {
      at(other).hidden = other !== name;
      at(`tab-${other}`).setAttribute("aria-selected", String(other === name));
      at(`tab-${other}`).tabIndex = other === name ? 0 : -1;
    }
  };
  names.forEach((name, i) => {
    const tab = at(`tab-${name}`);
    tab.addEventListener("click", () => {
      open(name);
      opened(name);
    });
    tab.addEventListener("keydown", (event) => {
      const to = { Home: 0, End: names.length - 1 }[event.key] ?? (event.key in keys ? i + keys[event.key] : null);
      if (to === null) return;
      event.preventDefault();
      const next = at(`tab-${names.at(to % names.length)}`);
      next.focus();
      next.click();
    });
  });
  return { open, current: () => names.find((name) => !at(name).hidden) };
}
