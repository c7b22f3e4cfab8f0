// The picture: boxes, frames of open groups and edges, as SVG, and the window onto it.

const NARROW = 0.6; // of the gaps, if everything stands in one line then
const FOOT = 46; // of the window: the legend
const READABLE = 10 / 12; // the scale at which the smallest letters, of 12 pixels, have 10
const SCALES = [1.25, 1.1, 1, 0.92, READABLE];
const PAPER = [680, 940]; // pixels of a printed page
const MOST_BOXES = 1500; // in view at once
const MOST_LABELS = 60; // on lit edges
const LONGEST_LABEL = 20;

function shape(name, attributes = {}, parent = null, text = null) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

class Picture {
  constructor(graph, walk, data, svg) {
    this.graph = graph;
    this.walk = walk;
    this.svg = svg;
    this.scene = svg.querySelector('#scene');
    this.layers = Object.fromEntries(
      ['frames', 'edges', 'boxes', 'labels'].map((id) => [id, svg.querySelector(`#${id}`)]),
    );
    this.boxSizes = [data.nodeSize, data.groupSize];
    this.whole = graph.count; // the box that is the graph itself
    this.open = new Set([this.whole]);
    this.current = graph.root; // the box that has the keyboard
    this.path = new Set(); // nodes that are marked
    this.view = { x: 0, y: 0, scale: 1 };
    this.fitted = true;
    this.onPaper = false;
    this.resized();
  }

  isGroup(box) { return this.graph.isGroup(box); }

  group(box) { return this.graph.group(box); }

  get rect() { return this.arrangement.rect; }

  // Layout

  // Arrange the boxes for a scale, in lines of the width there is, or in one; the size of the picture
  sized(scale, stretch = [1, 1], wrap = true) {
    const room = wrap ? this.window[0] / scale : Infinity;
    this.arrangement = new Arrangement(this.graph, this.boxSizes, this.open, room, stretch);
    return this.arrangement.size;
  }

  // Whether the picture has room in the window at a scale
  fitsAt(scale, stretch = [1, 1], wrap = true) {
    const [width, height] = this.sized(scale, stretch, wrap);
    return width * scale <= this.window[0] && height * scale <= this.window[1] - FOOT;
  }

  // In one line if it can be read well so; the largest scale at which everything is in the window, then
  // the widest gaps; where it has no room the least scale at which it can be read
  spread() {
    const largest = (lines, gap) => SCALES.find((s) => this.fitsAt(s, [gap, 1], lines)) ?? 0;
    const narrow = this.fitsAt(READABLE, [1, 1], false) ? 1 : NARROW;
    const one = largest(false, narrow);
    const wrap = one === 0;
    const scale = (wrap ? largest(true, 1) : one) || READABLE;
    const best = [wrap ? 1 : narrow, 1];
    if (this.fitsAt(scale, best, wrap) && this.rect.size < 400) {
      for (const [i, most] of [[1, 2.2], [0, 2.4], [1, 3]]) {
        for (let more = most; more > best[i]; more -= 0.2) {
          const tried = [...best];
          tried[i] = more;
          if (this.fitsAt(scale, tried, wrap)) { best[i] = more; break; }
        }
      }
    }
    this.sized(scale, best, wrap);
    return scale;
  }

  lay(scale = this.spread()) {
    this.arrangement.place();
    this.covers = this.coversOf();
    this.walk.follow(this.covers);
    this.draw();
    return scale;
  }

  // For every box, the one in view that it is, or is inside of
  coversOf() {
    const { parent, inside } = this.graph;
    const covers = new Int32Array(parent.length);
    covers[this.whole] = this.whole;
    const groups = [this.whole];
    for (const group of groups) {
      const shown = covers[group] === group && this.open.has(group);
      for (const box of inside[group - this.whole]) {
        covers[box] = shown ? box : covers[group];
        if (box > this.whole) groups.push(box);
      }
    }
    return covers;
  }

  // Drawing

