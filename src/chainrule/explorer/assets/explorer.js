// The page: buttons, keys, and the panel that says what happens at a step.

const byId = (id) => document.getElementById(id);

// An element with properties and children; text never becomes markup
function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

const data = JSON.parse(byId('data').textContent);
const graph = new Graph(data);
const walk = new Walk(graph);
const findings = new Findings(graph);
const picture = new Picture(graph, walk, data, byId('picture'));
let selected = graph.root;
let timer = null;
let replayed = null; // the step of the training run that the leaves show

const SIGNS = { '*': '×', '-': '−' };
const isWord = (text) => /^[\p{L}_][\p{L}\p{N}_]*$/u.test(text);

// Text of numbers and nodes

const full = (x) => (x !== x ? 'NaN' : String(x).replace('Infinity', '∞').replaceAll('-', '−'));
const bracketed = (text) => (text.startsWith('−') ? `(${text})` : text);
const valueText = (node) => (graph.valueUnknown[node] ? 'unknown' : short(graph.value[node]));

// The operation with its numbers put in: tanh(0.7616) = 0.6420
function equation(node) {
  if (graph.isLeaf(node)) return `${graph.titleOf(node)} = ${valueText(node)}`;
  const symbol = graph.symbolOf(node);
  const numbers = Array.from(graph.operandsOf(node), (p) => (p < 0 ? compact(graph.valueOf(p)) : valueText(p)));
  const result = valueText(node);
  if (!isWord(symbol) && numbers.length === 2) {
    const [a, b] = numbers.map(bracketed);
    return `${a} ${SIGNS[symbol] ?? symbol} ${b} = ${result}`;
  }
  const most = 8;
  const shown = numbers.slice(0, most).join(', ') + (numbers.length > most ? ', …' : '');
  return `${symbol === 'neg' ? '−' : symbol}(${shown}) = ${result}`;
}

function operandTitle(node, slot) {
  const p = graph.operand[slot];
  const name = graph.forms[graph.kind[node]].operands[slot - graph.start[node]];
  if (p < 0) return `${name} = ${short(graph.valueOf(p))}, a constant`;
  return `${name} (${graph.titleOf(p)})`;
}

// ∂y/∂x = 1 − y² = 0.5878
function localText(node, slot) {
  const at = slot - graph.start[node];
  const form = graph.forms[graph.kind[node]];
  const formula = form.formulas[at];
  const number = short(graph.local[slot]);
  const isNumber = !formula || Number(formula.replace('−', '-')) === graph.local[slot];
  return `∂y/∂${form.operands[at]} = ${isNumber ? '' : `${formula} = `}${number}`;
}

const slotsOf = (node) => {
  const slots = [];
  for (let slot = graph.start[node]; slot < graph.start[node + 1]; slot += 1) {
    if (graph.operand[slot] >= 0) slots.push(slot);
  }
  return slots;
};

// The panel: what happens at this step

const MOST_CARDS = 8;
const MOST_OPERANDS = 12;

function titleLine(node) {
  const button = make('button', { type: 'button', title: 'Show in the graph' }, graph.titleOf(node));
  button.addEventListener('click', () => select(node, true));
  const groups = graph.groupsOf(node).join(' › ');
  return make('p', { className: 'row' }, button, make('span', { className: 'soft' }, groups));
}

function forwardCard(node) {
  const card = make('div', { className: 'card forward' }, titleLine(node),
    make('p', { className: 'equation' }, equation(node)));
  for (const slot of slotsOf(node).slice(0, MOST_OPERANDS)) {
    card.append(make('p', { className: 'formula soft' }, localText(node, slot)));
  }
  return card;
}

