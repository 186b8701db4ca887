"use strict";
// Sorts and filters the ranking table. Without scripts the table is whole and in the order of the ranking.
(() => {
  const table = document.getElementById("ranking-table");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const headings = Array.from(table.tHead.rows[0].cells);

  const compare = (a, b, numeric) => {
    // Missing values stay at the end, whichever way the column is sorted.
    if (a === "" || b === "") return null;
    return numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
  };

  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", (event) => {
      const numeric = event.currentTarget.dataset.kind === "num";
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((h) => h.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value;
      rows
        .map((row, index) => ({ row, index, key: value(row) }))
        .sort((x, y) => {
          const order = compare(x.key, y.key, numeric);
          if (order === null) return (x.key === "") - (y.key === "") || x.index - y.index;
          return (descending ? -order : order) || x.index - y.index;
        })
        .forEach(({ row }) => body.append(row));
    });
  });

  const text = document.getElementById("filter-text");
  const rank = document.getElementById("filter-rank");
  const probability = document.getElementById("filter-probability");
  const count = document.getElementById("filter-count");
  const apply = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits =
        words.every((word) => row.dataset.text.includes(word)) &&
        (!rank.value || Number(row.dataset.rank) <= Number(rank.value)) &&
        (!probability || !probability.value || Number(row.dataset.probability) >= Number(probability.value));
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} structures`;
  };
  for (const control of [text, rank, probability]) if (control) control.addEventListener("input", apply);
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  apply();
})();