  draw() {
    const { frames, boxes, edges } = this.layers;
    frames.replaceChildren();
    boxes.replaceChildren();
    edges.replaceChildren();
    this.elements = new Map();
    this.members = new Map(); // of folded groups
    let [last, some] = [-1, null];
    for (let node = 0; node < this.whole; node += 1) {
      const cover = this.covers[node];
      if (cover === node) continue;
      if (cover !== last) {
        last = cover;
        some = this.members.get(cover);
        if (!some) this.members.set(cover, some = []);
      }
      some.push(node);
    }
    for (const [box, rect] of this.rect) if (!this.open.has(box)) this.drawBox(box, ...rect);
    for (const [box, rect] of [...this.rect].reverse()) if (this.open.has(box)) this.drawFrame(box, ...rect); // outer ones below
    this.drawEdges();
    if (!this.elements.has(this.current)) this.current = this.covers[this.graph.root];
    this.update();
  }

  drawFrame(box, left, top, width, height) {
    const frame = shape('g', { class: 'frame', role: 'button', tabindex: '-1', 'data-box': box,
      'aria-expanded': 'true', 'aria-label': `group ${this.graph.titleOf(box)}, unfolded` }, this.layers.frames);
    shape('rect', { x: left, y: top, width, height, rx: 8 }, frame);
    shape('rect', { class: 'heading', x: left, y: top, width, height: HEADING, rx: 8 }, frame);
    const { trip } = this.group(box);
    const title = trip ? `${this.graph.titleOf(box)} of ${this.group(trip).loop.trips.length}` : this.graph.titleOf(box);
    shape('text', { x: left + 10, y: top + 18 }, frame, `▾ ${clipped(title, 60, width - (trip ? 90 : 34))}`);
    this.elements.set(box, frame);
    if (trip) for (const [by, sign, word] of [[-1, '◀', 'previous'], [1, '▶', 'next']]) this.drawStepper(trip, by, sign, word, left + width - (by < 0 ? 54 : 28), top + 2);
  }

  // To the trip of a loop before or after the one that is shown
  drawStepper(loop, by, sign, word, left, top) {
    const { at, trips } = this.group(loop).loop;
    const isLast = at + by < 0 || at + by >= trips.length;
    const stepper = shape('g', { class: 'stepper', role: 'button', tabindex: '0', 'data-loop': loop, 'data-by': by,
      'aria-label': `${word} trip of ${this.graph.titleOf(loop)}`, 'aria-disabled': isLast }, this.layers.frames);
    shape('rect', { x: left, y: top, width: 24, height: HEADING - 4, rx: 5 }, stepper);
    shape('text', { x: left + 12, y: top + 16 }, stepper, sign);
  }

  drawBox(box, left, top, width, height) {
    const isGroup = this.isGroup(box);
    const kind = isGroup ? 'group' : this.graph.isLeaf(box) ? 'leaf' : 'operation';
    const element = shape('g', { class: `box ${kind}`, role: 'button', tabindex: '-1', 'data-box': box,
      transform: `translate(${left} ${top})` }, this.layers.boxes);
    if (isGroup) {
      element.setAttribute('aria-expanded', 'false');
      shape('rect', { class: 'behind', x: 5, y: 5, width, height, rx: 8 }, element);
    }
    const rx = kind === 'leaf' ? height / 2 : 8;
    shape('rect', { class: 'base', width, height, rx }, element);
    shape('rect', { class: 'tint', width, height, rx }, element);
    if (isGroup) shape('rect', { class: 'tint', width, height, rx }, element);
    const middle = width / 2;
    this.titleIn(box, shape('text', { class: 'title', x: middle, y: 17 }, element));
    shape('text', { class: 'value', x: middle, y: isGroup ? 35 : 33 }, element);
    shape('text', { class: 'grad', x: middle, y: isGroup ? 52 : 48 }, element);
    this.elements.set(box, element);
  }

