// Two embedding maps side by side: zoomed by wheel or pinch, a thumbnail where the pointer is, a click opens the profile.
import { at, element, photoUrl } from "./parts.js";

const COLOURS = ["#3b6fb6", "#d1603d", "#4f9d69", "#8d5fa8", "#c9a227", "#4aa3a2", "#b0476f", "#7a7f87", "#6b8e23", "#a0522d"];
const SYMBOLS = ["circle", "diamond", "square"]; // where there are more values than colours
const CONFIG = {
  scrollZoom: true,
  responsive: true,
  displaylogo: false,
  modeBarButtons: [["zoomIn2d", "zoomOut2d", "resetScale2d"]],
};

let loading; // of plotly.js, some megabytes, when the first map is drawn
function loadPlotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = element("script", null, { src: "static/plotly.js" });
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => {
      loading = undefined;
      reject(new Error("plotly.js cannot be loaded: is style_match.app still running?"));
    });
    document.head.append(script);
  });
  return loading;
}

export async function drawMaps(answer, { open }) {
  await loadPlotly();
  for (const model of ["trained", "frozen"]) {
    const [x, y] = answer[model];
    const traces = answer.groups.map((group, i) => ({
      type: "scatter",
      mode: "markers",
      name: plain(group.name),
      x: group.points.map((point) => x[point]),
      y: group.points.map((point) => y[point]),
      customdata: group.points,
      hoverinfo: "none",
      marker: {
        size: 7,
        opacity: 0.85,
        color: COLOURS[i % COLOURS.length],
        symbol: SYMBOLS[Math.floor(i / COLOURS.length) % SYMBOLS.length],
      },
    }));
    const layout = {
      margin: { l: 8, r: 8, t: 8, b: 8 },
      xaxis: { visible: false },
      yaxis: { visible: false, scaleanchor: "x" },
      legend: { orientation: "h", y: 0 },
      dragmode: "pan",
      hovermode: "closest",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "#667", activecolor: "#22262b" },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
    };
    const plot = at(`map-${model}`);
    window.Plotly.react(plot, traces, layout, CONFIG);
    window.Plotly.Plots.resize(plot); // the window may have changed while another tab was open
    plot.removeAllListeners?.();
    plot.on("plotly_hover", ({ points: [point], event }) => showPhoto(answer, point.customdata, event));
    plot.on("plotly_unhover", hidePhoto);
    plot.on("plotly_click", ({ points: [point] }) => {
      hidePhoto();
      open(answer.numbers[point.customdata]);
    });
  }
}

export function hidePhoto() {
  at("hover").hidden = true;
}

function showPhoto(answer, point, event) {
  at("hover-photo").src = photoUrl(answer.numbers[point], 256);
  at("hover-text").textContent = `${answer.ids[point]} ${answer.colours[point]}`;
  at("hover").hidden = false;
  at("hover").style.left = `${Math.max(0, Math.min(event.clientX + 14, window.innerWidth - 164))}px`;
  at("hover").style.top = `${Math.max(0, Math.min(event.clientY + 14, window.innerHeight - 200))}px`;
}

// Plotly reads a few HTML tags in names; angle brackets of the data are shown as they are written.
function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
