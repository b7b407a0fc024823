// Runs once in the element of annotate.html; `server` calls the functions of hlclip.demo.ratings.
const find = selector => element.querySelector(selector);
const [name, video, query, text, status, film] =
  [".name", ".video", ".query", ".text", ".status", "video"].map(find);
const WORDS = ["Very bad", "Bad", "Fair", "Good", "Very good"];
const QUESTION = find(".question").textContent;
let start, rated = {}, clip = 0, sent = 0, shown = 0;

const clock = seconds => {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const rest = String(Math.round((seconds % 60) * 10) / 10).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
};
const now = () => start.videos.find(each => each.vid === video.value);
const say = (words, wrong = false) => {
  status.textContent = words;
  status.classList.toggle("wrong", wrong);
};

// Answers may come in another order than they were asked for: an older one is not shown.
async function call(what, more = {}) {
  const number = ++sent;
  const asked = { vid: video.value, query: query.value, annotator: name.value, ...more };
  // Gradio answers undefined where the server cannot be reached.
  const answer = await server[what](asked).catch(() => undefined);
  if (!answer) {
    say("Not saved: the server does not answer. Is it still running?", true);
    return null;
  }
  if (answer.error) {
    say(answer.error, true);
    return null;
  }
  const current = asked.vid === video.value && asked.annotator === name.value &&
    (what === "ask" || asked.query === query.value);
  if (number < shown || !current) return null;
  shown = number;
  show(answer, asked.query);
  return answer;
}

function show(answer, chosen) {
  query.replaceChildren(...answer.queries.map(([words, finished]) =>
    new Option(`${words} (${finished} of ${start.annotators})`, words)));
  query.value = chosen || answer.queries[0]?.[0] || "";
  if (query.value !== chosen && query.value) return void look();
  find(".rating").hidden = !query.value;
  // In full: the list of queries cuts long ones off.
  find(".question").textContent =
    query.value ? `How well does each clip show this: ${query.value}` : QUESTION;
  rated = answer.rated;
  const { clips } = now();
  const left = clips - Object.keys(rated).length;
  const people = answer.finished.length
    ? `finished: ${answer.finished.join(", ")} (${answer.finished.length} of ${start.annotators})`
    : `nobody has finished, ${start.annotators} must`;
  say(query.value
    ? `You rated ${clips - left} of ${clips} clips; ${people}. ` +
      `${start.file} has ${answer.rows} of ${answer.total} queries. Everything is saved.`
    : "Type the first query for this video: what should its clips show?");
  find(".rest").textContent = `Rate the other ${left} clips 0, Very bad`;
  find(".rest").hidden = !left;
  mark();
}

function mark() {
  element.querySelectorAll(".clips button").forEach((button, at) => {
    const rating = rated[at];
    button.dataset.rating = rating ?? "";
    button.toggleAttribute("aria-current", at === clip);
    const times = `${clock(at * start.seconds)} - ${clock((at + 1) * start.seconds)}`;
    button.setAttribute("aria-label", `${times}: ${WORDS[rating] ?? "not rated"}`);
    button.querySelector("b").textContent = rating ?? "";
  });
  element.querySelectorAll(".scale button").forEach((button, rating) =>
    button.setAttribute("aria-pressed", rated[clip] === rating));
}

function choose(at, play = true) {
  clip = Math.max(0, Math.min(at, now().clips - 1));
  mark();
  find(".clips").children[clip].scrollIntoView({ block: "nearest" });
  film.currentTime = clip * start.seconds;
  if (play) film.play().catch(() => {});
}

async function rate(rating) {
  const at = clip;
  if (!query.value) return;
  if (!name.value.trim()) {
    say("Type your name first: ratings are kept by name.", true);
    return void name.focus();
  }
  const answer = await call("rate", { clip: at, rating });
  if (answer && clip === at && at + 1 < now().clips) choose(at + 1);
}

const look = () => call("look");

async function open() {
  const { vid, clips, url } = now();
  film.src = url;
  clip = 0;
  query.replaceChildren();
  find(".clips").replaceChildren(...Array.from({ length: clips }, (_, at) => {
    const button = document.createElement("button");
    button.innerHTML = `<img alt=""><span>${clock(at * start.seconds)}</span><b></b>`;
    button.onclick = () => choose(at);
    return button;
  }));
  await look();
  const answer = await server.pictures({ vid }).catch(() => undefined);
  if (video.value !== vid) return;
  find(".clips").querySelectorAll("img").forEach((image, at) => {
    if (answer?.pictures?.[at]) image.src = answer.pictures[at];
  });
}

film.addEventListener("timeupdate", () => {
  // A clip is played to its end; who watches on has left it with the player's own controls.
  const over = film.currentTime - (clip + 1) * start.seconds;
  if (film.paused || over < 0 || over >= 0.5) return;
  film.pause();
  film.currentTime = clip * start.seconds;  // else a picture of the next clip would stand
});
document.addEventListener("keydown", event => {
  // The page itself has the focus after a click on no button, and after a button is hidden.
  const here = element.contains(event.target) || event.target === document.body;
  if (!here || !element.offsetParent || event.target.matches("input, select")) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step && event.target !== film) choose(clip + step);
  else if (/^[0-4]$/.test(event.key)) rate(Number(event.key));
  else return;
  event.preventDefault();
});
WORDS.forEach((words, rating) => {
  const button = document.createElement("button");
  button.innerHTML = `<b>${rating}</b> ${words}`;
  button.onclick = () => rate(rating);
  find(".scale").append(button);
});
find(".rest").onclick = () => call("rate", { clip: null, rating: 0 });
find("form").onsubmit = event => {
  event.preventDefault();
  call("ask", { query: text.value.trim() }).then(answer => {
    if (!answer) return;
    text.value = "";
    choose(0, false);
  });
};
video.onchange = open;
query.onchange = () => { choose(0, false); look(); };
name.onchange = () => {
  name.value = name.value.trim();
  localStorage.setItem("hlclip-annotator", name.value);
  look();
};
name.value = localStorage.getItem("hlclip-annotator") ?? "";
server.begin({}).then(answer => {
  start = answer;
  video.replaceChildren(...start.videos.map(({ vid }) => new Option(vid, vid)));
  open();
});