  // A name; an operation with its constants, for the other operands a dot: · ** 2
  titleIn(box, text) {
    const { graph } = this;
    if (this.isGroup(box)) { text.textContent = `▸ ${clipped(graph.titleOf(box), 30, this.boxSizes[1][0] - 34)}`; return; }
    const across = this.boxSizes[0][0] - 10;
    const part = (word, className) => {
      const span = shape('tspan', {}, text, word);
      if (className) span.setAttribute('class', className);
    };
    if (graph.isLeaf(box)) { text.textContent = clipped(graph.nameOf(box) || names.label(box), 20, across); return; }
    const symbol = names.symbol(box);
    const operands = [...graph.operandsOf(box)];
    const name = graph.nameOf(box);
    if (operands.length !== 2 || operands.every((p) => p >= 0)) part(clipped(symbol, name ? 6 : 20, across));
    else {
      const number = (p) => (p < 0 ? part(clipped(compact(graph.valueOf(p)), 7), 'constant') : part('·'));
      number(operands[0]);
      part(` ${clipped(symbol, 5)} `);
      number(operands[1]);
    }
    const room = across - widthOf(`${text.textContent} `);
    const called = name || names.label(box);
    if (!name && called.startsWith(symbol)) text.textContent = clipped(called, 20, across); // tanh 2
    else if (room > 16) part(` ${clipped(called, 20, room)}`, 'name');
  }

  drawEdges() {
    const { graph, covers } = this;
    this.edges = new Map();
    let [last, edge] = [-1, null];
    for (let node = 0; node < this.whole; node += 1) {
      const head = covers[node];
      for (let slot = graph.start[node]; slot < graph.start[node + 1]; slot += 1) {
        const p = graph.operand[slot];
        if (p < 0 || covers[p] === head) continue;
        const tail = covers[p];
        const key = tail * covers.length + head;
        if (key !== last) {
          last = key;
          edge = this.edges.get(key);
          if (!edge) {
            const path = shape('path', { class: 'edge', d: this.arrangement.routeOf(tail, head) }, this.layers.edges);
            this.edges.set(key, edge = { tail, head, path, slots: [], nodes: [], weight: null });
          }
        }
        edge.slots.push(slot);
        edge.nodes.push(node);
      }
    }
  }

  // What changes with the step and with the numbers

  update() {
    const { graph, walk } = this;
    const active = new Set(walk.boxes);
    if (walk.phase === 'seed') active.add(this.covers[graph.root]);
    for (const [box, element] of this.elements) {
      const isFrame = element.classList.contains('frame');
      const nodes = isFrame ? [] : this.isGroup(box) ? this.members.get(box) ?? [] : [box];
      element.classList.toggle('active', active.has(box));
      element.classList.toggle('current', box === this.current);
      element.classList.toggle('chosen', box === selected);
      element.setAttribute('tabindex', box === this.current ? '0' : '-1');
      if (isFrame) continue;
      element.classList.toggle('path', this.path.size > 0 && nodes.some((node) => this.path.has(node)));
      element.classList.toggle('waiting', !nodes.some((node) => walk.isEvaluated(node)));
      if (this.isGroup(box)) this.updateGroup(box, element, nodes);
      else this.updateNode(box, element);
    }
    this.updateEdges();
  }

  updateNode(node, element) {
    const { graph, walk } = this;
    const evaluated = walk.isEvaluated(node);
    const grad = walk.grad[node];
    const odd = evaluated && !graph.valueUnknown[node] && !Number.isFinite(graph.value[node]);
    const value = !evaluated ? '?' : graph.valueUnknown[node] ? 'unknown' : short(graph.value[node]);
    const gradient = names.gradientText(node);
    element.querySelector('.value').textContent = evaluated && graph.isOff(node) ? `${value} off` : value;
    const shown = this.hasGradient(node);
    element.querySelector('.grad').textContent = shown ? `∂ ${gradient}` : '';
    element.classList.toggle('odd', odd);
    element.classList.toggle('changed', graph.isMoved(node));
    const known = shown && !walk.unknown[node];
    const tint = element.querySelector('.tint');
    if (odd || (known && !Number.isFinite(grad))) this.tint(tint, 'odd', 0.8);
    else this.tint(tint, grad < 0 ? 'negative' : 'positive', known ? this.strength(grad) : 0);
    const title = graph.isLeaf(node) ? `leaf ${names.place(node)}` : `${names.symbol(node)} ${names.place(node)}`;
    element.setAttribute('aria-label', `${title}, value ${value === '?' ? 'not yet known' : value}${shown ? `, gradient ${gradient}` : ''}${graph.isMoved(node) ? `, changed from ${short(graph.recorded[node])}` : ''}`);
  }

