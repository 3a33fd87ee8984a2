// SPDX-License-Identifier: Apache-2.0
import { Network } from "./bnn.js";

// { simd, plain: builds of the runtime; file: the .bnn file (all three in base64); classes: names;
//   examples: a list of images, each a list of rows of whole numbers from 0 to LEVELS }
const data = /*DATA*/null;

// The network was trained on scans of 32 x 32 black and white dots, in which a square of 4 x 4 dots became a pixel: the
// number of its black dots, over 16.  Drawings become such scans, by lines alone, so that every browser makes the same.
const PIXELS = 8, DOTS = 4, SIDE = PIXELS * DOTS, LEVELS = DOTS * DOTS;
// As in the training images: the digit is as high as the scan and not wider than this, and this many dots are black.
const WIDEST = 24, BLACK = 340;
const UPRIGHT = 0.8; // the share of a slant that is taken out
const THINNEST = 1.5, THICKEST = 6.5; // half of a line's width
const CLOSEST = 0.005; // of the drawing's width: a point nearer to the last one adds nothing
const COLUMNS = 16; // tiles in a row
const ZOOM = 8; // canvas pixels for a value
const MOVES = ["copy", "reshape"]; // ops that change no value: not shown

const $ = id => document.getElementById(id);
// Names are from the file: what does not print, or reorders what stands beside it, is shown by its number.
const printable = text => text.replace(/(?! )[\p{C}\p{Z}]/gu, c => `\\u{${c.codePointAt(0).toString(16)}}`);
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const blank = () => new Float32Array(PIXELS * PIXELS);
const builds = { simd: bytes(data.simd), plain: bytes(data.plain) }, file = bytes(data.file);

let network; // the one in use
let strokes = []; // each a list of points [x, y] from 0 to 1
let image = blank(); // what the network sees: from 0 to 1
let drawing = false; // the pen is down
let waiting = false; // for the next frame

// Strokes as an image for the network: upright, centred, and as large and bold as what it was trained on.
export function rasterize(strokes) {
  const lines = centred(upright(strokes.map(stroke => stroke.length > 1 ? stroke : [...stroke, ...stroke])));
  let radius = 3, distances;
  for (let turn = 0; turn < 3; turn++) { // the room for the lines depends on their width, and the other way round
    distances = toLines(fitted(lines, radius));
    radius = Math.min(Math.max(distances.slice().sort()[BLACK], THINNEST), THICKEST);
  }
  const made = blank();
  distances.forEach((distance, dot) => {
    const x = Math.floor(dot % SIDE / DOTS), y = Math.floor(dot / SIDE / DOTS);
    if (distance <= radius) made[y * PIXELS + x] += 1 / LEVELS;
  });
  return made;
}

function upright(strokes) {
  let total = 0, sumX = 0, sumY = 0, xy = 0, yy = 0;
  const pieces = strokes.flatMap(stroke => stroke.slice(1).map(([x, y], i) => {
    const [fromX, fromY] = stroke[i];
    return [(x + fromX) / 2, (y + fromY) / 2, Math.hypot(x - fromX, y - fromY)];
  }));
  for (const [x, y, length] of pieces) { total += length; sumX += length * x; sumY += length * y; }
  if (total === 0) return strokes;
  const middleX = sumX / total, middleY = sumY / total;
  for (const [x, y, length] of pieces) { xy += length * (x - middleX) * (y - middleY); yy += length * (y - middleY) ** 2; }
  const slant = UPRIGHT * Math.min(Math.max(xy / Math.max(yy, 1e-9), -1), 1);
  return strokes.map(stroke => stroke.map(([x, y]) => [x - slant * (y - middleY), y]));
}

function extent(strokes) {
  const points = strokes.flat(), of = k => points.map(point => point[k]);
  return [Math.min(...of(0)), Math.max(...of(0)), Math.min(...of(1)), Math.max(...of(1))];
}

function centred(strokes) {
  const [left, right, top, bottom] = extent(strokes);
  return strokes.map(stroke => stroke.map(([x, y]) => [x - (left + right) / 2, y - (top + bottom) / 2]));
}

