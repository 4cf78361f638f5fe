-- SPDX-License-Identifier: MIT

--- The script of the dashboard. Without it the page is the same and stands still: each text and
-- each path that it sets was in the page before. What it gets is only ever set as text or as a
-- path, or is a page of this very server, whose scripts do not run when it is taken apart.
-- @module perigee.dashboard.script

return [==[
"use strict";
(() => {
  const status = document.getElementById("status");
  if (!status) return;
  const EVERY = 1000, LONGEST = 30000;
  let pause = EVERY, timer = 0, running = false;

  function say(text, state) {
    if (status.dataset.state === state) return;
    status.dataset.state = state;
    status.textContent = text;
  }

  function apply(data) {
    for (const element of document.querySelectorAll("[data-text]")) {
      const text = data.texts[element.dataset.text];
      if (text !== undefined && text !== element.textContent) element.textContent = text;
    }
    for (const element of document.querySelectorAll("[data-path]")) {
      const path = data.paths[element.dataset.path];
      if (path !== undefined) element.setAttribute("d", path);
    }
  }

  // What is in the page, without its style, whose nonce is not that of this one.
  async function page(url, options) {
    const text = await (await fetch(url, options)).text();
    const main = text.slice(text.indexOf("<main"), text.lastIndexOf("</main>"));
    return new DOMParser().parseFromString(main, "text/html");
  }

  // A cache has come or gone: the cards are made anew, and those that were open stay so.
  function takeCards(fresh) {
    const cards = document.getElementById("cards"), other = fresh.getElementById("cards");
    if (!other) return;
    const open = new Set([...cards.querySelectorAll("details[open]")]
      .map((details) => details.closest(".card").querySelector("h3").textContent));
    cards.replaceChildren(...other.children);
    cards.dataset.shape = other.dataset.shape;
    for (const card of cards.querySelectorAll(".card")) {
      card.querySelector("details").open = open.has(card.querySelector("h3").textContent);
    }
  }

  async function poll() {
    clearTimeout(timer);
    try {
      const response = await fetch("data", { signal: AbortSignal.timeout(10000) });
      if (!response.ok) throw new Error(response.status);
      const data = await response.json();
      const shape = document.getElementById("cards").dataset.shape;
      if (data.shape === shape) apply(data);
      else takeCards(await page("./"));
      pause = EVERY;
      say("live", "live");
    } catch {
      pause = Math.min(pause * 2, LONGEST);
      say("not connected", "lost");
    }
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(poll, pause);
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) say("paused", "still");
    else poll();
  });

  function show(fresh) {
    const report = document.getElementById("report");
    const failed = fresh.getElementById("failed") || fresh.querySelector(".refusal");
    report.replaceChildren(...(failed ? [failed] : fresh.getElementById("report").childNodes));
    report.focus({ preventScroll: true });
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    report.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "nearest" });
  }

  async function run(form, button) {
    running = true;
    form.dataset.state = "runs";
    button.setAttribute("aria-busy", "true");
    const body = new URLSearchParams([[button.name, button.value]]);
    try {
      show(await page("scene", { method: "POST", body }));
    } catch {
      say("not connected", "lost");
    }
    delete form.dataset.state;
    button.removeAttribute("aria-busy");
    running = false;
    poll();
  }

  for (const form of document.querySelectorAll("form[data-scene]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!running) run(form, event.submitter || form.querySelector("button"));
    });
  }

  if (!document.hidden) poll();
})();
]==]
