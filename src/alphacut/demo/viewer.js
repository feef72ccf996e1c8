// Before and after under a slider, and a canvas to paint on. Strokes are {label, radius, points} in
// fractions of the picture; after each one the page is sent all of them.
const root = element.querySelector(".viewer");
const $ = (selector) => root.querySelector(selector);
const stage = $(".stage"), before = $(".before"), after = $(".after"), slider = $(".slider");
const paper = $(".paper"), pen = paper.getContext("2d");
const COLOURS = { keep: "#12b76a", remove: "#f04438", unsure: "#2e90fa" };
let photo = null, strokes = [], version = 0, shown = 0, painting = false, current = null;
let cursor = null, turn = 0;

function look() {
  trigger("look", { photo, view: $(".view").value, painting, strokes, version: ++version });
}

function slide() {
  stage.style.setProperty("--at", slider.value + "%");
  slider.setAttribute("aria-valuetext", Math.round(slider.value) + " % before");
}

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
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [stage.clientWidth, stage.clientHeight];
  if (!width) return;
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
      pen.lineWidth = wide;
      pen.stroke();
    }
  }
}

const radius = () => $(".radius").value / 100;
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
  if (event.button) return;
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
new ResizeObserver(draw).observe(stage);

async function show() {
  const value = props.value;
  if (!value || !value.after || value.turn < turn) return;  // overtaken by a later one
  if (value.photo !== photo) {  // another picture: nothing is painted on it yet
    [photo, strokes, version, shown] = [value.photo, [], 0, 0];
    $(".view").value = "result";
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
  stage.style.aspectRatio = next.naturalWidth + " / " + next.naturalHeight;
  stage.style.setProperty("--ratio", next.naturalWidth / next.naturalHeight);
  root.dataset.shown = value.turn;
  draw();
}
watch("value", show);
slide();
show();
