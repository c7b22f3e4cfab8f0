// The picture: boxes, frames of open groups and edges, as SVG. Python has laid out every group with
// its inner groups folded; an open group takes more room, and what stands beside it moves apart.

const PADDING = 14;
const HEADING = 26;
const MOST_BOXES = 1500; // in view at once
const MOST_LABELS = 12; // on lit edges

function shape(name, attributes = {}, parent = null, text = null) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

// A number as people read it; in full in the panel
function short(x) {
  if (x !== x) return 'NaN';
  if (Math.abs(x) === Infinity) return x > 0 ? '∞' : '−∞';
  const size = Math.abs(x);
  const text = size !== 0 && (size < 1e-4 || size >= 1e6) ? x.toExponential(3) : x.toFixed(4);
  return text.replace(/^-(?=[0.]*$)/, '').replaceAll('-', '−');
}

// The same without zeros at the end, where space is dear
function compact(x) {
  return short(x).replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, '');
}

function clipped(text, length) {
  const letters = [...text];
  return letters.length > length ? `${letters.slice(0, length - 1).join('')}…` : text;
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
    this.column = unpacked(data.column, Int32Array);
    this.x = unpacked(data.x, Int32Array);
    this.y = unpacked(data.y, Int32Array);
    this.nodeSize = data.nodeSize;
    this.groupSize = data.groupSize;
    this.whole = graph.count; // the box that is the graph itself
    this.inside = graph.groups.map(() => []);
    graph.parent.forEach((group, box) => { if (group >= 0) this.inside[group - this.whole].push(box); });
    this.open = new Set([this.whole]);
    if (data.unfolded) graph.groups.forEach((_, i) => this.open.add(this.whole + i));
    this.current = graph.root; // the box that has the keyboard
    this.path = new Set(); // nodes that are marked
    this.view = { x: 0, y: 0, scale: 1 };
    this.fitted = true;
  }

  isGroup(box) { return box >= this.graph.count; }

  group(box) { return this.graph.groups[box - this.whole]; }

  // Layout

  lay() {
    this.rect = new Map();
    this.bends = new Map();
    this.sizes = new Map();
    this.measure(this.whole);
    this.place(this.whole, 0, 0);
    this.covers = this.coversOf();
    this.draw();
  }

  // The size of an open group, and where its boxes stand in it
  measure(group) {
    const boxes = this.inside[group - this.whole];
    const bends = Object.entries(this.group(group).bends);
    const items = []; // all that stands in a column
    const wider = [];
    for (const box of boxes) {
      const folded = this.isGroup(box) ? this.groupSize : this.nodeSize;
      const [width, height] = this.open.has(box) ? this.measure(box) : folded;
      const more = [width - folded[0], height - folded[1]];
      items.push({ box, column: this.column[box], x: this.x[box], y: this.y[box],
        middle: this.y[box] + folded[1] / 2, width, height, more });
    }
    for (const [edge, points] of bends) {
      points.forEach(([column, x, y], i) => {
        items.push({ edge, i, column, x, y, middle: y, width: 0, height: 0, more: [0, 0] });
      });
    }
    for (const { column, more } of items) wider[column] = Math.max(wider[column] ?? 0, more[0]);
    const before = [0];
    for (let c = 0; c < wider.length; c += 1) before.push(before[c] + (wider[c] ?? 0));
    const columns = new Map();
    for (const item of items) {
      if (!columns.has(item.column)) columns.set(item.column, []);
      columns.get(item.column).push(item);
    }
    for (const column of columns.values()) {
      column.sort((a, b) => a.middle - b.middle);
      let shift = -column.reduce((sum, item) => sum + item.more[1], 0) / 2;
      for (const item of column) {
        item.top = item.y + shift;
        shift += item.more[1];
        if (item.box === undefined) item.top = item.y + shift;
      }
    }
    const top = Math.min(0, ...items.map((item) => item.top));
    let bottom = this.group(group).height;
    const bent = new Map();
    for (const item of items) {
      item.left = item.x + before[item.column]
        + ((wider[item.column] ?? 0) - item.more[0]) / 2;
      bottom = Math.max(bottom, item.top + item.height);
      if (item.box === undefined) {
        if (!bent.has(item.edge)) bent.set(item.edge, []);
        bent.get(item.edge)[item.i] = [item.left, item.top - top];
      } else this.rect.set(item.box, [item.left, item.top - top, item.width, item.height]);
    }
    this.bends.set(group, bent);
    const inner = [this.group(group).width + before[before.length - 1], bottom - top];
    const size = [inner[0] + 2 * PADDING, inner[1] + 2 * PADDING + HEADING];
    this.sizes.set(group, size);
    return size;
  }

  // From places in a group to places in the picture
  place(group, left, top) {
    for (const box of this.inside[group - this.whole]) {
      const rect = this.rect.get(box);
      rect[0] += left;
      rect[1] += top;
      if (this.open.has(box)) this.place(box, rect[0] + PADDING, rect[1] + PADDING + HEADING);
    }
    for (const points of this.bends.get(group).values()) {
      for (const point of points) { point[0] += left; point[1] += top; }
    }
  }

  // For every box, the one in view that it is, or is inside of
  coversOf() {
    const covers = new Int32Array(this.graph.parent.length);
    for (let box = this.whole; box < covers.length; box += 1) {
      const outer = this.graph.parent[box];
      const hidden = outer >= 0 && !(this.open.has(outer) && covers[outer] === outer);
      covers[box] = hidden ? covers[outer] : box;
    }
    for (let node = 0; node < this.whole; node += 1) {
      const outer = this.graph.parent[node];
      covers[node] = this.open.has(outer) && covers[outer] === outer ? node : covers[outer];
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
    for (let node = 0; node < this.whole; node += 1) {
      const cover = this.covers[node];
      if (cover === node) continue;
      if (!this.members.has(cover)) this.members.set(cover, []);
      this.members.get(cover).push(node);
    }
    for (const [box, [left, top, width, height]] of this.rect) {
      if (this.isGroup(box) && this.open.has(box)) this.drawFrame(box, left, top, width, height);
      else this.drawBox(box, left, top, width, height);
    }
    this.drawEdges();
    if (!this.elements.has(this.current)) this.current = this.covers[this.graph.root];
    this.update();
  }

  drawFrame(box, left, top, width, height) {
    const frame = shape('g', { class: 'frame', role: 'button', tabindex: '-1', 'data-box': box,
      'aria-expanded': 'true', 'aria-label': `group ${this.graph.titleOf(box)}, unfolded` }, this.layers.frames);
    shape('rect', { x: left, y: top, width, height, rx: 8 }, frame);
    shape('rect', { class: 'heading', x: left, y: top, width, height: HEADING, rx: 8 }, frame);
    shape('text', { x: left + 10, y: top + 18 }, frame,
      `▾ ${clipped(this.graph.titleOf(box), Math.floor(width / 8))}`);
    this.elements.set(box, frame);
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
    const title = this.titleIn(box);
    const middle = width / 2;
    shape('text', { class: 'title', x: middle, y: 17 }, element, title);
    shape('text', { class: 'value', x: middle, y: isGroup ? 35 : 33 }, element);
    shape('text', { class: 'grad', x: middle, y: isGroup ? 52 : 48 }, element);
    this.elements.set(box, element);
  }

  titleIn(box) {
    const { graph } = this;
    if (this.isGroup(box)) return `▸ ${clipped(graph.titleOf(box), 18)}`;
    const symbol = graph.symbolOf(box);
    const name = graph.nameOf(box);
    if (graph.isLeaf(box)) return clipped(name || '·', 13);
    return name ? `${clipped(symbol, 6)}  ${clipped(name, 8)}` : clipped(symbol, 13);
  }

  drawEdges() {
    const { graph, covers } = this;
    this.edges = new Map();
    for (let node = 0; node < this.whole; node += 1) {
      const head = covers[node];
      for (const p of graph.operandsOf(node)) {
        if (p < 0 || covers[p] === head) continue;
        const key = `${covers[p]},${head}`;
        if (this.edges.has(key)) continue;
        const points = this.routeOf(covers[p], head);
        const path = shape('path', { class: 'edge', d: this.curve(points) }, this.layers.edges);
        this.edges.set(key, { tail: covers[p], head, points, path });
      }
    }
  }

  // The way of an edge between two boxes in view: the ends, and bends where it passes columns
  routeOf(tail, head) {
    const { parent } = this.graph;
    const depthOf = (box) => { let depth = 0; for (let b = box; parent[b] >= 0; b = parent[b]) depth += 1; return depth; };
    let [a, b] = [tail, head];
    let [u, v] = [depthOf(a), depthOf(b)];
    for (; u > v; u -= 1) a = parent[a];
    for (; v > u; v -= 1) b = parent[b];
    while (parent[a] !== parent[b]) { a = parent[a]; b = parent[b]; }
    const bent = this.bends.get(parent[a]);
    const bends = bent.get(`${a},${b}`) ?? [...(bent.get(`${b},${a}`) ?? [])].reverse();
    const from = this.rect.get(tail);
    const to = this.rect.get(head);
    return [[from[0] + from[2], from[1] + from[3] / 2], ...bends, [to[0], to[1] + to[3] / 2]];
  }

  curve(points) {
    let path = `M${points[0].join(' ')}`;
    for (let i = 1; i < points.length; i += 1) {
      const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
      const reach = Math.max(Math.abs(x1 - x0) / 2, 24);
      path += ` C${x0 + reach} ${y0} ${x1 - reach} ${y1} ${x1} ${y1}`;
    }
    return path;
  }

  // What changes with the step and with the numbers

  update() {
    const { graph, walk } = this;
    this.scale = 0;
    for (const grad of graph.grad) {
      if (Number.isFinite(grad)) this.scale = Math.max(this.scale, Math.abs(grad));
    }
    const active = new Set(walk.active.map((node) => this.covers[node]));
    if (walk.phase === 'seed') active.add(this.covers[graph.root]);
    for (const [box, element] of this.elements) {
      const isFrame = element.classList.contains('frame');
      const nodes = this.isGroup(box) ? this.members.get(box) ?? [] : [box];
      element.classList.toggle('active', active.has(box));
      element.classList.toggle('current', box === this.current);
      element.setAttribute('tabindex', box === this.current ? '0' : '-1');
      if (isFrame) continue;
      element.classList.toggle('path', nodes.some((node) => this.path.has(node)));
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
    const value = !evaluated ? '?' : graph.valueUnknown[node] ? 'unknown' : short(graph.value[node]);
    const gradient = walk.unknown[node] ? 'unknown' : short(grad);
    const [, , valueText, gradText] = ['base', 'tint', 'value', 'grad'].map((name) => element.querySelector(`.${name}`));
    valueText.textContent = value;
    gradText.textContent = walk.isBackward ? `∂ ${gradient}` : '';
    this.tint(element, grad, !walk.isBackward || walk.unknown[node]);
    const name = graph.isLeaf(node) ? `leaf ${graph.nameOf(node)}` : `${graph.symbolOf(node)} ${graph.nameOf(node)}`;
    element.setAttribute('aria-label', `${name.trim()}, value ${value === '?' ? 'not yet known' : value}${walk.isBackward ? `, gradient ${gradient}` : ''}`);
  }

  updateGroup(box, element, nodes) {
    const { graph, walk } = this;
    let largest = 0;
    for (const node of nodes) {
      const size = Math.abs(walk.grad[node]);
      if (size !== size || size > largest) largest = size;
      if (size !== size) break;
    }
    const count = `${this.group(box).size.toLocaleString('en')} nodes`;
    const gradient = walk.isBackward ? `max |∂| ${short(largest)}` : '';
    element.querySelector('.value').textContent = count;
    element.querySelector('.grad').textContent = gradient;
    this.tint(element, largest, !walk.isBackward);
    element.setAttribute('aria-label', `group ${graph.titleOf(box)}, ${count}, folded${gradient ? `, largest gradient ${short(largest)}` : ''}`);
  }

  tint(element, grad, none) {
    const tint = element.querySelector('.tint');
    const odd = !Number.isFinite(grad);
    const strength = odd ? 0.8 : this.scale > 0 ? Math.min(Math.sqrt(Math.abs(grad) / this.scale), 1) * 0.55 : 0;
    tint.setAttribute('class', `tint ${odd ? 'odd' : grad < 0 ? 'negative' : 'positive'}`);
    tint.setAttribute('fill-opacity', none ? 0 : strength.toFixed(3));
    element.classList.toggle('odd', odd && !none);
  }

  updateEdges() {
    const { graph, walk } = this;
    const lit = new Map();
    const forward = walk.phase === 'forward';
    for (const node of walk.phase === 'seed' ? [] : walk.active) {
      const silent = !forward && walk.gradBefore[node] === 0;
      for (let slot = graph.start[node]; slot < graph.start[node + 1]; slot += 1) {
        const p = graph.operand[slot];
        if (p < 0 || silent) continue;
        const key = `${this.covers[p]},${this.covers[node]}`;
        const text = forward
          ? compact(graph.value[p])
          : `+= ${compact(walk.gradBefore[node])} × ${compact(graph.local[slot])}`;
        const both = this.covers[p] === p && this.covers[node] === node;
        if (!lit.has(key)) lit.set(key, []);
        if (both && !(forward && lit.get(key).length)) lit.get(key).push(text);
      }
    }
    const { labels } = this.layers;
    labels.replaceChildren();
    for (const [key, { tail, head, points, path }] of this.edges) {
      const on = lit.has(key);
      path.classList.toggle('forward', on && forward);
      path.classList.toggle('backward', on && !forward);
      path.classList.toggle('path', this.path.has(tail) && this.path.has(head));
      if (on) path.parentNode.append(path); // above the others
      if (on && lit.size <= MOST_LABELS) this.label(points, lit.get(key));
    }
  }

  label(points, texts) {
    const middle = Math.floor((points.length - 1) / 2);
    const [[x0, y0], [x1, y1]] = [points[middle], points[middle + 1]];
    texts.forEach((text, i) => {
      shape('text', { class: 'label', x: (x0 + x1) / 2, y: (y0 + y1) / 2 - 6 + 15 * i }, this.layers.labels, text);
    });
  }

  // Folding

  // Unfold groups so that a node is in view
  reveal(node) {
    const closed = [];
    for (let box = this.graph.parent[node]; box >= 0; box = this.graph.parent[box]) {
      if (!this.open.has(box)) closed.push(box);
    }
    if (closed.length && !this.canShow(closed)) {
      for (const box of [...this.open]) if (box !== this.whole) this.open.delete(box);
      for (let box = this.graph.parent[node]; box >= 0; box = this.graph.parent[box]) closed.push(box);
    }
    closed.forEach((box) => this.open.add(box));
    if (closed.length) this.lay();
  }

  canShow(groups) {
    const more = groups.reduce((sum, box) => sum + this.inside[box - this.whole].length, 0);
    return this.rect.size + more <= MOST_BOXES;
  }

  // Fold or unfold a group; false if there would be too much to show
  toggle(box) {
    if (this.open.has(box)) this.open.delete(box);
    else if (!this.canShow([box])) return false;
    else this.open.add(box);
    const held = this.rect.get(box).slice();
    this.current = box;
    this.lay();
    if (this.fitted) this.fit();
    else {
      const now = this.rect.get(box);
      this.pan((held[0] - now[0]) * this.view.scale, (held[1] - now[1]) * this.view.scale);
    }
    return true;
  }

  // Unfold every group in view; false if that would be too much
  unfoldAll() {
    const closed = [...this.rect.keys()].filter((box) => this.isGroup(box) && !this.open.has(box));
    if (!closed.length || !this.canShow(closed)) return false;
    closed.forEach((box) => this.open.add(box));
    this.lay();
    this.fit();
    return true;
  }

  foldAll() {
    this.open = new Set([this.whole]);
    this.lay();
    this.fit();
  }

  // The window onto the picture

  get window() {
    const { clientWidth, clientHeight } = this.svg;
    return [clientWidth || 800, clientHeight || 500];
  }

  fit() {
    const [width, height] = this.window;
    const size = this.sizes.get(this.whole);
    const scale = Math.min(width / (size[0] + 12), (height - 44) / size[1], 1.6);
    this.view = { scale,
      x: (width - (size[0] - 2 * PADDING) * scale) / 2,
      y: (height - 32 - (size[1] - 2 * PADDING - HEADING) * scale) / 2 };
    this.fitted = true;
    this.show();
  }

  // The whole picture if it can be read at that size, else its end
  begin() {
    this.fit();
    if (this.view.scale < (this.window[0] < 600 ? 0.5 : 0.3)) {
      this.zoom(0.7 / this.view.scale);
      const end = this.covers[this.graph.root];
      this.centre(end, true);
      this.pan((this.window[0] - this.rect.get(end)[2] * this.view.scale) / 2 - 12, 0);
    }
  }

  show() {
    const { x, y, scale } = this.view;
    this.scene.setAttribute('transform', `translate(${x} ${y}) scale(${scale})`);
    this.svg.classList.toggle('far', scale < 0.45);
  }

  pan(dx, dy) {
    this.view.x += dx;
    this.view.y += dy;
    this.fitted = false;
    this.show();
  }

  zoom(factor, x = this.window[0] / 2, y = this.window[1] / 2) {
    const scale = Math.max(0.02, Math.min(this.view.scale * factor, 4));
    const ratio = scale / this.view.scale;
    this.view = { scale, x: x - (x - this.view.x) * ratio, y: y - (y - this.view.y) * ratio };
    this.fitted = false;
    this.show();
  }

  // Pan so that a box is in the window, large enough to read if asked
  centre(box, readable = false) {
    const [left, top, width, height] = this.rect.get(box);
    const [w, h] = this.window;
    if (readable && this.view.scale < 0.6) this.view.scale = 1;
    const { scale } = this.view;
    const [x, y] = [this.view.x + (left + width / 2) * scale, this.view.y + (top + height / 2) * scale];
    if (readable || x < 30 || y < 30 || x > w - 30 || y > h - 30) this.pan(w / 2 - x, h / 2 - y);
    else this.show();
  }
}
