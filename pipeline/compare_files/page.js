"use strict";
const tooltip = document.querySelector(".tooltip");
const marks = [...document.querySelectorAll(".mark")];

function show(mark) {
  tooltip.textContent = mark.getAttribute("aria-label");
  tooltip.hidden = false;
  const point = mark.querySelector(".hit").getBoundingClientRect();
  const room = document.documentElement.clientWidth - tooltip.offsetWidth - 8;
  const above = point.top - tooltip.offsetHeight - 6;
  tooltip.style.left = `${window.scrollX + Math.max(8, Math.min(point.right + 4, room))}px`;
  tooltip.style.top = `${window.scrollY + (above < 0 ? point.bottom + 6 : above)}px`;
}

function light(row, on) {
  document.getElementById(row).classList.toggle("hot", on);
  marks.filter((mark) => mark.dataset.row === row).forEach((mark) => mark.classList.toggle("hot", on));
}

for (const mark of marks) {
  const enter = () => { show(mark); light(mark.dataset.row, true); };
  const leave = () => { tooltip.hidden = true; light(mark.dataset.row, false); };
  mark.addEventListener("pointerenter", enter);
  mark.addEventListener("focus", enter);
  mark.addEventListener("pointerleave", leave);
  mark.addEventListener("blur", leave);
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tooltip.hidden = true; });

for (const row of document.querySelectorAll(".sortable tbody tr")) {
  row.addEventListener("pointerenter", () => light(row.id, true));
  row.addEventListener("pointerleave", () => light(row.id, false));
}

for (const button of document.querySelectorAll(".only")) {
  button.addEventListener("click", () => {
    const figure = button.closest("figure");
    const pressed = button.getAttribute("aria-pressed") !== "true";
    figure.querySelectorAll(".only").forEach((other) => other.setAttribute("aria-pressed", "false"));
    button.setAttribute("aria-pressed", String(pressed));
    figure.querySelectorAll(".mark").forEach((mark) =>
      mark.classList.toggle("dim", pressed && mark.dataset.kind !== button.dataset.kind));
  });
}

function value(row, column) {
  const cell = row.cells[column];
  return "v" in cell.dataset && cell.classList.contains("n") ? Number(cell.dataset.v) : cell.textContent;
}

for (const button of document.querySelectorAll(".sortable thead button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, column = head.cellIndex, body = head.closest("table").tBodies[0];
    const now = head.getAttribute("aria-sort"), first = head.dataset.first;
    const order = now === null ? first : now === "ascending" ? "descending" : "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((one, other) => {
      const a = value(one, column), b = value(other, column);
      return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
    });
    body.append(...rows);
  });
}

function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.body.appendChild(document.createElement("textarea"));
  area.value = text;
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done ? Promise.resolve() : Promise.reject(new Error("the browser does not let us copy"));
}

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", () => copy(button.dataset.copy).then(
    () => { button.classList.add("done"); setTimeout(() => button.classList.remove("done"), 1200); },
    () => { button.textContent = button.dataset.copy; },
  ));
}