// As high as the scan, or as wide as it, with room for half a line's width; what is wider than WIDEST becomes narrower.
function fitted(strokes, radius) {
  const [left, right, top, bottom] = extent(strokes), room = SIDE - 2 * radius;
  const scale = room / Math.max(right - left, bottom - top, 1e-6);
  const narrow = Math.min(scale, (WIDEST - 2 * radius) / Math.max(right - left, 1e-6));
  return strokes.map(stroke => stroke.map(([x, y]) => [x * narrow + SIDE / 2, y * scale + SIDE / 2]));
}

// Of every dot's centre, from the nearest line.
function toLines(strokes) {
  const squares = new Float64Array(SIDE * SIDE).fill(Infinity);
  for (const stroke of strokes)
    for (let i = 1; i < stroke.length; i++) {
      const [ax, ay] = stroke[i - 1], dx = stroke[i][0] - ax, dy = stroke[i][1] - ay, square = dx * dx + dy * dy;
      for (let dot = 0; dot < squares.length; dot++) {
        const x = dot % SIDE + 0.5 - ax, y = Math.floor(dot / SIDE) + 0.5 - ay;
        const along = square > 0 ? Math.min(Math.max((x * dx + y * dy) / square, 0), 1) : 0;
        squares[dot] = Math.min(squares[dot], (x - along * dx) ** 2 + (y - along * dy) ** 2);
      }
    }
  return squares.map(Math.sqrt);
}

// Runs the network on an image (64 numbers from 0 to 1), shows all of it, and returns its outputs.
export function recognize(pixels, animate = false) {
  image = Float32Array.from(pixels);
  const [scores] = network.run([image]), best = scores.indexOf(Math.max(...scores));
  drawTiles($("seen"), { shape: [PIXELS, PIXELS, 1], values: image }, 1);
  const empty = image.every(value => value === 0);
  $("answer").innerHTML = empty ? "" : `<span id="class"></span> <small>${percent(scores[best])} sure</small>`;
  if (!empty) $("class").textContent = data.classes[best];
  [...$("scores").children].forEach((line, k) => {
    line.classList.toggle("best", !empty && k === best);
    line.querySelector("i").style.width = empty ? 0 : percent(scores[k]);
    line.lastChild.textContent = empty ? "" : percent(scores[k]);
  });
  for (const [turn, layer] of [...network.layers([image])].filter(isShown).entries()) {
    const figure = $("layers").children[turn];
    drawTiles(figure.querySelector("canvas"), layer, layer.type === "b1" ? 2 : 1);
    const set = layer.values.reduce((sum, value) => sum + (value > 0), 0), count = layer.values.length.toLocaleString("en");
    figure.querySelector("span").textContent = layer.type === "b1" ? `${set.toLocaleString("en")} of ${count} bits are +1` : `${count} numbers`;
    figure.style.setProperty("--turn", turn);
    figure.classList.remove("fresh");
    if (animate) { figure.offsetWidth; figure.classList.add("fresh"); } // the layout between begins the animation anew
  }
  if (!drawing) {
    const time = network.time();
    $("time").textContent = `${time < 10 ? time.toFixed(1) : Math.round(time)} \u00b5s`;
  }
  return scores;
}

function isShown({ op }) {
  return !MOVES.includes(op);
}

function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

// Values as grey, the greatest black: a tile for each channel.  Of bits (two levels) the least is -1 always.
function drawTiles(canvas, { shape, values }, levels) {
  const [h, w, c] = [1, 1, ...shape].slice(-3), columns = Math.min(COLUMNS, c), rows = Math.ceil(c / columns);
  const low = levels === 2 ? -1 : Math.min(0, ...values), high = Math.max(...values, low + 1e-6);
  const gap = 1, width = columns * (w * ZOOM + gap) - gap, height = rows * (h * ZOOM + gap) - gap;
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  canvas.style.maxWidth = `${2 * width}px`;
  const context = canvas.getContext("2d");
  context.fillStyle = colour("--line");
  context.fillRect(0, 0, width, height);
  for (let i = 0; i < values.length; i++) {
    const channel = i % c, x = Math.floor(i / c) % w, y = Math.floor(i / c / w);
    const grey = Math.round(255 * (1 - (values[i] - low) / (high - low)));
    context.fillStyle = `rgb(${grey} ${grey} ${grey})`;
    context.fillRect(channel % columns * (w * ZOOM + gap) + x * ZOOM, Math.floor(channel / columns) * (h * ZOOM + gap) + y * ZOOM, ZOOM, ZOOM);
  }
}

