// The graph: its columns, and its arithmetic when a leaf is changed.

const COLUMNS = { b: Int8Array, h: Int16Array, i: Int32Array, d: Float64Array };

// A column, of whole numbers as 32 bits
function unpacked(text) {
  const binary = atob(text.slice(1));
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = binary.charCodeAt(i);
  const column = new COLUMNS[text[0]](bytes.buffer);
  return text[0] === 'd' ? column : Int32Array.from(column);
}

class Graph {
  constructor(data) {
    this.count = data.count; // of the nodes shown; after them come those that only decisions need
    this.decisions = data.decisions;
    this.root = data.count - 1;
    this.forms = data.forms; // what is said of each kind of operation; FORMS computes them
    this.kind = unpacked(data.kind); // -1 for a leaf
    this.start = new Int32Array(this.kind.length + 1); // where a node's operands begin
    const counts = this.forms.map((form) => form.operands.length);
    this.kind.forEach((kind, i) => { this.start[i + 1] = this.start[i] + (kind < 0 ? 0 : counts[kind]); });
    // Of each kind: which operands are sent nothing where the local gradient is 0
    this.picks = this.forms.map((form) => (form.picks.some(Boolean) ? form.picks : null));
    this.operand = unpacked(data.operand); // from 0 nodes, below constants
    this.constant = unpacked(data.constant);
    this.recorded = unpacked(data.value); // by Python
    this.recordedLocal = unpacked(data.local);
    this.value = this.recorded.slice();
    this.local = this.recordedLocal.slice();
    this.valueUnknown = new Uint8Array(this.kind.length); // what only Python can compute anew
    this.stale = new Uint8Array(this.kind.length);
    this.backpropagate();
    this.names = data.names;
    this.places = new Map(); // of leaves that groups have in common
    for (const [place, leaves] of Object.entries(data.places)) for (const leaf of leaves) this.places.set(leaf, place);
    this.parent = unpacked(data.parent); // the group around a box
    this.groups = data.groups.map((group) => { // of a trip without its name
      const [name, part, size, way] = group.length === 2 ? ['', true, ...group] : group;
      return { name, part: Boolean(part), size, bends: data.ways[way] };
    });
    this.placed = { column: unpacked(data.column), y: unpacked(data.y) };
    this.addLoops(data.groups.flatMap((group, i) => (group.length === 4 && group[1] === 2 ? [this.count + i] : [])));
    this.homes = this.homesOf();
    this.inside = this.groups.map(() => []);
    this.parent.forEach((group, box) => { if (group >= 0) this.inside[group - this.count].push(box); });
    this.groups.forEach(({ loop }, i) => { if (loop) this.goToTrip(this.count + i, 0); });
    this.results = this.resultsOf();
  }

  // Loops have two more boxes each, of the trips before the one that is shown and of those after it
  addLoops(loops) {
    const boxes = this.parent.length;
    const longer = (column, filled) => { const found = new Int32Array(boxes + 2 * loops.length).fill(filled); found.set(column); return found; };
    const trips = new Map(loops.map((loop) => [loop, []]));
    this.parent.forEach((group, box) => { if (trips.has(group)) trips.get(group).push(box); });
    this.parent = longer(this.parent, -1);
    this.placed = { column: longer(this.placed.column, 0), y: longer(this.placed.y, 0) };
    loops.forEach((loop, i) => {
      const sides = [boxes + 2 * i, boxes + 2 * i + 1];
      this.group(loop).loop = { sides, trips: trips.get(loop), at: -1 };
      for (const side of sides) this.groups[side - this.count] = { name: '', part: true, side: loop, size: 0, bends: {} };
      trips.get(loop).forEach((trip, k) => Object.assign(this.group(trip), { name: `trip ${k + 1}`, trip: loop }));
    });
  }

