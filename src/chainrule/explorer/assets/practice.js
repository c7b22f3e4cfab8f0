// Training inside the page: points that can be added, moved and taken away, and steps of gradient
// descent on the mean of their losses. The graph is the loss of one point.

const PLOT = 240; // units of the plot's sides
const GRID = 18; // cells of the background
const SVG_POINT = 6;

class Practice {
  constructor(graph, { inputs, target, output, points }) {
    Object.assign(this, { graph, inputs, target, output });
    this.given = points;
    this.points = points.map((point) => [...point]);
    this.chosen = 0;
    this.steps = 0;
    this.losses = [];
    const fixed = new Set([...inputs, target]);
    this.weights = [];
    for (let i = 0; i < graph.count; i += 1) if (graph.isLeaf(i) && !fixed.has(i)) this.weights.push(i);
    this.possible = [...graph.kind.subarray(0, graph.count)].every((kind) => kind < 0 || FORMS[kind] !== null);
    this.value = graph.value.slice();
    this.local = graph.local.slice();
    this.operands = Array.from({ length: graph.count }, (_, i) => [...graph.operandsOf(i)]);
    this.bounds = this.inputs.map((_, k) => this.boundsOf(k));
    this.bounds.push(this.boundsOf(inputs.length));
  }

  boundsOf(k) {
    const all = this.given.map((point) => point[k]);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const margin = Math.max((high - low) * 0.25, 0.5);
    return [low - margin, high + margin];
  }

  // Values, and local gradients if asked, with a point in the leaves
  run(point, withLocals = false) {
    const { graph, value, local } = this;
    this.inputs.forEach((leaf, k) => { value[leaf] = point[k]; });
    value[this.target] = point[this.inputs.length];
    for (let i = 0; i < graph.count; i += 1) {
      if (graph.isLeaf(i)) continue;
      const form = FORMS[graph.kind[i]];
      const x = this.operands[i].map((p) => (p < 0 ? graph.constant[-p - 1] : value[p]));
      value[i] = form.value(x);
      if (withLocals) local.set(form.grads(value[i], x), graph.start[i]);
    }
    return value;
  }

  takeWeights() { for (const w of this.weights) this.value[w] = this.graph.value[w]; }

  loss() {
    return this.points.reduce((sum, point) => sum + this.run(point)[this.graph.root], 0) / this.points.length;
  }

  // The mean of the points' gradients by the weights
  gradient() {
    const { graph, value, local } = this;
    const mean = new Float64Array(graph.count);
    const shown = [graph.value, graph.local];
    let loss = 0;
    for (const point of this.points) {
      loss += this.run(point, true)[graph.root] / this.points.length;
      [graph.value, graph.local] = [value, local];
      const { grad } = graph.gradsUpTo();
      [graph.value, graph.local] = shown;
      for (const w of this.weights) mean[w] += grad[w] / this.points.length;
    }
    return { loss, mean };
  }

  step(rate) {
    this.takeWeights();
    const { loss, mean } = this.gradient();
    const moved = this.weights.map((w) => [w, this.graph.value[w] - rate * mean[w]]);
    this.steps += 1;
    this.losses.push(loss);
    this.show(moved);
  }

  // Put the weights and the chosen point into the graph that is shown
  show(weights = []) {
    const point = this.points[this.chosen];
    const leaves = point ? [...this.inputs.map((leaf, k) => [leaf, point[k]]), [this.target, point[this.inputs.length]]] : [];
    this.graph.change([...weights, ...leaves]);
  }

  reset() {
    this.points = this.given.map((point) => [...point]);
    this.steps = 0;
    this.losses = [];
    this.chosen = 0;
    this.show(this.weights.map((w) => [w, this.graph.recorded[w]]));
  }
}

const practice = data.training && new Practice(graph, data.training);
let training = null; // the timer of a run

