"use strict";
// A click or Enter on a heading sorts by it, a second one the other way round; empty cells stay last.
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const value = (row) => row.cells[column].dataset.sort;
      const isText = [...body.rows].some((row) => value(row) !== "" && Number.isNaN(Number(value(row))));
      const downFirst = !isText;
      const before = heading.getAttribute("aria-sort");
      const down = before === null ? downFirst : before === "ascending";
      const order = (a, b) => (isText ? a.localeCompare(b, "en", { numeric: true }) : a - b) * (down ? -1 : 1);
      const empty = (row) => value(row) === "";
      const rows = [...body.rows].sort((a, b) => empty(a) - empty(b) || order(value(a), value(b)));
      body.append(...rows);
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  });
}
