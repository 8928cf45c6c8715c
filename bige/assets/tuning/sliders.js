const make = (tag, cls, text) => { const e = document.createElement(tag); if (cls) e.className = cls; if (text) e.textContent = text; return e };
const digits = step => Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
function words(d, low, high) {
  const f = v => v.toFixed(digits(d.step)), u = d.suffix;
  if (low === null && high === null) return "any";
  if (low === null) return "at most " + f(high) + u;
  if (high === null) return "at least " + f(low) + u;
  return f(low) + " to " + f(high) + u;
}
function thumb(d, which) {
  const input = make("input", which);
  Object.assign(input, { type: "range", min: d.from, max: d.to, step: d.step });
  input.setAttribute("aria-label", d.label + ", " + (which === "low" ? "at least" : "at most"));
  return input;
}
function row(d, send) {
  const el = make("div", "slider"), name = make("label", "name"), on = make("input"), figures = make("output"), track = make("div", "track");
  on.type = "checkbox";
  name.append(on, " " + d.label);
  const thumbs = (d.ends === "both" ? ["low", "high"] : ["high"]).map(which => thumb(d, which));
  const [low, high] = d.ends === "both" ? thumbs : [null, thumbs[0]], usual = make("div", "usual"), span = make("div", "span"), now = make("div", "now"), value = make("span", "value"), scale = make("div", "scale");
  const part = v => 100 * (v - d.from) / (d.to - d.from);
  usual.style.left = part(d.usual[0]) + "%"; usual.style.width = part(d.usual[1]) - part(d.usual[0]) + "%";
  usual.title = "recorded participants";
  const end = v => v.toFixed(digits(d.step)) + d.suffix;
  now.hidden = true; scale.append(make("span", "", end(d.from)), value, make("span", "", end(d.to)));
  track.append(usual, span, now, ...thumbs);
  el.append(name, figures, make("div", "says", d.says), track, scale);
  const limits = () => [low && +low.value > d.from + d.step / 2 ? +low.value : null, +high.value < d.to - d.step / 2 ? +high.value : null];
  const paint = () => {
    const [a, b] = limits(), left = low ? part(+low.value) : 0;
    figures.textContent = on.checked ? words(d, a, b) : "no limit";
    span.style.left = left + "%"; span.style.width = part(+high.value) - left + "%";
    el.classList.toggle("off", !on.checked);
    thumbs.forEach(x => x.setAttribute("aria-valuetext", (+x.value).toFixed(digits(d.step)) + d.suffix + (on.checked ? "" : ", off")));
  };
  const tell = () => { const [a, b] = limits(); send({ key: d.key, on: on.checked, low: a, high: b }) };
  thumbs.forEach(x => {
    x.oninput = () => {
      if (low && !on.checked) (x === low ? high : low).value = x === low ? d.to : d.from;
      on.checked = true;
      if (x === low) { low.value = Math.min(+low.value, d.to - d.gap); high.value = Math.max(+high.value, +low.value + d.gap) }
      else if (low) { high.value = Math.max(+high.value, d.from + d.gap); low.value = Math.min(+low.value, +high.value - d.gap) }
      paint();
    };
    x.onchange = tell;
  });
  on.onchange = () => { paint(); tell() };
  return { el, mark(v) {
    now.hidden = v === undefined; value.textContent = now.hidden ? "" : "now " + v.toFixed(digits(d.step)) + d.suffix;
    if (!now.hidden) now.style.left = Math.min(Math.max(part(v), 0), 100) + "%";
  }, set(s) {
    on.checked = s.on;
    if (low) low.value = s.on ? s.low ?? d.from : d.usual[0];
    high.value = s.on ? s.high ?? d.to : d.usual[1];
    paint();
  } };
}
function render({ model, el }) {
  let all = {};
  el.classList.add("bige-sliders");
  const show = () => { for (const [key, s] of Object.entries(model.get("settings").sliders ?? {})) all[key]?.set(s) };
  const mark = () => { for (const key in all) all[key].mark(model.get("values")[key]) };
  const build = () => {
    const groups = {};
    all = {}; el.replaceChildren();
    if (!model.get("sliders").length) {
      const wait = make("div", "bige-outline"); wait.setAttribute("role", "img"); wait.setAttribute("aria-label", "The sliders are being made"); el.append(wait);
    }
    for (const d of model.get("sliders")) {
      if (!groups[d.group]) { groups[d.group] = make("fieldset"); groups[d.group].append(make("legend", "", d.group)); el.append(groups[d.group]) }
      all[d.key] = row(d, message => model.send(message));
      groups[d.group].append(all[d.key].el);
    }
    show(); mark();
  };
  model.on("change:sliders", build); model.on("change:settings", show); model.on("change:values", mark);
  build();
}
export default { render };