function showPractice() {
  if (!practice) return;
  byId('practice').hidden = false;
  const body = byId('practice-body');
  if (!practice.possible) {
    body.append(make('p', {}, 'An operation of this graph is not of the table: only Python can compute it, so the page cannot train.'));
    return;
  }
  const button = (id, text, action) => {
    const element = make('button', { type: 'button', id }, text);
    element.addEventListener('click', action);
    return element;
  };
  const rate = make('input', { type: 'text', id: 'rate', value: '0.1', size: 5, 'aria-label': 'learning rate' });
  const kind = make('input', { type: 'text', id: 'new-target', value: compact(practice.points[0].at(-1)).replace('−', '-'), size: 5, 'aria-label': 'target of a new point' });
  body.append(
    make('p', { id: 'practice-text', className: 'equation', role: 'status' }),
    make('div', { className: 'row' }, button('train-step', 'Step', () => trainBy(1)), button('train', 'Train', () => train(training === null)),
      button('train-reset', 'Start again', () => { train(false); practice.reset(); practiceChanged(); }), make('label', {}, 'rate ', rate)),
    shape('svg', { id: 'plot', viewBox: `0 0 ${PLOT} ${PLOT}`, role: 'group', 'aria-label': 'Points: arrow keys move the one that has the focus, Delete takes it away' }),
    shape('svg', { id: 'losses', class: 'chart', viewBox: '0 0 1000 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': 'Loss over the steps' }),
    make('div', { className: 'row' }, make('label', {}, 'new points have ', `${names.label(practice.target)} = `, kind), button('add-point', 'Add a point', () => addPoint(practice.bounds.map(([a, b]) => (a + b) / 2))),
      button('remove-point', 'Remove', () => removePoint(practice.chosen))),
    make('p', { className: 'soft' }, 'Click into the plot to add a point, drag one to move it; the graph shows the one that is chosen.'),
  );
  listenToPlot();
  practice.show();
  showPlot();
}

const rateTyped = () => numberTyped(byId('rate').value);

function trainBy(count) {
  const rate = rateTyped();
  if (!rate || !Number.isFinite(rate)) { say('The rate is a number other than 0'); train(false); return; }
  if (!practice.points.length) { say('There is no point to train on'); train(false); return; }
  for (let i = 0; i < count; i += 1) practice.step(rate);
  practiceChanged();
}

function train(on) {
  clearTimeout(training);
  training = null;
  byId('train').textContent = on ? 'Pause' : 'Train';
  if (!on) return;
  const tick = () => {
    training = setTimeout(tick, 60);
    trainBy(1);
  };
  training = setTimeout(tick, 0);
}

function practiceChanged() {
  replayed = null;
  numbersChanged();
  showPlot();
}

// The plot: over two inputs points with their targets, before what the network gives; over one input
// the target upwards, and the network's output as a line

const isPlane = () => practice.inputs.length > 1;
const across = (x) => (PLOT * (x - practice.bounds[0][0])) / (practice.bounds[0][1] - practice.bounds[0][0]);
const upwards = (y) => { const [low, high] = practice.bounds[1]; return PLOT - (PLOT * (y - low)) / (high - low); };
const placeOf = (point) => [across(point[0]), upwards(point[1])];

function atPlace(u, v) {
  const [[a, b], [c, d]] = practice.bounds;
  return [a + (u / PLOT) * (b - a), c + (1 - v / PLOT) * (d - c)];
}

function showPlot() {
  if (!practice?.possible) return;
  practice.takeWeights();
  const loss = practice.points.length ? practice.loss() : NaN;
  byId('practice-text').textContent = `step ${practice.steps}: mean loss of ${practice.points.length} points ${compact(loss)}`;
  const plot = byId('plot');
  const focused = plot.contains(document.activeElement);
  plot.replaceChildren();
  shape('rect', { class: 'paper', width: PLOT, height: PLOT }, plot);
  if (practice.output !== null) drawOutput(plot);
  const middle = practice.given.reduce((sum, point) => sum + point.at(-1), 0) / practice.given.length;
  practice.points.forEach((point, i) => {
    const [x, y] = placeOf(point);
    const high = point.at(-1) > middle;
    const mark = shape('g', { class: `point ${high ? 'positive' : 'negative'}${i === practice.chosen ? ' chosen' : ''}`, transform: `translate(${x} ${y})`,
      role: 'button', tabindex: 0, 'data-point': i, 'aria-label': `point ${i + 1}: ${point.map(compact).join(', ')}` }, plot);
    if (high || !isPlane()) shape('circle', { r: SVG_POINT }, mark);
    else shape('rect', { x: -SVG_POINT + 1, y: -SVG_POINT + 1, width: 2 * SVG_POINT - 2, height: 2 * SVG_POINT - 2 }, mark);
  });
  if (focused) plot.querySelector(`[data-point="${practice.chosen}"]`)?.focus();
  drawLosses();
}

