// The graph: its columns, and its arithmetic when a leaf is changed.

function unpacked(text, Column) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return new Column(bytes.buffer);
}

class Graph {
  constructor(data) {
    this.count = data.count; // of the nodes shown; after them come those that only decisions need
    this.decisions = data.decisions;
    this.root = data.count - 1;
    this.forms = data.forms; // what is said of each kind of operation; FORMS computes them
    this.kind = unpacked(data.kind, Int32Array); // -1 for a leaf
    this.start = unpacked(data.start, Int32Array);
    this.operand = unpacked(data.operand, Int32Array); // from 0 nodes, below constants
    this.constant = unpacked(data.constant, Float64Array);
    this.recorded = unpacked(data.value, Float64Array); // by Python
    this.recordedLocal = unpacked(data.local, Float64Array);
    this.value = this.recorded.slice();
    this.local = this.recordedLocal.slice();
    this.grad = unpacked(data.grad, Float64Array);
    this.recordedGrad = this.grad.slice();
    this.valueUnknown = new Uint8Array(this.kind.length); // what only Python can compute anew
    this.gradUnknown = new Uint8Array(this.count);
    this.names = data.names;
    this.groups = data.groups.map(([name, part, size, bends]) => ({ name, part, size, bends }));
    this.parent = unpacked(data.parent, Int32Array); // the group around a box
    this.results = this.resultsOf();
  }

  // The nodes computed from each node: as columns, like operands
  resultsOf() {
    const start = new Int32Array(this.count + 1);
    for (const p of this.operand.subarray(0, this.start[this.count])) if (p >= 0) start[p + 1] += 1;
    for (let i = 0; i < this.count; i += 1) start[i + 1] += start[i];
    const next = start.slice();
    const result = new Int32Array(start[this.count]);
    for (let i = 0; i < this.count; i += 1) {
      for (const p of this.operandsOf(i)) if (p >= 0) { result[next[p]] = i; next[p] += 1; }
    }
    return { start, result };
  }

  resultsFrom(node) {
    const { start, result } = this.results;
    return [...new Set(result.subarray(start[node], start[node + 1]))];
  }

  isLeaf(node) { return this.kind[node] < 0; }

  operandsOf(node) { return this.operand.subarray(this.start[node], this.start[node + 1]); }

  valueOf(operand) { return operand < 0 ? this.constant[-operand - 1] : this.value[operand]; }

  symbolOf(node) { return this.isLeaf(node) ? '' : this.forms[this.kind[node]].symbol; }

  nameOf(node) { return this.names[node] ?? ''; }

  // What a person calls it
  titleOf(box) {
    if (box >= this.count) return this.groups[box - this.count].name || 'graph';
    return names.label(box);
  }

  // The groups around a node that its place is told by, the innermost first: the user's; trips of
  // loops where there are none
  around(node) {
    const [mine, trips] = [[], []];
    if (node >= this.count) return mine; // of a decision
    for (let box = this.parent[node]; box > this.count; box = this.parent[box]) {
      const { name, part } = this.groups[box - this.count];
      if (!part) mine.push(box);
      else if (/^trip \d+$/.test(name)) trips.push(box);
    }
    return mine.length ? mine : trips;
  }

  groupOf(node) { return this.around(node)[0] ?? this.count; }

  groupsOf(node) { return this.around(node).map((box) => this.groups[box - this.count].name).reverse(); }

  // Set leaves, and compute values and gradients anew. What has the operands it had when Python
  // computed it keeps Python's numbers.
  change(leaves) {
    for (const [leaf, number] of leaves) this.value[leaf] = number;
    const { value, local, recorded, valueUnknown } = this;
    for (let i = 0; i < this.kind.length; i += 1) {
      if (this.isLeaf(i)) continue;
      const begin = this.start[i];
      const operands = this.operandsOf(i);
      let same = true;
      let unknown = false;
      for (const p of operands) {
        if (p < 0) continue;
        if (valueUnknown[p]) unknown = true;
        else if (!Object.is(value[p], recorded[p])) same = false;
      }
      const form = FORMS[this.kind[i]];
      valueUnknown[i] = unknown || (!same && form === null) ? 1 : 0;
      if (valueUnknown[i]) {
        value[i] = NaN;
        local.fill(NaN, begin, begin + operands.length);
      } else if (same) {
        value[i] = recorded[i];
        local.set(this.recordedLocal.subarray(begin, begin + operands.length), begin);
      } else {
        const x = Array.from(operands, (p) => this.valueOf(p));
        value[i] = form.value(x);
        local.set(form.grads(value[i], x), begin);
      }
    }
    this.grad = this.gradsWhen(() => true, this.gradUnknown);
  }

  // The first comparison of the program that comes out otherwise with the values there are now
  turned() {
    const known = (p) => p < 0 || !this.valueUnknown[p];
    for (const [operation, a, b, outcome, line] of this.decisions) {
      if (!known(a) || !known(b)) continue;
      const [x, y] = [this.valueOf(a), this.valueOf(b)];
      if ((A[operation](x, y) !== 0) !== outcome) return { operation, a, b, outcome, line };
    }
    return null;
  }

  reset() {
    const leaves = [];
    for (let i = 0; i < this.kind.length; i += 1) if (this.isLeaf(i)) leaves.push([i, this.recorded[i]]);
    this.change(leaves);
  }

  isChanged() {
    return this.value.some((number, i) => this.isLeaf(i) && !Object.is(number, this.recorded[i]));
  }

  // Gradients so far: only nodes for which hasSent holds have sent messages to their operands
  gradsWhen(hasSent, unknown = new Uint8Array(this.count), reached = new Uint8Array(this.count)) {
    const grad = new Float64Array(this.count);
    unknown.fill(0);
    reached.fill(0);
    grad[this.root] = 1;
    reached[this.root] = 1;
    for (let i = this.root; i >= 0; i -= 1) {
      if (this.isLeaf(i) || !(reached[i] || unknown[i]) || !hasSent(i)) continue;
      for (let slot = this.start[i]; slot < this.start[i + 1]; slot += 1) {
        const p = this.operand[slot];
        if (p < 0) continue;
        if (unknown[i] || this.valueUnknown[i]) unknown[p] = 1;
        else if (this.isSent(i, slot)) {
          grad[p] += grad[i] * this.local[slot];
          reached[p] = 1;
        }
      }
    }
    return grad;
  }

  // Whether a node sends a message along one operand: not to what it has not picked
  isSent(node, slot) {
    const picks = this.forms[this.kind[node]].picks[slot - this.start[node]];
    return !(picks && this.local[slot] === 0);
  }
}
