// Before and after under a slider, and a canvas to paint on and to pick on. Strokes are {label,
// radius, points} in fractions of the picture, picks [x, y, keep] or [left, top, right, bottom];
// after each one the page is sent all of them.
const root = element.querySelector(".viewer");
const $ = (selector) => root.querySelector(selector);
const stage = $(".stage"), sheet = $(".sheet"), hand = $(".hand"), before = $(".before"), after = $(".after"), slider = $(".slider");
const paper = $(".paper"), pen = paper.getContext("2d");
const COLOURS = { keep: "#12b76a", remove: "#f04438", unsure: "#2e90fa" };
let photo = null, strokes = [], version = 0, shown = 0, painting = false, current = null;
let picking = false, picks = [], drag = null, parts = null, partsFrom = null;  // numbers of parts, by pixel
let cursor = null, turn = 0, size = null;
const LARGEST = 8;  // zoom
let zoom = 1, left = 0, top_ = 0, moving = false;  // of the sheet in the stage, in pixels
const touching = new Map();  // where fingers and the mouse are, by pointer

function look() {
  trigger("look", { photo, view: $(".view").value, painting, picking, strokes, picks, version: ++version });
}

function slide() {
  stage.style.setProperty("--at", slider.value + "%");
  const at = (slider.value / 100 * stage.clientWidth - left) / zoom;  // on the sheet
  sheet.style.setProperty("--cut", before.offsetLeft + before.clientWidth - at + "px");
  slider.setAttribute("aria-valuetext", Math.round(slider.value) + " % before");
}

// The sheet never leaves a gap at the stage's border
function place() {
  left = Math.min(0, Math.max(stage.clientWidth * (1 - zoom), left));
  top_ = Math.min(0, Math.max(stage.clientHeight * (1 - zoom), top_));
  sheet.style.transform = `translate(${left}px, ${top_}px) scale(${zoom})`;
  root.dataset.zoom = zoom.toFixed(2);
  $(".fit").textContent = Math.round(zoom * 100) + " %";
  $(".out").disabled = $(".fit").disabled = $(".move").disabled = zoom === 1;
  $(".in").disabled = zoom === LARGEST;
  if (zoom === 1) move(false);
  slide();
  draw();
}

// Zoom by a factor; what is at (x, y) of the stage stays there
function zoomBy(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const wanted = Math.min(LARGEST, Math.max(1, zoom * factor));
  [left, top_] = [x - (x - left) * wanted / zoom, y - (y - top_) * wanted / zoom];
  zoom = wanted;
  place();
}

function pan(right, down) {
  left += right;
  top_ += down;
  place();
}

function move(on) {
  moving = on;
  root.classList.toggle("moving", on);
  $(".move").setAttribute("aria-pressed", on);
}

function on(event) {  // where in the stage
  const box = stage.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

stage.addEventListener("wheel", (event) => {
  if (event.shiftKey || event.deltaX && Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    if (zoom === 1) return;
    pan(-(event.deltaX || event.deltaY), 0);
  } else {
    if (zoom === 1 && event.deltaY > 0) return;  // the page scrolls
    zoomBy(Math.exp(-Math.max(-60, Math.min(60, event.deltaY)) * (event.ctrlKey ? 0.01 : 0.004)), ...on(event));
  }
  event.preventDefault();
}, { passive: false });

// Two fingers zoom and move; the middle button, or Move, moves
stage.addEventListener("pointerdown", (event) => {
  touching.set(event.pointerId, on(event));
  if (touching.size === 2) { current = drag = null; draw(); }
  if (moving) root.focus({ preventScroll: true });  // for the keys
}, true);
addEventListener("pointermove", (event) => {
  const was = touching.get(event.pointerId);
  if (!was) return;
  const now = on(event);
  if (touching.size === 2) {
    const other = [...touching].find(([id]) => id !== event.pointerId)[1];
    const apart = (one) => Math.max(1, Math.hypot(one[0] - other[0], one[1] - other[1]));
    pan((now[0] - was[0]) / 2, (now[1] - was[1]) / 2);
    zoomBy(apart(now) / apart(was), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  } else if (moving || event.buttons & 4) {
    pan(now[0] - was[0], now[1] - was[1]);
  }
  touching.set(event.pointerId, now);
});
stage.addEventListener("mousedown", (event) => { if (event.button === 1) event.preventDefault(); });
for (const end of ["pointerup", "pointercancel"])
  addEventListener(end, (event) => touching.delete(event.pointerId));

root.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.target.matches("select")) return;
  const step = 60, arrows = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  if (event.key === "+" || event.key === "=") zoomBy(1.25);
  else if (event.key === "-") zoomBy(0.8);
  else if (event.key === "0") zoomBy(0);
  else if (event.altKey && event.key in arrows) pan(...arrows[event.key]);
  else return;
  event.preventDefault();
  event.stopPropagation();
}, true);
$(".in").addEventListener("click", () => zoomBy(1.5));
$(".out").addEventListener("click", () => zoomBy(1 / 1.5));
$(".fit").addEventListener("click", () => zoomBy(0));
$(".move").addEventListener("click", () => move(!moving));

