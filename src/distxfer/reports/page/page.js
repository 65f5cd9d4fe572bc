// Draws the charts, and sets in them what is chosen. Colours are CSS variables, so light, dark and print need nothing here.
const PAPER = 670; // the width of a printed page, in pixels
const selects = [...document.querySelectorAll("select[data-choice]")];
const nodes = [...document.querySelectorAll("[data-chart]")];
const drawn = [];

async function unpacked() {
  const bytes = Uint8Array.from(atob(document.getElementById("report-data").textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function chosen(name) {
  return selects.find((select) => select.dataset.choice === name)?.value;
}

async function draw(node, page) {
  const chart = page.charts[Number(node.dataset.chart)];
  const datasets = Object.fromEntries(chart.data.map((name) => [name, page.data[name]]));
  const params = (chart.spec.params ?? []).map((param) => ({ ...param, value: chosen(param.name) ?? param.value }));
  const options = { actions: false, renderer: "svg", ast: true, config: page.config };
  const { view } = await embed(node, { ...chart.spec, datasets, params }, options);
  drawn.push({ node, view, choices: chart.choices });
}

function set({ dataset: { choice }, value }) {
  for (const other of selects) if (other.dataset.choice === choice) other.value = value;
  for (const { view, choices } of drawn) if (choices.includes(choice)) view.signal(choice, value).runAsync();
}

// What is in a closed part has no width yet: its charts are drawn, and its wide tables marked, when it is opened.
async function show(part, page) {
  for (const node of part.querySelectorAll("[data-chart]:empty")) {
    if (node.checkVisibility()) await draw(node, page).catch((error) => refuse(node, error));
  }
  for (const table of part.querySelectorAll(".table")) {
    table.previousElementSibling.hidden = table.scrollWidth <= table.clientWidth;
  }
}

function reveal() {
  const part = document.getElementById(location.hash.slice(1))?.querySelector("details.part");
  if (part) part.open = true;
}

function refuse(node, error) {
  node.textContent = `This chart could not be drawn (${error.message}). The table below has its numbers.`;
  node.classList.add("failed");
}

for (const select of selects) select.addEventListener("change", () => set(select));
for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
// On paper the charts are drawn anew for its width, so that their text keeps its size.
addEventListener("beforeprint", () => {
  for (const { view, node } of drawn) view.width(node.closest(".views-2") ? (PAPER - 32) / 2 : PAPER).run();
});
addEventListener("afterprint", () => dispatchEvent(new Event("resize")));

try {
  const page = await unpacked();
  await show(document, page);
  addEventListener("toggle", ({ target }) => show(target, page), { capture: true });
  addEventListener("resize", () => show(document, page));
  addEventListener("hashchange", reveal);
  reveal();
} catch (error) {
  for (const node of nodes) refuse(node, error);
}
document.documentElement.dataset.charts = document.querySelector(".failed") ? "failed" : "drawn";
