"use strict";
(() => {
  const PAGE = 10;
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const state = { query: "", category: "", sort: "order", page: 0, all: false };
  const shown = new Map(); // row -> revealed, where it differs from `state.all`
  const column = (arm) => 3 + 2 * data.arms.indexOf(arm);
  const has = (arm) => data.arms.includes(arm);

  const haystacks = data.rows.map((row) => {
    const texts = [data.prompts[row[1]]];
    data.arms.forEach((arm) => texts.push(row[column(arm)] || ""));
    return texts.join("\n").toLowerCase();
  });

  // Texts are only ever set as text, so that nothing in them is read as markup.
  function node(name, attributes, ...children) {
    const made = document.createElement(name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    made.append(...children);
    return made;
  }

  function marked(text) {
    const parts = document.createDocumentFragment();
    const lower = text.toLowerCase();
    let from = 0;
    // lower-casing may change the length of a text: then nothing is marked
    if (state.query && lower.length === text.length) {
      for (let at = lower.indexOf(state.query); at >= 0; at = lower.indexOf(state.query, from)) {
        parts.append(text.slice(from, at), node("mark", {}, text.slice(at, at + state.query.length)));
        from = at + state.query.length;
      }
    }
    parts.append(text.slice(from));
    return parts;
  }

  const score = (row, arm) => (has(arm) ? row[column(arm) + 1] : null);
  const fall = (row) => {
    const before = score(row, "baseline"), after = score(row, "pruned");
    return before === null || after === null ? null : before - after;
  };
  const keys = {
    fall,
    rise: (row) => { const value = fall(row); return value === null ? null : -value; },
    baseline: (row) => score(row, "baseline"),
    pruned: (row) => score(row, "pruned"),
  };

  function chosen() {
    const kept = [];
    data.rows.forEach((row, index) => {
      if (state.category !== "" && row[0] !== Number(state.category)) return;
      if (state.query && !haystacks[index].includes(state.query)) return;
      kept.push(index);
    });
    if (state.sort === "prompt") {
      const rank = data.prompts.map((_, i) => i);
      rank.sort((a, b) => (data.prompts[a] < data.prompts[b] ? -1 : 1));
      const place = [];
      rank.forEach((prompt, i) => { place[prompt] = i; });
      kept.sort((a, b) => place[data.rows[a][1]] - place[data.rows[b][1]] || a - b);
    } else if (keys[state.sort]) {
      const key = keys[state.sort];
      const value = (index) => { const v = key(data.rows[index]); return v === null ? -Infinity : v; };
      kept.sort((a, b) => {
        const x = value(a), y = value(b);
        return x === y ? a - b : y > x ? 1 : -1;
      });
    }
    return kept;
  }

  function setVeil(button, veils, open) {
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "Hide" : "Show";
    const label = button.getAttribute("aria-label").replace(/^(Show|Hide)/, open ? "Hide" : "Show");
    button.setAttribute("aria-label", label);
    veils.forEach((veil) => {
      veil.classList.add("veil");
      veil.setAttribute("aria-hidden", String(!open));
    });
  }

  function armPart(row, arm) {
    const text = row[column(arm)];
    const value = row[column(arm) + 1];
    const badge = node("span", value !== null && value >= data.threshold ? { class: "over" } : {});
    badge.textContent = value === null ? "no score" : `score ${value.toFixed(2)}`;
    const said = node("p", { class: "said", dir: "auto" }, text ? marked(text) : "(empty)");
    return [node("div", { class: arm }, node("h3", {}, arm, badge), said), said];
  }

  function rowNode(index) {
    const row = data.rows[index];
    const prompt = node("p", { class: "said prompt", dir: "auto" }, marked(data.prompts[row[1]]));
    const veils = [prompt];
    const arms = node("div", { class: "arms" });
    data.arms.forEach((arm) => {
      const [part, said] = armPart(row, arm);
      arms.append(part);
      veils.push(said);
    });
    const button = node("button", {
      type: "button", class: "reveal", "aria-label": `Show row ${index + 1}`,
    });
    const label = `${index + 1} · ${data.categories[row[0]]} · completion ${row[2] + 1}`;
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") !== "true";
      shown.set(index, open);
      setVeil(button, veils, open);
    });
    setVeil(button, veils, shown.has(index) ? shown.get(index) : state.all);
    return node("li", { class: "card" },
      node("div", { class: "rowhead" }, node("span", {}, label), button), prompt, arms);
  }

  function draw() {
    if (!find("rows")) return;
    const kept = chosen();
    const pages = Math.max(1, Math.ceil(kept.length / PAGE));
    state.page = Math.min(state.page, pages - 1);
    const from = state.page * PAGE;
    find("rows").replaceChildren(...kept.slice(from, from + PAGE).map(rowNode));
    find("count").textContent =
      `${kept.length.toLocaleString("en")} of ${data.rows.length.toLocaleString("en")} rows`;
    find("page").textContent = `Page ${state.page + 1} of ${pages}`;
    find("previous").disabled = state.page === 0;
    find("next").disabled = state.page === pages - 1;
  }

  function turn(step) {
    state.page += step;
    draw();
    find("count").scrollIntoView({ block: "start" });
  }

  const blocks = [...document.querySelectorAll("[data-veiled]")].map((block) => {
    const part = [block.querySelector("button"), [block.querySelector(".veil")]];
    part[0].addEventListener("click", () => {
      setVeil(...part, part[0].getAttribute("aria-expanded") !== "true");
    });
    return part;
  });

  function restart() {
    state.query = find("query").value.trim().toLowerCase();
    state.category = find("category").value;
    state.sort = find("sort").value;
    state.page = 0;
    draw();
  }

  if (find("rows")) {
    data.categories.forEach((name, i) => find("category").append(node("option", { value: i }, name)));
    let waiting = 0;
    find("query").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(restart, 120);
    });
    find("category").addEventListener("change", restart);
    find("sort").addEventListener("change", restart);
    find("previous").addEventListener("click", () => turn(-1));
    find("next").addEventListener("click", () => turn(1));
    find("reveal-all").addEventListener("click", () => {
      state.all = !state.all;
      shown.clear();
      find("reveal-all").textContent = state.all ? "Blur all text" : "Show all text";
      blocks.forEach((part) => setVeil(...part, state.all));
      draw();
    });
    restart(); // a browser may have kept what was typed before a reload
  }
})();
