// Adds automatic updates, times in the reader's zone, and a key for the search. Pages work without scripts.

const main = document.getElementById("main");
const said = document.getElementById("said"); // screen readers announce its changes
const kept = (() => {
  try {
    return localStorage;
  } catch {
    return {}; // storage is blocked: choices apply to one page only
  }
})();

// --- A page with data-refresh="2" on <main> is fetched every 2 seconds, until a response does not have it. ---

const MAX_INTERVAL = 60; // seconds: after errors, and while the page is hidden
let failures = 0;
let tag = "";
let timer = 0;
let typed = false;

function askLater() {
  clearTimeout(timer);
  const seconds = Number(main.dataset.refresh);
  if (seconds) timer = setTimeout(ask, 1000 * (document.hidden ? MAX_INTERVAL : Math.min(seconds * 2 ** failures, MAX_INTERVAL)));
}

async function ask() {
  try {
    const headers = { "If-None-Match": tag, "X-Automatic-Refresh": "1" }; // the latter keeps the session from being extended
    const answer = await fetch(location.href, { headers, signal: AbortSignal.timeout(30_000) });
    if (answer.redirected && !typed) return location.reload(); // the session has ended
    if (answer.status !== 304) await take(answer);
    if (failures > 0) say("");
    failures = 0;
  } catch {
    failures += 1;
    if (failures > 1) say("Connection lost. This page may be out of date. Retrying…", "notice warning");
  }
  askLater();
}

async function take(answer) {
  if (!answer.ok) throw new Error(answer.statusText);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (typed || main.querySelector("form:hover, form:focus-within")) return; // do not move what someone is using
  tag = answer.headers.get("ETag") ?? "";
  become(main, page.getElementById("main"));
  showZone();
  tick();
  if (document.title !== page.title) say((document.title = page.title)); // the title contains the status
}

function become(old, next) {
  // Changes only what differs, so that focus, selection and open details are kept.
  if (old.isEqualNode(next)) return;
  if (old.nodeType !== Node.ELEMENT_NODE || old.nodeName !== next.nodeName) return old.replaceWith(next);
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of next.attributes) old.setAttribute(name, value);
  const [before, after] = [[...old.childNodes], [...next.childNodes]];
  after.forEach((child, place) => (place < before.length ? become(before[place], child) : old.append(child)));
  before.slice(after.length).forEach((child) => child.remove());
}

function say(text, look = "hidden") {
  if (said.textContent === text) return;
  said.textContent = text;
  said.className = look;
}

document.addEventListener("input", () => (typed = true));
document.addEventListener("visibilitychange", askLater);

// --- Times in the zone of the browser, if the reader chooses that. ---

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const clock = new Intl.DateTimeFormat("en-US", {
  weekday: "short", day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: zone, timeZoneName: "longOffset",
});

function local(moment) {
  // Same format as the service: Wed 25 Nov 2026 09:00 +08:00
  const part = Object.fromEntries(clock.formatToParts(moment).map(({ type, value }) => [type, value]));
  const seconds = part.second === "00" ? "" : `:${part.second}`;
  const offset = part.timeZoneName.slice("GMT".length) || "+00:00";
  return `${part.weekday} ${part.day} ${part.month} ${part.year} ${part.hour}:${part.minute}${seconds} ${offset}`;
}

function showZone() {
  const own = kept.zone === "own";
  for (const time of document.querySelectorAll("time[datetime]:not([data-relative])")) {
    time.dataset.service ??= time.textContent;
    time.textContent = own ? local(new Date(time.dateTime)) : time.dataset.service;
  }
  const [shown, other] = own ? [zone, zoneName.dataset.service] : [zoneName.dataset.service, zone];
  zoneName.textContent = shown;
  zoneSwitch.textContent = `Switch to ${other}`;
  zoneSwitch.hidden = shown === other;
}

const zoneName = document.getElementById("zone-name");
const zoneSwitch = document.getElementById("zone-switch");
if (zoneSwitch) {
  zoneName.dataset.service = zoneName.textContent;
  zoneSwitch.addEventListener("click", () => {
    kept.zone = kept.zone === "own" ? "service" : "own";
    showZone();
  });
  showZone();
}

// --- Relative times, updated every second: in 12 h 20 min, 3 min 5 s ago. ---

