"use strict";
// Without this script the index shows and filters the open and the newest runs. With it the field finds runs by text,
// and the older ones, which are data of the page until somebody asks for them.
(() => {
  const PAGE = 300;
  const byId = (id) => document.getElementById(id);
  const field = byId("find"), form = byId("filters"), nothing = byId("nothing"), table = document.querySelector(".runs");
  const more = byId("more"), further = byId("further");
  const older = byId("older") ? JSON.parse(byId("older").textContent) : [];
  const rows = [...table.querySelectorAll("tr[data-g]")];
  const days = [...table.tBodies];
  // A run's id stands in its link: people have it from a commit's trailer or a log.
  const idIn = (html) => decodeURIComponent((/href="\.\/([^"]*)\/report\.html"/.exec(html) || ["", ""])[1]).toLowerCase();
  const texts = rows.map((row) => `${row.textContent.toLowerCase()} ${idIn(row.innerHTML)}`);
  const told = more && more.querySelector("span");
  let wanted = 0;
  const textOf = (run) => {
    run.t ??= run.h.replace(/<[^>]*>/g, " ").replace(/&[^;]{2,6};/g, " ").toLowerCase() + ` ${run.d.toLowerCase()} ${idIn(run.h)}`;
    return run.t;
  };
  const showOlder = (terms, keys) => {
    table.querySelectorAll("[data-older]").forEach((body) => body.remove());
    if (!more) return;
    const asked = terms.length > 0 || keys.length > 0;
    const fits = older.filter((run) => {
      const classes = ` ${run.k} `;
      return keys.every((key) => classes.includes(` ${key} `)) && terms.every((term) => textOf(run).includes(term));
    });
    const shown = fits.slice(0, asked ? Math.max(wanted, PAGE) : wanted);
    let body = null;
    for (const run of shown) {
      if (!body || body.dataset.older !== run.d) {
        body = table.createTBody();
        body.dataset.older = run.d;
        const head = body.insertRow().appendChild(document.createElement("th"));
        head.parentNode.className = "day";
        head.colSpan = 7;
        head.scope = "colgroup";
        head.textContent = run.d;
      }
      const row = body.insertRow();
      row.className = run.k;
      row.dataset.g = run.k.split(" ")[0];
      row.innerHTML = run.h;
    }
    const left = fits.length - shown.length;
    told.textContent = left ? `${left.toLocaleString("en")} older runs${asked ? " fit these filters and" : ""} are not shown.` : "All older runs that fit are shown.";
    further.hidden = !left;
  };
  const show = () => {
    const terms = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const keys = [...form.querySelectorAll("input[type=radio]:checked")].map((one) => one.id).filter((id) => !id.endsWith("-all"));
    rows.forEach((row, i) => { row.hidden = !terms.every((term) => texts[i].includes(term)); });
    showOlder(terms, keys);
    days.forEach((day) => { day.hidden = false; });
    days.forEach((day) => { day.hidden = ![...day.rows].some((row) => row.dataset.g && row.offsetParent); });
    nothing.hidden = days.some((day) => !day.hidden) || Boolean(table.querySelector("[data-older]"));
  };
  const again = () => { wanted = 0; show(); };
  field.closest("label").hidden = false;
  field.addEventListener("input", again);
  form.addEventListener("change", again);
  further?.querySelector("button").addEventListener("click", () => { wanted = Math.max(wanted, 0) + PAGE; show(); });
  show();
})();
