// The walk: which step evaluates a node, and which one sends its gradient to its operands.
// Step 0 is before anything; then the evaluations; then the root's gradient becomes 1; then the
// messages, from the root down.

class Walk {
  constructor(graph) {
    this.graph = graph;
    this.evaluatedAt = new Int32Array(graph.count);
    this.sentAt = new Int32Array(graph.count);
    this.use('node');
  }

  use(by) {
    const { graph, evaluatedAt, sentAt } = this;
    this.by = by;
    let steps = 0;
    for (let i = 0; i < graph.count; i += 1) {
      if (graph.isLeaf(i)) evaluatedAt[i] = 0;
      else if (by === 'node') evaluatedAt[i] = steps += 1;
      else {
        evaluatedAt[i] = 1;
        for (const p of graph.operandsOf(i)) {
          if (p >= 0) evaluatedAt[i] = Math.max(evaluatedAt[i], evaluatedAt[p] + 1);
        }
        steps = Math.max(steps, evaluatedAt[i]);
      }
    }
    this.seedStep = steps += 1;
    const seed = steps;
    if (by === 'level') sentAt.fill(seed + 1);
    for (let i = graph.root; i >= 0; i -= 1) {
      if (graph.isLeaf(i)) sentAt[i] = Infinity;
      else if (by === 'node') sentAt[i] = steps += 1;
      else {
        for (const p of graph.operandsOf(i)) {
          if (p >= 0) sentAt[p] = Math.max(sentAt[p], sentAt[i] + 1);
        }
        steps = Math.max(steps, sentAt[i]);
      }
    }
    this.length = steps;
    this.nodesAt = Array.from({ length: steps + 1 }, () => []);
    for (let i = 0; i < graph.count; i += 1) if (!graph.isLeaf(i)) this.nodesAt[evaluatedAt[i]].push(i);
    for (let i = graph.root; i >= 0; i -= 1) if (!graph.isLeaf(i)) this.nodesAt[sentAt[i]].push(i);
    this.go(steps);
  }

  go(step) {
    this.step = Math.max(0, Math.min(step, this.length));
    this.refresh();
  }

  // Gradients as they stand after this step, and before it
  refresh() {
    const { graph, step } = this;
    const before = (i) => this.sentAt[i] < step;
    const upTo = (i) => this.sentAt[i] <= step;
    this.unknown = new Uint8Array(graph.count);
    this.reached = new Uint8Array(graph.count);
    this.grad = step < this.seedStep
      ? new Float64Array(graph.count)
      : graph.gradsWhen(upTo, this.unknown, this.reached);
    this.gradBefore = this.phase === 'backward' ? graph.gradsWhen(before) : this.grad;
  }

  get phase() {
    if (this.step === 0) return 'start';
    if (this.step < this.seedStep) return 'forward';
    return this.step === this.seedStep ? 'seed' : 'backward';
  }

  // The nodes that this step evaluates, or that send
  get active() { return this.nodesAt[this.step]; }

  isEvaluated(node) { return this.evaluatedAt[node] <= this.step; }

  get isBackward() { return this.step >= this.seedStep; }
}
