// Measures the pages in the frames of this document and writes one line for each fault into #found.
const faults = new Set();
const channels = (text) => {
  const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
  return [r, g, b, a];
};
const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a), 1];
const luminance = ([r, g, b]) => {
  const part = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
};
const contrast = (a, b) => {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
};
const apart = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1 || a.bottom <= b.top + 2 || b.bottom <= a.top + 2;

function measure(frame) {
  const view = frame.contentWindow, page = frame.contentDocument;
  const fault = (what, element) => {
    const text = (element.textContent || element.tagName).trim().slice(0, 40);
    faults.add(`${frame.title}: ${what}: ${element.tagName} ${text}`);
  };
  const style = (element) => view.getComputedStyle(element);
  const background = (element) => {
    if (!element) return [255, 255, 255, 1];
    const own = channels(style(element).backgroundColor);
    return own[3] === 1 ? own : over(own, background(element.parentElement));
  };
  if (page.documentElement.scrollWidth > view.innerWidth) fault(`${page.documentElement.scrollWidth} pixels wide`, page.body);
  for (const element of page.body.querySelectorAll("*")) {
    const box = element.getBoundingClientRect();
    if (!box.width || element.closest("details:not([open]) > :not(summary)")) continue;
    if (box.right > view.innerWidth + 1 && !element.closest(".scroll, .slider, pre")) fault("beyond the edge", element);
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!words || element.tagName === "title") continue;
    const svg = element.ownerSVGElement;
    const scale = svg ? svg.getScreenCTM().a : 1;
    const size = parseFloat(style(element).fontSize) * scale;
    if (size < 11) fault(`${size.toFixed(1)} pixels high`, element);
    const ink = channels(svg ? style(element).fill : style(element).color);
    const grounds = [background(svg ? svg.parentElement : element)];
    if (element.style.getPropertyValue("--share")) {
      const bar = style(element).getPropertyValue("--bar").trim();
      grounds.push([1, 3, 5].map((at) => parseInt(bar.slice(at, at + 2), 16)));
    }
    for (const ground of grounds) {
      const found = contrast(over(ink, ground), ground);
      if (found < 4.5) fault(`contrast ${found.toFixed(2)}`, element);
    }
  }
  for (const svg of page.querySelectorAll("svg")) {
    const edge = svg.getBoundingClientRect();
    if (!edge.width) continue;
    const texts = [...svg.querySelectorAll("text")].map((text) => [text, text.getBoundingClientRect()]);
    texts.forEach(([text, box], index) => {
      if (box.left < edge.left - 1 || box.right > edge.right + 1) fault("cut off", text);
      for (const [other, place] of texts.slice(0, index)) if (!apart(box, place)) fault(`over ${other.textContent}`, text);
    });
  }
  const alternatives = new Set();
  for (const picture of page.querySelectorAll("img, figure[role=img]")) {
    const text = picture.getAttribute(picture.tagName === "IMG" ? "alt" : "aria-label");
    if (!text) fault("no alternative text", picture);
    else if (alternatives.has(text)) fault(`alternative text twice: ${text}`, picture);
    alternatives.add(text);
  }
  for (const link of page.querySelectorAll("nav a")) {
    if (!page.getElementById(link.getAttribute("href").slice(1))) fault("leads nowhere", link);
  }
}

window.addEventListener("load", () => {
  const frames = [...document.querySelectorAll("iframe")];
  frames.forEach(measure);
  document.getElementById("found").textContent = [`measured ${frames.length}`, ...faults].join("\n");
});