function backwardCard(node, running) {
  const grad = walk.gradBefore[node];
  const card = make('div', { className: 'card backward' }, titleLine(node),
    make('p', { className: 'soft equation-now' }, equation(node)),
    make('p', { className: 'equation' }, `gradient ${walk.unknown[node] ? 'unknown' : short(grad)}`));
  if (!walk.reached[node] && !walk.unknown[node]) {
    card.append(make('p', {}, 'No message has reached it; it sends none.'));
    return card;
  }
  for (const slot of slotsOf(node).slice(0, MOST_OPERANDS)) {
    const p = graph.operand[slot];
    if (!graph.isSent(node, slot)) {
      card.append(make('p', { className: 'message' }, `${operandTitle(node, slot)}: not picked, is sent nothing`));
      continue;
    }
    const message = grad * graph.local[slot];
    const before = running.get(p) ?? walk.gradBefore[p];
    running.set(p, before + message);
    card.append(
      make('p', { className: 'formula' }, localText(node, slot)),
      make('p', { className: 'message' },
        `${operandTitle(node, slot)}: grad += ${short(grad)} × ${bracketed(short(graph.local[slot]))}`),
      make('p', { className: 'sum soft' }, `its sum: ${short(before)} → ${short(before + message)}`),
    );
  }
  return card;
}

function showStep() {
  const body = byId('step-body');
  const { phase, active } = walk;
  body.replaceChildren();
  if (phase === 'start') {
    body.append(make('p', {}, 'The leaves have values. Step forward to evaluate what is computed from them.'));
  } else if (phase === 'seed') {
    body.append(make('div', { className: 'card backward' }, titleLine(graph.root),
      make('p', { className: 'equation' }, equation(graph.root)),
      make('p', { className: 'message' }, 'grad = 1'),
      make('p', { className: 'soft' }, 'Backpropagation starts at the root: its derivative by itself is 1.')));
  } else {
    const running = new Map();
    const cards = active.slice(0, MOST_CARDS)
      .map((node) => (phase === 'forward' ? forwardCard(node) : backwardCard(node, running)));
    body.append(...cards);
    if (active.length > MOST_CARDS) {
      body.append(make('p', { className: 'soft' }, `and ${active.length - MOST_CARDS} more nodes of this level`));
    }
  }
}

const PHASES = { start: 'Start', forward: 'Forward', seed: 'Backward', backward: 'Backward' };

function describeStep() {
  const { phase, active } = walk;
  if (phase === 'start') return 'Start: only the leaves have values';
  if (phase === 'seed') return `The gradient of the root is 1`;
  const more = active.length > 1 ? `, and ${active.length - 1} more` : '';
  if (phase === 'forward') return `Forward: ${equation(active[0])}${more}`;
  return `Backward from ${graph.titleOf(active[0])}: gradient ${short(walk.gradBefore[active[0]])}${more}`;
}

// The panel: the selected node

function link(node, more = '') {
  const button = make('button', { type: 'button' },
    make('span', {}, graph.titleOf(node)), make('span', {}, more || valueText(node)));
  button.addEventListener('click', () => select(node, true));
  return make('li', {}, button);
}

function list(nodes, more = () => '', most = 100) {
  const found = make('ul', { className: 'found', tabIndex: 0 }, ...nodes.slice(0, most).map((node) => link(node, more(node))));
  if (!nodes.length) return make('p', { className: 'soft' }, 'none');
  if (nodes.length > most) found.append(make('li', { className: 'soft' }, `and ${nodes.length - most} more`));
  return found;
}