  // Whether something is known of a node's gradient at this step
  hasGradient(node) {
    const { walk } = this;
    return walk.isBackward && Boolean(walk.reached[node] || walk.unknown[node] || walk.step === walk.length);
  }

  // Of a folded group the range of the gradients known at this step; its colours have the parts of both signs
  updateGroup(box, element, nodes) {
    const { graph, walk } = this;
    let [least, most, positive, negative, odd] = [Infinity, -Infinity, 0, 0, 0];
    const { grad, reached, evaluatedAt, step, isBackward } = walk;
    const isOver = step === walk.length;
    for (let i = 0; i < nodes.length; i += 1) {
      const node = nodes[i];
      const isKnown = isBackward && (isOver || reached[node]);
      const found = isKnown ? grad[node] : 0;
      const value = evaluatedAt[node] <= step && !graph.valueUnknown[node] ? graph.value[node] : 0;
      if (found - found !== 0 || value - value !== 0) odd += 1;
      else if (isKnown) {
        if (found < least) least = found;
        if (found > most) most = found;
        if (found < 0) negative -= found;
        else positive += found;
      }
    }
    const size = Math.max(Math.abs(least), Math.abs(most));
    const count = `${this.group(box).size.toLocaleString('en')} nodes`;
    const range = least === most ? brief(least) : `${brief(least)} … ${brief(most)}`;
    const gradient = least <= most ? `∂ ${range}` : '';
    element.querySelector('.value').textContent = odd ? `${odd.toLocaleString('en')} not finite` : count;
    element.querySelector('.grad').textContent = gradient;
    element.classList.toggle('odd', odd > 0);
    const [first, second] = element.querySelectorAll('.tint');
    const width = Number(element.querySelector('.base').getAttribute('width'));
    const part = odd ? 1 : positive + negative > 0 ? positive / (positive + negative) : 1;
    first.setAttribute('width', width * part);
    second.setAttribute('width', width * (1 - part));
    second.setAttribute('x', width * part);
    const strength = least <= most ? this.strength(size) : 0;
    this.tint(first, odd ? 'odd' : 'positive', odd ? 0.8 : strength);
    this.tint(second, 'negative', strength);
    element.setAttribute('aria-label', `group ${graph.titleOf(box)}, ${count}, folded${odd ? `, ${odd} not finite` : ''}${gradient ? `, gradients ${range}` : ''}`);
  }

  strength(grad) {
    return this.graph.largest > 0 ? Math.min(Math.sqrt(Math.abs(grad) / this.graph.largest), 1) * 0.55 : 0;
  }

  tint(rect, sign, strength) {
    rect.setAttribute('class', `tint ${sign}`);
    rect.setAttribute('fill-opacity', strength.toFixed(3));
  }

  // Edges have the width and the sign of their local gradients; on lit ones goes a message
  updateEdges() {
    const { graph, walk } = this;
    const forward = walk.phase === 'forward';
    const at = forward ? walk.evaluatedAt : walk.sentAt;
    const active = new Set(walk.phase === 'seed' ? [] : walk.boxes);
    const { labels } = this.layers;
    labels.replaceChildren();
    this.heaviest = 0;
    for (const edge of this.edges.values()) this.heaviest = Math.max(this.heaviest, this.weigh(edge).size);
    let lit = 0;
    this.silent = 0; // edges along which no gradient has gone
    const messages = new Map();
    for (const { tail, head, path, slots, nodes, weight: { size, sign } } of this.edges.values()) {
      const isSent = (slot, i) => at[nodes[i]] === walk.step && (forward || walk.grad[nodes[i]] !== 0);
      const going = active.has(head) ? slots.filter(isSent) : [];
      const on = going.length > 0;
      const nothing = !on && walk.step === walk.length && slots.every((slot, i) => walk.grad[nodes[i]] * graph.local[slot] === 0);
      if (nothing) this.silent += 1;
      path.setAttribute('class', `edge ${sign}${nothing ? ' nothing' : ''}${on ? (forward ? ' forward' : ' backward') : ''}${this.path.has(tail) && this.path.has(head) ? ' path' : ''}`);
      path.setAttribute('stroke-width', (1.2 + (sign === 'odd' ? 2 : this.heaviest > 0 ? 4 * Math.sqrt(size / this.heaviest) : 0)).toFixed(2));
      if (!on) continue;
      lit += 1;
      path.parentNode.append(path); // above the others
      if (!forward && tail < this.whole && head < this.whole) {
        if (!messages.has(tail)) messages.set(tail, []);
        messages.get(tail).push(...going.map((slot) => [walk.grad[head], graph.local[slot]]));
      }
    }
    if (lit <= MOST_LABELS) for (const [tail, sent] of messages) this.label(tail, sent);
  }

