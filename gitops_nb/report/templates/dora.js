// Lists the deployments of one week as text. All else of the page stands there without a script.
(() => {
  "use strict";
  const week = document.getElementById("week");
  if (!week) return;
  const fill = () => {
    const body = document.querySelector("#drilled tbody");
    const mine = JSON.parse(document.getElementById("drill").textContent).filter((row) => String(row[0]) === week.value);
    const labels = ["", "when:", "version:", "commit:", "failed or unplanned:", "lead time:"];
    body.replaceChildren(...mine.map(([, when, service, version, sha, trouble, lead]) => {
      const line = document.createElement("tr");
      [service, when, version, sha, trouble, lead].forEach((text, place) => {
        const cell = document.createElement(place ? "td" : "th");
        if (place) cell.dataset.l = labels[place]; else cell.scope = "row";
        if (place === 5) cell.className = "r";
        // Text of a run is never markup.
        cell.textContent = text;
        line.append(cell);
      });
      return line;
    }));
  };
  fill();
  week.addEventListener("change", fill);
  document.querySelectorAll("#time [data-week]").forEach((bar) => bar.addEventListener("click", () => {
    if (![...week.options].some((option) => option.value === bar.dataset.week)) return;
    week.value = bar.dataset.week;
    fill();
    document.getElementById("deployments").scrollIntoView();
  }));
})();
