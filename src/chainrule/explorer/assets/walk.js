// The walk: which step evaluates a node, and which one sends its gradient to its operands.
// Step 0 is before anything; then the evaluations; then the root's gradient becomes 1; then the
// messages, from the root down. A box in view, such as a folded group, is one step.

class Walk {
  constructor(graph) {
    this.graph = graph;
    this.by = 'box';
    this.step = 0;
    this.length = 0;
    this.evaluatedAt = new Int32Array(graph.count);
    this.sentAt = new Int32Array(graph.count);
    this.nothing = new Float64Array(graph.count);
    this.none = new Uint8Array(graph.count);
  }

  // Walk by other boxes: each node's is its cover. What is done stays done.
  follow(covers) {
    const { graph, step } = this;
    const [phase, ended] = [this.phase, step === this.length];
    const done = [];
    const at = phase === 'backward' ? this.sentAt : this.evaluatedAt;
    if (phase === 'forward' || phase === 'backward') {
      for (let i = 0; i < graph.count; i += 1) if (at[i] <= step) done.push(i);
    }
    this.covers = covers;
    this.plan();
    const reached = done.reduce((most, i) => Math.max(most, at[i]), 0);
    const seeded = phase === 'seed' ? this.seedStep : phase === 'start' ? 0 : reached;
    this.go(ended && step > 0 ? this.length : seeded);
  }

  use(by) {
    this.by = by;
    this.follow(this.covers);
  }

  plan() {
    const { graph, covers, evaluatedAt, sentAt } = this;
    const { order, level } = this.inOrder();
    const rank = new Map(order.map((box, i) => [box, this.by === 'level' ? level.get(box) : i + 1]));
    const steps = Math.max(0, ...rank.values());
    for (let i = 0; i < graph.count; i += 1) {
      evaluatedAt[i] = graph.isLeaf(i) ? 0 : rank.get(covers[i]);
      for (const p of graph.operandsOf(i)) if (p >= 0 && evaluatedAt[p] > evaluatedAt[i]) evaluatedAt[i] = evaluatedAt[p];
    }
    this.seedStep = steps + 1;
    for (let i = 0; i < graph.count; i += 1) sentAt[i] = graph.isLeaf(i) ? 0x7fffffff : 2 * (steps + 1) - rank.get(covers[i]);
    for (let i = graph.root; i >= 0; i -= 1) {
      for (const p of graph.operandsOf(i)) if (p >= 0 && sentAt[p] < sentAt[i]) sentAt[p] = sentAt[i];
    }
    this.length = 2 * steps + 1;
    this.nodesAt = Array.from({ length: this.length + 1 }, () => []);
    for (let i = 0; i < graph.count; i += 1) if (!graph.isLeaf(i)) this.nodesAt[evaluatedAt[i]].push(i);
    for (let i = graph.root; i >= 0; i -= 1) if (!graph.isLeaf(i)) this.nodesAt[sentAt[i]].push(i);
  }

  // The boxes with operations, operands first, as far as groups don't depend on each other
  inOrder() {
    const { graph, covers } = this;
    const after = new Map(); // in the order of evaluation
    const waiting = new Map();
    for (let i = 0; i < graph.count; i += 1) {
      if (graph.isLeaf(i)) continue;
      const head = covers[i];
      if (!after.has(head)) { after.set(head, new Set()); waiting.set(head, 0); }
      for (const p of graph.operandsOf(i)) {
        if (p < 0 || graph.isLeaf(p) || covers[p] === head || after.get(covers[p]).has(head)) continue;
        after.get(covers[p]).add(head);
        waiting.set(head, waiting.get(head) + 1);
      }
    }
    const left = new Set(after.keys());
    const level = new Map([...left].map((box) => [box, 1]));
    const order = [];
    while (left.size) {
      let next = null;
      for (const box of left) if (waiting.get(box) <= 0) { next = box; break; }
      next ??= left.values().next().value;
      left.delete(next);
      order.push(next);
      for (const head of after.get(next)) {
        waiting.set(head, waiting.get(head) - 1);
        if (left.has(head)) level.set(head, Math.max(level.get(head), level.get(next) + 1));
      }
    }
    return { order, level };
  }

  go(step) {
    this.step = Math.max(0, Math.min(step, this.length));
    this.refresh();
  }

  // Gradients as they stand after this step
  refresh() {
    const { graph, step } = this;
    const all = step === this.length ? graph : step >= this.seedStep ? graph.gradsUpTo(step, this.sentAt) : null;
    this.grad = all?.grad ?? this.nothing;
    this.unknown = all?.gradUnknown ?? this.none;
    this.reached = all?.reached ?? this.none;
    this.boxes = [...new Set(this.active.map((node) => this.covers[node]))];
  }

  // A gradient as it stood before this step, added up in the same order
  gradBefore(node) {
    const { graph } = this;
    let grad = node === graph.root ? 1 : 0;
    for (const result of graph.resultsFrom(node).reverse()) {
      if (this.sentAt[result] >= this.step || !this.reached[result]) continue;
      for (let slot = graph.start[result]; slot < graph.start[result + 1]; slot += 1) {
        if (graph.operand[slot] === node && graph.isSent(result, slot)) grad += this.grad[result] * graph.local[slot];
      }
    }
    return grad;
  }

  get phase() {
    if (this.step === 0) return 'start';
    if (this.step < this.seedStep) return 'forward';
    return this.step === this.seedStep ? 'seed' : 'backward';
  }

  // The nodes that this step evaluates, or that send; their boxes are walk.boxes
  get active() { return this.nodesAt[this.step]; }

  isEvaluated(node) { return this.evaluatedAt[node] <= this.step; }

  get isBackward() { return this.step >= this.seedStep; }
}
