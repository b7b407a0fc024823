// Runs once in the element of an answer: a click on the chart or on a moment plays the video there.
element.addEventListener("click", event => {
  const film = document.querySelector("#film video");
  const chart = event.target.closest("[data-seconds]");
  const moment = event.target.closest("[data-second]");
  if (!film || !(chart || moment)) return;
  const box = chart?.getBoundingClientRect();
  const share = box ? Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) : 0;
  film.currentTime = moment ? Number(moment.dataset.second) : share * Number(chart.dataset.seconds);
  film.scrollIntoView({ behavior: "smooth", block: "nearest" });
  film.play().catch(() => {});
});
