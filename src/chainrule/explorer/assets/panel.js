// The panel: what happens at the step, or what is known of the node that was chosen; the leaves to
// change; what can be found.

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
const names = new Names(graph);
const picture = new Picture(graph, walk, data, byId('picture'));
let selected = null; // the node that was chosen; null while the panel follows the step
let changed = []; // leaves with other values than Python's
let timer = null;
let replayed = null; // the step of the training run that the leaves show

const MOST_CARDS = 6;
const MOST_LEAVES = 60;
const root = () => names.label(graph.root);

const slotsOf = (node) => {
  const slots = [];
  for (let slot = graph.start[node]; slot < graph.start[node + 1]; slot += 1) {
    if (graph.operand[slot] >= 0) slots.push(slot);
  }
  return slots;
};

// One thing at a time: a chosen node, else what the step does

function showStep() {
  const body = byId('step-body');
  const { phase, active } = walk;
  byId('step-title').textContent = selected === null ? 'Step' : picture.isGroup(selected) ? 'Group' : 'Node';
  if (selected !== null) {
    const back = make('button', { type: 'button', id: 'follow' }, 'Back to the step');
    back.addEventListener('click', () => { selected = null; picture.update(); showStep(); });
    body.replaceChildren(picture.isGroup(selected) ? chosenGroup(selected) : nodeCard(selected), back);
  } else if (phase === 'start') {
    const found = [make('p', {}, `The leaves have values. Press play: ${root()} is computed from them, and then its derivatives, from ${root()} back to every leaf.`)];
    body.replaceChildren(...found);
  } else if (phase === 'seed') {
    const card = nodeCard(graph.root);
    card.append(make('p', { className: 'message' }, 'grad = 1'),
      make('p', { className: 'soft' }, `Backpropagation starts at ${root()}: its derivative by itself is 1.`));
    body.replaceChildren(card);
  } else {
    const { boxes } = walk;
    const running = new Map();
    body.replaceChildren(...boxes.slice(0, MOST_CARDS).map((box) => (
      picture.isGroup(box) ? groupCard(box, active.filter((node) => picture.covers[node] === box)) : nodeCard(box, running))));
    if (boxes.length > MOST_CARDS) body.append(make('p', { className: 'soft' }, `and ${boxes.length - MOST_CARDS} more of this level`));
  }
}

function titleLine(box) {
  const button = make('button', { type: 'button', title: picture.isGroup(box) ? 'Fold or unfold' : 'Show in the graph' }, graph.titleOf(box));
  button.addEventListener('click', () => (picture.isGroup(box) ? activate(box) : select(box, true)));
  const groups = picture.isGroup(box) ? '' : graph.groupsOf(box).join(' › ');
  return make('p', { className: 'row' }, button, make('span', { className: 'soft' }, groups));
}

function groupCard(box, nodes) {
  const way = walk.phase === 'forward' ? 'forward' : 'backward';
  const card = make('div', { className: `card ${way}` }, titleLine(box));
  const count = `${nodes.length.toLocaleString('en')} operation${nodes.length === 1 ? '' : 's'}`;
  card.append(make('p', { className: 'equation' }, way === 'forward' ? `${count} computed` : `${count} sent their gradients back`));
  card.append(...usedOutside(nodes, (r) => picture.covers[r] === box),
    make('p', { className: 'soft' }, picture.group(box).side ? 'Go to one of these trips to see its nodes.' : 'Unfold it to go through it node by node.'));
  return card;
}

// The results of a group
function usedOutside(nodes, isInside) {
  const outside = [];
  for (const node of nodes) {
    if (outside.length === MOST_OPERANDS) break;
    if (node === graph.root || graph.usesOf(node).some((r) => !isInside(r))) outside.push(node);
  }
  if (!outside.length) return [];
  return [make('p', { className: 'soft' }, 'what others use of it'), list(outside, (node) => (picture.hasGradient(node) ? `∂ ${compact(walk.grad[node])}` : ''))];
}

