// One to three people in WebGL, played in step. mount(el, scene, hooks) draws; scene = {meshes, recordings, colours, key}, see bige.viewer.
// Recordings stand at the same phase, by their knots; a ghost is drawn pale in the panel of its recording.
// The default export is the same as an anywidget. Arrays come as base64 (page) or DataView (widget). y is up, metres.
const bytes = x => typeof x === "string" ? Uint8Array.from(atob(x), c => c.charCodeAt(0)) : new Uint8Array(x.buffer, x.byteOffset, x.byteLength).slice();
const array = (x, Kind) => x && new Kind(bytes(x).buffer);
const rgb = h => [1, 3, 5].map(i => parseInt(h.slice(i, i + 2), 16));
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = a => { const n = Math.hypot(...a) || 1; return a.map(x => x / n); };

const VERTEX = `#version 300 es
layout(location=0) in vec3 place; layout(location=1) in vec3 normal; layout(location=2) in vec4 tint; layout(location=3) in float body;
uniform mat4 view; uniform mat4 bodies[32]; uniform float shadow; out vec3 n; out vec4 c;
void main() { vec4 p = bodies[int(body)] * vec4(place, 1.); n = mat3(bodies[int(body)]) * normal; c = tint;
  if (shadow > 0.) p = vec4(p.x - .3 * max(p.y, 0.), .002, p.z - .25 * max(p.y, 0.), 1.); gl_Position = view * p; }`;
const FRAGMENT = `#version 300 es
precision highp float; in vec3 n; in vec4 c; uniform float lit; uniform vec4 flatTint, ghost; out vec4 colour;
void main() { vec3 m = normalize(n); float light = .3 + .62 * max(dot(m, normalize(vec3(4., 6., 5.))), 0.) + .25 * max(dot(m, normalize(vec3(-4., 3., 2.))), 0.);
  colour = ghost.a > 0. ? vec4(ghost.rgb * light, ghost.a) : lit > .5 ? vec4(c.rgb * light, 1.) : flatTint.a > 0. ? flatTint : c; }`;

function program(gl) {
  const p = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const s = gl.createShader(kind); gl.shaderSource(s, text); gl.compileShader(s); gl.attachShader(p, s);
  }
  gl.linkProgram(p); gl.useProgram(p);
  return Object.fromEntries(["view", "bodies", "shadow", "lit", "flatTint", "ghost"].map(u => [u, gl.getUniformLocation(p, u)]));
}

class Surface {  // vertices of 32 bytes: place, normal, tint (rgba bytes), body
  constructor(gl, vertices, faces, kind = gl.TRIANGLES) {
    Object.assign(this, { gl, kind, count: faces ? faces.length : vertices.byteLength / 32, array: gl.createVertexArray(), buffer: gl.createBuffer() });
    gl.bindVertexArray(this.array); gl.bindBuffer(gl.ARRAY_BUFFER, this.buffer); gl.bufferData(gl.ARRAY_BUFFER, vertices, gl.DYNAMIC_DRAW);
    [[3, gl.FLOAT, false, 0], [3, gl.FLOAT, false, 12], [4, gl.UNSIGNED_BYTE, true, 24], [1, gl.FLOAT, false, 28]].forEach(
      ([n, type, norm, at], i) => { gl.enableVertexAttribArray(i); gl.vertexAttribPointer(i, n, type, norm, 32, at); });
    if (faces) { gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.index = gl.createBuffer()); gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW); }
  }
  update(vertices) { this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffer); this.gl.bufferSubData(this.gl.ARRAY_BUFFER, 0, vertices); }
  free() { this.gl.deleteVertexArray(this.array); this.gl.deleteBuffer(this.buffer); this.gl.deleteBuffer(this.index ?? null); }
  draw() { const gl = this.gl; gl.bindVertexArray(this.array); this.index ? gl.drawElements(this.kind, this.count, gl.UNSIGNED_INT, 0) : gl.drawArrays(this.kind, 0, this.count); }
}

class Writer {  // fills such vertices one after the other
  constructor(count) { this.f = new Float32Array(count * 8); this.b = new Uint8Array(this.f.buffer); this.at = 0; }
  put(p, n, tint, body) { const i = 8 * this.at++; this.f.set(p, i); this.f.set(n, i + 3); this.b.set(tint, 4 * i + 24); this.b[4 * i + 27] = 255; this.f[i + 7] = body; }
}

