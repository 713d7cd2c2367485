// Draws the figures that stand as JSON in the page. Colours are names of style variables, resolved here.
(async () => {
  "use strict";
  const plots = [...document.querySelectorAll(".plot")];
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const library = document.createElement("script");
  // The page's policy lets in this text alone, by its SHA-256.
  library.textContent = await new Response(unpacked).text();
  document.head.append(library);
  const names = ["--ink", "--ink2", "--ink3", "--line", "--line2", "--accent", "--card"];
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(name).trim()]));
  };
  const paint = (value, found) => {
    if (typeof value === "string") return found[value] ?? value;
    if (Array.isArray(value)) return value.map((item) => paint(item, found));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, paint(item, found)]));
    }
    return value;
  };
  const draw = () => plots.forEach((plot) => {
    const figure = paint(JSON.parse(plot.previousElementSibling.textContent), colours());
    figure.layout.font.family = getComputedStyle(document.body).fontFamily;
    figure.layout.height = Number(plot.dataset.height);
    Plotly.react(plot, figure.data, figure.layout, {displayModeBar: "hover", displaylogo: false, responsive: true});
  });
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
