"use strict";
(() => {
  const $ = (id) => document.getElementById(id);

  // An element with attributes and children; text is only ever text.
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  // Light, dark, or as the system says.
  const themes = ["as the system", "light", "dark"];
  const remembered = () => {
    try { return localStorage.getItem("harness-theme"); } catch { return null; }
  };
  const wear = (theme) => {
    if (theme === themes[0]) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("theme").textContent = `Theme: ${theme}`;
  };
  let theme = themes.includes(remembered()) ? remembered() : themes[0];
  wear(theme);
  $("theme").hidden = false;
  $("theme").addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    wear(theme);
    try { localStorage.setItem("harness-theme", theme); } catch { /* a page from a file may have no storage */ }
  });

  // Sorting: a button in every heading; ascending, descending, as it came.
  const sortable = (table) => {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const was = head.getAttribute("aria-sort");
        const now = was === "ascending" ? "descending" : was === "descending" ? null : "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        if (!now) { body.append(...original); return; }
        head.setAttribute("aria-sort", now);
        const sign = now === "ascending" ? 1 : -1;
        // Cells without a number stay at the end in both directions.
        const key = (row) => {
          const cell = row.cells[column];
          if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
          return cell.classList.contains("number") ? null : cell.textContent;
        };
        const keyed = original.map((row) => [key(row), row]);
        keyed.sort(([x], [y]) => {
          if (x === null || y === null) return (x === null) - (y === null);
          if (typeof x === "number" && typeof y === "number") return sign * (x - y);
          return sign * String(x).localeCompare(String(y), "en", { numeric: true });
        });
        body.append(...keyed.map(([, row]) => row));
      });
    });
  };

  // Filtering: every word must stand in the row; `!word` must not.
  const filterable = (table) => {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 6) return;
    const count = make("output", { "aria-live": "polite" }, `${rows.length} rows`);
    const input = make("input", { type: "search", placeholder: "words, !without", autocomplete: "off", spellcheck: "false" });
    const bar = make("div", { class: "filter" }, make("label", {}, "Filter ", input), count);
    table.parentElement.before(bar);
    const texts = rows.map((row) => row.textContent.toLowerCase());
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter((word) => word && word !== "!");
      const keeps = (text) => words.every((word) => word[0] === "!" ? !text.includes(word.slice(1)) : text.includes(word));
      let shown = 0;
      rows.forEach((row, index) => {
        row.hidden = !keeps(texts[index]);
        shown += !row.hidden;
      });
      count.textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
    });
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    sortable(table);
    if (!table.closest(".answer")) filterable(table);
  }

  // Pages of single cells, laid out when they are asked for.
  const { texts, arms, cells } = JSON.parse($("cells").textContent);
  const places = new Map(cells.map((cell, index) => [`#cell-${cell.id}`, index]));
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const namespace = "http://www.w3.org/2000/svg";

  const shape = (name, attributes) => {
    const element = document.createElementNS(namespace, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  // Samples in the order they were taken, from the lowest to the highest; a band for the interval, a line for the value.
  const plot = (code, [low, high], [value, ...interval], words) => {
    const [width, height, edge] = [240, 56, 4];
    const y = (level) => edge + (height - 2 * edge) * (1 - level / 63);
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
    const title = shape("title", {});
    title.textContent = `${words}, from ${low} to ${high}`;
    svg.append(title);
    if (interval.length === 2) {
      const [below, above] = interval.map(y);
      svg.append(shape("rect", { class: "band", x: 0, width, y: above, height: Math.max(below - above, 1) }));
    }
    svg.append(shape("line", { class: "value", x1: 0, x2: width, y1: y(value), y2: y(value) }));
    const levels = [...code.slice(1)].map((sign) => alphabet.indexOf(sign));
    const runs = code[0] === "|";
    const steps = runs ? levels.length / 2 : levels.length;
    for (let step = 0; step < steps; step += 1) {
      const x = edge + (width - 2 * edge) * (steps > 1 ? step / (steps - 1) : 0.5);
      const [from, to] = runs ? [levels[2 * step], levels[2 * step + 1]] : [levels[step], levels[step]];
      if (from < 0 || to < 0) continue;
      if (runs) svg.append(shape("line", { class: "run", x1: x, x2: x, y1: y(from) + 0.5, y2: y(to) - 0.5 }));
      else svg.append(shape("circle", { class: "sample", cx: x, cy: y(from), r: steps > 100 ? 1.2 : 2 }));
    }
    const scale = make("span", { class: "ends" }, make("span", {}, high), make("span", {}, low));
    return make("div", { class: "plot" }, svg, scale);
  };

  const numberRow = (number) => {
    const words = (key) => (number[key] === undefined ? "" : texts[number[key]]);
    const about = make("td", {}, words("a") || words("d"));
    for (const more of [words("n"), words("p")]) {
      if (more) about.append(make("br"), make("span", { class: "detail" }, more));
    }
    const drawn = make("td", {});
    if (number.s) drawn.append(plot(number.s, number.r, number.k, `${words("m")}: ${words("d")}`));
    const value = make("td", { class: "number" });
    if (number.a === undefined) value.append(number.t);
    else value.append(make("span", { class: `chip ${number.t === "failed" ? "failed" : "absent"}` }, number.t));
    return make("tr", {}, make("th", { scope: "row", class: "arm" }, words("m")), value, about, drawn);
  };

  const step = (index, words) => {
    if (!cells[index]) return "";
    return make("a", { href: `#cell-${cells[index].id}`, class: "step", title: cells[index].name }, words);
  };

  const pageOf = (index) => {
    const cell = cells[index];
    const page = [];
    page.push(make("p", { class: "over" }, make("a", { href: "#", id: "back" }, "← the whole report"), " ", step(index - 1, "‹ previous cell"), " ", step(index + 1, "next cell ›")));
    const heading = make("h1", { tabindex: "-1" }, cell.name);
    page.push(heading, make("p", { class: "about" }, `cell ${cell.id}, ${cell.seconds} s`));
    if (cell.failed) {
      page.push(make("section", { class: "notice bad" }, make("h2", {}, "Failed"), make("p", {}, `${cell.failed[0]}: ${cell.failed[1]}`)));
    }
    if (cell.warnings) {
      page.push(make("section", { class: "notice" }, make("h2", {}, "Warnings"), make("ul", {}, ...cell.warnings.map((at) => make("li", {}, texts[at])))));
    }
    if (cell.command) {
      const copy = make("button", { type: "button" }, "Copy");
      const said = make("output", { "aria-live": "polite" });
      copy.addEventListener("click", () => {
        navigator.clipboard.writeText(cell.command).then(() => { said.textContent = "copied"; }, () => { said.textContent = "select it by hand"; });
      });
      page.push(make("h2", {}, "Measure it again"), make("pre", { class: "command", tabindex: "0" }, make("code", {}, cell.command)), make("p", { class: "note" }, copy, " ", said));
    }
    page.push(make("h2", {}, "Parameters"));
    const list = make("dl", { class: "pairs" });
    for (const [axis, label, parameters] of cell.arms.map((at) => arms[at])) {
      const value = make("dd", {}, label);
      if (parameters.length) value.append(make("br"), make("span", { class: "detail" }, parameters.map(([name, set]) => `${name} = ${set}`).join(", ")));
      list.append(make("dt", {}, axis), value);
    }
    page.push(list);
    if (cell.numbers.length) {
      const head = make("tr", {}, ...["metric", "value", "how", "raw samples"].map((word) => make("th", { scope: "col" }, word)));
      head.cells[1].className = "number";
      const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...cell.numbers.map(numberRow)));
      page.push(make("h2", {}, "Metrics"), make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Metrics" }, table));
    }
    return [page, heading];
  };

  const title = document.title;
  let left = 0;
  const route = () => {
    const index = places.get(location.hash);
    const [report, page] = [$("report"), $("cell")];
    if (index === undefined) {
      const came = report.hidden;
      report.hidden = false;
      page.hidden = true;
      page.replaceChildren();
      document.title = title;
      // Coming back from a cell, the report stands where it was left.
      if (came && location.hash.length < 2) window.scrollTo(0, left);
      else if (came) document.getElementById(location.hash.slice(1))?.scrollIntoView();
      return;
    }
    if (!report.hidden) left = window.scrollY;
    const [parts, heading] = pageOf(index);
    page.replaceChildren(...parts);
    report.hidden = true;
    page.hidden = false;
    document.title = cells[index].name;
    window.scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", route);
  route();

  // On paper nothing can be opened, so everything is.
  const opened = [];
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:not([open])")) { details.open = true; opened.push(details); }
  });
  window.addEventListener("afterprint", () => { opened.splice(0).forEach((details) => { details.open = false; }); });
})();
