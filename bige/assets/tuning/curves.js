const NS = "http://www.w3.org/2000/svg", W = 260, H = 132, L = 34, R = 6, T = 6, B = 18;
const draw = (tag, at) => { const e = document.createElementNS(NS, tag); for (const k in at) e.setAttribute(k, at[k]); return e };
function ticks(a, b) {
  const raw = (b - a) / 3, p = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map(k => k * p).find(s => s >= raw);
  const out = []; for (let v = Math.ceil(a / step) * step; v <= b + 1e-9; v += step) out.push(+v.toFixed(6)); return out;
}
function range(p) {
  if (p.share) return [0, 1];
  const all = [...Object.values(p.lines).flat(), ...Object.values(p.band).flat(2), ...Object.values(p.simulated).flat(), ...p.others.flatMap(o => Object.values(o)).flat(), ...p.usual.flat(), ...p.limits.flatMap(g => [g.low, g.high]).filter(v => v !== null)];
  const a = Math.min(...all), b = Math.max(...all), room = 0.06 * (b - a || 1);
  return [a - room, b + room];
}
function plot(p, n) {
  const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": p.alt }), [a, b] = range(p);
  const x = f => L + (W - L - R) * f / (n - 1), y = v => T + (H - T - B) * (b - Math.min(Math.max(v, a), b)) / (b - a);
  const path = (values, at) => values.map((v, i) => (i ? "L" : "M") + x(at(i)).toFixed(1) + " " + y(v).toFixed(1)).join("");
  const [c0, c1] = p.cycle, m = p.usual[0].length, over = i => c0 + (c1 - c0) * i / (m - 1);
  if (m) svg.append(draw("path", { class: "usual", d: path(p.usual[1], over) + path([...p.usual[0]].reverse(), i => over(m - 1 - i)).replace("M", "L") + "Z" }));
  for (const v of ticks(a, b)) {
    svg.append(draw("line", { class: "grid", x1: L, x2: W - R, y1: y(v), y2: y(v) }));
    const label = draw("text", { x: L - 4, y: y(v) + 3.5, "text-anchor": "end" }); label.textContent = v + (p.unit === "°" ? "°" : ""); svg.append(label);
  }
  for (let s = 0; s <= p.seconds + 1e-6; s++) {
    const label = draw("text", { x: x((n - 1) * s / p.seconds), y: H - 5, "text-anchor": "middle" }); label.textContent = s + " s"; svg.append(label);
  }
  for (const g of p.limits) {
    const [f, l] = g.span[0] === g.span[1] ? [g.span[0] - n / 28, g.span[1] + n / 28] : g.span, top = y(g.high ?? b), low = y(g.low ?? a);
    svg.append(draw("rect", { class: "limit", x: x(f), width: x(l) - x(f), y: top, height: Math.max(low - top, 1) }));
    for (const [v, at] of [[g.low, low], [g.high, top]]) if (v !== null) svg.append(draw("line", { class: "end", x1: x(f), x2: x(l), y1: at, y2: at }));
  }
  for (const other of p.others) for (const [side, values] of Object.entries(other)) svg.append(draw("path", { class: "line other " + side, d: path(values, i => i * (n - 1) / (values.length - 1)) }));
  for (const [side, [low, high]] of Object.entries(p.band)) svg.append(draw("path", { class: "band " + side, d: path(high, i => i) + path([...low].reverse(), i => n - 1 - i).replace("M", "L") + "Z" }));
  for (const [side, values] of Object.entries(p.lines)) svg.append(draw("path", { class: "line " + side, d: path(values, i => i) }));
  for (const [side, values] of Object.entries(p.simulated)) svg.append(draw("path", { class: "line simulated " + side, d: path(values, i => i) }));
  const cursor = draw("line", { class: "cursor", y1: T, y2: H - B });
  svg.append(cursor);
  const frame = e => { const box = svg.getBoundingClientRect(); return Math.round(Math.min(Math.max(((e.clientX - box.left) / box.width * W - L) / (W - L - R), 0), 1) * (n - 1)) };
  return { svg, frame, go(f) { cursor.setAttribute("x1", x(f)); cursor.setAttribute("x2", x(f)) } };
}
function render({ model, el }) {
  el.classList.add("bige-curves");
  let plots = [], scene = null;
  const go = () => plots.forEach(p => p.go(Math.min(scene?.get("frame") ?? 0, p.n - 1)));
  const follow = async () => {
    scene?.off("change:frame", go);
    scene = model.get("scene") && await model.widget_manager.get_model(model.get("scene").replace("IPY_MODEL_", ""));
    scene?.on("change:frame", go); go();
  };
  const show = () => {
    plots = []; el.replaceChildren();
    for (const p of model.get("panels")) {
      const n = Object.values(p.lines)[0].length, figure = document.createElement("figure"), title = document.createElement("figcaption");
      title.textContent = p.title + (p.unit && p.unit !== "°" ? " (" + p.unit + ")" : "");
      if (p.predicted) { const tag = document.createElement("span"); tag.className = "tag"; tag.textContent = "predicted"; title.append(" ", tag); }
      const made = plot(p, n); made.n = n; plots.push(made);
      const seek = e => { if (e.buttons & 1 && scene) { scene.set("playing", false); scene.set("frame", made.frame(e)); } };
      made.svg.onpointerdown = e => { made.svg.setPointerCapture(e.pointerId); seek(e) };
      made.svg.onpointermove = seek; made.svg.onpointerup = () => scene?.save_changes();
      figure.append(title, made.svg); el.append(figure);
    }
    go();
  };
  model.on("change:panels", show); model.on("change:scene", follow);
  show(); follow();
}
export default { render };