function showSelected() {
  const body = byId('selected-body');
  body.replaceChildren();
  const node = selected;
  body.append(make('p', { className: 'equation' }, equation(node)));
  const rows = [
    ['value', graph.valueUnknown[node] ? 'unknown: only Python can compute it anew' : full(graph.value[node])],
    ['gradient', graph.gradUnknown[node] ? 'unknown' : full(graph.grad[node])],
  ];
  const groups = graph.groupsOf(node);
  if (groups.length) rows.push(['group', groups.join(' › ')]);
  if (node in data.lines) rows.push(['made at', data.sources[data.lines[node]]]);
  const table = make('table', {});
  for (const [name, text] of rows) table.append(make('tr', {}, make('th', { scope: 'row' }, name), make('td', {}, text)));
  body.append(table);
  for (const slot of slotsOf(node).slice(0, MOST_OPERANDS)) {
    body.append(make('p', { className: 'formula' }, localText(node, slot)));
  }
  if (graph.isLeaf(node)) body.append(leafControls(node), nudgeControls(node));
  const operands = [...new Set([...graph.operandsOf(node)].filter((p) => p >= 0))];
  if (operands.length) body.append(make('p', { className: 'soft' }, 'computed from'), list(operands));
  const results = graph.resultsFrom(node);
  if (results.length) body.append(make('p', { className: 'soft' }, 'used by'), list(results));
}

// Changing leaves

function rangeOf(leaf) {
  const start = graph.recorded[leaf];
  const reach = Number.isFinite(start) ? Math.max(2 * Math.abs(start), 2) : 2;
  const middle = Number.isFinite(start) ? start : 0;
  return [middle - reach, middle + reach];
}

function leafControls(leaf) {
  const [low, high] = rangeOf(leaf);
  const name = graph.titleOf(leaf);
  const title = make('button', { type: 'button', className: 'name', title: [...graph.groupsOf(leaf), name].join(' › ') }, name);
  title.addEventListener('click', () => select(leaf, true));
  const slider = make('input', { type: 'range', min: low, max: high, step: 'any', 'aria-label': `slider of ${name}` });
  const typed = make('input', { type: 'text', inputMode: 'decimal', 'aria-label': `value of ${name}` });
  const row = make('div', { className: 'leaf', 'data-leaf': leaf }, title, slider, typed);
  slider.addEventListener('input', () => changeLeaf(leaf, Number(slider.value)));
  typed.addEventListener('change', () => {
    const number = numberTyped(typed.value);
    typed.setAttribute('aria-invalid', String(number === null));
    if (number === null) say(`${typed.value} is not a number`);
    else changeLeaf(leaf, number);
  });
  showLeaf(row);
  return row;
}

function numberTyped(text) {
  const plain = text.trim().replaceAll('−', '-').toLowerCase();
  if (/^[-+]?inf(inity)?$|^[-+]?∞$/.test(plain)) return plain.startsWith('-') ? -Infinity : Infinity;
  if (plain === 'nan') return NaN;
  return plain === '' || Number.isNaN(Number(plain)) ? null : Number(plain);
}

function showLeaf(row) {
  const number = graph.value[Number(row.dataset.leaf)];
  const [slider, typed] = row.querySelectorAll('input');
  if (document.activeElement !== slider) slider.value = number;
  if (document.activeElement !== typed) typed.value = full(number).replaceAll('−', '-');
}

function changeLeaf(leaf, number) {
  replayed = null;
  graph.change([[leaf, number]]);
  numbersChanged();
}

function resetLeaves() {
  replayed = null;
  graph.reset();
  numbersChanged();
  announce('All leaves are back at their values');
}

// Move a leaf by a little, and compare the change of the root with the gradient
function nudge(leaf, amount) {
  const start = graph.value[leaf];
  const grad = graph.grad[leaf];
  const before = graph.value[graph.root];
  const moved = start + amount;
  graph.change([[leaf, moved]]);
  const after = graph.value[graph.root];
  graph.change([[leaf, start]]);
  return { ratio: (after - before) / (moved - start), grad, change: after - before };
}

function nudgeControls(leaf) {
  const amount = make('input', { type: 'text', value: '0.001', size: 8, 'aria-label': 'ε' });
  const button = make('button', { type: 'button' }, 'Nudge by ε');
  const result = make('p', { className: 'formula', id: 'nudged', role: 'status' });
  button.addEventListener('click', () => {
    const number = numberTyped(amount.value);
    if (!number || !Number.isFinite(number)) { result.textContent = 'ε is a number other than 0'; return; }
    const { ratio, grad, change } = nudge(leaf, number);
    result.textContent = `root changes by ${full(Number(change.toPrecision(6)))}: Δroot / ε = ${full(Number(ratio.toPrecision(6)))}, gradient ${full(Number(grad.toPrecision(6)))}`;
  });
  return make('div', {}, make('div', { className: 'row' }, amount, button), result);
}