// A group that was folded or unfolded
function chosenGroup(box) {
  const nodes = graph.nodesIn(box);
  const inside = new Set(nodes);
  return make('div', { className: 'card' }, titleLine(box),
    make('p', { className: 'equation' }, `${nodes.length.toLocaleString('en')} nodes`),
    make('p', { className: 'soft' }, picture.open.has(box) ? 'Unfolded in the graph: a click on its heading folds it again.' : 'Folded in the graph: a click on it unfolds it.'),
    ...usedOutside(nodes, (r) => inside.has(r)));
}

function nodeCard(node, running = new Map()) {
  const evaluated = walk.isEvaluated(node);
  const sending = walk.phase === 'backward' && walk.sentAt[node] === walk.step;
  const card = make('div', { className: `card ${walk.isBackward ? 'backward' : 'forward'}` }, titleLine(node));
  if (!graph.isLeaf(node)) card.append(make('p', { className: 'soft definition' }, names.definition(node)));
  card.append(make('p', { className: 'equation' }, evaluated ? names.equation(node) : 'not yet computed'));
  if (walk.isBackward && node !== graph.root) {
    card.append(make('p', { className: 'equation gradient' },
      walk.unknown[node] ? 'gradient unknown' : `∂${root()}/∂${names.closed(node)} = ${compact(walk.grad[node])}${hasAll(node) ? '' : ' so far'}`));
  }
  if (evaluated && graph.isOff(node)) card.append(make('p', {}, 'Off: its input is not above 0, so it sends no gradient on.'));
  if (sending && !walk.reached[node] && !walk.unknown[node]) card.append(make('p', {}, 'No message has reached it; it sends none.'));
  else if (evaluated) for (const slot of slotsOf(node).slice(0, MOST_OPERANDS)) card.append(...operandLines(node, slot, sending, running));
  if (selected === node) card.append(...details(node, evaluated));
  return card;
}

// Whether all messages to a node have come
const hasAll = (node) => graph.resultsFrom(node).every((r) => walk.sentAt[r] <= walk.step);

// The local gradient, and the message while it goes
function operandLines(node, slot, sending, running) {
  const p = graph.operand[slot];
  const lines = [make('p', { className: 'formula' }, names.local(node, slot))];
  if (!sending) return lines;
  const target = names.closed(p);
  if (!graph.isSent(node, slot)) return [make('p', { className: 'message' }, `${target} was not picked: it is sent nothing`)];
  const grad = walk.grad[node];
  const message = grad * graph.local[slot];
  const before = running.get(p) ?? walk.gradBefore(p);
  running.set(p, before + message);
  const more = before === 0 ? '' : `; its sum ${compact(before)} → ${compact(before + message)}`;
  lines.push(make('p', { className: 'message' }, `${target}.grad += ${compact(grad)} × ${bracketed(compact(graph.local[slot]))} = ${compact(message)}${more}`));
  return lines;
}

function details(node, evaluated) {
  const found = [];
  const rows = [];
  if (evaluated && graph.valueUnknown[node]) rows.push(['value', 'unknown: only Python can compute it anew']);
  if (node in data.lines) rows.push(['made at', data.sources[data.lines[node]]]);
  if (walk.step === walk.length && !walk.unknown[node] && graph.grad[node] === 0) found.push(...whyZero(node));
  if (rows.length) found.push(make('table', {}, ...rows.map(([name, text]) => make('tr', {}, make('th', { scope: 'row' }, name), make('td', {}, text)))));
  if (graph.isLeaf(node)) found.push(leafControls(node), ...adviceOn(node), nudgeControls(node));
  const operands = [...new Set([...graph.operandsOf(node)].filter((p) => p >= 0))];
  if (operands.length) found.push(make('p', { className: 'soft' }, 'computed from'), list(operands, undefined, { near: node }));
  const results = graph.resultsFrom(node);
  if (results.length) found.push(make('p', { className: 'soft' }, walk.isBackward ? `used by; each result r adds ∂${root()}/∂r × ∂r/∂${names.label(node)}` : 'used by'), list(results, (r) => addedBy(r, node), { near: node }));
  return found;
}

