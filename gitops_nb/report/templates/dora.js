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
  draw(screen());
  dark.addEventListener("change", () => draw(screen()));
  // Two charts side by side on A4; the browser does not ask them to fit when it prints.
  addEventListener("beforeprint", () => draw(light, 316));
  addEventListener("afterprint", () => { plots.forEach((plot) => Plotly.purge(plot)); draw(screen()); });
})();