const MOST_LEAVES = 60;

function showLeaves() {
  const body = byId('leaves-body');
  const leaves = [];
  for (let i = 0; i < graph.count; i += 1) if (graph.isLeaf(i)) leaves.push(i);
  leaves.sort((a, b) => (graph.nameOf(b) !== '') - (graph.nameOf(a) !== '') || a - b);
  const reset = make('button', { type: 'button', id: 'reset' }, 'Reset');
  reset.addEventListener('click', resetLeaves);
  body.append(make('p', { className: 'row' }, make('strong', { id: 'root-value' }), reset));
  body.append(...leaves.slice(0, MOST_LEAVES).map(leafControls));
  if (leaves.length > MOST_LEAVES) {
    body.append(make('p', { className: 'soft' }, `and ${(leaves.length - MOST_LEAVES).toLocaleString('en')} more: search for “leaf”, or choose one in the graph`));
  }
}

function numbersChanged() {
  walk.refresh();
  picture.update();
  showStep();
  refreshNumbers();
}

// What shows numbers beside the picture
function refreshNumbers() {
  document.querySelectorAll('[data-leaf]').forEach(showLeaf);
  const unknown = graph.valueUnknown[graph.root] ? ' (an operation in between is not of the table: only Python can compute it)' : '';
  byId('root-value').textContent = `${graph.titleOf(graph.root)} = ${valueText(graph.root)}${unknown}`;
  const focused = byId('selected-body').contains(document.activeElement);
  if (!focused) showSelected();
  if (byId('gradients').open) showGradients();
  if (byId('health').open) showHealth();
  showReplayNumbers();
}

// Finding

function showFind() {
  const input = make('input', { type: 'search', id: 'search', placeholder: 'name, operation, 0.5, > 10, nan', 'aria-label': 'Search nodes' });
  const count = make('p', { className: 'soft', id: 'search-count', role: 'status' });
  const found = make('div', { id: 'search-found' });
  const search = () => {
    const nodes = findings.search(input.value);
    found.replaceChildren(input.value.trim() ? list(nodes) : '');
    count.textContent = input.value.trim() ? `${nodes.length.toLocaleString('en')} found` : '';
    return nodes;
  };
  input.addEventListener('input', search);
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') { const [first] = search(); if (first !== undefined) select(first, true); }
    if (event.key === 'Escape') { input.value = ''; search(); input.blur(); }
  });
  const heaviest = make('button', { type: 'button', id: 'heaviest' }, 'Heaviest path');
  heaviest.title = 'from the root to a leaf, by the product of local gradients; to the selected leaf if one is';
  heaviest.addEventListener('click', () => {
    const { path, product } = findings.heaviestPath(graph.isLeaf(selected) ? selected : -1);
    mark(path, path.length ? `${path.length} nodes from ${graph.titleOf(path[0])} to the root; product of local gradients ±${short(product)}` : 'No gradient reaches this leaf');
  });
  const clear = make('button', { type: 'button', id: 'unmark' }, 'Clear mark');
  clear.addEventListener('click', () => mark([], ''));
  byId('find-body').append(make('div', { className: 'row' }, input), count, found,
    make('div', { className: 'row' }, heaviest, clear), make('p', { id: 'path-text', role: 'status' }), make('div', { id: 'path-list' }));
}

// Mark nodes in the picture, unfolding what hides them where there is room
function mark(nodes, text) {
  picture.path = new Set(nodes);
  if (nodes.length && nodes.length <= 200) nodes.forEach((node) => picture.reveal(node));
  picture.update();
  byId('path-text').textContent = text;
  byId('path-list').replaceChildren(nodes.length ? list(nodes, (node) => `∂ ${short(graph.grad[node])}`) : '');
  if (nodes.length) picture.centre(picture.covers[nodes[0]]);
}

