"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const D = JSON.parse($("data").textContent);
  const S = D.s, BAD = new Set(["fail", "leak", "crash", "timeout", "broken"]);
  const panel = $("panel"), body = $("body"), table = $("cells"), head = document.title;
  const implAt = new Map(D.impls.map((each, index) => [each.id, index]));
  const caseAt = new Map(D.cases.map((each, index) => [each.id, index]));

  /* Make an element: strings become text, never markup. */
  function el(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === undefined || value === false) continue;
      if (key === "on") made.addEventListener("click", value);
      else made.setAttribute(key, value);
    }
    for (const child of children.flat(9)) if (child !== null && child !== undefined && child !== "") made.append(child);
    return made;
  }

  /* A verdict's row: [profile, type, variant, verdict, µs, reproduce, reason, attempt-1, outcome, expected, observed, detail, gate]. */
  function verdictOf(row, impl, kase) {
    const at = (index) => row[index] || 0;
    const one = {
      profile: S[at(0)], type: S[at(1)], variant: S[at(2)], verdict: D.verdicts[at(3)], micro: at(4), reason: S[at(6)],
      attempt: at(7) + 1, outcome: S[at(8)], expected: S[at(9)], observed: S[at(10)], detail: at(11), gate: S[at(12)],
    };
    const parts = [kase.id, impl.id, one.variant, one.profile, one.type];
    one.reproduce = S[at(5)].replace(/[\uE000-\uE004]/g, (mark) => parts[mark.charCodeAt(0) - 0xe000]);
    one.label = [one.profile, one.type, one.variant, one.attempt > 1 ? "attempt " + one.attempt : ""].filter(Boolean).join(" · ");
    return one;
  }
  const time = (micro) => micro < 1000 ? micro + " µs" : micro < 1e6 ? (micro / 1e3).toPrecision(3) + " ms" : (micro / 1e6).toFixed(2) + " s";
  const badge = (verdict) => el("span", { class: "num " + verdict }, verdict);
  const hash = (impl, kase) => "#" + encodeURIComponent(impl) + (kase === undefined ? "" : "/" + encodeURIComponent(kase));
  const worst = (i, c) => D.cells[i][c] ? D.verdicts[D.cells[i][c][0][3] || 0] : "";

  /* ---- the panel ---- */
  function requirements(kase) {
    return kase.checks.map((id) => {
      const one = D.reqs[id];
      if (!one) return el("div", { class: "req" }, el("p", {}, el("code", {}, id)));
      const sources = one.sources.map(([name, text, link]) => el("p", { class: "from" },
        link ? el("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, name) : el("span", {}, name), text ? ": " + text : ""));
      return el("div", { class: "req" }, el("p", {}, one.sentence),
        el("p", { class: "from" }, el("span", { class: "tag" }, one.level), el("span", { class: "tag" }, one.subject), el("code", {}, id)), sources);
    });
  }

  function about(kase) {
    const place = [kase.place, kase.revision > 1 ? "revision " + kase.revision : ""].filter(Boolean).join(" · ");
    return [el("p", { class: "must-happen" }, el("span", { class: "tag" }, kase.level), kase.summary),
      requirements(kase), place ? el("p", { class: "by" }, el("code", {}, place)) : ""];
  }

  function copier(text) {
    const button = el("button", { type: "button", class: "copy" }, "Copy");
    button.addEventListener("click", async () => {
      let done = true;
      try { await navigator.clipboard.writeText(text); } catch {
        const area = el("textarea", { class: "hide" });
        area.value = text; panel.append(area); area.select();
        done = document.execCommand("copy"); area.remove();
      }
      button.textContent = done ? "Copied" : "Select it and press Ctrl-C";
      setTimeout(() => { button.textContent = "Copy"; }, 1600);
    });
    return button;
  }

  const byte = (data, index) => data.slice(2 * index, 2 * index + 2);
  /* A control buffer: sixteen bytes a line; headers and data told apart by colour, named below. */
  function control([data, messages, note, word]) {
    const size = data.length / 2, kind = new Array(size).fill("m");
    for (const [offset, length] of messages)
      for (let index = offset; index < Math.min(size, offset + Math.max(length, word + 8)); index++)
        kind[index] = index < offset + word + 8 ? "h" : "d";
    const out = el("pre", { class: "hex" });
    for (let line = 0; line < size; line += 16) {
      out.append((line ? "\n" : "") + line.toString(16).padStart(4, "0") + "  ");
      let ascii = "";
      for (let index = line; index < line + 16; index++) {
        if (index >= size) { out.append(index % 8 === 7 ? "    " : "   "); continue; }
        out.append(el("span", { class: kind[index] }, byte(data, index)), index % 8 === 7 ? "  " : " ");
        const code = parseInt(byte(data, index), 16);
        ascii += code > 31 && code < 127 ? String.fromCharCode(code) : ".";
      }
      out.append(" " + ascii);
    }
    return [size ? out : "", messages.map(([offset, , text]) => el("code", { class: "decoded" }, "@" + offset + " " + text)),
      note ? el("code", { class: "decoded" }, note) : ""];
  }

  const heads = (...names) => el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col" }, name))));
  function transcript(detail) {
    if (!detail.t.length) return el("p", { class: "none" }, "Nothing was recorded.");
    const rows = detail.t.map(([at, actor, kind, text, buffer]) => el("tr", {},
      el("td", { class: "at" }, (at / 1000).toFixed(3)), el("td", { class: "who who-" + (/^\w+$/.test(S[actor]) ? S[actor] : "other") }, S[actor]),
      el("td", { class: "kind" }, S[kind]),
      el("td", {}, el("pre", {}, S[text]), buffer === undefined ? "" : control(D.controls[buffer]))));
    return [el("div", { class: "wide" }, el("table", { class: "script" }, heads("ms", "who", "what", ""), el("tbody", {}, rows))),
      detail.tcut ? el("p", { class: "none" }, "… " + detail.tcut + " more entries are in records.jsonl") : ""];
  }

  function opened(index) {
    if (!index) return el("td", { class: "none" }, "not open");
    const [target, identity, flags, owner] = D.opens[index - 1];
    return el("td", {}, el("code", {}, target), el("small", {}, [identity, flags, owner ? "owner: " + owner : ""].filter(Boolean).join(" · ")));
  }
  function census([pairs, cut, before, after]) {
    if (!pairs.length) return el("p", { class: "none" }, "The record has no census.");
    const differ = pairs.filter((row) => row[1]).length;
    const missing = !before ? "The census before the case was not taken: nothing can be compared." :
      !after ? "The census after the case could not be taken: nothing can be compared." : "";
    const side = (index) => index || !missing ? opened(index) : el("td", { class: "none" }, "unknown");
    const rows = pairs.map(([fd, change, left, right]) => el("tr", { class: change || "same" },
      el("td", { class: "at" }, String(fd)), side(left), side(right), el("td", { class: "mark" }, missing ? "" : change || "=")));
    return [el("p", { class: "by" }, missing || (differ ? differ + " of " + pairs.length + " descriptors differ." : "Both censuses are the same.")),
      el("div", { class: "wide" }, el("table", { class: "script census" }, heads("fd", "before", "after", "change"), el("tbody", {}, rows))),
      cut ? el("p", { class: "none" }, "… " + cut + " more descriptors are in records.jsonl") : ""];
  }

  const first = (text) => text.split("\n").find((line) => line.trim()) || "";
  const section = (title, ...content) => [el("h3", {}, title), ...content];
  function evidence(one) {
    const out = [];
    if (one.gate) out.push(el("p", { class: "judged" }, one.gate));
    if (one.expected || one.observed)
      out.push(el("div", { class: "two" }, el("div", {}, el("h3", {}, "Expected"), el("pre", { class: "expected" }, one.expected || "—")),
        el("div", { class: BAD.has(one.verdict) ? "saw" : "" }, el("h3", {}, "Observed"), el("pre", { class: "observed" }, one.observed || "—"))));
    if (one.outcome) out.push(el("p", { class: "by" }, "Permitted outcome that occurred: ", el("code", {}, one.outcome)));
    if (one.reproduce) out.push(section("Reproduce", el("div", { class: "cmd" }, el("pre", { class: "command" }, one.reproduce), copier(one.reproduce))));
    if (one.detail === -1) out.push(el("p", { class: "none" }, "Transcript and censuses were left out to keep this page small; they are in records.jsonl."));
    if (one.detail > 0) {
      const detail = D.details[one.detail - 1];
      out.push(section("Transcript", transcript(detail)), section("Descriptors before and after", census(D.censuses[detail.c])));
      if (S[detail.l]) out.push(section("The testee's log", el("pre", { class: "log" }, S[detail.l])));
      if (detail.n.length) out.push(section("Noise on standard output", el("pre", { class: "log noise" }, detail.n.map((index) => S[index]).join("\n") + (detail.ncut ? "\n… " + detail.ncut + " more lines" : ""))));
    } else if (!one.detail && !one.expected && !one.observed)
      out.push(el("p", { class: "none" }, one.verdict === "unsupported" ? "The implementation does not offer what this case needs." : "As required; transcripts are kept for the other verdicts."));
    return out.flat(9).filter(Boolean);
  }

  function cellPanel(i, c) {
    const impl = D.impls[i], kase = D.cases[c];
    const all = (D.cells[i][c] || []).map((row) => verdictOf(row, impl, kase));
    const below = el("div", {});
    const buttons = all.map((one, index) => el("button", { type: "button", "aria-pressed": "false", on: () => choose(index) }, badge(one.verdict),
      el("span", {}, one.label || "the only variant", one.reason && one.reason !== one.verdict ? el("span", { class: "why" }, " — " + one.reason) : ""), el("span", { class: "ms" }, time(one.micro))));
    const choose = (index) => {
      buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
      below.replaceChildren(...evidence(all[index]));
    };
    show(kase.id + " on " + impl.id, [
      el("h2", { id: "panel-title" }, el("code", {}, kase.id)),
      el("p", { class: "by" }, "on ", el("a", { href: hash(impl.id) }, impl.name), impl.version ? " " + impl.version : "", " · ", el("a", { href: hash("", kase.id) }, "on every implementation")),
      ...about(kase).flat(), all.length ? section("Verdicts", el("div", { class: "variants", role: "group", "aria-label": "Variants" }, buttons), el("h3", {}, ""), below) : el("p", { class: "none" }, "No verdict: not run."),
    ]);
    if (all.length) choose(0);
    around(i, c);
  }

  function casePanel(c) {
    const kase = D.cases[c];
    show(kase.id, [el("h2", { id: "panel-title" }, el("code", {}, kase.id)), ...about(kase).flat(),
      section("Who does this right?", el("ul", { class: "list" }, D.impls.map((impl, i) => {
        const rows = D.cells[i][c];
        if (!rows) return el("li", {}, el("span", { class: "none" }, "not run"), el("span", {}, impl.id));
        const one = verdictOf(rows[0], impl, kase);
        return el("li", {}, badge(one.verdict), el("span", {}, el("a", { href: hash(impl.id, kase.id) }, impl.id), el("small", {}, BAD.has(one.verdict) ? first(one.observed) || one.reason : "")));
      })))]);
    around(-1, c);
  }

  function implPanel(i) {
    const impl = D.impls[i];
    const facts = [impl.language, impl.version, impl.runtime, impl.profiles.join(", ")].filter(Boolean).join(" · ");
    const bad = D.cases.map((kase, c) => [kase, c]).filter(([, c]) => BAD.has(worst(i, c)));
    show(impl.id, [el("h2", { id: "panel-title" }, impl.name), el("p", { class: "by" }, facts, impl.homepage ? [" · ", el("a", { href: impl.homepage, target: "_blank", rel: "noopener noreferrer" }, "home page")] : ""),
      section(bad.length ? bad.length + (bad.length > 1 ? " cases" : " case") + " not as required" : "Nothing that ran was other than required", el("ul", { class: "list" }, bad.map(([kase, c]) => {
        const one = verdictOf(D.cells[i][c][0], impl, kase);
        return el("li", {}, badge(one.verdict), el("span", {}, el("a", { href: hash(impl.id, kase.id) }, el("code", {}, kase.id)), el("small", {}, first(one.observed) || kase.summary)));
      })))]);
    around(i, -1);
  }

  /* Previous and next: in an implementation's column, the cells that are not as required. */
  function around(i, c) {
    const order = [...table.querySelectorAll("tr[data-c]")].map((row) => Number(row.dataset.c));
    const bad = i < 0 ? [] : order.filter((each) => BAD.has(worst(i, each)));
    const here = order.indexOf(c);
    const previous = bad.filter((each) => order.indexOf(each) < here).pop();
    const next = bad.find((each) => order.indexOf(each) > here);
    for (const [button, target] of [[$("prev"), previous], [$("next"), next]]) {
      button.disabled = target === undefined;
      button.onclick = () => { if (target !== undefined) location.hash = hash(D.impls[i].id, D.cases[target].id); };
    }
    $("where").textContent = i >= 0 && bad.includes(c) ? (bad.indexOf(c) + 1) + " of " + bad.length + " not as required on " + D.impls[i].id : "";
    for (const old of table.querySelectorAll(".at")) old.classList.remove("at");
    const cell = i >= 0 && c >= 0 ? button(i, c) : null;
    if (cell) { cell.classList.add("at"); rove(cell); }
  }
  function show(title, content) {
    document.title = title + " – " + head;
    body.replaceChildren(...content.flat(9).filter(Boolean));
    if (!panel.open) panel.showModal();
    body.scrollTop = 0;
    body.focus({ preventScroll: true });
  }
  const button = (i, c) => { const row = table.querySelector('tr[data-c="' + c + '"]'); return row && row.cells[i + 1].firstElementChild; };

  function route() {
    let parts;
    try { parts = location.hash.slice(1).split("/").map(decodeURIComponent); } catch { parts = [""]; }
    const i = implAt.get(parts[0]), c = caseAt.get(parts.slice(1).join("/"));
    if (table && i !== undefined && c !== undefined) cellPanel(i, c);
    else if (table && parts[0] === "" && c !== undefined) casePanel(c);
    else if (table && i !== undefined && parts.length === 1) implPanel(i);
    else if (panel.open) panel.close();
  }
  panel.addEventListener("close", () => {
    document.title = head;
    if (location.hash && location.hash !== "#matrix") history.pushState(null, "", "#matrix");
    const at = table.querySelector("button.at");
    if (at) { at.classList.remove("at"); at.focus(); }
  });
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
  $("close").addEventListener("click", () => panel.close());
  window.addEventListener("hashchange", route);

  /* ---- the matrix: one tab stop, arrow keys inside ---- */
  let tabStop = null;
  function rove(cell) {
    if (tabStop) tabStop.tabIndex = -1;
    tabStop = cell;
    cell.tabIndex = 0;
  }
  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -1e6], End: [0, 1e6] };
  function move(from, [down, right]) {
    const rows = [...table.querySelectorAll("tr[data-c]:not([hidden])")].filter((row) => !row.parentElement.hidden);
    const cell = from.parentElement;
    let y = rows.indexOf(cell.parentElement) + down, x = cell.cellIndex;
    if (right) {
      const there = [...cell.parentElement.querySelectorAll("td button")];
      const to = there[Math.max(0, Math.min(there.length - 1, there.indexOf(from) + right))];
      return to || from;
    }
    for (; y >= 0 && y < rows.length; y += down) {
      const to = rows[y].cells[x].firstElementChild;
      if (to) return to;
    }
    return from;
  }
  if (table) {
    table.addEventListener("click", (event) => {
      const pressed = event.target.closest("button");
      if (!pressed) return;
      const row = pressed.closest("tr");
      if (row.classList.contains("area")) {
        const open = pressed.getAttribute("aria-expanded") !== "true";
        pressed.setAttribute("aria-expanded", String(open));
        apply();
      } else location.hash = hash(D.impls[pressed.parentElement.cellIndex - 1].id, D.cases[row.dataset.c].id);
    });
    table.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step || !event.target.matches("tr[data-c] td button")) return;
      event.preventDefault();
      const to = move(event.target, step);
      rove(to);
      to.focus();
    });
    table.addEventListener("focusin", (event) => { if (event.target.matches("tr[data-c] td button")) rove(event.target); });
    const first = table.querySelector("tr[data-c] td button");
    if (first) rove(first);
  }

  /* ---- filters ---- */
  const chips = [...document.querySelectorAll(".chip[data-v]")];
  const words = D.cases.map((kase, c) => {
    const own = D.impls.flatMap((_, i) => (D.cells[i][c] || []).map((row) => S[row[6] || 0]));
    return [kase.id, kase.summary, ...kase.checks, ...kase.checks.map((id) => D.reqs[id] ? D.reqs[id].sentence : ""), ...new Set(own)].join("\n").toLowerCase();
  });
  const verdicts = D.cases.map((_, c) => new Set(D.impls.map((_, i) => worst(i, c))));
  const rows = table ? [...table.querySelectorAll("tr[data-c]")] : [];
  function apply() {
    const asked = $("q").value.toLowerCase().split(/\s+/).filter(Boolean), area = $("area").value, level = $("level").value;
    const wanted = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").flatMap((chip) => chip.dataset.v === "bad" ? [...BAD] : chip.dataset.v);
    const filtered = Boolean(asked.length || area || level || wanted.length);
    let shown = 0;
    const left = new Map();
    for (const row of rows) {
      const c = Number(row.dataset.c), kase = D.cases[c];
      const match = (!area || kase.area === area) && (!level || kase.level === level) && asked.every((word) => words[c].includes(word)) &&
        (!wanted.length || wanted.some((verdict) => verdicts[c].has(verdict)));
      const group = row.parentElement, open = group.rows[0].querySelector("button").getAttribute("aria-expanded") === "true";
      row.hidden = !match || !open;
      if (match) { shown++; left.set(group, true); }
    }
    for (const group of table.tBodies) group.hidden = !left.has(group);
    table.className = (table.classList.contains("dense") ? "dense " : "") + (wanted.length ? "only " + wanted.map((verdict) => "only-" + verdict).join(" ") : "");
    $("shown").textContent = filtered ? shown + " of " + D.cases.length + " cases" : D.cases.length + (D.cases.length === 1 ? " case" : " cases");
    $("reset").hidden = !filtered;
    $("none").hidden = shown > 0;
  }
  function reset() {
    $("q").value = $("area").value = $("level").value = "";
    for (const chip of chips) chip.setAttribute("aria-pressed", "false");
    apply();
  }
  if (table) {
    $("tools").hidden = false;
    for (const id of ["q", "area", "level"]) $(id).addEventListener("input", apply);
    for (const chip of chips) chip.addEventListener("click", () => { chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true")); apply(); });
    $("reset").addEventListener("click", () => { reset(); $("q").focus(); });
    $("reset2").addEventListener("click", () => { reset(); $("q").focus(); });
    apply();
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, select, textarea")) return;
    if (event.key === "/" && !panel.open && table) { event.preventDefault(); $("q").focus(); }
    if (panel.open && event.key === "n") $("next").click();
    if (panel.open && event.key === "p") $("prev").click();
  });
  route();
})();