const PAPER = {
  paint: "Picture to paint on. Arrow keys move the brush, Space paints, Control+Z undoes, plus and minus zoom, Alt and arrow keys move the picture.",
  pick: "Picture to pick from. Arrow keys move the cross, Space picks, D drops, B begins and ends a box, Control+Z undoes, plus and minus zoom, Alt and arrow keys move the picture.",
};

function mode(name) {
  painting = name === "paint";
  picking = name === "pick";
  cursor = drag = current = null;
  root.classList.toggle("painting", painting);
  root.classList.toggle("picking", picking);
  paper.setAttribute("aria-label", PAPER[name] ?? PAPER.paint);
  for (const button of root.querySelectorAll("[data-mode]"))
    button.setAttribute("aria-pressed", button.dataset.mode === name);
}

function buttons() {
  $(".undo").disabled = $(".clear").disabled = !strokes.length;
  $(".undo-pick").disabled = $(".clear-pick").disabled = !picks.length;
}

function draw() {
  const [width, height] = [paper.clientWidth, paper.clientHeight];
  if (!width) return;
  const ratio = Math.min((window.devicePixelRatio || 1) * zoom, 4096 / Math.max(width, height));
  paper.width = width * ratio;
  paper.height = height * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.lineCap = pen.lineJoin = "round";
  const long = Math.max(width, height);
  if (picking) return drawPicks(width, height);
  for (const stroke of strokes.filter((one) => one.version > shown).concat(current ?? [])) {
    pen.strokeStyle = COLOURS[stroke.label] + "99";
    pen.lineWidth = 2 * stroke.radius * long;
    pen.beginPath();
    stroke.points.forEach(([x, y], index) =>
      pen[index ? "lineTo" : "moveTo"](x * width, y * height));
    const [x, y] = stroke.points.at(-1);
    pen.lineTo(x * width + 0.01, y * height);
    pen.stroke();
  }
  if (cursor) {
    pen.beginPath();
    pen.arc(cursor[0] * width, cursor[1] * height, radius() * long, 0, 7);
    for (const [colour, wide] of [["#000", 3], ["#fff", 1.5]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = wide / zoom;
      pen.stroke();
    }
  }
}

// --- pick: a click says which part, a drag draws a box

function partAt([x, y]) {
  if (!parts) return 0;
  const column = Math.min(parts.width - 1, Math.floor(x * parts.width));
  return parts.data[4 * (Math.min(parts.height - 1, Math.floor(y * parts.height)) * parts.width + column)];
}

const tints = new Map();  // a tinted image of each part that was hovered

function tint(number) {
  if (!tints.has(number)) {
    const sheet = document.createElement("canvas");
    [sheet.width, sheet.height] = [parts.width, parts.height];
    const image = new ImageData(parts.width, parts.height);
    for (let i = 0; i < parts.data.length; i += 4)
      if (parts.data[i] === number) image.data.set([18, 183, 106, 110], i);
    sheet.getContext("2d").putImageData(image, 0, 0);
    tints.set(number, sheet);
  }
  return tints.get(number);
}

function drawPicks(width, height) {
  const box = drag?.end ? boxOf(drag.start, drag.end) : picks.findLast((pick) => pick.length === 4);
  const over = cursor && !drag?.end ? partAt(cursor) : 0;
  if (over) pen.drawImage(tint(over), 0, 0, width, height);
  const outline = (path) => {
    for (const [colour, wide] of [["#000", 4], ["#fff", 2]]) {
      [pen.strokeStyle, pen.lineWidth] = [colour, wide / zoom];
      pen.beginPath();
      path();
      pen.stroke();
    }
  };
  if (box) outline(() => pen.rect(box[0] * width, box[1] * height, (box[2] - box[0]) * width, (box[3] - box[1]) * height));
  for (const pick of picks.filter((one) => one.length === 3)) {
    const [x, y] = [pick[0] * width, pick[1] * height], size = 9 / zoom;
    pen.beginPath();
    pen.arc(x, y, size, 0, 7);
    pen.fillStyle = pick[2] ? COLOURS.keep : COLOURS.remove;
    pen.fill();
    [pen.strokeStyle, pen.lineWidth] = ["#fff", 2 / zoom];
    pen.stroke();
    pen.beginPath();  // plus or minus, for those who do not see the colours
    pen.moveTo(x - size / 2, y); pen.lineTo(x + size / 2, y);
    if (pick[2]) { pen.moveTo(x, y - size / 2); pen.lineTo(x, y + size / 2); }
    pen.stroke();
  }
  if (cursor) {
    const [x, y] = [cursor[0] * width, cursor[1] * height], arm = 10 / zoom;
    outline(() => { pen.moveTo(x - arm, y); pen.lineTo(x + arm, y); pen.moveTo(x, y - arm); pen.lineTo(x, y + arm); });
  }
}

const share = (value) => Math.min(1, Math.max(0, value));
const boxOf = ([a, b], [c, d]) => [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)].map(share);
const far = ([a, b], [c, d]) => Math.hypot((a - c) * paper.clientWidth, (b - d) * paper.clientHeight) * zoom > 8;