  // The largest local gradient that goes along an edge, and the sign that all of them have; it is kept
  // until there are other numbers or more of its results are computed
  weigh(edge) {
    const { graph: { local, valueUnknown, grad }, walk: { evaluatedAt, step } } = this;
    const { slots, nodes, weight } = edge;
    if (weight !== null && weight.grad === grad && weight.from <= step && step < weight.until) return weight;
    let [size, positive, negative, odd, from, until] = [0, false, false, false, 0, Infinity];
    for (let i = 0; i < slots.length; i += 1) {
      const when = evaluatedAt[nodes[i]];
      if (when > step) { until = Math.min(until, when); continue; }
      from = Math.max(from, when);
      if (valueUnknown[nodes[i]]) continue;
      const number = local[slots[i]];
      if (number - number !== 0) odd = true;
      else {
        size = Math.max(size, Math.abs(number));
        if (number > 0) positive = true;
        if (number < 0) negative = true;
      }
    }
    edge.weight = { size, sign: odd ? 'odd' : positive === negative ? '' : positive ? 'positive' : 'negative', grad, from, until };
    return edge.weight;
  }

  // What is added to a box's gradient, below the box, where no number stands, and not beyond the picture
  label(box, sent) {
    const [left, top, width, height] = this.rect.get(box);
    let text = sent.map(([grad, local]) => `${brief(grad)} × ${brief(local)}`).join(' + ');
    if (text.length > LONGEST_LABEL) text = compact(sent.reduce((sum, [grad, local]) => sum + grad * local, 0));
    text = `+= ${text}`;
    const half = widthOf(text) / 2;
    const end = this.arrangement.size[0] - PADDING;
    const middle = Math.min(Math.max(left + width / 2, half - PADDING), end - half);
    shape('text', { class: 'label', x: middle, y: top + height + 14 }, this.layers.labels, text);
  }

  // Folding

  // Unfold groups so that a node is in view, at its trips of loops
  reveal(node) {
    const { parent } = this.graph;
    let moved = false;
    for (let box = parent[node]; box >= 0; box = parent[box]) {
      const { side } = this.group(parent[box]) ?? {};
      if (side) { this.goToTrip(side, this.group(side).loop.trips.indexOf(box)); moved = true; }
    }
    const closed = [];
    for (let box = parent[node]; box >= 0; box = parent[box]) if (!this.open.has(box)) closed.push(box);
    if (closed.length && !this.canShow(closed)) {
      for (const box of [...this.open]) if (box !== this.whole) this.open.delete(box);
      for (let box = parent[node]; box >= 0; box = parent[box]) closed.push(box);
    }
    closed.forEach((box) => this.open.add(box));
    const box = this.covers[node];
    const before = this.spotOf(box);
    if (closed.length || moved) this.settle();
    this.hold(box, before);
  }

  // Where a box stands in the window
  spotOf(box) {
    const [left, top] = this.rect.get(box);
    const { x, y, scale } = this.view;
    return [x + left * scale, y + top * scale];
  }

  // Leave a box where it was in the window, as far as that leaves no room empty
  hold(box, [u, v]) {
    if (!this.rect.has(box)) return;
    const [a, b] = this.spotOf(box);
    this.pan(u - a, v - b);
    this.fill();
  }

  // Pan so that no edge of the picture is further in the window than it must
  fill() {
    const { scale } = this.view;
    const [width, height] = this.arrangement.size.map((length) => length * scale);
    const [w, h] = [this.window[0], this.window[1] - FOOT];
    const middle = this.middleAt(scale);
    const kept = (at, first, length, room) => (length <= room ? first : Math.max(Math.min(at, PADDING * scale), room - length + PADDING * scale));
    this.view.x = kept(this.view.x, middle.x, width, w);
    this.view.y = kept(this.view.y, middle.y, height, h);
    this.show();
  }