function whyZero(node) {
  const stops = findings.stops(node);
  const text = stops.length ? `The gradient is 0: on the way to ${root()} the local gradient is 0 at` : 'The gradient is 0: what its results send adds up to 0.';
  return [make('p', { className: 'message' }, text), ...(stops.length ? [list(stops, (r) => names.equation(r), { most: 10 })] : [])];
}

// Why a gradient is what it is: what a result has sent to a node
function addedBy(result, node) {
  if (!walk.isBackward || walk.sentAt[result] > walk.step || walk.unknown[result]) return '';
  const slots = slotsOf(result).filter((slot) => graph.operand[slot] === node);
  const terms = slots.map((slot) => (graph.isSent(result, slot)
    ? `${brief(walk.grad[result])} × ${bracketed(brief(graph.local[slot]))} = ${brief(walk.grad[result] * graph.local[slot])}` : 'nothing: not picked'));
  return terms.join(' + ');
}

const PHASES = { start: 'Start', forward: 'Forward', seed: 'Backward', backward: 'Backward' };

function describeStep() {
  const { phase, active } = walk;
  if (phase === 'start') return 'Start: only the leaves have values';
  if (phase === 'seed') return `The gradient of ${root()} is 1`;
  const box = picture.covers[active[0]];
  const others = walk.boxes.length - 1;
  const more = others ? `, and ${others} more` : '';
  if (picture.isGroup(box)) return `${PHASES[phase]}: group ${graph.titleOf(box)}${more}`;
  if (phase === 'forward') return `Forward: ${names.label(box)}: ${names.equation(box)}${more}`;
  return `Backward from ${names.label(box)}: gradient ${compact(walk.grad[box])}${more}`;
}

// Lists of nodes

function link(node, more = '', near = null) {
  const isNear = near !== null && graph.groupOf(node) === graph.groupOf(near);
  const button = make('button', { type: 'button', title: names.place(node) },
    make('span', {}, names.described(node, isNear)), make('span', {}, more || (walk.isEvaluated(node) ? names.valueText(node) : '?')));
  button.addEventListener('click', () => select(node, true));
  return make('li', {}, button);
}

