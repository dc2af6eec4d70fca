for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      const now = was === "ascending" ? "descending" : was === "descending" ? null : "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      if (!now) { body.append(...original); return; }
      head.setAttribute("aria-sort", now);
      const sign = now === "ascending" ? 1 : -1;
      // Cells without a number stay at the end in both directions.
      const key = (row) => {
        const cell = row.cells[column];
        if (cell.dataset.sort !== undefined) return Number(cell.dataset.sort);
        return cell.classList.contains("number") ? null : cell.textContent;
      };
      body.append(...[...original].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        if (typeof x === "number" && typeof y === "number") return sign * (x - y);
        return sign * String(x).localeCompare(String(y), "en", { numeric: true });
      }));
    });
  });
}