function pick(place, drop) {
  const here = place.map(share), part = partAt(here);
  const same = (one) => one.length === 3 && (part ? partAt(one) === part : !far(one, here));
  const before = picks.findLast(same);
  const keep = !drop && !(before && before[2]);  // the second click drops
  picks = [...picks.filter((one) => !same(one)), [...here, keep]];
  picked();
}

function pickBox(first, second) {
  picks = [...picks, boxOf(first, second)];
  picked();
}

const past = [];  // what was picked before each step

let last = [];
function picked() {
  past.push(last);
  last = picks;
  buttons();
  look();
  draw();
}

function undoPick(all) {
  if (all) { past.push(last); picks = []; } else picks = past.pop() ?? [];
  last = picks;
  buttons();
  look();
  draw();
}

const radius = () => $(".radius").value / 100 / zoom;  // on the screen it stays as wide
const brush = () => $("[name=brush]:checked").value;

function finish(stroke) {
  stroke.version = version + 1;
  strokes.push(stroke);
  buttons();
  look();
  draw();
}

function undo(all) {
  strokes = all ? [] : strokes.slice(0, -1);
  buttons();
  look();
  draw();
}

function at(event) {
  const box = paper.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

paper.addEventListener("pointerdown", (event) => {
  if (event.button || touching.size > 1) return;
  try { paper.setPointerCapture(event.pointerId); } catch { /* it is gone already */ }
  if (picking) { drag = { start: at(event), end: null }; return; }
  current = { label: brush(), radius: radius(), points: [at(event)] };
  draw();
});
paper.addEventListener("pointermove", (event) => {
  cursor = at(event);
  if (drag && (drag.end || far(drag.start, cursor))) drag.end = cursor;
  if (current) {
    const [x, y] = current.points.at(-1);
    if (Math.hypot(cursor[0] - x, cursor[1] - y) > 0.002) current.points.push(cursor);
  }
  draw();
});
paper.addEventListener("pointerup", (event) => {
  if (drag) {
    const { start, end } = drag;
    drag = null;
    if (end) pickBox(start, end);
    else pick(start, event.altKey || $("[name=pick]:checked").value === "drop");
    return;
  }
  if (!current) return;
  const stroke = current;
  current = null;
  finish(stroke);
});
paper.addEventListener("pointercancel", () => { current = drag = null; draw(); });
for (const away of ["pointerleave", "blur"])
  paper.addEventListener(away, () => { cursor = null; draw(); });
paper.addEventListener("focus", () => { if (paper.matches(":focus-visible")) { cursor = [0.5, 0.5]; draw(); } });
paper.addEventListener("keydown", (event) => {
  const step = event.shiftKey ? 0.1 : 0.02;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (event.key in moves) {
    cursor = (cursor ?? [0.5, 0.5]).map((place, i) => share(place + moves[event.key][i]));
    if (drag) drag.end = cursor;
    draw();
  } else if (picking && [" ", "d", "D", "b", "B"].includes(event.key)) {
    const place = cursor ?? [0.5, 0.5];
    if (event.key.toLowerCase() !== "b") pick(place, event.key !== " " || $("[name=pick]:checked").value === "drop");
    else if (!drag) drag = { start: place, end: place };
    else { const { start } = drag; drag = null; if (far(start, place)) pickBox(start, place); }
    draw();
  } else if (picking && event.key === "Escape") {
    drag = null;
    draw();
  } else if (event.key === " ") {
    finish({ label: brush(), radius: radius(), points: [cursor ?? [0.5, 0.5]] });
  } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
    if (picking) { if (past.length) undoPick(false); }
    else if (strokes.length) undo(false);
  } else return;
  event.preventDefault();
});