  // Show another trip of a loop, unfolded if the one before was
  goToTrip(loop, at) {
    const { trips, at: before } = this.group(loop).loop;
    this.graph.goToTrip(loop, at);
    if (this.open.delete(trips[before])) this.open.add(trips[at]);
  }

  // The same by the distance to it; false where there is none
  stepTrip(loop, by) {
    const { trips, at } = this.group(loop).loop;
    if (at + by < 0 || at + by >= trips.length) return false;
    this.goToTrip(loop, at + by);
    this.settle();
    this.showTop(trips[at + by]);
    return true;
  }

  canShow(groups) {
    const more = groups.reduce((sum, box) => sum + this.graph.inside[box - this.whole].length, 0);
    return this.rect.size + more <= MOST_BOXES;
  }

  // Fold or unfold a group; false if there would be too much to show
  toggle(box) {
    const { side, loop, trip } = this.group(box);
    if (side) return this.stepTrip(side, box === this.group(side).loop.sides[0] ? -1 : 1);
    if (trip && this.open.has(box)) return this.toggle(trip); // it is unfolded as long as its loop is
    if (loop) this.open[this.open.has(box) ? 'delete' : 'add'](loop.trips[loop.at]);
    if (this.open.has(box)) this.open.delete(box);
    else if (!this.canShow([box])) return false;
    else this.open.add(box);
    const before = this.spotOf(box);
    this.current = box;
    this.settle();
    this.hold(box, before);
    if (this.fitted) { this.showTop(box); this.fill(); }
    return true;
  }

  // Lay out anew at the scale there is
  settle() {
    if (this.fitted) { this.begin(); return; }
    this.sized(Math.max(this.view.scale, READABLE));
    this.lay(this.view.scale);
  }

  // Unfold every group in view; false if that would be too much
  unfoldAll() {
    const closed = [...this.rect.keys()].filter((box) => this.isGroup(box) && !this.open.has(box) && !this.group(box).side);
    for (const box of closed) if (this.group(box).loop) closed.push(this.group(box).loop.trips[this.group(box).loop.at]);
    if (!closed.length || !this.canShow(closed)) return false;
    closed.forEach((box) => this.open.add(box));
    this.begin();
    return true;
  }

  foldAll() {
    this.open = new Set([this.whole]);
    this.begin();
  }

  // Unfold the user's groups, level by level, as long as everything can be read at once
  unfoldWhatFits() {
    for (;;) {
      this.sized(READABLE);
      const closed = [...this.rect.keys()].filter((box) => this.isGroup(box) && !this.open.has(box) && !this.group(box).part);
      if (!closed.length || !this.canShow(closed)) return;
      closed.forEach((box) => this.open.add(box));
      if (!this.fitsAt(READABLE) && !this.fitsAt(READABLE, [NARROW, 1], false)) { closed.forEach((box) => this.open.delete(box)); return; }
    }
  }

  // The window onto the picture

  get window() { return this.onPaper ? PAPER : this.size; }

  // Look how large the window is: seldom, as the browser lays out the page for it; whether it is new
  resized() {
    const { clientWidth, clientHeight } = this.svg;
    const before = this.size;
    this.size = [clientWidth || 800, clientHeight || 500];
    return String(before) !== String(this.size);
  }

  // The whole picture, however small
  fit() {
    const [width, height] = this.window;
    const size = this.arrangement.size;
    const scale = Math.min(width / size[0], (height - FOOT) / size[1], SCALES[0]);
    this.view = { scale, ...this.middleAt(scale) };
    this.fitted = false;
    this.show();
  }

  // The picture as it can be read: all of it if there is room, else its beginning
  begin() {
    const scale = this.lay();
    this.view = { scale, ...this.middleAt(scale) };
    this.fitted = true;
    this.show();
    if (this.walk.step > 0 && this.walk.active.length) this.centre(this.covers[this.walk.active[0]]);
  }

