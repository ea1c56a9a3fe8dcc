// The page on which an email is written: saves drafts, shows the email beside the form, and suggests times.

const SAVE_AFTER = 2_000; // milliseconds
const RETRY_AFTER = 10_000;
const SHOW_AFTER = 500;
const MOST_SHOWN = 200_000; // characters of content

const written = document.querySelector("form.written");
const skew = Date.parse(document.body.dataset.now) - Date.now(); // offset of the reader's clock

// --- The HTML of an email appears in its frame without a button. A new frame keeps the history as it is. ---

function fillFrames() {
  for (const form of document.querySelectorAll("form[data-frame]")) {
    form.requestSubmit(form.querySelector("button"));
    form.hidden = true;
  }
}
fillFrames();

// --- A new email is saved as a draft, two seconds after the last change. ---

const drafting = written?.hasAttribute("data-draft") ? written : null;
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

if (drafting) {
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

// --- What stands beside the form follows what is typed. ---

let showTimer = 0;
let showing = null; // the request under way
let changed = false;

function showLater() {
  clearTimeout(showTimer);
  showTimer = setTimeout(show, SHOW_AFTER);
}

function show() {
  changed = true;
  showing ??= refresh().finally(() => (showing = null));
}

async function refresh() {
  while (changed) {
    changed = false;
    if (written.elements.email_content.value.length > MOST_SHOWN) return;
    const body = new URLSearchParams(new FormData(written));
    body.set("step", "live");
    try {
      const answer = await fetch(written.action, { method: "POST", body, signal: AbortSignal.timeout(30_000) });
      if (!answer.ok || answer.redirected) return;
      const parts = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of parts.querySelectorAll("[id^=live-], #timestamp-hint")) replace(part);
    } catch {
      return; // the next change asks again
    }
  }
}

function replace(part) {
  const old = document.getElementById(part.id);
  const before = written.live?.[part.id];
  written.live = { ...written.live, [part.id]: part.outerHTML };
  if (before === part.outerHTML) return; // nothing flickers
  const chosen = [...old.querySelectorAll("input:checked")].map(({ name, value }) => `[name="${name}"][value="${value}"]`);
  old.replaceWith(part);
  for (const radio of chosen.map((choice) => part.querySelector(choice))) if (radio) radio.checked = true;
  if (part.querySelector("form[data-frame]")) fillFrames();
}

// --- Fields that do not belong to the choice are left out. ---

function leaveOut() {
  const audience = written.elements.audience.value;
  const off = { ".for-lists": audience !== "lists", ".for-named": audience !== "to", ".for-many": audience === "to" };
  for (const [part, isOff] of Object.entries(off)) {
    for (const set of written.querySelectorAll(`fieldset${part}`)) set.disabled = isOff;
  }
}

// --- Suggested times, in the chosen zone. ---

function wall(moment) {
  // The date and the time of day, such as 2026-12-01 and 09:00
  const options = { dateStyle: "short", timeStyle: "short", timeZone: written.elements.zone.value };
  return new Intl.DateTimeFormat("sv-SE", options).format(moment).split(" ");
}

function suggested({ minutes, days, clock }) {
  const now = Date.now() + skew;
  if (minutes) return wall(Math.ceil(now / 60_000 + Number(minutes)) * 60_000);
  const day = Date.parse(`${wall(now)[0]}T00:00Z`) + Number(days) * 864e5;
  return [new Date(day).toISOString().slice(0, 10), clock];
}

function showPresets() {
  const { date, time } = written.elements;
  const today = wall(Date.now() + skew);
  for (const preset of presets.children) {
    const [day, clock] = suggested(preset.dataset);
    preset.hidden = `${day} ${clock}` <= today.join(" ");
    preset.setAttribute("aria-pressed", !preset.dataset.minutes && date.value === day && time.value === clock);
  }
}

const presets = document.getElementById("presets");
if (written) {
  presets.hidden = false;
  presets.addEventListener("click", ({ target }) => {
    if (!target.dataset.minutes && !target.dataset.clock) return;
    const { date, time, when } = written.elements;
    time.step = 60;
    time.removeAttribute("value"); // seconds of an earlier time do not limit this one
    [date.value, time.value] = suggested(target.dataset);
    when.value = "later";
    date.dispatchEvent(new Event("input", { bubbles: true }));
  });
  written.addEventListener("input", () => {
    leaveOut();
    showPresets();
    showLater();
  });
  leaveOut();
  showPresets();

  const bar = written.querySelector(".editor-bar");
  bar.hidden = false;
  bar.addEventListener("click", ({ target }) => {
    const text = target.closest("[data-insert]")?.dataset.insert;
    if (!text) return;
    const area = written.elements.email_content;
    area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
    area.focus();
    area.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

// --- Changes to a saved email have no draft: the browser asks before they are lost. ---

if (written && !drafting) {
  let edited = false;
  written.addEventListener("input", () => (edited = true));
  written.addEventListener("submit", () => (edited = false));
  window.addEventListener("beforeunload", (event) => edited && event.preventDefault());
}