function drawOutput(plot) {
  const base = [...(practice.points[practice.chosen] ?? practice.given[0])];
  const outputAt = (x, y) => {
    base[0] = x;
    if (isPlane()) base[1] = y;
    return practice.run(base)[practice.output];
  };
  if (!isPlane()) {
    const points = Array.from({ length: 81 }, (_, i) => atPlace((i * PLOT) / 80, 0)[0]).map((x) => [across(x), upwards(outputAt(x))]);
    const finite = points.filter(([, y]) => Number.isFinite(y));
    shape('path', { class: 'fitted', d: finite.map(([x, y], i) => `${i ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`).join('') }, plot);
    return;
  }
  const cell = PLOT / GRID;
  const middle = practice.given.reduce((sum, point) => sum + point.at(-1), 0) / practice.given.length;
  const reach = Math.max(...practice.given.map((point) => Math.abs(point.at(-1) - middle)), 1e-9);
  for (let i = 0; i < GRID; i += 1) {
    for (let j = 0; j < GRID; j += 1) {
      const found = outputAt(...atPlace((i + 0.5) * cell, (j + 0.5) * cell)) - middle;
      const sign = !Number.isFinite(found) ? 'odd' : found < 0 ? 'negative' : 'positive';
      shape('rect', { class: `tint ${sign}`, x: i * cell, y: j * cell, width: cell, height: cell,
        'fill-opacity': (sign === 'odd' ? 0.5 : 0.5 * Math.min(Math.abs(found) / reach, 1)).toFixed(2) }, plot);
    }
  }
}

function drawLosses() {
  const chart = byId('losses');
  chart.replaceChildren();
  const all = practice.losses.filter(Number.isFinite);
  chart.toggleAttribute('hidden', all.length < 2);
  if (all.length < 2) return;
  const [low, high] = [Math.min(0, ...all.slice(-5000)), Math.max(...all.slice(-5000))];
  const line = all.map((x, i) => `${i ? 'L' : 'M'}${((1000 * i) / (all.length - 1)).toFixed(1)} ${(95 - (90 * (x - low)) / (high - low || 1)).toFixed(1)}`);
  shape('path', { d: line.join('') }, chart);
}

function addPoint(point) {
  const target = numberTyped(byId('new-target').value);
  if (target === null || !Number.isFinite(target)) { say('The target of a new point is a number'); return; }
  const added = practice.inputs.map((_, k) => point[k] ?? 0);
  practice.points.push([...added, isPlane() ? target : point[1]]);
  choosePoint(practice.points.length - 1);
}

function removePoint(i) {
  practice.points.splice(i, 1);
  choosePoint(Math.min(i, practice.points.length - 1));
}

function choosePoint(i) {
  practice.chosen = Math.max(i, 0);
  practice.show();
  practiceChanged();
}

function movePoint(i, [x, y]) {
  const point = practice.points[i];
  point[0] = x;
  point[1] = y; // the second input, or the target
  choosePoint(i);
}

function listenToPlot() {
  const plot = byId('plot');
  let held = null;
  const inside = (event) => {
    const frame = plot.getBoundingClientRect();
    return atPlace(((event.clientX - frame.left) / frame.width) * PLOT, ((event.clientY - frame.top) / frame.height) * PLOT);
  };
  plot.addEventListener('pointerdown', (event) => {
    event.preventDefault();
    const mark = event.target.closest('[data-point]');
    if (!mark) { addPoint(inside(event)); return; }
    held = Number(mark.dataset.point);
    plot.setPointerCapture(event.pointerId);
    choosePoint(held);
  });
  plot.addEventListener('pointermove', (event) => { if (held !== null) movePoint(held, inside(event)); });
  const release = () => { held = null; };
  plot.addEventListener('pointerup', release);
  plot.addEventListener('pointercancel', release);
  plot.addEventListener('keydown', (event) => {
    const mark = event.target.closest('[data-point]');
    if (!mark) return;
    const i = Number(mark.dataset.point);
    const moves = { ArrowLeft: [-6, 0], ArrowRight: [6, 0], ArrowUp: [0, -6], ArrowDown: [0, 6] };
    if (event.key in moves) {
      const [x, y] = placeOf(practice.points[i]);
      movePoint(i, atPlace(x + moves[event.key][0], y + moves[event.key][1]));
    } else if (event.key === 'Delete' || event.key === 'Backspace') removePoint(i);
    else if (event.key === 'Enter' || event.key === ' ') choosePoint(i);
    else return;
    event.preventDefault();
    event.stopPropagation();
    byId('plot').querySelector(`[data-point="${practice.chosen}"]`)?.focus();
  });
}