  // The graph on pages of paper, each a picture of its own; or the window onto it again
  print(onPaper) {
    this.onPaper = onPaper;
    this.begin();
    const { scale } = this.view;
    const width = this.arrangement.size[0];
    const pages = onPaper ? this.pages(PAPER[1] / scale) : [];
    byId('paper').replaceChildren(...pages.map(([top, bottom]) => {
      const page = this.svg.cloneNode(true);
      page.removeAttribute('id');
      page.setAttribute('viewBox', `${-PADDING} ${top} ${width} ${bottom - top}`);
      page.style.maxWidth = `${width * scale}px`;
      const isOutside = (y) => y < top || y >= bottom;
      for (const text of page.querySelectorAll('.frame text, .label')) if (isOutside(Number(text.getAttribute('y')))) text.remove();
      for (const box of page.querySelectorAll('.box')) if (isOutside(this.rect.get(Number(box.dataset.box))[1])) box.remove();
      return page;
    }));
  }

  // Where pages begin and end: between boxes
  pages(length) {
    const boxes = [...this.rect].filter(([box]) => !this.open.has(box)).map(([, [, top, , height]]) => [top, top + height + 20]);
    const end = this.arrangement.size[1] - HEADING;
    const pages = [];
    for (let top = -PADDING; top < end;) {
      const ends = boxes.map(([, bottom]) => bottom).filter((y) => y > top && y <= top + length && !boxes.some(([a, b]) => a < y && y < b));
      const bottom = end <= top + length ? end : Math.max(...ends, -Infinity);
      pages.push([top, bottom > top ? bottom : top + length]);
      [, top] = pages[pages.length - 1];
    }
    return pages;
  }

  middleAt(scale) {
    const [width, height] = this.window;
    const size = this.arrangement.size;
    return { x: Math.max((width - size[0] * scale) / 2, 0) + PADDING * scale,
      y: Math.max((height - FOOT - (size[1] - HEADING) * scale) / 2, 0) + PADDING * scale };
  }

  show() {
    const { x, y, scale } = this.view;
    this.scene.setAttribute('transform', this.onPaper ? '' : `translate(${x} ${y}) scale(${scale})`);
    this.svg.classList.toggle('far', scale < 0.45);
  }

  pan(dx, dy) {
    this.view.x += dx;
    this.view.y += dy;
    this.show();
  }

  zoom(factor, x = this.window[0] / 2, y = this.window[1] / 2) {
    const scale = Math.max(0.02, Math.min(this.view.scale * factor, 4));
    const ratio = scale / this.view.scale;
    this.view = { scale, x: x - (x - this.view.x) * ratio, y: y - (y - this.view.y) * ratio };
    this.fitted = false;
    this.show();
  }

  // Pan so that the heading of a group is in the window
  showTop(box) {
    const [left, top, width] = this.rect.get(box);
    const { x, y, scale } = this.view;
    const [u, v, w] = [x + left * scale, y + top * scale, width * scale];
    const across = u < 0 || u + w > this.window[0] ? Math.max((this.window[0] - w) / 2, 8) - u : 0;
    this.pan(across, v < 0 || v > this.window[1] - FOOT - 80 ? 8 - v : 0);
  }

  // Pan so that a box is in the window, large enough to read if asked
  centre(box, readable = false) {
    if (this.open.has(box)) { this.showTop(box); return; }
    const [left, top, width, height] = this.rect.get(box);
    const [w, h] = this.window;
    if (readable && this.view.scale < READABLE) this.view.scale = 1;
    const { scale } = this.view;
    const [x, y] = [this.view.x + (left + width / 2) * scale, this.view.y + (top + height / 2) * scale];
    const [dx, dy] = [(width / 2) * scale + 8, (height / 2) * scale + 24];
    const near = (at, reach, room) => Math.max(reach, Math.min(at, room - reach)) - at;
    const isSeen = x > -dx && x < w + dx && y > -dy && y < h - FOOT + dy; // then no further than it must
    if (isSeen) this.pan(near(x, dx, w), near(y, dy, h - FOOT));
    else this.pan(x < dx || x > w - dx ? w / 2 - x : 0, y < dy || y > h - dy - FOOT ? (h - FOOT) / 2 - y : 0);
  }
}