function bones(gl, meshes, scales, tint) {
  const q = array(meshes.vertices, Int16Array), body = bytes(meshes.body), faces = Uint32Array.from(array(meshes.faces, Uint16Array)), n = new Float32Array(q.length);
  const at = i => [0, 1, 2].map(k => q[3 * i + k] * meshes.unit * scales[3 * body[i] + k]), places = Array.from(body, (_, i) => at(i)), w = new Writer(body.length);
  for (let f = 0; f < faces.length; f += 3) {
    const [a, b, c] = [0, 1, 2].map(k => places[faces[f + k]]), m = cross(b.map((x, k) => x - a[k]), c.map((x, k) => x - a[k]));
    for (let k = 0; k < 9; k++) n[3 * faces[f + (k / 3 | 0)] + k % 3] += m[k % 3];
  }
  places.forEach((p, i) => w.put(p, unit(n.subarray(3 * i, 3 * i + 3)), tint, body[i]));
  return new Surface(gl, w.f, faces);
}

function solids(gl, t) {  // what keeps its shape: a load, a seat
  const v = array(t.vertices, Float32Array), n = array(t.normals, Float32Array), body = bytes(t.body), tints = bytes(t.tints), w = new Writer(body.length);
  body.forEach((b, i) => w.put(v.subarray(3 * i, 3 * i + 3), n.subarray(3 * i, 3 * i + 3), tints.subarray(3 * i, 3 * i + 3), b));
  return new Surface(gl, w.f, Uint32Array.from(array(t.faces, Uint16Array)));
}

const RING = 8, LOOP = Array.from({ length: RING }, (_, i) => [Math.cos(2 * Math.PI * i / RING), Math.sin(2 * Math.PI * i / RING)]);
function tube(w, line, radius, tint, none) {  // line: flat places; a ring at each
  const n = line.length / 3, ends = [0, 1, 2].map(k => Math.abs(line[3 * n - 3 + k] - line[k])), least = [0, 0, 0]; least[ends.indexOf(Math.min(...ends))] = 1;
  for (let i = 0; i < n; i++) {
    const [a, b] = [3 * Math.max(i - 1, 0), 3 * Math.min(i + 1, n - 1)], along = [0, 1, 2].map(k => line[b + k] - line[a + k]), u = unit(cross(along, least)), v = unit(cross(along, u));
    for (const [c, s] of LOOP) { const m = u.map((x, k) => c * x + s * v[k]); w.put(m.map((x, k) => line[3 * i + k] + radius(i) * x), m, tint, none); }
  }
}
function tubeFaces(counts) {
  const out = []; let base = 0;
  for (const n of counts) { for (let i = 0; i < n - 1; i++) for (let j = 0; j < RING; j++) { const a = base + i * RING + j, b = base + i * RING + (j + 1) % RING; out.push(a, b, a + RING, b, b + RING, a + RING); } base += n * RING; }
  return Uint32Array.from(out);
}

function inPhase(base, other, share) {  // the share of another recording at the phase of `base`; knots: first, landmarks, last
  let [x, y] = base.length === other.length ? [base, other] : [[0, 1], [0, 1]];
  const n = x.length, from = +(x[0] === x[1]), to = n - (x[n - 1] === x[n - 2]); x = x.slice(from, to); y = y.slice(from, to);
  let i = 0; while (i < x.length - 2 && share >= x[i + 1]) i++;
  const s = x[i + 1] > x[i] ? (share - x[i]) / (x[i + 1] - x[i]) : 0; return y[i] + Math.min(Math.max(s, 0), 1) * (y[i + 1] - y[i]);
}

