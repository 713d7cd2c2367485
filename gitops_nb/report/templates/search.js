"use strict";
// The index without this script shows and filters every run; with it, the field finds runs by text too.
(() => {
  const field = document.getElementById("find");
  const nothing = document.getElementById("nothing");
  const rows = [...document.querySelectorAll("tr[data-g]")];
  const days = [...document.querySelectorAll("tbody")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const show = () => {
    const terms = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, i) => { row.hidden = !terms.every((term) => texts[i].includes(term)); });
    days.forEach((day) => { day.hidden = false; });
    days.forEach((day) => { day.hidden = ![...day.rows].some((row) => row.dataset.g && row.offsetParent); });
    nothing.hidden = days.some((day) => !day.hidden);
  };
  field.closest("label").hidden = false;
  field.addEventListener("input", show);
  document.getElementById("filters").addEventListener("change", show);
  show();
})();