function showGradients() {
  const body = byId('gradients-body');
  const leavesOnly = byId('leaves-only')?.checked ?? true;
  const box = make('input', { type: 'checkbox', id: 'leaves-only', checked: leavesOnly });
  box.addEventListener('change', showGradients);
  const grad = (node) => `∂ ${short(graph.grad[node])}`;
  body.replaceChildren(
    make('label', { className: 'row' }, box, 'leaves only'),
    make('p', { className: 'soft' }, 'largest'), list(findings.byGradient(leavesOnly, true, 10), grad),
    make('p', { className: 'soft' }, 'smallest'), list(findings.byGradient(leavesOnly, false, 10), grad),
  );
}

function showHealth() {
  const { off, saturated } = findings.quiet();
  const { values, grads, oddValues, oddGrads } = findings.origins();
  const toOrigin = (text, nodes, way) => nodes.map((node) => {
    const button = make('button', { type: 'button', className: 'origin' }, `${text}: ${equation(node)}`);
    button.addEventListener('click', () => {
      mark(way(node), `from ${graph.titleOf(node)} to the root`);
      select(node, true);
    });
    return make('p', {}, button);
  }).slice(0, 20);
  byId('health-body').replaceChildren(
    make('p', { className: 'soft' }, `ReLUs that are off (gradient 0): ${off.length}`), list(off),
    make('p', { className: 'soft' }, `saturated tanhs and sigmoids (under 2 % of their steepest): ${saturated.length}`), list(saturated),
    make('p', { className: oddValues ? 'warning' : 'soft' }, `values that are NaN or infinite: ${oddValues}`),
    ...toOrigin('begins at', values, (node) => findings.pathToRoot(node)),
    make('p', { className: oddGrads ? 'warning' : 'soft' }, `gradients that are NaN or infinite: ${oddGrads}`),
    ...toOrigin('begins at', grads, (node) => findings.pathToRoot(node)),
  );
}

// Training

const replay = data.history && {
  ...data.history,
  losses: unpacked(data.history.losses, Float64Array),
  values: unpacked(data.history.values, Float64Array),
  grads: unpacked(data.history.grads, Float64Array),
};

function showReplay() {
  if (!replay) return;
  byId('replay').hidden = false;
  const last = replay.losses.length - 1;
  const slider = make('input', { type: 'range', id: 'training', min: 0, max: last, value: last, step: 1, 'aria-label': 'Step of training' });
  slider.addEventListener('input', () => replayStep(Number(slider.value)));
  const chart = shape('svg', { class: 'chart', viewBox: '0 0 1000 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': 'Loss over the steps of training' });
  const finite = replay.losses.filter(Number.isFinite);
  const positive = finite.length > 0 && finite.every((x) => x > 0);
  const height = (x) => (positive ? Math.log(x) : x);
  const [low, high] = finite.reduce(([a, b], x) => [Math.min(a, height(x)), Math.max(b, height(x))], [Infinity, -Infinity]);
  const at = (i) => (1000 * i) / Math.max(last, 1);
  const points = [...replay.losses].map((x, i) => [at(i), 95 - (90 * (height(x) - low)) / (high - low || 1)])
    .filter(([, y]) => Number.isFinite(y));
  shape('path', { d: points.map(([x, y], i) => `${i ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(2)}`).join('') }, chart);
  shape('line', { id: 'training-now', x1: 1000, x2: 1000, y1: 0, y2: 100 }, chart);
  byId('replay-body').append(make('p', { id: 'training-text', className: 'equation', role: 'status' }), chart, slider,
    make('p', { className: 'soft' }, positive ? 'loss, on a logarithmic scale' : 'loss'), make('table', { id: 'training-weights' }));
  byId('training-text').textContent = `${replay.total} steps recorded`;
  showReplayNumbers();
}

