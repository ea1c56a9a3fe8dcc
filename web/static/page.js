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
    if (failures > 1) say("Connection lost. This page may be out of date. Retrying…", "toast floating");
  }
  askLater();
}

async function take(answer) {
  if (!answer.ok) throw new Error(answer.statusText);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (typed || main.querySelector("form:hover, form:focus-within, .menu[open], .dialog:is(:popover-open)")) return; // do not move what someone is using
  tag = answer.headers.get("ETag") ?? "";
  become(main, page.getElementById("main"));
  become(document.getElementById("state"), page.getElementById("state"));
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

function say(text, look = "visually-hidden") {
  if (said.textContent === text) return;
  said.textContent = text;
  said.className = look;
}

document.addEventListener("input", ({ target }) => (typed ||= !target.closest("[data-view]"))); // that changes only the view
document.addEventListener("visibilitychange", askLater);

// --- Times in the browser's time zone, if the reader chooses that. ---

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const clock = new Intl.DateTimeFormat("en-US", {
  weekday: "short", day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: zone, timeZoneName: "longOffset",
});

function local(moment) {
  // Same format as the service: Wed 25 Nov 2026 09:00 +08:00
  const part = parts(moment);
  const seconds = part.second === "00" ? "" : `:${part.second}`;
  const offset = part.timeZoneName.slice("GMT".length) || "+00:00";
  return `${part.weekday} ${part.day} ${part.month} ${part.year} ${part.hour}:${part.minute}${seconds} ${offset}`;
}

function short(moment, inside) {
  // Same format as the service: Today 18:00 (today 18:00 inside a sentence), or Sat 5 Dec, 10:00
  const [part, now] = [parts(moment), parts(new Date(Date.now() + skew))];
  const time = `${part.hour}:${part.minute}`;
  const days = Math.round((midnight(part) - midnight(now)) / 864e5);
  const near = { "-1": "Yesterday", 0: "Today", 1: "Tomorrow" }[days];
  if (near) return `${inside ? near.toLowerCase() : near} ${time}`;
  const day = `${part.day} ${part.month}`;
  return part.year === now.year ? `${part.weekday} ${day}, ${time}` : `${day} ${part.year}, ${time}`;
}

function parts(moment) {
  return Object.fromEntries(clock.formatToParts(moment).map(({ type, value }) => [type, value]));
}

function midnight({ year, month, day }) {
  return Date.parse(`${day} ${month} ${year} UTC`);
}

function zoneWords() {
  // Same format as the service: Singapore (UTC+8)
  const city = zone.split("/").pop().replaceAll("_", " ");
  const offset = new Intl.DateTimeFormat("en-US", { timeZone: zone, timeZoneName: "shortOffset" })
    .formatToParts()
    .find(({ type }) => type === "timeZoneName")
    .value.replace("GMT", "UTC")
    .replace(/[+]0$/, "");
  return city === offset ? city : `${city} (${offset})`;
}

function showZone() {
  const own = kept.zone === "own";
  for (const time of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (!("relative" in time.dataset)) {
      time.dataset.service ??= time.textContent;
      const words = "short" in time.dataset ? short(moment, time.dataset.short === "inside") : local(moment);
      time.textContent = own ? words : time.dataset.service;
    }
    if (time.title) time.dataset.title ??= time.title;
    if (time.title) time.title = own ? local(moment) : time.dataset.title;
  }
  const [shown, other] = own ? [zoneWords(), zoneName.dataset.service] : [zoneName.dataset.service, zoneWords()];
  zoneName.textContent = shown;
  zoneSwitch.textContent = `Show times in ${other}`;
  zoneSwitch.hidden = zone === zoneName.dataset.zone;
}

const skew = Date.parse(document.body.dataset.now) - Date.now(); // offset of the reader's clock
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

// --- Relative times, updated every second: in 12 h 20 min, 5 days ago. ---

const [MINUTE, HOUR, DAY, YEAR] = [60, 3600, 86400, 365 * 86400];

function rough(seconds) {
  // Same format as the service: 40 s, 12 min, 6 h 17 min, 30 h, 5 days, 3 years
  for (const [least, size, unit] of [[2 * YEAR, YEAR, "years"], [2 * DAY, DAY, "days"], [DAY, HOUR, "h"]]) {
    if (seconds >= least) return `${Math.floor((seconds + size / 2) / size).toLocaleString("en-US")} ${unit}`;
  }
  const [hours, minutes] = [Math.floor(seconds / HOUR), Math.floor((seconds % HOUR) / MINUTE)];
  if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  return minutes ? `${minutes} min` : `${seconds} s`;
}

function tick() {
  const now = Date.now() + skew;
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const seconds = Math.round((Date.parse(time.dateTime) - now) / 1000);
    const text = seconds === 0 ? "now" : seconds > 0 ? `in ${rough(seconds)}` : `${rough(-seconds)} ago`;
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

// --- A menu closes with Escape, and when something else is pressed. Code can be copied. ---

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector(".menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

const copyButton = document.getElementById("copy-button");
for (const snippet of copyButton && navigator.clipboard ? document.querySelectorAll(".snippet") : []) {
  const button = copyButton.content.firstElementChild.cloneNode(true);
  button.addEventListener("click", async () => {
    const shown = [...snippet.querySelectorAll("pre")].find((pre) => pre.checkVisibility());
    await navigator.clipboard.writeText(shown.textContent.trim());
    say("Copied.");
  });
  snippet.querySelector(".snippet-bar").append(button);
}

// --- A link to a dialog opens it, and so does its address, such as /emails/1#cancel. ---

function openDialog(id) {
  const dialog = id && document.getElementById(id);
  if (!dialog?.matches(".dialog") || !dialog.showPopover) return false;
  dialog.showPopover();
  dialog.querySelector(":is(input, a, button):not([type=hidden])").focus();
  return true;
}

function openAddressed() {
  const id = location.hash.slice(1);
  if (!document.getElementById(id)?.matches(".dialog") || !HTMLElement.prototype.showPopover) return;
  location.replace("#"); // or its style sheet shows it after it is closed
  history.replaceState(null, "", location.pathname + location.search);
  openDialog(id);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (!link) return;
  const dialog = link.closest(".dialog:popover-open");
  if (dialog) dialog.hidePopover();
  if (dialog || openDialog(link.hash.slice(1))) event.preventDefault();
});
addEventListener("hashchange", openAddressed);
openAddressed();

// --- A box in the head of a table selects all rows on the page. ---

for (const all of document.querySelectorAll("[data-select-all]")) {
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of all.form.querySelectorAll(`[name="${all.dataset.selectAll}"]`)) box.checked = all.checked;
  });
}

// --- The message being read stays in view in the list beside it. ---

const pane = document.querySelector(".pane-list");
const reading = pane?.querySelector("[aria-current]");
if (reading) pane.scrollTop += reading.getBoundingClientRect().top - pane.getBoundingClientRect().top - pane.clientHeight / 3;

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

askLater();
