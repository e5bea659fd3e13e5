"use strict";
// Renews the page in place: only what differs is touched, so that scrolling, opened details, selection and focus stay.
const EVERY_MS = 2000, PATIENCE_MS = 8000;
let good = new Date();

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || node.id : "");

function alike(old, fresh) {
  return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && keyOf(old) === keyOf(fresh);
}

function renewNode(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.dataset.own !== undefined) return; // belongs to this script
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  renewChildren(old, fresh);
}

function renewChildren(old, fresh) {
  const wanted = new Set([...fresh.childNodes].map(keyOf).filter(Boolean));
  const known = new Map();
  for (const child of old.childNodes) if (keyOf(child)) known.set(keyOf(child), child);
  let place = old.firstChild;
  for (const child of fresh.childNodes) {
    while (place && keyOf(place) && !wanted.has(keyOf(place))) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
    const key = keyOf(child);
    let match = key ? known.get(key) : place;
    if (match && !alike(match, child)) match = null;
    if (!match) {
      old.insertBefore(document.importNode(child, true), place);
    } else {
      if (match === place) place = place.nextSibling;
      else old.insertBefore(match, place);
      renewNode(match, child);
    }
  }
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

function showLost(why) {
  const lost = document.getElementById("lost");
  lost.hidden = why === "";
  lost.textContent = why && `Stale since ${good.toISOString().slice(11, 19)} UTC: ${why}. Nothing below is renewed.`;
  document.body.classList.toggle("lost", why !== "");
}

async function renew() {
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = fresh.title;
    renewNode(document.body, fresh.body);
    good = new Date();
    showLost("");
  } catch {
    showLost("the page's server does not answer");
  }
  setTimeout(renew, EVERY_MS);
}

// The reading of a chart: where the pointer is, or at the place that arrow keys have chosen.
function read(figure, share) {
  const { x, t, v } = JSON.parse(figure.dataset.points);
  let nearest = 0;
  for (let i = 1; i < x.length; i++) if (Math.abs(x[i] - share) < Math.abs(x[nearest] - share)) nearest = i;
  const moment = new Date(t[nearest] * 1000).toISOString();
  figure.querySelector(".reading").textContent = `${moment.slice(0, 10)} ${moment.slice(11, 16)}  ${v[nearest]}`;
  const hair = figure.querySelector(".hair");
  const line = hair.firstChild || hair.appendChild(document.createElementNS(hair.namespaceURI, "line"));
  const at = `${x[nearest] * 100}%`;
  for (const [name, value] of [["x1", at], ["x2", at], ["y1", "0"], ["y2", "100%"]]) line.setAttribute(name, value);
  return { nearest, count: x.length, x };
}

function leave(figure) {
  figure.querySelector(".reading").textContent = "";
  figure.querySelector(".hair").replaceChildren();
  delete figure.dataset.at;
}

document.addEventListener("pointermove", (event) => {
  const area = event.target.closest && event.target.closest(".area");
  for (const figure of document.querySelectorAll(".chart")) if (!area || !figure.contains(area)) if (document.activeElement !== figure) leave(figure);
  if (!area) return;
  const box = area.getBoundingClientRect();
  read(area.closest(".chart"), (event.clientX - box.left) / box.width);
});

document.addEventListener("keydown", (event) => {
  const figure = event.target.closest && event.target.closest(".chart");
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!figure || !step) return;
  event.preventDefault();
  const { x } = JSON.parse(figure.dataset.points);
  const at = Math.min(x.length - 1, Math.max(0, Number(figure.querySelector(".hair").dataset.at ?? x.length) + step));
  figure.querySelector(".hair").dataset.at = at;
  read(figure, x[at]);
});

document.addEventListener("focusout", (event) => {
  if (event.target.classList && event.target.classList.contains("chart")) leave(event.target);
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && new Date() - good > 2 * EVERY_MS) showLost("this tab was asleep");
});

setTimeout(renew, EVERY_MS);