function replayStep(k) {
  replayed = k;
  const width = replay.weights.length;
  const leaves = [];
  replay.weights.forEach((node, i) => { if (node >= 0 && graph.isLeaf(node)) leaves.push([node, replay.values[k * width + i]]); });
  graph.change(leaves);
  numbersChanged();
}

function showReplayNumbers() {
  if (!replay) return;
  const k = replayed ?? replay.losses.length - 1;
  const width = replay.weights.length;
  if (replayed !== null) {
    byId('training-text').textContent = `step ${replay.steps[k]}: loss ${short(replay.losses[k])}`;
    const x = (1000 * k) / Math.max(replay.losses.length - 1, 1);
    byId('training-now').setAttribute('x1', x);
    byId('training-now').setAttribute('x2', x);
  }
  const table = byId('training-weights');
  table.replaceChildren(make('tr', {}, ...['weight', 'value', 'gradient'].map((text) => make('th', { scope: 'col' }, text))));
  replay.names.slice(0, MOST_LEAVES).forEach((name, i) => {
    table.append(make('tr', {}, make('td', {}, name), make('td', {}, short(replay.values[k * width + i])),
      make('td', {}, short(replay.grads[k * width + i]))));
  });
}

// Steps

function go(step, follow = true) {
  walk.go(step);
  picture.svg.classList.toggle('is-forward', walk.phase === 'forward' || walk.phase === 'start');
  picture.update();
  showStep();
  byId('scrub').max = walk.length;
  byId('scrub').value = walk.step;
  byId('scrub').setAttribute('aria-valuetext', describeStep());
  byId('counter').textContent = `${PHASES[walk.phase]} · ${walk.step} of ${walk.length}`;
  if (follow && walk.active.length && !picture.fitted) picture.centre(picture.covers[walk.active[0]]);
  if (timer === null) announce(describeStep());
}

function play(on) {
  if (timer !== null) clearTimeout(timer);
  timer = null;
  byId('play').textContent = on ? '⏸ Pause' : '▶ Play';
  byId('play').setAttribute('aria-label', on ? 'Pause' : 'Play');
  if (!on) return;
  const tick = () => {
    if (walk.step >= walk.length) { play(false); return; }
    timer = setTimeout(tick, Number(byId('speed').value));
    go(walk.step + 1);
  };
  if (walk.step >= walk.length) go(0);
  timer = setTimeout(tick, 150);
}

function useBy(by) {
  const part = walk.step / walk.length;
  walk.use(by);
  byId('by').value = by;
  go(part === 1 ? walk.length : Math.round(part * walk.length));
}

// Selection, folding, messages

function select(node, reveal = false) {
  selected = node;
  if (reveal) { picture.reveal(node); picture.current = node; picture.update(); picture.centre(node, graph.count > 300); }
  showSelected();
  announce(`${equation(node)}, gradient ${short(graph.grad[node])}`);
}

function activate(box) {
  picture.current = box;
  if (!picture.isGroup(box)) { select(box); picture.update(); return; }
  if (!picture.toggle(box)) { say(`Too much to show at once (${MOST_BOXES} boxes): fold something first`); return; }
  announce(`group ${graph.titleOf(box)} ${picture.open.has(box) ? 'unfolded' : 'folded'}`);
  byId('picture').querySelector('[tabindex="0"]')?.focus({ preventScroll: true });
}

let announced = null;
function announce(text) { // once things are still
  clearTimeout(announced);
  announced = setTimeout(() => { byId('announcer').textContent = text; }, 150);
}

let said = null;
function say(text) {
  const message = byId('message');
  message.textContent = text;
  message.hidden = false;
  clearTimeout(said);
  said = setTimeout(() => { message.hidden = true; }, 5000);
}