class Figure {  // one person (or a cloud of markers) and how to stand at a share 0..1 of the recording
  constructor(gl, t, scene) {
    Object.assign(this, { gl, t, scene, none: t.bodies, n: t.time.length, samples: t.samples, colours: scene.colours, seconds: t.time.at(-1) - t.time[0] });
    for (const [name, Kind] of [["frames", Float32Array], ["lines", Int16Array], ["activations", Uint8Array], ["forces", Float32Array], ["markers", Int16Array], ["hips", Float32Array], ["girth", Float32Array]]) this[name] = array(t[name], Kind);
    this.key = array(scene.key, Uint8Array); this.muscles = this.lines ? this.lines.length / this.n / this.samples / 3 : 0; this.count = this.markers ? this.markers.length / this.n / 3 : 0;
    if (t.ghost) this.ghost = new Figure(gl, t.ghost, scene);
    if (this.frames) this.bones = bones(gl, scene.meshes, array(t.scales, Float32Array), rgb(scene.colours.bones));
    if (t.solids) this.solids = solids(gl, t.solids);
    const counts = [...Array(this.muscles).fill(this.samples), ...(this.forces ? [6, 6] : []), ...Array(this.count).fill(4)];
    this.vertices = RING * counts.reduce((a, b) => a + b, 0); this.soft = new Surface(gl, new Float32Array(8 * this.vertices), tubeFaces(counts));
    if (this.hips) { const w = new Writer(this.n); for (let i = 0; i < this.n; i++) w.put(this.hips.subarray(3 * i, 3 * i + 3), [0, 1, 0], rgb(scene.colours.path), this.none); this.path = new Surface(gl, w.f, null, gl.LINE_STRIP); }
  }
  mix(values, size, share, scale = 1) {  // between two frames
    const at = share * (this.n - 1), i = Math.min(Math.floor(at), this.n - 2), s = at - i, out = new Float32Array(size);
    for (let k = 0; k < size; k++) out[k] = scale * ((1 - s) * values[i * size + k] + s * values[(i + 1) * size + k]);
    return out;
  }
  stand(share) {
    const w = new Writer(this.vertices), S = this.samples;
    this.matrices = new Float32Array(16 * (this.none + 1)); this.matrices.set([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], 16 * this.none);
    if (this.frames) { const f = this.mix(this.frames, 12 * this.none, share); for (let b = 0; b < this.none; b++) for (let r = 0; r < 3; r++) for (let c = 0; c < 4; c++) this.matrices[16 * b + 4 * c + r] = f[12 * b + 4 * r + c]; for (let b = 0; b < this.none; b++) this.matrices[16 * b + 15] = 1; }
    if (this.lines) {
      const lines = this.now = this.mix(this.lines, this.muscles * S * 3, share, 1e-4), level = this.activations && this.mix(this.activations, this.muscles, share);
      for (let m = 0; m < this.muscles; m++) {
        const line = lines.subarray(3 * S * m, 3 * S * (m + 1)); let length = 0;
        for (let i = 1; i < S; i++) length += Math.hypot(line[3 * i] - line[3 * i - 3], line[3 * i + 1] - line[3 * i - 2], line[3 * i + 2] - line[3 * i - 1]);
        const k = level && 3 * Math.round(level[m]);
        tube(w, line, i => Math.max(this.girth[m * S + i] / Math.sqrt(length), .0018), level ? this.key.subarray(k, k + 3) : rgb(this.colours.muscles), this.none);
      }
    }
    if (this.forces) { const f = this.mix(this.forces, 12, share); for (const o of [0, 6]) { const line = [0, .3, .6, .88, .8801, 1].flatMap(s => [0, 1, 2].map(k => f[o + k] + s * f[o + 3 + k] / this.scene.newton_per_metre)), on = Math.hypot(f[o + 3], f[o + 4], f[o + 5]) > 20; tube(w, line, i => on * [.011, .011, .011, .011, .028, 1e-4][i], rgb(this.colours.forces), this.none); } }
    const frame = Math.round(share * (this.n - 1));
    for (let m = 0; m < this.count; m++) { const d = [0, 1, 2].map(k => this.markers[3 * (frame * this.count + m) + k]), lost = d[1] === -32768; tube(w, [-1, -.5, .5, 1].flatMap(y => lost ? [0, 0, 0] : [d[0] * 1e-3, d[1] * 1e-3 + .013 * y, d[2] * 1e-3]), i => lost ? 0 : [1e-4, .011, .011, 1e-4][i], rgb(this.colours.markers), this.none); }
    this.soft.update(w.f);
  }
}

function ground(gl, t, colours) {
  const [x0, x1, z0, z1] = t.ground, segments = [[x0, 0, z0, x0, 1.5, z0]], w = new Writer(6), v = [x0, z0, x1, z0, x1, z1, x0, z0, x1, z1, x0, z1];
  for (let x = x0; x < x1 + .1; x += .5) segments.push([x, 0, z0, x, 0, z1]);
  for (let z = z0; z < z1 + .1; z += .5) segments.push([x0, 0, z, x1, 0, z]);
  for (let y = 0; y < 1.6; y += .5) segments.push([x0, y, z0, x0 + .06, y, z0]);
  for (let i = 0; i < 12; i += 2) w.put([v[i], -.004, v[i + 1]], [0, 1, 0], rgb(colours.ground), t.bodies);
  const l = new Writer(2 * segments.length);
  for (const s of segments) for (const o of [0, 3]) l.put(s.slice(o, o + 3), [0, 1, 0], rgb(colours.lines), t.bodies);
  return [new Surface(gl, w.f, null), new Surface(gl, l.f, null, gl.LINES)];
}

