// Keeps the page up to date: when the relay says that something changed, the page is asked for again, and its
// content takes the place of the old. Without this script everything works, but for that.
"use strict";

(() => {
  const state = document.getElementById("live-state");
  if (!state || !window.EventSource) return;

  let fetching = false;
  let again = false;

  // busy says that somebody is using a part of the page that would be replaced.
  const busy = (part) =>
    part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea") ||
    part.querySelector("input[type=checkbox]:checked") !== null ||
    String(getSelection()) !== "";

  // focusOn finds the place of the element that has the focus, so that it keeps it.
  const focusOn = (part) => {
    const links = [...part.querySelectorAll("a, button, summary")];
    return links.indexOf(document.activeElement);
  };

  const refresh = async () => {
    if (document.hidden) {
      again = true;
      return;
    }
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    again = false;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
      const part = document.getElementById("live");
      if (!answer.ok || busy(part)) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
      if (!fresh) return;
      const open = [...part.querySelectorAll("details")].map((d) => d.open);
      const focus = focusOn(part);
      part.replaceChildren(...document.adoptNode(fresh).childNodes);
      part.querySelectorAll("details").forEach((d, i) => { if (open[i] !== undefined) d.open = open[i]; });
      if (focus >= 0) part.querySelectorAll("a, button, summary")[focus]?.focus({ preventScroll: true });
      part.dataset.updates = String(Number(part.dataset.updates || 0) + 1);
    } catch {
      // the stream says when the relay is there again
    } finally {
      fetching = false;
      if (again && !document.hidden) setTimeout(refresh, 500);
    }
  };

  const events = new EventSource(document.body.dataset.events);
  events.onopen = () => { state.textContent = "Live"; state.className = "live on"; };
  events.onerror = () => { state.textContent = "Not live: reconnecting"; state.className = "live off"; };
  events.addEventListener("changed", refresh);
  events.addEventListener("tick", refresh);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && again) refresh(); });
  addEventListener("pagehide", () => events.close());
})();