function list(nodes, more = () => '', { most = 100, near = null } = {}) {
  const found = make('ul', { className: nodes.length > 10 ? 'found long' : 'found', tabIndex: 0 }, ...nodes.slice(0, most).map((node) => link(node, more(node), near)));
  if (!nodes.length) return make('p', { className: 'soft' }, 'none');
  if (nodes.length > most) found.append(make('li', { className: 'soft' }, `and ${nodes.length - most} more`));
  return found;
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
  const name = names.place(leaf);
  const title = make('button', { type: 'button', className: 'name', title: name }, name);
  title.addEventListener('click', () => select(leaf, true));
  const slider = make('input', { type: 'range', min: low, max: high, step: 'any', 'aria-label': `slider of ${name}` });
  const typed = make('input', { type: 'text', inputMode: 'decimal', 'aria-label': `value of ${name}` });
  const row = make('div', { className: `leaf${name.length > 10 ? ' long' : ''}`, 'data-leaf': leaf }, title, slider, typed);
  slider.addEventListener('input', () => changeLeaf(leaf, Number(slider.value)));
  typed.addEventListener('input', () => {
    const number = numberTyped(typed.value);
    if (number !== null) changeLeaf(leaf, number);
  });
  typed.addEventListener('change', () => {
    const number = numberTyped(typed.value);
    typed.setAttribute('aria-invalid', String(number === null));
    if (number === null) say(`${typed.value} is not a number`);
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
  const leaf = Number(row.dataset.leaf);
  const number = graph.value[leaf];
  row.classList.toggle('changed', graph.isMoved(leaf));
  const [slider, typed] = row.querySelectorAll('input');
  if (document.activeElement !== slider) slider.value = number;
  if (document.activeElement !== typed) { typed.value = full(Number(number.toPrecision(6))).replaceAll('−', '-'); typed.title = full(number); }
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

// Move a leaf by a little and back, and compare the change of the root with the gradient
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
  const amount = make('input', { type: 'text', value: '0.001', size: 8 });
  const button = make('button', { type: 'button' }, 'Nudge by ε');
  const result = make('p', { className: 'formula', id: 'nudged', role: 'status' });
  button.addEventListener('click', () => {
    const number = numberTyped(amount.value);
    if (!number || !Number.isFinite(number)) { result.textContent = 'ε is a number other than 0'; return; }
    const { ratio, grad, change } = nudge(leaf, number);
    const digits = (x) => full(Number(x.toPrecision(6)));
    result.textContent = `With ${names.label(leaf)} + ε, ${root()} would change by ${digits(change)}: Δ${root()} / ε = ${digits(ratio)}, gradient ${digits(grad)}. Nothing was changed.`;
  });
  return make('div', { className: 'nudge' }, make('div', { className: 'row' }, make('label', {}, 'ε = ', amount), button), result);
}

// Which way makes the root smaller
function adviceOn(leaf) {
  const grad = graph.grad[leaf];
  if (walk.step < walk.length || walk.unknown[leaf] || !Number.isFinite(grad) || grad === 0) return [];
  return [make('p', {}, `${grad < 0 ? 'Raise' : 'Lower'} ${names.label(leaf)} a little to make ${root()} smaller.`)];
}

// A card's numbers anew, around the control that is in use
function refreshCard() {
  const held = document.activeElement.closest('#step-body .card > .leaf, #step-body .card > .nudge');
  if (held === null) return;
  const fresh = [...nodeCard(selected).children];
  const at = fresh.findIndex((element) => element.classList[0] === held.classList[0]);
  for (const element of [...held.parentElement.children]) if (element !== held) element.remove();
  held.before(...fresh.slice(0, at));
  held.after(...fresh.slice(at + 1));
}

function showLeaves() {
  const body = byId('leaves-body');
  const all = graph.leaves();
  const leaves = names.inOrder(all.slice(0, 100 * MOST_LEAVES)); // of more, the first
  byId('reset').addEventListener('click', resetLeaves);
  body.append(...leaves.slice(0, MOST_LEAVES).map(leafControls));
  if (all.length > MOST_LEAVES) {
    body.append(make('p', { className: 'soft' }, `and ${(all.length - MOST_LEAVES).toLocaleString('en')} more: search for “leaf”, or choose one in the graph`));
  }
}

function numbersChanged() {
  changed = graph.leaves().filter((leaf) => graph.isMoved(leaf));
  walk.go(walk.step || walk.length); // with numbers to see
  picture.update();
  const inUse = byId('step-body').contains(document.activeElement);
  stepChanged(!inUse);
  if (inUse) refreshCard();
  refreshNumbers();
}

// What shows numbers beside the picture
function refreshNumbers() {
  document.querySelectorAll('[data-leaf]').forEach(showLeaf);
  showRoot();
  showAlert();
  showTurned();
  if (byId('gradients').open) showGradients();
  if (byId('health').open) showHealth();
  showReplayNumbers();
}

// What shows numbers as far as the walk has come
function showRoot() {
  const unknown = graph.valueUnknown[graph.root] ? ' (an operation in between is not of the table: only Python can compute it)' : '';
  const value = walk.isEvaluated(graph.root) ? names.valueText(graph.root) + unknown : '?';
  const before = changed.length && value !== '?' ? `${compact(graph.recorded[graph.root])} → ` : '';
  byId('root-value').textContent = `${clipped(root(), 30)} = ${before}${value}`;
  byId('changed').textContent = changed.length ? `changed: ${changed.length > 3 ? `${changed.length} leaves` : changed.map((leaf) => names.place(leaf)).join(', ')}` : '';
  byId('reset').hidden = !changed.length;
  showLegend();
}

// What colours and widths mean, with their scales

function showLegend() {
  const item = (...parts) => make('span', {}, ...parts.map((part) => (typeof part === 'string' ? make('span', {}, part) : part)));
  const scale = (text, className, size) => item(text, size > 0 ? `−${compact(size)}` : '−',
    make('span', { className: `scale ${className}` }), size > 0 ? compact(size) : '+');
  byId('legend').replaceChildren(
    scale(`box: ∂${clipped(root(), 12)}/∂value`, 'boxes', walk.isBackward ? graph.largest : 0),
    item(make('span', { className: 'swatch' }), 'not finite'),
    scale('edge: ∂result/∂operand', 'lines', picture.heaviest),
    ...(picture.silent ? [item('dotted: sends 0')] : []),
  );
}

// Where values stop being numbers, at once

function showAlert() {
  const { values, grads, oddValues, oddGrads } = findings.origins();
  const [node] = [...values, ...grads];
  byId('alert').hidden = node === undefined;
  if (node === undefined) return;
  const button = make('button', { type: 'button' }, `It begins at ${names.place(node)}: show`);
  button.addEventListener('click', () => {
    mark(findings.pathToRoot(node), `from ${names.place(node)} to ${root()}`);
    go(walk.length, false);
    select(node, true);
  });
  byId('alert').replaceChildren(make('p', { className: 'warning' },
    `${oddValues.toLocaleString('en')} values and ${oddGrads.toLocaleString('en')} gradients are NaN or infinite.`), button);
}

// Where the values lead the program another way than the one that was recorded

const COMPARISONS = { less: ['<', '≥'], less_equal: ['≤', '>'], equal: ['=', '≠'], not_equal: ['≠', '='] };

function showTurned() {
  const found = graph.turned();
  byId('turned').hidden = found === null;
  if (found === null) return;
  const side = (p) => (p < 0 ? compact(graph.valueOf(p)) : names.expression(p)[0]);
  const signs = COMPARISONS[found.operation] ?? [found.operation, `not ${found.operation}`];
  const [was, is] = found.outcome ? signs : [...signs].reverse();
  byId('turned').replaceChildren(
    make('p', { className: 'warning' }, 'Your program would go another way here.'),
    make('p', {}, `It ran with ${side(found.a)} ${was} ${side(found.b)}; now ${compact(graph.valueOf(found.a))} ${is} ${compact(graph.valueOf(found.b))}. What the page shows is still the way that was recorded: run the program with these values to see the other.`),
    make('p', { className: 'soft' }, found.line),
  );
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
  heaviest.title = 'from the last result to a leaf, by the product of local gradients; to the selected leaf if one is';
  heaviest.addEventListener('click', () => {
    const { path, product } = findings.heaviestPath(selected !== null && !picture.isGroup(selected) && graph.isLeaf(selected) ? selected : -1);
    mark(path, path.length ? `${path.length} nodes from ${names.place(path[0])} to ${root()}; product of local gradients ±${short(product)}` : 'No gradient reaches this leaf');
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
  const choices = { weights: names.weights(), leaves: graph.leaves(), 'all nodes': Array.from({ length: graph.count }, (_, i) => i) };
  if (!choices.weights.length || choices.weights.length === choices.leaves.length) delete choices.weights;
  const [chosen] = [byId('gradients-of')?.value, ...Object.keys(choices)].filter((choice) => choice in choices);
  const of = make('select', { id: 'gradients-of' }, ...Object.keys(choices).map((choice) => make('option', { selected: choice === chosen }, choice)));
  of.addEventListener('change', () => { showGradients(); byId('gradients-of').focus(); });
  const grad = (node) => `∂ ${short(graph.grad[node])}`;
  body.replaceChildren(
    make('label', { className: 'row' }, 'of ', of),
    make('p', { className: 'soft' }, 'largest by absolute value'), list(findings.byGradient(choices[chosen], true, 10), grad),
    make('p', { className: 'soft' }, 'smallest by absolute value'), list(findings.byGradient(choices[chosen], false, 10), grad),
  );
}

function showHealth() {
  const { off, saturated } = findings.quiet();
  const { values, grads, oddValues, oddGrads } = findings.origins();
  const toOrigin = (text, nodes, way) => nodes.map((node) => {
    const button = make('button', { type: 'button', className: 'origin' }, `${text}: ${names.place(node)}`);
    button.addEventListener('click', () => {
      mark(way(node), `from ${names.place(node)} to ${root()}`);
      go(walk.length, false);
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