function camera(view, window, aspect) {  // orthographic; view in degrees; returns a column-major matrix
  const a = view.turn * Math.PI / 180, e = view.tilt * Math.PI / 180, near = [Math.sin(a) * Math.cos(e), Math.sin(e), Math.cos(a) * Math.cos(e)];
  const across = [Math.cos(a), 0, -Math.sin(a)], up = cross(near, across), h = Math.max(window.half, window.wide / aspect) / view.zoom, s = [1 / (h * aspect), 1 / h, -.05];
  const rows = [across, up, near].map((d, i) => [...d.map(x => x * s[i]), -s[i] * d.reduce((t, x, k) => t + x * window.centre[k], 0)]);
  return Float32Array.from([0, 1, 2, 3].flatMap(c => [rows[0][c], rows[1][c], rows[2][c], c === 3 ? 1 : 0]));
}

function around(a, b) {  // one window that shows both
  const half = [0, 1, 2].map(k => Math.abs(a.centre[k] - b.centre[k]) / 2), centre = a.centre.map((x, k) => (x + b.centre[k]) / 2);
  return { centre, half: Math.max(a.half, b.half) + half[1], wide: Math.max(a.wide, b.wide) + Math.hypot(half[0], half[2]) };
}

export function mount(el, scene, hooks = {}) {
  el.classList.add("bige-viewer");
  el.innerHTML = `<div class="stage"><canvas tabindex="0" role="img"></canvas><div class="words" aria-hidden="true"></div></div>
    <div class="bar" role="group" aria-label="Playback"><button type="button" class="play"></button><input type="range" min="0" step="1" aria-label="Moment of the recording"><output></output>
    <label>Speed <select><option value="1">1×</option><option value=".5">½×</option><option value=".25">¼×</option></select></label>
    <label>View <select><option value="35,8">oblique</option><option value="0,4">right side</option><option value="90,4">front</option><option value="180,4">left side</option><option value="270,4">back</option></select></label>
    <span class="layers" role="group" aria-label="Layers"><label><input type="checkbox" checked>Bones</label> <label><input type="checkbox" checked>Muscles</label> <label><input type="checkbox" checked>Ghost</label></span>
    <span class="key" role="img" aria-label="Colours: muscle activation from 0, pale yellow, to 1, dark red"><i>activation 0</i><b></b><i>1</i></span></div>
    <p class="help">Space: play or pause. Left and right arrow: a step. Home, End: first, last. Drag, or Shift with an arrow: turn. Wheel, or plus and minus: zoom.</p>`;
  const $ = s => el.querySelector(s), canvas = $("canvas"), slider = $("input"), [speed, views] = el.querySelectorAll("select"), [bonesOn, musclesOn, ghostOn] = el.querySelectorAll(".layers input");
  const gl = canvas.getContext("webgl2", { antialias: true });
  if (!gl) { $(".words").textContent = "This browser shows no WebGL 2; the film (.mp4) shows the same."; return {}; }
  const at = program(gl), view = { turn: 35, tilt: 8, zoom: 1 };
  let figures = [], grounds = [], share = 0, playing = false, last = 0, dirty = true, alive = true, steps = 1, seconds = 1, longest;
  const set = list => {
    [...figures.flatMap(t => [t, t.ghost]).flatMap(t => t ? [t.bones, t.soft, t.path, t.solids] : []), ...grounds.flat()].forEach(s => s?.free());
    figures = list.map(t => new Figure(gl, t, scene)); grounds = list.map(t => ground(gl, t, scene.colours));
    seconds = Math.max(...figures.map(t => t.seconds)); longest = figures.find(t => t.seconds === seconds); steps = longest.t.steps - 1;
    slider.max = steps; canvas.setAttribute("aria-label", list.map(t => t.words).join(" "));
    $(".key").hidden = !figures.some(t => t.activations); $(".layers").hidden = !figures.some(t => t.lines); ghostOn.parentElement.hidden = !figures.some(t => t.ghost);
    $(".words").innerHTML = list.map(() => `<div><strong></strong><em></em>${[0, .5, 1, 1.5].map(y => `<span>${y ? y + " m" : 0}</span>`).join("")}</div>`).join("");
    list.forEach((t, i) => $(".words").children[i].querySelector("strong").textContent = t.label + (t.ghost ? ` (pale: ${t.ghost.label})` : "")); dirty = true;
  };
  const go = s => { share = Math.min(Math.max(s, 0), 1); slider.value = Math.round(share * steps); dirty = true; hooks.frame?.(Math.round(share * steps)); };
  const play = on => { playing = on; $(".play").textContent = on ? "Pause" : "Play"; hooks.playing?.(on); };
  const draw = () => {
    const ratio = devicePixelRatio || 1, W = canvas.width = Math.max(1, canvas.clientWidth * ratio), H = canvas.height = Math.max(1, canvas.clientHeight * ratio), w = W / figures.length;
    gl.enable(gl.DEPTH_TEST); gl.clearColor(1, 1, 1, 1); gl.viewport(0, 0, W, H); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const windows = figures.map(t => t.ghost ? around(t.t.window, t.ghost.t.window) : t.t.window), half = Math.max(...windows.map(w => w.half)), level = windows.find(w => w.half === half).centre[1], wide = Math.max(...windows.map(w => w.wide)), mark = (s, on) => { gl.uniform1f(at.shadow, on); s.draw(); };
    figures.forEach((t, i) => {
      const [x, , z] = windows[i].centre, window = { half, wide, centre: [x, level, z] }, m = camera(view, window, w / H);
      const own = t === longest ? share : inPhase(longest.t.knots, t.t.knots, share);
      t.stand(own); t.ghost?.stand(inPhase(t.t.knots, t.ghost.t.knots, own)); gl.viewport(i * w, 0, w, H); gl.uniformMatrix4fv(at.view, false, m); gl.uniformMatrix4fv(at.bodies, false, t.matrices);
      gl.uniform1f(at.lit, 0); gl.uniform4f(at.flatTint, 0, 0, 0, 0); grounds[i].forEach(s => mark(s, 0)); if (t.path) mark(t.path, 0);
      gl.uniform4f(at.flatTint, ...rgb(scene.colours.shadow).map(x => x / 255), 1); const shown = [bonesOn.checked && t.bones, t.solids, (musclesOn.checked || !t.lines) && t.soft].filter(Boolean); for (const s of shown) mark(s, 1);
      gl.uniform1f(at.lit, 1); for (const s of shown) mark(s, 0);
      t.camera = m;
      if (t.ghost && ghostOn.checked) {  // its nearest surface only: depth first, then colour
        gl.uniformMatrix4fv(at.bodies, false, t.ghost.matrices); gl.uniform4f(at.ghost, ...rgb(scene.colours.ghost).map(x => x / 255), .5); gl.enable(gl.BLEND); gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE); gl.depthFunc(gl.LEQUAL);
        for (const on of [false, true]) { gl.colorMask(on, on, on, on); for (const s of [t.ghost.bones, t.ghost.soft]) if (s) mark(s, 0); }
        gl.disable(gl.BLEND); gl.depthFunc(gl.LESS); gl.uniform4f(at.ghost, 0, 0, 0, 0);
      }
      const words = $(".words").children[i], [x0, , z0] = t.t.ground, now = own * t.seconds;
      words.querySelector("em").textContent = `${now.toFixed(2)} s of ${t.seconds.toFixed(2)} s${t.forces ? ", arrows: 1 m = " + scene.newton_per_metre + " N" : ""}`;
      words.querySelectorAll("span").forEach((span, k) => {
        const p = [x0 - .04, k / 2, z0, 1], [x, y] = [0, 1].map(r => p.reduce((s, v, c) => s + v * m[4 * c + r], 0));
        Object.assign(span.style, { left: `${50 + 50 * x}%`, top: `${50 - 50 * y}%`, display: Math.abs(x) < .98 && Math.abs(y) < .98 ? "" : "none" });
      });
    });
    const text = `${(share * seconds).toFixed(2)} s`; $("output").textContent = text; slider.setAttribute("aria-valuetext", text);
  };
  const tick = now => {
    if (!alive) return;
    if (playing) { const next = share + (now - last) / 1000 * speed.value / seconds; go(share === 1 ? 0 : next); }
    last = now; if (dirty && canvas.clientWidth) { dirty = false; draw(); } requestAnimationFrame(tick);
  };
  $(".play").onclick = () => play(!playing);
  slider.oninput = () => { play(false); go(slider.value / steps); };
  views.onchange = () => { [view.turn, view.tilt] = views.value.split(",").map(Number); view.zoom = 1; dirty = true; };
  for (const layer of [bonesOn, musclesOn, ghostOn]) layer.onchange = () => dirty = true;
  let pressed = [0, 0];
  const pick = e => {  // the muscle whose path is nearest to the pointer, within 12 pixels
    const box = canvas.getBoundingClientRect(), w = box.width / figures.length, i = Math.min(Math.floor((e.clientX - box.left) / w), figures.length - 1), t = figures[i];
    let best = 12, muscle = null;
    if (!t?.now || !t.camera || !musclesOn.checked) return;
    for (let k = 0; k < t.now.length / 3; k++) {
      const p = [t.now[3 * k], t.now[3 * k + 1], t.now[3 * k + 2], 1], [x, y] = [0, 1].map(r => p.reduce((s, v, c) => s + v * t.camera[4 * c + r], 0));
      const d = Math.hypot(e.clientX - box.left - i * w - w * (1 + x) / 2, e.clientY - box.top - box.height * (1 - y) / 2);
      if (d < best) { best = d; muscle = Math.floor(k / t.samples); }
    }
    if (muscle !== null) hooks.pick?.(muscle);
  };
  canvas.onpointerdown = e => { canvas.setPointerCapture(e.pointerId); pressed = [e.clientX, e.clientY]; };
  canvas.onpointerup = e => { if (Math.hypot(e.clientX - pressed[0], e.clientY - pressed[1]) < 4) pick(e); };
  const turn = (x, y) => { view.turn -= x; view.tilt = Math.min(Math.max(view.tilt + y, -5), 85); dirty = true; };
  canvas.onpointermove = e => e.buttons && turn(e.movementX * .4, e.movementY * .4);
  const zoom = k => { view.zoom = Math.min(Math.max(view.zoom * k, .4), 8); dirty = true; };
  canvas.addEventListener("wheel", e => { e.preventDefault(); zoom(e.deltaY < 0 ? 1.1 : 1 / 1.1); }, { passive: false });
  canvas.onkeydown = e => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key], way = { ArrowLeft: [-5, 0], ArrowRight: [5, 0], ArrowUp: [0, -5], ArrowDown: [0, 5] }[e.key];
    const act = e.key === " " ? () => play(!playing) : e.shiftKey && way ? () => turn(-way[0], -way[1]) : step ? () => { play(false); go((Math.round(share * steps) + step) / steps); }
      : { Home: () => go(0), End: () => go(1), "+": () => zoom(1.2), "-": () => zoom(1 / 1.2) }[e.key];
    if (act) { e.preventDefault(); act(); }
  };
  new ResizeObserver(() => dirty = true).observe(canvas);
  set(scene.recordings); play(false); go(0); requestAnimationFrame(tick);
  return { set, play, show: frame => { if (frame !== Math.round(share * steps)) go(frame / steps); }, stop: () => { alive = false; gl.getExtension("WEBGL_lose_context")?.loseContext(); } };
}

const TELL_MS = 200;  // the kernel hears of frames so often at most; what is linked in the browser hears of each

export default {
  render({ model, el }) {
    el.style.setProperty("--height", model.get("height") + "px");
    const box = el.appendChild(document.createElement("div")), start = model.get("frame");
    let later = null;
    const tell = () => { clearTimeout(later); later = null; model.save_changes(); };
    const frame = f => { if (f !== model.get("frame")) { model.set("frame", f); later ??= setTimeout(tell, TELL_MS); } };
    const playing = on => { if (on !== model.get("playing")) { model.set("playing", on); tell(); } };
    const viewer = mount(box, { ...model.get("scene"), recordings: model.get("recordings") }, { frame, playing, pick: m => model.send({ picked: m }) });
    if (start) viewer.show?.(start);
    model.on("change:recordings", () => viewer.set?.(model.get("recordings"))); model.on("change:frame", () => viewer.show?.(model.get("frame"))); model.on("change:playing", () => viewer.play?.(model.get("playing")));
    return () => { clearTimeout(later); viewer.stop?.(); };
  },
};
