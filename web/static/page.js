// What scripts add: numbers that keep up, times in the reader's zone, a key that searches. Pages work without them.

const main = document.getElementById("main");
const said = document.getElementById("said"); // read out by screen readers when it changes
const kept = (() => {
  try {
    return localStorage;
  } catch {
    return {}; // the browser keeps nothing of this site: wishes hold for one page
  }
})();

// --- A page whose <main> says data-refresh="2" is asked for every 2 seconds, until one comes that does not. ---

const SLOW = 60; // seconds, at most: after errors, and while nobody sees the page
let failures = 0;
let tag = "";
let timer = 0;
let typed = false;

function askLater() {
  clearTimeout(timer);
  const seconds = Number(main.dataset.refresh);
  if (seconds) timer = setTimeout(ask, 1000 * (document.hidden ? SLOW : Math.min(seconds * 2 ** failures, SLOW)));
}

async function ask() {
  try {
    const headers = { "If-None-Match": tag, "X-Automatic-Refresh": "1" }; // the latter: it does not prolong a session
    const answer = await fetch(location.href, { headers, signal: AbortSignal.timeout(30_000) });
    if (answer.redirected && !typed) return location.reload(); // the session has ended
    if (answer.status !== 304) await take(answer);
    if (failures > 0) say("");
    failures = 0;
  } catch {
    failures += 1;
    if (failures > 1) say("What you see is not up to date: the service did not answer. It is asked again.", "notice warning");
  }
  askLater();
}

async function take(answer) {
  if (!answer.ok) throw new Error(answer.statusText);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (typed || main.querySelector("form:hover, form:focus-within")) return; // nothing moves under a hand
  tag = answer.headers.get("ETag") ?? "";
  become(main, page.getElementById("main"));
  showZone();
  tick();
  if (document.title !== page.title) say((document.title = page.title)); // it has the state of what is shown
}

function become(old, next) {
  // Changes only what differs, so that focus, selection and what was unfolded stay.
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

// --- Times in the zone of the browser, on wish. ---

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const clock = new Intl.DateTimeFormat("en-US", {
  weekday: "short", day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: zone, timeZoneName: "longOffset",
});

function local(moment) {
  // As the service writes them: Wed 25 Nov 2026 09:00 +08:00
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
  zoneSwitch.textContent = `Show them in ${other}`;
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

// --- Times from now on, or since then, which every second brings up to date: in 12 h 20 min, 3 min 5 s ago. ---

const skew = Date.parse(document.body.dataset.now) - Date.now(); // of the reader's clock
const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function duration(seconds) {
  // As the service writes it: 1 d 10 h 36 min. Seconds are shown below an hour only.
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
}

if (document.querySelector("time[data-relative], [data-refresh]")) setInterval(tick, 1000);

// --- The key / goes to the search; it can be switched off, since who dictates may say it by chance. ---

const search = document.querySelector("input[type=search]");
const keySwitch = document.getElementById("key-switch");

function showKey() {
  keySwitch.textContent = kept.searchKey === "off" ? "Turn it on" : "Turn it off";
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