// From box to box with the keyboard: along edges to the sides, else to what stands above or below
function neighbour(box, key) {
  const around = [...picture.edges.values()];
  let found = [];
  if (key === 'ArrowLeft') found = around.filter((edge) => edge.head === box).map((edge) => edge.tail);
  if (key === 'ArrowRight') found = around.filter((edge) => edge.tail === box).map((edge) => edge.head);
  if (found.length) return found[0];
  const [left, top, width, height] = picture.rect.get(box);
  const [x, y] = [left + width / 2, top + height / 2];
  const upright = key === 'ArrowUp' || key === 'ArrowDown';
  const sign = key === 'ArrowUp' || key === 'ArrowLeft' ? -1 : 1;
  let best = null;
  let least = Infinity;
  for (const [other, [l, t, w, h]] of picture.rect) {
    const [dx, dy] = [l + w / 2 - x, t + h / 2 - y];
    const [along, aside] = upright ? [dy * sign, Math.abs(dx)] : [dx * sign, Math.abs(dy)];
    if (other !== box && along > 1 && along + 2 * aside < least) { best = other; least = along + 2 * aside; }
  }
  return best;
}

// Mouse, touch and keys

function listenToPicture() {
  const svg = byId('picture');
  const pointers = new Map();
  let moved = 0;
  const boxAt = (event) => event.target.closest('[data-box]');
  svg.addEventListener('pointerdown', (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    moved = 0;
  });
  svg.addEventListener('pointermove', (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) { showTip(boxAt(event), event); return; }
    const now = [event.clientX, event.clientY];
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const far = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]);
      const frame = svg.getBoundingClientRect();
      picture.zoom(far(now) / Math.max(far(last), 1), other[0] - frame.left, other[1] - frame.top);
    } else if (moved + Math.hypot(now[0] - last[0], now[1] - last[1]) > 4) {
      svg.setPointerCapture(event.pointerId);
      svg.classList.add('dragging');
      picture.pan(now[0] - last[0], now[1] - last[1]);
    }
    moved += Math.hypot(now[0] - last[0], now[1] - last[1]);
    pointers.set(event.pointerId, now);
  });
  const release = (event) => { pointers.delete(event.pointerId); svg.classList.remove('dragging'); };
  svg.addEventListener('pointerup', release);
  svg.addEventListener('pointercancel', release);
  svg.addEventListener('pointerleave', () => { byId('tooltip').hidden = true; });
  svg.addEventListener('click', (event) => {
    const element = boxAt(event);
    if (element && moved <= 4) activate(Number(element.dataset.box));
  });
  svg.addEventListener('wheel', (event) => {
    event.preventDefault();
    const frame = svg.getBoundingClientRect();
    picture.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event.clientX - frame.left, event.clientY - frame.top);
  }, { passive: false });
  svg.addEventListener('focusin', (event) => {
    const element = boxAt(event);
    if (!element) return;
    picture.current = Number(element.dataset.box);
    picture.centre(picture.current);
  });
}

// Beside the pointer: the operation, and the line of the program that made the node
function showTip(element, event) {
  const tip = byId('tooltip');
  tip.hidden = !element;
  if (!element) return;
  const box = Number(element.dataset.box);
  const line = data.sources[data.lines[box]];
  tip.textContent = picture.isGroup(box)
    ? `${graph.titleOf(box)}: ${graph.groups[box - graph.count].size.toLocaleString('en')} nodes`
    : `${equation(box)}${line ? `\n${line}` : ''}`;
  const frame = byId('stage').getBoundingClientRect();
  tip.style.left = `${Math.min(event.clientX - frame.left + 14, Math.max(frame.width - 220, 0))}px`;
  tip.style.top = `${event.clientY - frame.top + 18}px`;
}