// Opens the network with SIMD or without it, and shows what it is made of.
export async function use(simd) {
  network = await Network.open(simd ? [builds.simd, builds.plain] : [builds.plain], file);
  $("kernels").textContent = `${network.kernels}, ${network.kernels === "simd128" ? "with" : "without"} SIMD`;
  $("layers").replaceChildren(...network.ops.filter(isShown).map(({ op, layer, shape }) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption"), canvas = document.createElement("canvas");
    const name = document.createElement("b"), what = document.createElement("span");
    name.textContent = printable(layer);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `The values of layer ${printable(layer)}`);
    caption.append(name, ` ${op}, ${shape.join(" \u00d7 ")}: `, what);
    figure.append(caption, canvas);
    return figure;
  }));
  recognize(image);
}

// Drawing

const canvas = $("drawing"), pen = canvas.getContext("2d");

function drawStrokes() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.strokeStyle = colour("--ink");
  pen.lineWidth = canvas.width / 14;
  pen.lineCap = pen.lineJoin = "round";
  for (const stroke of strokes) {
    pen.beginPath();
    for (const [x, y] of [stroke[0], ...stroke]) pen.lineTo(x * canvas.width, y * canvas.height);
    pen.stroke();
  }
}

function clear() {
  strokes = [];
  drawStrokes();
  recognize(blank());
}

const point = event => {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
};

function later() { // a picture for a frame, however many points arrive
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    drawStrokes();
    if (strokes.length > 0) recognize(rasterize(strokes), !drawing);
  });
}
canvas.onpointerdown = event => {
  if (!event.isPrimary || event.button !== 0) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  drawing = true;
  strokes.push([point(event)]);
  later();
};
canvas.onpointermove = event => {
  if (!drawing || !event.isPrimary) return;
  const events = event.getCoalescedEvents?.() ?? [], stroke = strokes.at(-1);
  for (const next of (events.length ? events : [event]).map(point))
    if (Math.hypot(next[0] - stroke.at(-1)[0], next[1] - stroke.at(-1)[1]) > CLOSEST) stroke.push(next);
  later();
};
canvas.onpointerup = canvas.onpointercancel = event => {
  if (!event.isPrimary) return;
  drawing = false;
  later();
};
$("clear").onclick = clear;
document.onkeydown = event => { if (event.key === "Escape") clear(); };
$("simd").onchange = event => use(event.target.checked);
matchMedia("(prefers-color-scheme: dark)").onchange = () => { drawStrokes(); recognize(image); };

$("size").textContent = `${file.length.toLocaleString("en")} bytes`;
$("scores").append(...data.classes.map(name => {
  const line = document.createElement("div"), label = document.createElement("span"), bar = document.createElement("span");
  line.className = "score";
  line.setAttribute("role", "listitem");
  label.textContent = name;
  bar.append(document.createElement("i"));
  line.append(label, bar, document.createElement("span"));
  return line;
}));
$("examples").append(...data.examples.map((example, k) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = data.classes[k];
  button.onclick = () => {
    strokes = [];
    drawStrokes();
    recognize(example.map(value => value / LEVELS), true);
  };
  return button;
}));
$("simd").disabled = !WebAssembly.validate(builds.simd);
$("simd").checked = !$("simd").disabled;
try {
  await use($("simd").checked);
} catch (error) {
  $("answer").textContent = `This browser cannot run the network: ${error.message}`;
  throw error;
}
globalThis.bnn = { rasterize, recognize, use }; // for the console, and for tests
