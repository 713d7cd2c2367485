// Draws the figures that stand as JSON in the page. Colours are names of style variables, resolved here.
(() => {
  "use strict";
  const plots = [...document.querySelectorAll(".plot")];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const light = {"--ink": "#191b20", "--ink2": "#42464f", "--ink3": "#5b6069", "--line": "#dcd9d1",
    "--line2": "#86837b", "--accent": "#17498a", "--card": "#ffffff"};
  const screen = () => {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(Object.keys(light).map((name) => [name, style.getPropertyValue(name).trim()]));
  };
  const paint = (value, colours) => {
    if (typeof value === "string") return colours[value] ?? value;
    if (Array.isArray(value)) return value.map((item) => paint(item, colours));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, paint(item, colours)]));
    }
    return value;
  };
  const draw = (colours, width) => plots.forEach((plot) => {
    const figure = paint(JSON.parse(plot.previousElementSibling.textContent), colours);
    figure.layout.font.family = getComputedStyle(document.body).fontFamily;
    figure.layout.height = Number(plot.dataset.height);
    if (width) {
      Object.assign(figure.layout, {width, height: Math.min(300, figure.layout.height)});
      figure.layout.font.size = 10;
    }
    Plotly.react(plot, figure.data, figure.layout, {displayModeBar: false, responsive: !width});
  });
  const week = document.getElementById("week");
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
  if (week) {
    fill();
    week.addEventListener("change", fill);
  }
  const choose = (index) => {
    if (!week || ![...week.options].some((option) => option.value === String(index))) return;
    week.value = String(index);
    fill();
    document.getElementById("deployments").scrollIntoView();
  };
  const listen = () => plots.slice(0, week ? 1 : 0).forEach((plot) =>
    plot.on("plotly_click", (event) => choose(event.points[0].pointIndex)));
  draw(screen());
  listen();
  dark.addEventListener("change", () => draw(screen()));
  // Two charts side by side on A4; the browser does not ask them to fit when it prints.
  addEventListener("beforeprint", () => draw(light, 316));
  addEventListener("afterprint", () => { plots.forEach((plot) => Plotly.purge(plot)); draw(screen()); listen(); });
})();
