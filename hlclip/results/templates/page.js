"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const PAGE = 20;
  const SP = " (SP)";
  const last = data.variants[data.variants.length - 1];

  // --- Unpack the curves and ratings, which hold the clips of all queries in a row. ---

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const splits = Object.entries(data.splits).map(([name, split]) => {
    const starts = [0];
    for (const clips of split.clips) starts.push(starts[starts.length - 1] + clips);
    const curves = {};
    for (const [variant, text] of Object.entries(split.curves)) {
      curves[variant] = new Int16Array(bytes(text).buffer);
    }
    const words = split.queries.map((query, i) =>
      `${query} ${split.qids[i]} ${split.vids[i]}`.toLowerCase());
    const ratings = split.ratings === null ? null : bytes(split.ratings);
    return { ...split, name, starts, curves, words, ratings };
  });

  const clock = (seconds) =>
    `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  const signs = new Intl.NumberFormat("en",
    { signDisplay: "negative", minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const signed = (value) => (value >= 0.05 ? "+" : "") + signs.format(value);

  function ratingsOf(split, query, clip) {
    if (split.ratings === null) return null;
    const at = data.annotators * (split.starts[query] + clip);
    const given = split.ratings.subarray(at, at + data.annotators);
    return Array.from(given, (value) => value + data.lowest);
  }

  function timesOf(split, query, clip) {
    const times = split.times[query];
    return times ? times[clip] : [clip * data.clipSeconds, (clip + 1) * data.clipSeconds];
  }

  function curveOf(split, query, variant) {
    const part = split.curves[variant].subarray(split.starts[query], split.starts[query + 1]);
    return Array.from(part, (value) => value / data.scale);
  }

  // --- Charts, drawn again when the theme or the width changes. ---

  const drawn = new Map();

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const font = getComputedStyle(document.body).fontFamily;
    const text = { labelColor: colour("--quiet"), titleColor: colour("--quiet"), labelFont: font,
      titleFont: font, titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 11 };
    return {
      background: "transparent", font, view: { stroke: null },
      axis: { ...text, gridColor: colour("--line"), domainColor: colour("--line"),
        tickColor: colour("--line"), labelOverlap: true },
      axisY: { minExtent: 32, maxExtent: 32 },
      legend: { ...text, labelFontSize: 12, orient: "top", labelColor: colour("--text") },
    };
  }

  async function draw(place, makeSpec) {
    const before = drawn.get(place);
    const now = { makeSpec, width: place.clientWidth };
    drawn.set(place, now);
    if (before && before.result) before.result.finalize();
    // Vega sets the label of the element that it gets: it gets a child, so that our label stays.
    const canvas = place.firstElementChild || place.appendChild(document.createElement("div"));
    const options = { mode: "vega-lite", renderer: "svg", actions: false, config: theme() };
    const result = await vegaEmbed(canvas, makeSpec(place.clientWidth), options);
    if (drawn.get(place) === now) now.result = result;
    else result.finalize();
  }

  function drawAgain(onlyIfResized) {
    for (const [place, { makeSpec, width, result }] of drawn) {
      if (!place.isConnected) {
        if (result) result.finalize();
        drawn.delete(place);
      } else if (place.clientWidth && (!onlyIfResized || place.clientWidth !== width)) {
        draw(place, makeSpec);
      }
    }
  }

  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => drawAgain(true), 150);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAgain(false));

  for (const place of document.querySelectorAll("[data-chart]")) {
    draw(place, () => structuredClone(data.charts[place.dataset.chart]));
  }

  // Linear between the knots of a map and level beyond them, as hlclip.evaluation.apply_map.
  function worth(name, score) {
    const knots = data.maps[name];
    if (!knots) return null;
    const next = knots.findIndex(([at]) => at >= score);
    if (next <= 0) return knots[next < 0 ? knots.length - 1 : 0][1];
    const [[from, low], [to, high]] = [knots[next - 1], knots[next]];
    return low + (high - low) * (score - from) / (to - from);
  }

  // --- One query: an item in a list that opens to curves and pictures. ---

  function saliencySpec(split, query, width) {
    const spec = structuredClone(data.saliency);
    if (split.ratings === null && data.annotators) spec.vconcat.splice(data.variants.length, 1);
    for (const panel of spec.vconcat) panel.width = Math.max(width - 62, 120);
    const pairs = data.variants.map((name) =>
      [curveOf(split, query, name), curveOf(split, query, name + SP)]);
    const clips = [], ratings = [];
    for (let clip = 0; clip < split.clips[query]; clip += 1) {
      const [start, end] = timesOf(split, query, clip);
      const row = { start, end, middle: (start + end) / 2, time: span(start, end) };
      pairs.forEach(([raw, pooled], n) => {
        row[`raw${n}`] = raw[clip];
        row[`sp${n}`] = pooled[clip];
        row[`worth${n}`] = worth(data.variants[n] + SP, pooled[clip]);
      });
      const given = ratingsOf(split, query, clip);
      row.ratings = given === null ? "none" : given.join(", ");
      clips.push(row);
      (given || []).forEach((rating, annotator) =>
        ratings.push({ start, end, annotator: annotator + 1, rating }));
    }
    const pooled = pairs[pairs.length - 1][1];
    const peaks = split.peaks[query].map((clip, i) =>
      ({ middle: clips[clip].middle, sp: pooled[clip], letter: letter(i) }));
    const moments = split.moments[query].map(
      ([row, start, end]) => ({ row, start, end, time: span(start, end) }));
    return { ...spec, datasets: { clips, ratings, peaks, moments } };
  }

  const letter = (i) => String.fromCharCode(65 + i);
  const span = (start, end) => `${clock(start)} to ${clock(end)}`;

  function sayRatings(split, query, clip) {
    const given = ratingsOf(split, query, clip);
    if (given !== null && given.length > 5) {
      const mean = given.reduce((sum, rating) => sum + rating, 0) / given.length;
      return `, rated ${mean.toFixed(1)} on average`;
    }
    return given === null ? "" : `, rated ${given.join(",\u00a0")}`;
  }

  function pictures(split, query) {
    const marked = split.peaks[query].map((clip, i) => ({ clip, label: `Peak ${letter(i)}` }));
    const favourite = split.favourites[query];
    const same = marked.find(({ clip }) => clip === favourite);
    if (same) same.label += ", rated highest";
    else if (favourite !== undefined && favourite !== null) {
      marked.push({ clip: favourite, label: "Rated highest" });
    }
    const sources = split.thumbnails[query] || {};
    return marked.map(({ clip, label }) => {
      const item = document.createElement("li");
      const at = clock(timesOf(split, query, clip)[0]);
      if (sources[clip]) {
        const picture = document.createElement("img");
        picture.src = sources[clip];
        picture.alt = `Frame at ${at}`;
        item.append(picture);
      }
      const name = document.createElement("b");
      name.textContent = label;
      item.append(name, ` ${at}${sayRatings(split, query, clip)}`);
      return item;
    });
  }

  function about(split, query) {
    const parts = [`qid ${split.qids[query]}`, `video ${split.vids[query]}`,
      `${split.clips[query]} clips`];
    const reason = split.missing[query];
    if (reason) parts.push(`no video (${reason}), so every clip scores 0`);
    const precision = Object.keys(split.precision).length ? data.variants.map((name) =>
      `${name} ${split.precision[name][query].toFixed(1)} → ` +
      split.precision[name + SP][query].toFixed(1)) : [];
    if (precision.length) parts.push(`AP before → after pooling: ${precision.join(", ")}`);
    if (precision.length && split.orders[data.orders.highlights][query] === null && !reason) {
      parts.push("no annotator has a highlight here, so AP is 0 by definition");
    }
    return parts.join(" · ");
  }

  function describe(split, query) {
    const peaks = split.peaks[query].map((clip) =>
      `${clock(timesOf(split, query, clip)[0])}${sayRatings(split, query, clip)}`);
    return `Saliency curves of ${data.variants.join(" and ")} before and after pooling` +
      (split.ratings === null ? "." : `, with the ratings of ${data.annotators} annotators.`) +
      (peaks.length ? ` Highest peaks of ${last} with pooling: ${peaks.join("; ")}.` : "") +
      " Moments of the annotators (truth), and predicted ones, best first: " +
      `${split.moments[query].map(([row, ...seconds]) => `${row}, ${span(...seconds)}`).join("; ")}.`;
  }

  function badge(label, value) {
    const part = document.createElement("span");
    const number = document.createElement("b");
    number.textContent = value;
    part.append(`${label} `, number);
    return part;
  }

  function badges(split, query) {
    if (split.missing[query]) return [badge("", "no video")];
    const found = [];
    for (const [name, values] of Object.entries(split.orders)) {
      if (values[query] === null) continue;
      const short = name.replace("gain from ", "").replace(" of the first moment", "");
      const text = name === data.orders.first ? values[query].toFixed(2)
        : name.startsWith("gain") ? signed(values[query]) : values[query].toFixed(1);
      found.push(badge(short, text));
    }
    return found;
  }

  function listItem(split, query) {
    const item = find("query").content.cloneNode(true).firstElementChild;
    const details = item.querySelector("details");
    item.querySelector(".text").textContent = split.queries[query];
    item.querySelector(".badges").append(...badges(split, query));
    details.addEventListener("toggle", () => {
      if (!details.open || details.dataset.filled) return;
      details.dataset.filled = "yes";
      item.querySelector(".about").textContent = about(split, query);
      item.querySelector(".pictures").append(...pictures(split, query));
      const chart = item.querySelector(".chart");
      if (split.missing[query]) {
        chart.remove();
        return;
      }
      chart.setAttribute("aria-label", describe(split, query));
      draw(chart, (width) => saliencySpec(split, query, width));
    });
    return item;
  }

  // --- The best and worst queries, and all queries: searched, sorted, twenty on a page. ---

  function sorted(split, order, direction) {
    const values = split.orders[order];
    const tie = order === data.orders.moments ? split.orders[data.orders.first] : values;
    const all = split.queries.map((_, query) => query);
    if (values === undefined) return all;
    // Queries without a value come last in either direction.
    return all.sort((a, b) => (values[a] === null) - (values[b] === null)
      || direction * (values[a] - values[b]) || direction * (tie[a] - tie[b]) || a - b);
  }

  const measured = splits.find((split) => Object.keys(split.orders).length);
  if (measured) {
    for (const place of document.querySelectorAll("[data-order]")) {
      const { order } = place.dataset;
      const able = (query) => measured.orders[order] && measured.orders[order][query] !== null;
      for (const [i, direction] of [-1, 1].entries()) {
        const chosen = sorted(measured, order, direction).filter(able).slice(0, 3);
        const list = place.querySelectorAll("ol")[i];
        list.append(...chosen.map((query) => listItem(measured, query)));
        if (list.firstChild) list.querySelector("details").open = true;
      }
    }
    find("extremes-split").textContent = measured.name;
    find("extremes").hidden = false;
  }

  const state = { page: 0 };
  const option = (value) => new Option(value, value);
  find("split").append(...splits.map((split) => option(split.name)));

  function fillOrders() {
    const split = splits.find(({ name }) => name === find("split").value);
    const before = find("sort").value;
    const names = Object.keys(split.orders);
    find("sort").replaceChildren(...(names.length ? names : ["file order"]).map(option));
    if (names.includes(before)) find("sort").value = before;
  }

  function show() {
    const split = splits.find(({ name }) => name === find("split").value);
    const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = sorted(split, find("sort").value, Number(find("direction").value))
      .filter((query) => words.every((word) => split.words[query].includes(word)));
    const pages = Math.max(Math.ceil(found.length / PAGE), 1);
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const shown = found.slice(state.page * PAGE, (state.page + 1) * PAGE);
    find("list").replaceChildren(...shown.map((query) => listItem(split, query)));
    drawAgain(true);
    find("nothing").hidden = found.length > 0;
    find("count").textContent = `${found.length} of ${split.queries.length} queries`;
    find("page").textContent = `Page ${state.page + 1} of ${pages}`;
    find("previous").disabled = state.page === 0;
    find("next").disabled = state.page === pages - 1;
  }

  const first = () => { state.page = 0; show(); };

  function turn(step) {
    state.page += step;
    show();
    find("count").scrollIntoView({ block: "start" });
  }

  find("controls").addEventListener("submit", (event) => event.preventDefault());
  find("search").addEventListener("input", first);
  find("sort").addEventListener("change", first);
  find("direction").addEventListener("change", first);
  find("split").addEventListener("change", () => { fillOrders(); first(); });
  find("previous").addEventListener("click", () => turn(-1));
  find("next").addEventListener("click", () => turn(1));
  fillOrders();
  show();
})();