  // Show one trip of a loop, from 0 up
  goToTrip(box, at) {
    const { sides, trips } = this.group(box).loop;
    this.group(box).loop.at = at;
    const shown = [trips[at]];
    for (const [side, first, last] of [[sides[0], 0, at], [sides[1], at + 1, trips.length]]) {
      const some = trips.slice(first, last);
      this.inside[side - this.count] = some;
      for (const trip of some) this.parent[trip] = side;
      const group = this.group(side);
      group.size = some.reduce((sum, trip) => sum + this.group(trip).size, 0);
      group.name = some.length === 1 ? `trip ${last}` : `trips ${first + 1} – ${last}`;
      this.parent[side] = box;
      if (some.length && side === sides[0]) shown.unshift(side);
      else if (some.length) shown.push(side);
    }
    this.parent[trips[at]] = box;
    this.inside[box - this.count] = shown;
    shown.forEach((part, i) => { this.placed.column[part] = i; });
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

  // With a result twice that uses the node twice
  usesOf(node) {
    const { start, result } = this.results;
    return result.subarray(start[node], start[node + 1]);
  }

  resultsFrom(node) { return [...new Set(this.usesOf(node))]; }

  isLeaf(node) { return this.kind[node] < 0; }

  isGroup(box) { return box >= this.count; }

  group(box) { return this.groups[box - this.count]; }

  operandsOf(node) { return this.operand.subarray(this.start[node], this.start[node + 1]); }

  valueOf(operand) { return operand < 0 ? this.constant[-operand - 1] : this.value[operand]; }

  symbolOf(node) { return this.isLeaf(node) ? '' : this.forms[this.kind[node]].symbol; }

  nameOf(node) { return this.names[node] ?? ''; }

  // What a person calls it
  titleOf(box) {
    if (box < this.count) return names.label(box);
    const { name, loop } = this.group(box);
    return loop ? `${isolated(name || 'loop')} × ${loop.trips.length}` : name || 'graph';
  }

  // Of each group, what the places of nodes in it are told by: the innermost of the user's groups;
  // the innermost trip of a loop where there is none
  homesOf() {
    const mine = new Int32Array(this.groups.length).fill(this.count);
    const trips = mine.slice();
    this.groups.forEach(({ part, trip }, i) => { // outer ones come first
      const outer = Math.max(this.parent[this.count + i] - this.count, 0);
      mine[i] = part ? mine[outer] : this.count + i;
      trips[i] = trip ? this.count + i : trips[outer];
    });
    return mine.map((home, i) => (home === this.count ? trips[i] : home));
  }

  // What an unnamed node is told apart in: its group, or the place of a leaf
  scopeOf(node) { return this.places.get(node) ?? this.groupOf(node); }

  groupOf(node) { return node < this.count ? this.homes[this.parent[node] - this.count] : this.count; }

  groupsOf(node) {
    const found = this.places.has(node) ? [this.places.get(node)] : [];
    const { trip } = this.group(this.groupOf(node));
    for (let box = this.groupOf(node); box > this.count; box = this.parent[box]) {
      const group = this.group(box);
      if (trip ? group.trip : !group.part) found.unshift(group.name);
    }
    return found;
  }

  // Set leaves, and compute values and gradients anew, of what depends on them. What has the operands
  // it had when Python computed it keeps Python's numbers.
  change(leaves) {
    const { kind, start, operand, constant, value, local, recorded, valueUnknown, stale } = this;
    stale.fill(0);
    let first = kind.length;
    for (const [leaf, number] of leaves) {
      if (Object.is(value[leaf], number)) continue;
      value[leaf] = number;
      stale[leaf] = 1;
      first = Math.min(first, leaf);
    }
    for (let i = first; i < kind.length; i += 1) {
      if (kind[i] < 0) continue;
      const [begin, end] = [start[i], start[i + 1]];
      let moved = false;
      for (let slot = begin; slot < end && !moved; slot += 1) moved = operand[slot] >= 0 && stale[operand[slot]] === 1;
      if (!moved) continue;
      stale[i] = 1;
      let same = true;
      let unknown = false;
      for (let slot = begin; slot < end; slot += 1) {
        const p = operand[slot];
        if (p < 0) continue;
        if (valueUnknown[p]) unknown = true;
        else if (!Object.is(value[p], recorded[p])) same = false;
      }
      const form = FORMS[kind[i]];
      valueUnknown[i] = unknown || (!same && form === null) ? 1 : 0;
      if (valueUnknown[i]) {
        value[i] = NaN;
        local.fill(NaN, begin, end);
      } else if (same) {
        value[i] = recorded[i];
        for (let slot = begin; slot < end; slot += 1) local[slot] = this.recordedLocal[slot];
      } else {
        const x = [];
        for (let slot = begin; slot < end; slot += 1) x.push(operand[slot] < 0 ? constant[-operand[slot] - 1] : value[operand[slot]]);
        value[i] = form.value(x);
        local.set(form.grads(value[i], x), begin);
      }
    }
    this.backpropagate();
  }

  // The gradients, of what they are known, and the largest
  backpropagate() {
    Object.assign(this, this.gradsUpTo());
    this.largest = 0;
    for (const grad of this.grad) if (Number.isFinite(grad) && Math.abs(grad) > this.largest) this.largest = Math.abs(grad);
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

  // The nodes in a group, at any depth, in order
  nodesIn(box) {
    const found = [box];
    for (const one of found) if (one >= this.count) for (const inner of this.inside[one - this.count]) found.push(inner);
    return found.filter((one) => one < this.count).sort((a, b) => a - b);
  }

  leaves() {
    this.ends ??= Array.from({ length: this.count }, (_, i) => i).filter((i) => this.isLeaf(i));
    return this.ends;
  }

  // Whether a leaf has another value than Python gave it
  isMoved(leaf) { return this.isLeaf(leaf) && !Object.is(this.value[leaf], this.recorded[leaf]); }

  // Gradients, of all messages; or as far as they have been sent up to a step
  gradsUpTo(step = 0, sentAt = null) {
    const { kind, start, operand, local, valueUnknown, picks } = this;
    const grad = new Float64Array(this.count);
    const [gradUnknown, reached] = [new Uint8Array(this.count), new Uint8Array(this.count)];
    grad[this.root] = 1;
    reached[this.root] = 1;
    for (let i = this.root; i >= 0; i -= 1) {
      if (kind[i] < 0 || !(reached[i] || gradUnknown[i]) || (sentAt !== null && sentAt[i] > step)) continue;
      const picked = picks[kind[i]];
      const unknown = gradUnknown[i] || valueUnknown[i];
      for (let slot = start[i]; slot < start[i + 1]; slot += 1) {
        const p = operand[slot];
        if (p < 0) continue;
        if (unknown) gradUnknown[p] = 1;
        else if (picked === null || !(picked[slot - start[i]] && local[slot] === 0)) {
          grad[p] += grad[i] * local[slot];
          reached[p] = 1;
        }
      }
    }
    return { grad, gradUnknown, reached };
  }

  // Whether a ReLU passes nothing on
  isOff(node) {
    return !this.isLeaf(node) && this.forms[this.kind[node]].name === 'relu' && !this.valueUnknown[node] && this.local[this.start[node]] === 0;
  }

  // Whether a node sends a message along one operand: not to what it has not picked
  isSent(node, slot) { return !(this.picks[this.kind[node]]?.[slot - this.start[node]] && this.local[slot] === 0); }
}
