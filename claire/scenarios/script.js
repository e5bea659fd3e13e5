// Sorts the comparison by the column whose heading is pressed; failed scenarios stay at the end.
for (const table of document.querySelectorAll("table.comparison")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th button").forEach((button, column) => {
    button.addEventListener("click", () => {
      const heading = button.parentElement;
      const order = heading.getAttribute("aria-sort") === "descending" ? 1 : -1;
      for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", order < 0 ? "descending" : "ascending");
      const key = (row) => row.cells[column] ? row.cells[column].dataset.v : undefined;
      const rows = [...body.rows].sort((one, two) => {
        const a = key(one), b = key(two);
        if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
        const numbers = a !== "" && b !== "" && !isNaN(a) && !isNaN(b);
        return order * (numbers ? a - b : a < b ? -1 : a > b ? 1 : 0);
      });
      body.append(...rows);
    });
  });
}