function onKey(event) {
  const { target, key } = event;
  const typing = target.matches('input:not([type="range"]):not([type="checkbox"]), select, textarea');
  if (event.ctrlKey || event.metaKey || event.altKey || typing || byId('keys').open) return;
  const box = target.closest?.('[data-box]');
  if (box && event.shiftKey && key.startsWith('Arrow')) {
    const next = neighbour(Number(box.dataset.box), key);
    if (next !== null) { picture.current = next; picture.update(); picture.elements.get(next).focus({ preventScroll: true }); picture.centre(next); }
    event.preventDefault();
    return;
  }
  if (box && (key === 'Enter' || key === ' ')) { activate(Number(box.dataset.box)); event.preventDefault(); return; }
  const isControl = target.matches('button, summary, a, input');
  if ((key === ' ' || key === 'Enter') && isControl && !target.matches('[type="range"]')) return;
  if (target.matches('[type="range"]') && target.id !== 'scrub' && /^(Arrow|Home|End|Page)/.test(key)) return;
  const actions = {
    ArrowRight: () => stepBy(1),
    ArrowLeft: () => stepBy(-1),
    Home: () => stepBy(-Infinity),
    End: () => stepBy(Infinity),
    ' ': () => play(timer === null),
    l: () => useBy(walk.by === 'node' ? 'level' : 'node'),
    '/': () => { byId('find').open = true; byId('search').focus(); },
    '?': () => byId('keys').showModal(),
    '+': () => picture.zoom(1.25),
    '=': () => picture.zoom(1.25),
    '-': () => picture.zoom(0.8),
    0: () => picture.fit(),
    u: () => unfoldAll(),
    f: () => picture.foldAll(),
  };
  if (key in actions) { actions[key](); event.preventDefault(); }
}

function stepBy(count) {
  play(false);
  go(walk.step + count);
}

function unfoldAll() {
  if (!picture.unfoldAll()) say(`Nothing more to unfold at once (the limit is ${MOST_BOXES} boxes): unfold groups one by one`);
}

function listen() {
  const onClick = {
    first: () => stepBy(-Infinity),
    back: () => stepBy(-1),
    play: () => play(timer === null),
    next: () => stepBy(1),
    last: () => stepBy(Infinity),
    'zoom-in': () => picture.zoom(1.25),
    'zoom-out': () => picture.zoom(0.8),
    fit: () => picture.fit(),
    'unfold-all': unfoldAll,
    'fold-all': () => picture.foldAll(),
    theme: () => useTheme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'),
    help: () => byId('keys').showModal(),
  };
  for (const [id, action] of Object.entries(onClick)) byId(id).addEventListener('click', action);
  byId('scrub').addEventListener('input', (event) => { play(false); go(Number(event.target.value)); });
  byId('by').addEventListener('change', (event) => useBy(event.target.value));
  byId('gradients').addEventListener('toggle', () => { if (byId('gradients').open) showGradients(); });
  byId('health').addEventListener('toggle', () => { if (byId('health').open) showHealth(); });
  document.addEventListener('keydown', onKey);
  new ResizeObserver(() => { if (picture.fitted) picture.fit(); }).observe(byId('stage'));
  const dark = matchMedia('(prefers-color-scheme: dark)');
  useTheme(dark.matches ? 'dark' : 'light');
  dark.addEventListener('change', () => useTheme(dark.matches ? 'dark' : 'light'));
  let theme = null;
  addEventListener('beforeprint', () => { theme = document.documentElement.dataset.theme; useTheme('light'); picture.fit(); });
  addEventListener('afterprint', () => { useTheme(theme); picture.fit(); });
}

function useTheme(theme) { document.documentElement.dataset.theme = theme; }

byId('title').textContent = data.title;
const leafCount = graph.kind.filter((kind) => kind < 0).length;
byId('summary').textContent = `${graph.count.toLocaleString('en')} nodes, ${leafCount.toLocaleString('en')} leaves`;
listen();
showLeaves();
showFind();
showReplay();
picture.lay();
picture.begin();
listenToPicture();
refreshNumbers();
go(walk.length, false);
document.documentElement.dataset.ready = 'yes';
