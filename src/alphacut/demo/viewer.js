// Before and after under a slider, and a canvas to paint on. Strokes are {label, radius, points} in
// fractions of the picture; after each one the page is sent all of them.
const root = element.querySelector(".viewer");
const $ = (selector) => root.querySelector(selector);
const stage = $(".stage"), sheet = $(".sheet"), hand = $(".hand"), before = $(".before"), after = $(".after"), slider = $(".slider");
const paper = $(".paper"), pen = paper.getContext("2d");
const COLOURS = { keep: "#12b76a", remove: "#f04438", unsure: "#2e90fa" };
let photo = null, strokes = [], version = 0, shown = 0, painting = false, current = null;
let cursor = null, turn = 0, size = null;
const LARGEST = 8;  // zoom
let zoom = 1, left = 0, top_ = 0, moving = false;  // of the sheet in the stage, in pixels
const touching = new Map();  // where fingers and the mouse are, by pointer

function look() {
  trigger("look", { photo, view: $(".view").value, painting, strokes, version: ++version });
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
  if (touching.size === 2) { current = null; draw(); }
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

function mode(paint) {
  painting = paint;
  root.classList.toggle("painting", paint);
  for (const button of root.querySelectorAll("[data-mode]"))
    button.setAttribute("aria-pressed", (button.dataset.mode === "paint") === paint);
}

function buttons() {
  $(".undo").disabled = $(".clear").disabled = !strokes.length;
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
  current = { label: brush(), radius: radius(), points: [at(event)] };
  draw();
});
paper.addEventListener("pointermove", (event) => {
  cursor = at(event);
  if (current) {
    const [x, y] = current.points.at(-1);
    if (Math.hypot(cursor[0] - x, cursor[1] - y) > 0.002) current.points.push(cursor);
  }
  draw();
});
paper.addEventListener("pointerup", () => {
  if (!current) return;
  const stroke = current;
  current = null;
  finish(stroke);
});
paper.addEventListener("pointercancel", () => { current = null; draw(); });
for (const away of ["pointerleave", "blur"])
  paper.addEventListener(away, () => { cursor = null; draw(); });
paper.addEventListener("focus", () => { if (paper.matches(":focus-visible")) { cursor = [0.5, 0.5]; draw(); } });
paper.addEventListener("keydown", (event) => {
  const step = event.shiftKey ? 0.1 : 0.02;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (event.key in moves) {
    cursor = (cursor ?? [0.5, 0.5]).map((share, i) => Math.min(1, Math.max(0, share + moves[event.key][i])));
    draw();
  } else if (event.key === " ") {
    finish({ label: brush(), radius: radius(), points: [cursor ?? [0.5, 0.5]] });
  } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
    if (strokes.length) undo(false);
  } else return;
  event.preventDefault();
});

for (const button of root.querySelectorAll("[data-mode]"))
  button.addEventListener("click", () => { mode(button.dataset.mode === "paint"); look(); draw(); });
$(".view").addEventListener("change", look);
$(".undo").addEventListener("click", () => undo(false));
$(".clear").addEventListener("click", () => undo(true));
$(".radius").addEventListener("input", draw);
slider.addEventListener("input", slide);
new ResizeObserver(place).observe(stage);

async function show() {
  const value = props.value;
  if (!value || !value.after || value.turn < turn) return;  // overtaken by a later one
  if (value.photo !== photo) {  // another picture: nothing is painted on it yet
    [photo, strokes, version, shown] = [value.photo, [], 0, 0];
    $(".view").value = "result";
    zoom = 1;
    size = null;
    mode(false);
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
  place();  // which draws, too
  root.dataset.shown = value.turn;
}
watch("value", show);
place();
show();
