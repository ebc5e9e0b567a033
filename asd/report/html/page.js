"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const list = document.getElementById("ranking");
  if (!list) return;
  const rows = all("li", list);
  const articles = new Map(all("article[data-clip]").map((each) => [each.dataset.clip, each]));
  const plain = document.getElementById("plain");
  const distributions = all(".distribution");
  const filters = all("[data-filter]");
  const search = document.getElementById("search");
  const count = document.getElementById("count");
  const nothing = document.getElementById("nothing");
  let shown = rows;
  let current = rows[0];

  const article = () => (current && (articles.get(current.dataset.clip) || plain)) || null;

  function fillPlain(row) {
    for (const [name, value] of [["h2", row.dataset.name], [".verdict", row.dataset.verdict],
                                 [".quiet", row.dataset.about]]) {
      plain.querySelector(name).textContent = value;
    }
    const audio = plain.querySelector("audio");
    const link = plain.querySelector("a");
    audio.hidden = link.parentElement.hidden = !row.dataset.link;
    if (row.dataset.link) {
      audio.src = row.dataset.link;
      link.href = row.dataset.link;
    } else {
      audio.removeAttribute("src");
    }
  }

  function select(row, focus) {
    all("audio").forEach((audio) => audio.pause());
    for (const [each, chosen] of [[current, false], [row, true]]) {
      if (!each) continue;
      each.setAttribute("aria-selected", String(chosen));
      each.tabIndex = chosen ? 0 : -1;
    }
    current = row;
    const chosen = article();
    for (const each of articles.values()) each.hidden = each !== chosen;
    plain.hidden = chosen !== plain;
    nothing.hidden = row !== null;
    if (!row) {
      distributions.forEach((each) => { each.hidden = true; });
      return;
    }
    if (chosen === plain) fillPlain(row);
    for (const each of distributions) {
      each.hidden = each.dataset.machine !== row.dataset.machine;
      const mark = each.querySelector(".mark");
      if (mark && row.dataset.x) mark.setAttribute("transform", `translate(${row.dataset.x} 0)`);
      if (mark) mark.style.display = row.dataset.x ? "" : "none";
    }
    if (focus) {
      row.focus({ preventScroll: true });
      row.scrollIntoView({ block: "nearest" });
    }
  }

  function filter() {
    const words = search.value.toLowerCase();
    shown = rows.filter((row) => {
      const fits = filters.every((each) => !each.value || row.dataset[each.dataset.filter] === each.value);
      const visible = fits && row.dataset.name.toLowerCase().includes(words);
      row.hidden = !visible;
      return visible;
    });
    count.textContent = `${shown.length} of ${rows.length} clips`;
    if (!shown.includes(current)) select(shown[0] || null, false);
  }

  function move(step) {
    const at = shown.indexOf(current);
    const next = shown[Math.max(0, Math.min(shown.length - 1, at + step))];
    if (next) select(next, true);
  }

  function play(number) {
    const audios = article() ? all("audio", article()).filter((each) => !each.hidden) : [];
    const audio = audios[number];
    if (!audio) return;
    audios.forEach((each) => { if (each !== audio) each.pause(); });
    if (audio.paused) audio.play().catch(() => {}); else audio.pause();
  }

  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) move(steps[event.key]);
    else if (event.key === " " || event.key === "Enter") play(0);
    else if (event.key === "n") play(1);
    else return;
    event.preventDefault();
  });
  list.addEventListener("click", (event) => {
    const row = event.target.closest("li");
    if (row) select(row, true);
  });
  document.querySelector("form.filters").addEventListener("submit", (event) => event.preventDefault());
  filters.forEach((each) => each.addEventListener("change", filter));
  search.addEventListener("input", filter);
  const marks = document.getElementById("marks");
  if (marks) marks.addEventListener("change", () => document.body.classList.toggle("plain", !marks.checked));

  for (const sound of all(".sound")) {
    const audio = sound.querySelector("audio");
    const picture = sound.querySelector(".spectrogram");
    if (!audio || !picture) continue;
    const head = picture.querySelector(".head");
    const draw = () => {
      const length = audio.duration || Number(sound.dataset.seconds);
      head.style.display = audio.currentTime > 0 ? "block" : "none";
      head.style.left = `${(100 * audio.currentTime) / length}%`;
      if (!audio.paused) requestAnimationFrame(draw);
    };
    audio.addEventListener("play", () => {
      all("audio").forEach((each) => { if (each !== audio) each.pause(); });
      draw();
    });
    audio.addEventListener("seeked", draw);
    picture.addEventListener("click", (event) => {
      const box = picture.getBoundingClientRect();
      audio.currentTime = ((event.clientX - box.left) / box.width) * (audio.duration || Number(sound.dataset.seconds));
      audio.play().catch(() => {});
    });
  }

  document.body.classList.add("scripted");
  filter();
  select(shown[0] || null, false);
})();
