// Reads a chart's value off under the pointer. Nothing is loaded and nothing is sent.
for (const figure of document.querySelectorAll("figure")) {
  const source = figure.querySelector(".points");
  const area = figure.querySelector(".area");
  if (!source || !area) continue;
  const { from: first, to, t, v } = JSON.parse(source.textContent);
  const span = Math.max(to - first, 1);
  const reading = document.createElement("span");
  reading.className = "reading";
  figure.querySelector("figcaption").append(reading);
  const cross = document.createElement("i");
  cross.className = "cross";
  cross.hidden = true;
  area.append(cross);
  area.addEventListener("pointermove", (event) => {
    const box = area.getBoundingClientRect();
    const at = first + (event.clientX - box.left) / box.width * span;
    let low = 0, high = t.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (t[middle] <= at) low = middle; else high = middle - 1;
    }
    cross.hidden = false;
    cross.style.left = (t[low] - first) / span * 100 + "%";
    reading.textContent = new Date(t[low] * 1000).toISOString().slice(0, 16).replace("T", " ") + "  " + v[low];
  });
  area.addEventListener("pointerleave", () => { cross.hidden = true; reading.textContent = ""; });
}