for (const button of root.querySelectorAll("[data-mode]"))
  button.addEventListener("click", () => { mode(button.dataset.mode); look(); draw(); });
$(".view").addEventListener("change", look);
$(".undo").addEventListener("click", () => undo(false));
$(".clear").addEventListener("click", () => undo(true));
$(".undo-pick").addEventListener("click", () => undoPick(false));
$(".clear-pick").addEventListener("click", () => undoPick(true));
$(".radius").addEventListener("input", draw);
slider.addEventListener("input", slide);
new ResizeObserver(place).observe(stage);

async function show() {
  const value = props.value;
  if (!value || !value.after || value.turn < turn) return;  // overtaken by a later one
  if (value.photo !== photo) {  // another picture: nothing is painted on it yet
    [photo, strokes, version, shown] = [value.photo, [], 0, 0];
    [picks, last, past.length, parts, partsFrom] = [[], [], 0, null, null];
    $(".view").value = "result";
    zoom = 1;
    size = null;
    mode("compare");
    buttons();
    slider.value = 50;
    slide();
  }
  const next = new Image();
  next.src = value.after;
  try { await next.decode(); } catch { return; }
  if (value.photo !== photo || value.turn < turn) return;
  [turn, shown] = [value.turn, value.version];
  before.src = value.before;
  after.src = value.after;
  after.alt = value.alt;
  size ??= [next.naturalWidth, next.naturalHeight];  // the picture's frame stays as it is
  stage.style.setProperty("--ratio", size[0] / size[1]);
  const narrower = next.naturalWidth / next.naturalHeight / (size[0] / size[1]);
  sheet.style.setProperty("--across", Math.min(1, narrower));
  sheet.style.setProperty("--down", Math.min(1, 1 / narrower));
  if (value.parts && value.parts !== partsFrom) await readParts(value.parts);
  place();  // which draws, too
  root.dataset.shown = value.turn;
}

async function readParts(address) {
  const image = new Image();
  image.src = address;
  try { await image.decode(); } catch { return; }
  const scale = Math.min(1, 800 / Math.max(image.naturalWidth, image.naturalHeight));
  const sheet = document.createElement("canvas");
  sheet.width = Math.max(1, Math.round(image.naturalWidth * scale));
  sheet.height = Math.max(1, Math.round(image.naturalHeight * scale));
  const ink = sheet.getContext("2d", { willReadFrequently: true });
  ink.imageSmoothingEnabled = false;  // numbers, not colours
  ink.drawImage(image, 0, 0, sheet.width, sheet.height);
  parts = ink.getImageData(0, 0, sheet.width, sheet.height);
  partsFrom = address;
  tints.clear();
  root.dataset.parts = new Set(parts.data.filter((_, i) => i % 4 === 0 && parts.data[i])).size;
}
watch("value", show);
place();
show();
