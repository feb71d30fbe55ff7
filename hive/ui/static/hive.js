// Conveniences for pages that work without them: unfolding in place, copying, moving by keys.
"use strict";

const said = document.getElementById("said");

function say(text) {
  said.textContent = "";
  requestAnimationFrame(() => { said.textContent = text; });
}

// Fetch a part of a page that this server made. Whatever foreign text it holds was escaped there.
async function fetchPart(address) {
  const answer = await fetch(address, { credentials: "same-origin", redirect: "error" });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const template = document.createElement("template");
  template.innerHTML = await answer.text();
  return template.content;
}

async function unfold(details) {
  if (!details.open || details.dataset.state) return;
  details.dataset.state = "loading";
  details.setAttribute("aria-busy", "true");
  try {
    const part = await fetchPart(details.dataset.load);
    const inside = document.createElement(details.classList.contains("text") ? "div" : "ul");
    inside.className = "inside";
    inside.append(part);
    details.querySelector(":scope > .inside, :scope > .not-loaded")?.remove();
    details.querySelector(":scope > .page")?.remove();
    details.append(inside);
    details.dataset.state = "loaded";
  } catch (error) {
    const failed = document.createElement("p");
    failed.className = "not-loaded";
    failed.textContent = `Not loaded: ${error.message}. Close and open it to try again.`;
    details.querySelector(":scope > .not-loaded")?.remove();
    details.append(failed);
    say(failed.textContent);
    delete details.dataset.state;
  }
  details.removeAttribute("aria-busy");
}

async function more(link) {
  const place = link.closest(".more");
  if (place.dataset.state) return;
  place.dataset.state = "loading";
  try {
    const part = await fetchPart(link.dataset.more);
    const first = part.firstElementChild;
    place.replaceWith(part);
    const target = first?.querySelector("summary, a, pre") ?? first;
    if (target && !target.matches("summary, a, pre")) target.tabIndex = -1;
    target?.focus();
    say("More was loaded");
  } catch (error) {
    delete place.dataset.state;
    location.assign(link.href);
  }
}

async function copy(button) {
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No permission: select the command, so that the keyboard's own copying takes it.
    const range = document.createRange();
    range.selectNodeContents(button.parentElement.querySelector("code"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    say("Selected; copy it with your keyboard");
    return;
  }
  button.textContent = "Copied";
  button.classList.add("done");
  say("Copied");
  setTimeout(() => { button.textContent = "Copy"; button.classList.remove("done"); }, 1500);
}

// Arrow keys in a tree, as in a file manager: up and down along what is visible, right opens, left
// closes or goes to the line above.
function move(event) {
  const summary = event.target.closest?.(".tree summary");
  if (!summary || event.altKey || event.ctrlKey || event.metaKey) return;
  const details = summary.parentElement;
  const lines = [...summary.closest(".tree").querySelectorAll("summary, .more a")]
    .filter((line) => line.checkVisibility());
  const at = lines.indexOf(summary);
  if (event.key === "ArrowDown") lines[at + 1]?.focus();
  else if (event.key === "ArrowUp") lines[at - 1]?.focus();
  else if (event.key === "ArrowRight" && !details.open) details.open = true;
  else if (event.key === "ArrowLeft" && details.open) details.open = false;
  else if (event.key === "ArrowLeft") details.parentElement.closest("details")?.querySelector("summary").focus();
  else return;
  event.preventDefault();
}

async function fillChanged(table) {
  try {
    const part = await fetchPart(table.dataset.changed);
    for (const found of part.querySelectorAll("[data-step]")) {
      table.querySelector(`td[data-step="${found.dataset.step}"]`)?.replaceChildren(...found.childNodes);
    }
    table.dataset.state = "loaded";
  } catch {
    table.dataset.state = "failed"; // the column stays empty; each step's own page says it too
  }
}

// Ask now and then whether a run went on, while somebody looks; once it did, the answer stays.
async function watch(place) {
  while (!place.textContent) {
    await new Promise((done) => setTimeout(done, 4000));
    if (document.visibilityState !== "visible") continue;
    try {
      const part = await fetchPart(place.dataset.newer);
      if (part.firstElementChild) place.replaceChildren(part);
    } catch {
      return; // the server was stopped
    }
  }
}

document.addEventListener("toggle", (event) => {
  if (event.target.matches?.("details[data-load]")) unfold(event.target);
}, true);
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-more]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    more(link);
  }
  const button = event.target.closest?.("button.copy");
  if (button) copy(button);
  const bar = event.target.closest?.(".bar[data-href]");
  if (bar) location.assign(bar.dataset.href);
});
document.addEventListener("keydown", move);
// What was opened while this script was on its way told nobody.
for (const details of document.querySelectorAll("details[data-load][open]")) unfold(details);
for (const place of document.querySelectorAll("[data-newer]")) watch(place);
for (const table of document.querySelectorAll("table[data-changed]")) fillChanged(table);
document.documentElement.classList.add("scripted");
