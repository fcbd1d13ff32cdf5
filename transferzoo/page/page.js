"use strict";
// Tables sort by their heads, and a cell opens its examples and command. Without this the page is whole:
// tables are in their order, and cells are links to what they open.

const sizeOf = (cell) => {
  let node = cell; // a rate stands in the first text, above its interval
  while (node.firstChild) node = node.firstChild;
  return parseFloat(node.textContent.replace("−", "-").replace(/,/g, "").replace(/^[^\d.+-]+/, ""));
};
const compare = (first, second, up) => {
  const [a, b] = [sizeOf(first), sizeOf(second)];
  if (!first.classList.contains("number")) {
    const order = first.textContent.localeCompare(second.textContent, "en", { numeric: true });
    return up ? order : -order;
  }
  if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b); // what is missing comes last, either way
  return up ? a - b : b - a;
};
const sort = (table, head) => {
  const known = head.getAttribute("aria-sort"), numeric = head.classList.contains("number");
  const up = known ? known === "descending" : !numeric;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const at = head.cellIndex, body = table.tBodies[0];
  body.append(...[...body.rows].sort((one, two) => compare(one.cells[at], two.cells[at], up)));
};
for (const table of document.querySelectorAll("table.sortable")) {
  if (table.tBodies[0].rows.length < 2) continue;
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, head));
    head.append(button);
  }
}

const dialog = document.createElement("dialog"), close = document.createElement("button");
close.type = "button";
close.textContent = "Close";
close.addEventListener("click", () => dialog.close());
dialog.setAttribute("aria-labelledby", "_opened");
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
document.body.append(dialog);
const show = (cell) => {
  const copy = cell.closest(".made").cloneNode(true);
  for (const other of copy.querySelectorAll("tr[id]")) if (other.id !== cell.id) other.remove();
  for (const named of [copy, ...copy.querySelectorAll("[id]")]) named.removeAttribute("id");
  copy.firstElementChild.id = "_opened";
  dialog.replaceChildren(copy, close);
  dialog.showModal();
};
for (const link of document.querySelectorAll("a.cell")) {
  link.setAttribute("aria-haspopup", "dialog");
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(document.getElementById(link.getAttribute("href").slice(1)));
  });
}