const skew = Date.parse(document.body.dataset.now) - Date.now(); // offset of the reader's clock
const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function duration(seconds) {
  // Same format as the service: 1 d 10 h 36 min. Seconds are shown only below an hour.
  const parts = [];
  for (const [unit, size] of seconds < 3600 ? units : units.slice(0, -1)) {
    if (seconds >= size) parts.push(`${Math.floor(seconds / size).toLocaleString("en-US")} ${unit}`);
    seconds %= size;
  }
  return parts.join(" ");
}

function tick() {
  const now = Date.now() + skew;
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const seconds = Math.round((Date.parse(time.dateTime) - now) / 1000);
    const text = seconds === 0 ? "now" : seconds > 0 ? `in ${duration(seconds)}` : `${duration(-seconds)} ago`;
    if (time.textContent !== text) time.textContent = text;
  }
  for (const late of document.querySelectorAll("[data-from]")) late.hidden = Date.parse(late.dataset.from) > now;
  for (const brief of document.querySelectorAll("[data-until]")) {
    brief.classList.add("floating"); // a toast; without scripts it stays in its place
    brief.hidden = Date.parse(brief.dataset.until) <= now;
  }
}

if (document.querySelector("time[data-relative], [data-until], [data-refresh]")) setInterval(tick, 1000);
tick();

// --- The key / moves to the search. It can be disabled, because speech input may trigger it by accident. ---

const search = document.querySelector("input[type=search]");
const keySwitch = document.getElementById("key-switch");

function showKey() {
  keySwitch.textContent = kept.searchKey === "off" ? "Enable" : "Disable";
}

if (search && keySwitch) {
  keySwitch.parentElement.hidden = false;
  keySwitch.addEventListener("click", () => {
    kept.searchKey = kept.searchKey === "off" ? "on" : "off";
    showKey();
  });
  showKey();
  document.addEventListener("keydown", (event) => {
    const busy = event.target.closest("input, select, textarea, [contenteditable]");
    if (event.key !== "/" || event.ctrlKey || event.altKey || event.metaKey || busy || kept.searchKey === "off") return;
    event.preventDefault();
    search.focus();
    search.select();
  });
}

// --- A new email is saved as a draft, two seconds after the last change. ---

const SAVE_AFTER = 2_000; // milliseconds
const RETRY_AFTER = 10_000;
const written = document.querySelector("form[data-draft]");
const draftStatus = document.getElementById("draft-status");
let draftTimer = 0;
let saving = null; // the request under way
let unsaved = false;
let refused = false; // someone else has changed the draft

function saveLater(delay) {
  clearTimeout(draftTimer);
  if (!refused) draftTimer = setTimeout(saveDraft, delay);
}

function saveDraft() {
  saving ??= sendDraft().finally(() => (saving = null));
  return saving;
}

async function sendDraft() {
  clearTimeout(draftTimer);
  unsaved = false;
  draftStatus.textContent = "Saving…";
  try {
    const body = new URLSearchParams(new FormData(written));
    const answer = await fetch(written.dataset.draft, { method: "POST", body, signal: AbortSignal.timeout(30_000) });
    const saved = answer.redirected ? {} : await answer.json();
    refused = answer.status === 409;
    if (refused) return void (draftStatus.textContent = saved.error);
    if (!saved.draft_id) throw new Error(answer.statusText);
    written.elements.draft_id.value = saved.draft_id;
    written.elements.draft_version.value = saved.version;
    history.replaceState(null, "", `/emails/new?draft=${saved.draft_id}`);
    draftStatus.textContent = unsaved ? "Not saved yet" : `Draft saved ${saved.saved_at}`;
    if (unsaved) saveLater(SAVE_AFTER);
  } catch {
    unsaved = true;
    draftStatus.textContent = "Not saved. Retrying…";
    saveLater(RETRY_AFTER);
  }
}

if (written) {
  written.addEventListener("input", () => {
    unsaved = true;
    if (refused) return;
    draftStatus.textContent = "Not saved yet";
    saveLater(SAVE_AFTER);
  });
  written.addEventListener("submit", async (event) => {
    if (refused || !(unsaved || saving)) return;
    event.preventDefault(); // the form must contain the version that is being saved
    await saving;
    if (unsaved && !refused) await saveDraft();
    clearTimeout(draftTimer);
    unsaved = false;
    written.requestSubmit(event.submitter);
  });
}

askLater();
